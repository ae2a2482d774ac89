"""Book the calls that were opened and never closed: their process died, and the provider may have billed them all the same."""

from datetime import timedelta
from typing import Any

from sqlalchemy import Select, exists, literal, select

from budget_router.errors import UnknownTariff
from budget_router.records import Call, now
from budget_router.tariffs import Tariffs
from budget_router.tokens import count_tokens
from budget_router_sql.audit import OPEN_FOR
from budget_router_sql.ledger import SqlLedger
from budget_router_sql.rows import call_of
from budget_router_sql.schema import call_closings, call_openings, decisions, settlements


def close_open(ledger: SqlLedger, *, tariffs: Tariffs | None = None, open_for: timedelta = OPEN_FOR) -> tuple[Call, ...]:
    """Close calls that have been open too long as failed and estimated, and return them; a call that closes meanwhile wins.

    The prompt is counted as far as it is known: as it was when the call was opened, or else the task's text, where that is kept.
    What the model wrote is not known and counts nothing. A call of a decision that was settled without it is a late one.

    >>> from budget_router.testing import example_call, recorded
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder, SqlLedger(f"sqlite:///{folder}/spend.db") as ledger:
    ...     recorded(ledger)
    ...     ledger.open_call(example_call("c1"))
    ...     [(call.id, call.status, call.source) for call in close_open(ledger)]
    [('c1', 'error', 'estimated')]

    Args:
        ledger: whose calls are closed, each by a row of its own.
        tariffs: own prices of models; without one a model that is on no list keeps an unknown price.
        open_for: how long a call may take before it is given up.
    """
    at = now()
    with ledger.database.survey() as connection:
        rows = connection.execute(_left_open().where(call_openings.c.started_at < at - open_for)).mappings().all()
    closed = [_closed(row, tariffs or Tariffs()) for row in rows]
    for future in [ledger.submit(call) for call in closed]:
        future.result()
    return tuple(closed)


def _left_open() -> Select[Any]:  # Any: a row of many columns
    closing = exists(select(literal(1)).where(call_closings.c.id == call_openings.c.id))
    return (
        select(call_openings, decisions.c.task_text, settlements.c.settled_at)
        .join(decisions, decisions.c.id == call_openings.c.decision_id)
        .outerjoin(settlements, settlements.c.decision_id == call_openings.c.decision_id)
        .where(~closing)
        .order_by(call_openings.c.started_at, call_openings.c.id)
    )


def _closed(row: Any, tariffs: Tariffs) -> Call:  # Any: a row of `_left_open`
    opened = call_of({name: row[name] for name in call_openings.c.keys()})  # noqa: SIM118  # a collection of columns, no dict
    text = row["task_text"]
    prompt_tokens = opened.prompt_tokens or (count_tokens(text).n_tokens if text else 0)
    until = opened.started_at if row["settled_at"] is None else max(row["settled_at"], opened.started_at)
    call = opened.model_copy(
        update={
            "status": "error",
            "source": "estimated",
            "prompt_tokens": prompt_tokens,
            "completion_tokens": 0,
            "reasoning_tokens": 0,
            "cached_tokens": 0,
            "seconds": (until - opened.started_at).total_seconds(),
            "nano_usd": None,
            "tariff": None,
        }
    )
    if not prompt_tokens:
        return call
    try:
        bill = tariffs.bill(call.model, prompt_tokens=prompt_tokens, completion_tokens=0, at=call.started_at)
    except UnknownTariff:
        return call
    return call.model_copy(update={"nano_usd": bill.nano_usd, "tariff": bill.tariff})
