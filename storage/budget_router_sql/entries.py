"""What one record adds to the tables, redacted already, and how it is kept as text until the database is back."""

import base64
import json
from collections.abc import Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any, NamedTuple

from sqlalchemy import LargeBinary, Table

from budget_router.errors import InvalidInput
from budget_router.menu import Menu
from budget_router.records import Call, Decision, Outcome, Settlement
from budget_router.task import Task
from budget_router_sql.hashed_text import HashedText
from budget_router_sql.rows import Row, call_row, decision_row, menu_row, outcome_row, sample_rows, settlement_row, shadow_row
from budget_router_sql.schema import (
    UtcTime,
    call_closings,
    call_openings,
    decisions,
    menus,
    metadata,
    outcomes,
    samples,
    settlements,
    shadows,
    task_ngrams,
)

Record = Call | Settlement | Outcome

_MANY_MENUS = 64


class Entry(NamedTuple):
    """A row, and the rows that come and go with it."""

    table: Table
    decision_id: str
    row: Row
    before: tuple[tuple[Table, Row], ...] = ()
    """Rows that it names; they may stand already."""
    after: tuple[tuple[Table, Row], ...] = ()
    """Rows that are its parts: kept if it is the first of its kind."""

    def to_json(self) -> str:
        """The entry as text."""
        parts = [[[table.name, _plain(row)] for table, row in rows] for rows in (self.before, self.after)]
        return json.dumps([self.table.name, self.decision_id, _plain(self.row), *parts], ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> "Entry":
        """The entry that `to_json` wrote."""
        name, decision_id, row, *parts = json.loads(text)
        before, after = (tuple((metadata.tables[of], _typed(metadata.tables[of], one)) for of, one in rows) for rows in parts)
        table = metadata.tables[name]
        return cls(table, decision_id, _typed(table, row), before, after)


def decided(
    decision: Decision, task: Task, menu: Menu, *, store_text: str, hashed: HashedText, opens: Sequence[Call] = ()
) -> Entry:
    """A decision, with of its task's text what `store_text` lets stand, and the calls that are opened with it."""
    row = decision_row(decision, task, with_text=store_text == "full")
    beside: list[tuple[Table, Row]] = []
    if store_text == "hash":
        beside.append((task_ngrams, {"decision_id": decision.id, "counts": hashed.packed(task.text)}))
    if decision.shadow is not None:
        beside.append((shadows, shadow_row(decision.id, decision.shadow)))
    if opens:
        beside += [(call_openings, opened(call).row) for call in opens]
    return Entry(decisions, row["id"], row, _offered(menu), tuple(beside))


@lru_cache(_MANY_MENUS)
def _offered(menu: Menu) -> tuple[tuple[Table, Row], ...]:
    return ((menus, menu_row(menu)),)


def noted(record: Record) -> Entry:
    """A call that is opened or closed, by its status; the end of an execution; a grade."""
    if isinstance(record, Call):
        row = call_row(record)
        if row["status"] != "open":
            return Entry(call_closings, row["decision_id"], row)
        del row["status"]
        return Entry(call_openings, row["decision_id"], row)
    if isinstance(record, Settlement):
        parts = tuple((samples, row) for row in sample_rows(record))
        return Entry(settlements, record.decision_id, settlement_row(record), after=parts)
    return Entry(outcomes, record.decision_id, outcome_row(record))


def opened(call: Call) -> Entry:
    """A call that is about to be made, whatever its status says."""
    return noted(call if call.status == "open" else call.model_copy(update={"status": "open"}))


def closed(call: Call) -> Entry:
    """What a call billed; raises InvalidInput if it is still open."""
    if call.status == "open":
        raise InvalidInput(f"call {call.id!r} is closed with status 'open': tell whether it went 'ok' or ended in an 'error'")
    return noted(call)


def _plain(row: Row) -> dict[str, Any]:  # Any: what JSON holds
    return {name: _plain_value(value) for name, value in row.items()}


def _plain_value(value: object) -> object:
    if isinstance(value, datetime):
        return value.isoformat()
    return base64.b64encode(value).decode() if isinstance(value, bytes) else value


def _typed(table: Table, row: dict[str, Any]) -> Row:  # Any: what JSON holds
    return {name: _typed_value(table, name, value) for name, value in row.items()}


def _typed_value(table: Table, name: str, value: object) -> object:
    if isinstance(value, str) and isinstance(table.c[name].type, UtcTime):
        return datetime.fromisoformat(value)
    return base64.b64decode(value) if isinstance(value, str) and isinstance(table.c[name].type, LargeBinary) else value
