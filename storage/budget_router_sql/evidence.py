"""What settled decisions tell, read by columns: to make and check a record of every row takes ten times as long.

A window is read in stretches, two at a time: while the database finds one, what it found before is put together. Where something
is not as it was written, its stretch is read as records, which name what is wrong.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import lru_cache, partial
from itertools import repeat
from typing import Any, NamedTuple, TypeVar

from pydantic_core import from_json
from sqlalchemy import Connection, Select, select, type_coerce

from budget_router.evidence import Act, Drawn, Evidence, Shadowed
from budget_router.menu import Escalate
from budget_router.records import LoggedDecision, Spent
from budget_router.remembered import menu_of, strategy_of
from budget_router_sql.backend import Backend
from budget_router_sql.engine import Database
from budget_router_sql.hashed_text import HashedText
from budget_router_sql.joined import LongText
from budget_router_sql.listed import is_listed, listed
from budget_router_sql.reading import WITH_MENU, Window, assembled, in_window, ngrams_of
from budget_router_sql.rows import budget_of
from budget_router_sql.schema import call_closings, decisions, menus, outcomes, samples, settlements, shadows
from budget_router_sql.uncollected import Uncollected

AT_ONCE = 4096
"""Decisions of a stretch: some megabytes, and some hundredths of a second of a database's work."""
N_AT_ONCE = 2
"""Stretches that are read side by side."""
_SURE = 1e-6
"""By how far propensities may miss 1."""
_MANY_TEXTS = 4096
_uncollected = Uncollected()

_SPENT = ("prompt_tokens", "completion_tokens", "nano_usd", "seconds")
_GRADES = outcomes.alias()
_LATEST = (
    select(_GRADES.c.position)
    .where(_GRADES.c.decision_id == decisions.c.id)
    .order_by(_GRADES.c.graded_at.desc(), _GRADES.c.position.desc())
    .limit(1)
    .scalar_subquery()
)
_SETTLED = in_window(
    select(
        *(decisions.c[name] for name in ("decided_at", "position", "id", "task_id", "thread_id", "group")),
        type_coerce(decisions.c.task_text, LongText),
        *(decisions.c[name] for name in ("metadata", "features", "features_version", "menu_hash", "strategy_settings")),
        *(decisions.c[name] for name in ("propensities", "reason")),
        *(settlements.c[name] for name in ("status", "answer_key", *_SPENT)),
        outcomes.c.score,
        outcomes.c.answer_scores,
    )
    .join(settlements)
    .outerjoin(outcomes, outcomes.c.position == _LATEST)
)
_PROMISED = ("policy_version", "shadow_price", "expected_cost", "expected_accuracy", "budget", "run_id")
_ACTED = _SETTLED.add_columns(
    *(decisions.c[name] for name in _PROMISED), *(shadows.c[name] for name in ("policy_version", "propensities", "expected_cost"))
).outerjoin(shadows, shadows.c.decision_id == decisions.c.id)
_DRAWN = select(*(samples.c[name] for name in ("decision_id", "index", "call_id", "answer_key"))).where(
    is_listed(samples.c.decision_id, "ids")
)
_BILLED = select(*(call_closings.c[name] for name in ("decision_id", "id", *_SPENT))).where(
    is_listed(call_closings.c.decision_id, "ids")
)
_OFFERED = select(menus.c.hash, menus.c.strategies)

T = TypeVar("T", Act, Drawn, Evidence, Spent)
Read = TypeVar("Read", Act, Evidence)
Column = Sequence[Any]
"""Any: of its own type."""


class _Source(NamedTuple):
    """A view of the ledger, and how it is asked."""

    backend: Backend
    connection: Connection
    hashed: HashedText


def settled(database: Database, hashed: HashedText, window: Window) -> Iterator[Evidence]:
    """Read what the settled decisions of a window tell, oldest first; between two stretches no connection is held."""
    return _in_stretches(database, window, partial(_read, database, hashed, _evidence, Evidence.of))


def acts(database: Database, hashed: HashedText, window: Window) -> Iterator[Act]:
    """Read what they tell and what was expected of them, in the same way."""
    return _in_stretches(database, window, partial(_read, database, hashed, _acts, Act.of))


def _in_stretches(database: Database, window: Window, read: Callable[[Window], list[Read]]) -> Iterator[Read]:
    waiting: deque[Future[list[Read]]] = deque()
    rest: Window | None = window
    pool = ThreadPoolExecutor(N_AT_ONCE, thread_name_prefix="reads a ledger")
    try:
        while rest is not None:
            with database.read() as connection:
                stretch, rest = rest.cut(connection, AT_ONCE)
            waiting.append(pool.submit(read, stretch))
            if len(waiting) > N_AT_ONCE:
                yield from waiting.popleft().result()
        while waiting:
            yield from waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def _read(
    database: Database,
    hashed: HashedText,
    by_column: Callable[[_Source, Window], list[Read]],
    by_record: Callable[[LoggedDecision], Read | None],
    stretch: Window,
) -> list[Read]:
    with database.read() as connection:
        try:
            with _uncollected:
                return by_column(_Source(database.backend, connection, hashed), stretch)
        except (ValueError, TypeError, LookupError):
            rows = connection.execute(WITH_MENU, stretch.bounds).mappings()
            return [one for entry in assembled(connection, rows, hashed) if (one := by_record(entry)) is not None]


def _evidence(source: _Source, stretch: Window) -> list[Evidence]:
    return list(_told(source, _asked(source, _SETTLED, stretch)))


def _acts(source: _Source, stretch: Window) -> list[Act]:
    columns = _asked(source, _ACTED, stretch)
    n_told = len(_SETTLED.selected_columns)
    versions, shadow_prices, costs, accuracies, budgets, run_ids, *shadowing = columns[n_told:]
    promised = versions, shadow_prices, costs, accuracies, map(budget_of, budgets), run_ids, map(_shadowed, *shadowing)
    return list(_made(Act, _told(source, columns[:n_told]), *promised))


def _asked(source: _Source, question: Select[Any], stretch: Window) -> Sequence[Column]:
    """The columns of a question to a stretch, oldest first."""
    columns = source.backend.by_column(source.connection, question, stretch.bounds)
    moments, positions = columns[:2]
    if moments == sorted(moments) and positions == sorted(positions):
        return columns
    places = list(zip(moments, positions, strict=True))
    order = sorted(range(len(places)), key=places.__getitem__)
    return [[column[place] for place in order] for column in columns]


def _told(source: _Source, columns: Sequence[Column]) -> Iterator[Evidence]:
    """Put evidence together; raises ValueError, TypeError or LookupError where something is not as it was written."""
    moments, _, ids, task_ids, thread_ids, groups, texts, metadata, features, versions, menu_hashes, settings, *rest = columns
    propensities, reasons, statuses, answers, prompts, completions, money, seconds, scores, answer_scores = rest
    strategy = {text: strategy_of(text) for text in set(settings)}
    menu = {name: menu_of(text) for name, text in source.connection.execute(_OFFERED)}
    unread = [name for name, text in zip(ids, texts, strict=True) if text is None]
    counts = ngrams_of(source.connection, unread, source.hashed)

    def of(chosen: set[str]) -> list[str]:
        """Decisions for some strategies."""
        return [name for name, text in zip(ids, settings, strict=True) if text in chosen] if chosen else []

    drawn = _drawn(source, of({text for text, one in strategy.items() if one.n_samples > 1}))
    billed = _billed(source, of({text for text, one in strategy.items() if isinstance(one, Escalate)}))
    one_drawn = {answer: (Drawn(0, None, answer),) for answer in set(answers)}
    return _made(
        Evidence,
        task_ids,
        thread_ids,
        groups,
        moments,
        texts,
        map(counts.get, ids) if counts else repeat(None, len(ids)),
        map(_parsed, metadata),
        from_json(f"[{','.join(features)}]"),
        versions,
        map(menu.__getitem__, menu_hashes),
        map(strategy.__getitem__, settings),
        map(_chances, propensities),
        reasons,
        statuses,
        _made(Spent, prompts, completions, money, seconds),
        map(drawn.get, ids, map(one_drawn.__getitem__, answers)),
        map(billed.get, ids, repeat({})) if billed else repeat({}, len(ids)),
        scores,
        map(_parsed, answer_scores),
        ids,
    )


def _drawn(source: _Source, ids: list[str]) -> dict[str, list[Drawn]]:
    """Samples of decisions."""
    found: dict[str, list[Drawn]] = {name: [] for name in ids}
    if ids:
        names, *facts = source.backend.by_column(source.connection, _DRAWN, {"ids": listed(ids)})
        for name, one in zip(names, _made(Drawn, *facts), strict=True):
            found[name].append(one)
    return found


def _billed(source: _Source, ids: list[str]) -> dict[str, dict[str, Spent]]:
    """What each call of decisions billed."""
    found: dict[str, dict[str, Spent]] = {name: {} for name in ids}
    if ids:
        names, call_ids, *facts = source.backend.by_column(source.connection, _BILLED, {"ids": listed(ids)})
        for name, call_id, one in zip(names, call_ids, _made(Spent, *facts), strict=True):
            found[name][call_id] = one
    return found


def _made(kind: type[T], *columns: Iterable[Any]) -> Iterator[T]:
    """Named tuples of a column for each field; their constructor takes several times as long. Any: of each field's own type."""
    if len(columns) != len(kind._fields):
        raise AssertionError(f"{len(columns)} columns for the {len(kind._fields)} fields of {kind.__name__}")
    return map(partial(tuple.__new__, kind), zip(*columns, strict=True))


@lru_cache(_MANY_TEXTS)
def _parsed(text: str | None) -> dict[str, Any]:  # Any: what JSON holds
    found = {} if text is None else from_json(text)
    if not isinstance(found, dict):
        raise TypeError("no JSON object")
    return found


def _shadowed(version: str | None, propensities: str, expected_cost: float) -> Shadowed | None:
    return None if version is None else Shadowed(version, _chances(propensities), expected_cost)


@lru_cache(_MANY_TEXTS)
def _chances(text: str) -> dict[str, float]:
    found = _parsed(text)
    if abs(sum(found.values()) - 1) > _SURE:
        raise ValueError("propensities do not add up to 1")
    return found
