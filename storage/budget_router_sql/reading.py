"""Questions to the ledger, and its decisions put together again from their rows."""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from itertools import groupby
from typing import Any, NamedTuple, Self

from sqlalchemy import BigInteger, Connection, RowMapping, Select, Table, bindparam, func, select, tuple_

from budget_router.records import Call, LoggedDecision, Outcome, Sample, Shadow
from budget_router.remembered import menu_of
from budget_router_sql.engine import Database
from budget_router_sql.hashed_text import HashedText
from budget_router_sql.rows import call_of, decision_of, metadata_of, outcome_of, settlement_of, shadow_of
from budget_router_sql.schema import (
    UtcTime,
    call_closings,
    call_openings,
    decisions,
    menus,
    outcomes,
    samples,
    settlements,
    shadows,
    task_ngrams,
)

BATCH = 1000
"""Decisions held in memory at once while a ledger is read."""
_BEFORE_ALL, _AFTER_ALL = -1, 2**63 - 1
"""Positions lie between them."""

Place = tuple[datetime, int]
"""Where a decision stands in the order of a window: when it was made, and its position."""

_PLACE = (decisions.c.decided_at, decisions.c.position)
_WITH_MENU = select(decisions, menus.c.strategies).join(menus)


def one_decision(decision_id: str) -> Select[Any]:
    """The decision of an id, with its menu."""
    return _WITH_MENU.where(decisions.c.id == decision_id)


def latest_decision(thread_id: str | None) -> Select[Any]:
    """The decision that was made last, in one thread or in all, with its menu."""
    question = _WITH_MENU.order_by(decisions.c.decided_at.desc(), decisions.c.position.desc()).limit(1)
    return question if thread_id is None else question.where(decisions.c.thread_id == thread_id)


def decisions_of_run(run_id: str) -> Select[Any]:
    """The decisions that bear a run's id, oldest first, with their menus."""
    return _WITH_MENU.where(decisions.c.run_id == run_id).order_by(*_PLACE)


def decision_of_call(call_id: str) -> Select[Any]:
    """The decision that a call was made for, by its closing, else by its opening, with its menu."""
    closing, opening = (
        select(calls.c.decision_id).where(calls.c.id == call_id).scalar_subquery() for calls in (call_closings, call_openings)
    )
    return _WITH_MENU.where(decisions.c.id == func.coalesce(closing, opening))


def in_window(question: Select[Any]) -> Select[Any]:
    """The same question, to the decisions of a window, oldest first; Any: columns of any type."""
    after, upto = (tuple_(bindparam(f"{end}_at", type_=UtcTime), bindparam(end, type_=BigInteger)) for end in ("after", "upto"))
    return question.where(tuple_(*_PLACE) > after, tuple_(*_PLACE) <= upto).order_by(*_PLACE)


WITH_MENU = in_window(_WITH_MENU)
"""Each decision of a window, with its menu."""
_NEXT = WITH_MENU.limit(BATCH)
_LATEST = in_window(select(*_PLACE)).order_by(None).order_by(*(column.desc() for column in _PLACE)).limit(1)
_LAST = in_window(select(*_PLACE)).offset(bindparam("n_before")).limit(1)


class Window(NamedTuple):
    """Decisions after one place and up to another."""

    after: Place
    upto: Place

    @classmethod
    def between(cls, since: datetime | None, until: datetime | None) -> Self:
        """Those of `since <= decided_at < until`."""
        earliest, latest = (moment.replace(tzinfo=UTC) for moment in (datetime.min, datetime.max))  # noqa: DTZ901  # it has one now
        return cls((since or earliest, _BEFORE_ALL), (latest, _AFTER_ALL) if until is None else (until, _BEFORE_ALL))

    @property
    def bounds(self) -> dict[str, datetime | int]:
        """What a question to a window is asked with."""
        (after_at, after), (upto_at, upto) = self
        return {"after_at": after_at, "after": after, "upto_at": upto_at, "upto": upto}

    def cut(self, connection: Connection, n_decisions: int) -> "tuple[Window, Window | None]":
        """The first so many decisions, and the rest if there are more."""
        last = connection.execute(_LAST, {**self.bounds, "n_before": n_decisions - 1}).one_or_none()
        if last is None:
            return self, None
        return self._replace(upto=tuple(last)), self._replace(after=tuple(last))

    def parts(self, connection: Connection, n_decisions: int) -> "Iterator[Window]":
        """So many decisions each, up to the latest that stands now."""
        latest = connection.execute(_LATEST, self.bounds).one_or_none()
        rest: Window | None = None if latest is None else self._replace(upto=tuple(latest))
        while rest is not None:
            part, rest = rest.cut(connection, n_decisions)
            yield part


def stream(database: Database, hashed: HashedText, window: Window) -> Iterator[LoggedDecision]:
    """Read a window batch by batch; between two batches no connection is held, so a slow reader is in nobody's way."""
    while True:
        with database.read() as connection:
            rows = connection.execute(_NEXT, window.bounds).mappings().all()
            batch = assembled(connection, rows, hashed)
        yield from batch
        if len(rows) < BATCH:
            return
        window = window._replace(after=(rows[-1]["decided_at"], rows[-1]["position"]))


def assembled(connection: Connection, rows: Iterable[RowMapping], hashed: HashedText) -> list[LoggedDecision]:
    """Put decisions together with all that came of them, in one question per table."""
    rows = list(rows)
    ids = [row["id"] for row in rows]
    if not ids:
        return []
    calls = _calls(connection, ids)
    drawn = _samples(connection, ids)
    settled = {
        row["decision_id"]: settlement_of(row, drawn.get(row["decision_id"], ()))
        for row in connection.execute(_of(settlements, ids)).mappings()
    }
    graded = _outcomes(connection, ids)
    counts = ngrams_of(connection, ids, hashed)
    beside = shadows_of(connection, ids)
    return [
        LoggedDecision(
            decision=decision_of(row, beside.get(row["id"])),
            task_text=row["task_text"],
            task_ngrams=counts.get(row["id"]),
            metadata=metadata_of(row),
            menu=menu_of(row["strategies"]),
            calls=calls.get(row["id"], ()),
            settlement=settled.get(row["id"]),
            outcome=graded.get(row["id"]),
        )
        for row in rows
    ]


def ngrams_of(connection: Connection, ids: list[str], hashed: HashedText) -> dict[str, dict[int, int]]:
    """Counts of the n-grams of decisions' tasks, where they are kept in place of the text."""
    rows = connection.execute(_of(task_ngrams, ids)).mappings() if ids else ()
    return {row["decision_id"]: hashed.counts(row["counts"]) for row in rows}


def shadows_of(connection: Connection, ids: list[str]) -> dict[str, Shadow]:
    """What a candidate would have done beside decisions, where one watched."""
    return {row["decision_id"]: shadow_of(row) for row in connection.execute(_of(shadows, ids)).mappings()}


def _of(table: Table, ids: list[str]) -> Select[Any]:
    return select(table).where(table.c.decision_id.in_(ids))


def _calls(connection: Connection, ids: list[str]) -> dict[str, tuple[Call, ...]]:
    is_closed = select(call_closings.c.id).where(call_closings.c.id == call_openings.c.id).exists()
    by_decision = defaultdict(list)
    for question in (_of(call_closings, ids), _of(call_openings, ids).where(~is_closed)):
        for row in connection.execute(question).mappings():
            by_decision[row["decision_id"]].append(call_of(row))
    return {
        decision_id: tuple(sorted(calls, key=lambda call: (call.started_at, call.id)))
        for decision_id, calls in by_decision.items()
    }


def _samples(connection: Connection, ids: list[str]) -> dict[str, tuple[Sample, ...]]:
    question = _of(samples, ids).order_by(samples.c.decision_id, samples.c.place)
    rows = connection.execute(question).mappings()
    return {
        decision_id: tuple(Sample(index=row["index"], call_id=row["call_id"], answer_key=row["answer_key"]) for row in drawn)
        for decision_id, drawn in groupby(rows, key=lambda row: row["decision_id"])
    }


def _outcomes(connection: Connection, ids: list[str]) -> dict[str, Outcome]:
    question = _of(outcomes, ids).order_by(outcomes.c.graded_at, outcomes.c.position)  # the last of each decision stays
    return {row["decision_id"]: outcome_of(row) for row in connection.execute(question).mappings()}
