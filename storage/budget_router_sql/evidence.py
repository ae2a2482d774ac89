"""What settled decisions tell, read by columns: to make and check a record of every row takes ten times as long.

A window is read in stretches, two at a time: while the database finds one, what it found before is put together. Where something
is not as it was written, its stretch is read as records, which name what is wrong.
"""

import gc
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import lru_cache, partial
from itertools import repeat, starmap
from typing import Any, TypeVar

from pydantic_core import from_json
from sqlalchemy import BindParameter, Connection, Select, bindparam, select

from budget_router.evidence import Drawn, Evidence, Shadowed
from budget_router.menu import Escalate
from budget_router.records import Spent
from budget_router_sql.backend import Backend
from budget_router_sql.engine import Database
from budget_router_sql.hashed_text import HashedText
from budget_router_sql.reading import WITH_MENU, Window, assembled, in_window, ngrams_of
from budget_router_sql.rows import budget_of, menu_of, strategy_of
from budget_router_sql.schema import call_closings, decisions, menus, outcomes, samples, settlements, shadows

AT_ONCE = 2048
"""Decisions of a stretch: some megabytes, and some hundredths of a second of a database's work."""
N_AT_ONCE = 2
"""Stretches that are read side by side."""
_SURE = 1e-6
"""By how far propensities may miss 1."""
_MANY_TEXTS = 4096

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
        *(decisions.c[name] for name in ("id", "task_id", "thread_id", "group", "decided_at", "task_text", "metadata")),
        *(
            decisions.c[name]
            for name in ("features", "features_version", "menu_hash", "strategy_settings", "propensities", "reason")
        ),
        *(settlements.c[name] for name in ("status", "answer_key", *_SPENT)),
        outcomes.c.score,
        outcomes.c.answer_scores,
        *(
            decisions.c[name]
            for name in ("policy_version", "shadow_price", "expected_cost", "expected_accuracy", "budget", "run_id")
        ),
        *(shadows.c[name].label(f"shadow_{name}") for name in ("policy_version", "propensities", "expected_cost")),
    )
    .join(settlements)
    .outerjoin(shadows, shadows.c.decision_id == decisions.c.id)
    .outerjoin(outcomes, outcomes.c.position == _LATEST)
)
_IDS: BindParameter[str] = bindparam("ids", expanding=True)
_DRAWN = select(*(samples.c[name] for name in ("decision_id", "index", "call_id", "answer_key"))).where(
    samples.c.decision_id.in_(_IDS)
)
_BILLED = select(*(call_closings.c[name] for name in ("decision_id", "id", *_SPENT))).where(call_closings.c.decision_id.in_(_IDS))
_OFFERED = select(menus.c.hash, menus.c.strategies)

T = TypeVar("T", Drawn, Evidence, Spent)


def settled(database: Database, hashed: HashedText, window: Window) -> Iterator[Evidence]:
    """Read the settled decisions of a window, oldest first; between two stretches no connection is held."""
    waiting: deque[Future[list[Evidence]]] = deque()
    rest: Window | None = window
    pool = ThreadPoolExecutor(N_AT_ONCE, thread_name_prefix="reads a ledger")
    try:
        while rest is not None:
            with database.read() as connection:
                stretch, rest = rest.cut(connection, AT_ONCE)
            waiting.append(pool.submit(_read, database, hashed, stretch))
            if len(waiting) > N_AT_ONCE:
                yield from waiting.popleft().result()
        while waiting:
            yield from waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def _read(database: Database, hashed: HashedText, stretch: Window) -> list[Evidence]:
    with database.survey() as connection:
        try:
            return _by_column(database.backend, connection, hashed, stretch)
        except (ValueError, TypeError, LookupError):
            rows = connection.execute(WITH_MENU, stretch.bounds).mappings()
            return [one for entry in assembled(connection, rows, hashed) if (one := Evidence.of(entry)) is not None]


@contextmanager
def _uncollected() -> Iterator[None]:
    """Let the garbage collector wait for a stretch: nothing in it is garbage, and it would look through it again and again."""
    is_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if is_on:
            gc.enable()


@_uncollected()
def _by_column(backend: Backend, connection: Connection, hashed: HashedText, stretch: Window) -> list[Evidence]:
    """Put a stretch together; raises ValueError, TypeError or LookupError where something is not as it was written."""
    columns = backend.by_column(connection, _SETTLED, stretch.bounds)
    ids, task_ids, thread_ids, groups, moments, texts, metadata, features, versions, menu_hashes, settings, *rest = columns
    propensities, reasons, statuses, answers, prompts, completions, money, seconds, scores, answer_scores, *promised = rest
    *promised, budgets, run_ids, shadowing, chances, shadow_costs = promised
    n_rows, strategy = len(ids), {text: strategy_of(text) for text in set(settings)}
    menu = {name: menu_of(text) for name, text in connection.execute(_OFFERED)}
    counts = ngrams_of(connection, [name for name, text in zip(ids, texts, strict=True) if text is None], hashed)

    def of(question: Select[Any], chosen: set[str]) -> dict[str, list[Any]]:  # Any: columns of any type
        """Rows of another table by their decision, of decisions for some strategies."""
        wanted = [name for name, text in zip(ids, settings, strict=True) if text in chosen] if chosen else []
        rows: dict[str, list[Any]] = {name: [] for name in wanted}
        for name, *row in zip(*backend.by_column(connection, question, {"ids": wanted}), strict=True) if wanted else ():
            rows[name].append(row)
        return rows

    drawn = {
        name: tuple(starmap(Drawn, rows))
        for name, rows in of(_DRAWN, {text for text, one in strategy.items() if one.n_samples > 1}).items()
    }
    billed = of(_BILLED, {text for text, one in strategy.items() if isinstance(one, Escalate)})
    return list(
        _made(
            Evidence,
            task_ids,
            thread_ids,
            groups,
            moments,
            texts,
            map(counts.get, ids),
            map(_parsed, metadata),
            map(tuple, from_json(f"[{','.join(features)}]")),
            versions,
            map(menu.__getitem__, menu_hashes),
            map(strategy.__getitem__, settings),
            map(_chances, propensities),
            reasons,
            statuses,
            _made(Spent, prompts, completions, money, seconds),
            map(drawn.get, ids, zip(_made(Drawn, repeat(0, n_rows), repeat(None, n_rows), answers))),
            [{call_id: Spent(*spent) for call_id, *spent in billed.get(name, ())} for name in ids]
            if billed
            else repeat({}, n_rows),
            scores,
            [_parsed(text or "{}") for text in answer_scores],
            ids,
            *promised,
            map(budget_of, budgets),
            run_ids,
            map(_shadowed, shadowing, chances, shadow_costs),
        )
    )


def _made(kind: type[T], *columns: Iterable[Any]) -> Iterator[T]:
    """Named tuples of a column for each field; their constructor takes several times as long. Any: of each field's own type."""
    if len(columns) != len(kind._fields):
        raise AssertionError(f"{len(columns)} columns for the {len(kind._fields)} fields of {kind.__name__}")
    return map(partial(tuple.__new__, kind), zip(*columns, strict=True))


@lru_cache(_MANY_TEXTS)
def _parsed(text: str) -> dict[str, Any]:  # Any: what JSON holds
    found = from_json(text)
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
