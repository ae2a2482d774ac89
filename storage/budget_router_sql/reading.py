"""Questions to the ledger, and its decisions put together again from their rows."""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from datetime import datetime
from itertools import groupby
from typing import Any

from sqlalchemy import Connection, RowMapping, Select, Table, literal, select, tuple_

from budget_router.records import Call, LoggedDecision, Outcome, Sample
from budget_router_sql.engine import Database
from budget_router_sql.hashed_text import HashedText
from budget_router_sql.rows import call_of, decision_of, menu_of, metadata_of, outcome_of, settlement_of
from budget_router_sql.schema import (
    UtcTime,
    call_closings,
    call_openings,
    decisions,
    menus,
    outcomes,
    samples,
    settlements,
    task_ngrams,
)

BATCH = 1000
"""Decisions held in memory at once while a ledger is read."""

_WITH_MENU = select(decisions, menus.c.strategies).join(menus)


def one_decision(decision_id: str) -> Select[Any]:
    """The decision of an id, with its menu."""
    return _WITH_MENU.where(decisions.c.id == decision_id)


def latest_decision(thread_id: str | None) -> Select[Any]:
    """The decision that was made last, in one thread or in all, with its menu."""
    question = _WITH_MENU.order_by(decisions.c.decided_at.desc(), decisions.c.position.desc()).limit(1)
    return question if thread_id is None else question.where(decisions.c.thread_id == thread_id)


def next_in_window(since: datetime | None, until: datetime | None, after: tuple[datetime, int] | None) -> Select[Any]:
    """The next batch of decisions of `since <= decided_at < until`, oldest first, after the last one that was read."""
    question = _WITH_MENU.order_by(decisions.c.decided_at, decisions.c.position).limit(BATCH)
    if until is not None:
        question = question.where(decisions.c.decided_at < until)
    if after is not None:  # without `since`, which it implies: the index is entered at one place only
        moment, position = after
        here = tuple_(decisions.c.decided_at, decisions.c.position)
        return question.where(here > tuple_(literal(moment, UtcTime), literal(position)))
    return question if since is None else question.where(decisions.c.decided_at >= since)


def stream(database: Database, hashed: HashedText, *, since: datetime | None, until: datetime | None) -> Iterator[LoggedDecision]:
    """Read a window batch by batch; between two batches no connection is held, so a slow reader is in nobody's way."""
    after = None
    while True:
        with database.read() as connection:
            rows = connection.execute(next_in_window(since, until, after)).mappings().all()
            batch = assembled(connection, rows, hashed)
        yield from batch
        if len(rows) < BATCH:
            return
        after = rows[-1]["decided_at"], rows[-1]["position"]


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
    counted = {row["decision_id"]: row["counts"] for row in connection.execute(_of(task_ngrams, ids)).mappings()}
    return [
        LoggedDecision(
            decision=decision_of(row),
            task_text=row["task_text"],
            task_ngrams=hashed.counts(counted[row["id"]]) if row["id"] in counted else None,
            metadata=metadata_of(row),
            menu=menu_of(row["strategies"]),
            calls=calls.get(row["id"], ()),
            settlement=settled.get(row["id"]),
            outcome=graded.get(row["id"]),
        )
        for row in rows
    ]


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
