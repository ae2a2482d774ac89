"""The rival of shared commits: SQLAlchemy alone, as a service without a writer has it, with a transaction for each row."""

import threading
import time
from collections.abc import Sequence

from sqlalchemy import Engine, Table, create_engine, event, insert

from benchmarks.ledger_work import Work, at_rest
from budget_router.testing import MENU, TASK
from budget_router_sql import SqlLedger
from budget_router_sql.rows import call_row, decision_row
from budget_router_sql.schema import call_closings, decisions

BUSY_SECONDS = 30
"""How long a thread waits for the others."""
PRAGMAS = "journal_mode = WAL", "synchronous = FULL", "foreign_keys = ON", "secure_delete = ON"
"""As a ledger has them that promises as much."""

Rows = Sequence[tuple[Table, dict[str, object]]]


def rate_of_one_row_commits(file: str, n_rows: int, *, n_threads: int) -> float:
    """Durable rows by the second into the ledger's own tables; rows are made before the clock starts."""
    works = [_rows(Work.of(n_rows // n_threads, name=f"{n_threads} threads {number}")) for number in range(n_threads)]
    with SqlLedger(f"sqlite:///{file}") as ledger:
        ledger.record_decision(Work.of(2, name="first").pairs[0][0], TASK, MENU)  # and the menu, which all of them name
    engine = create_engine(f"sqlite:///{file}", connect_args={"timeout": BUSY_SECONDS})
    event.listen(engine, "connect", _set)
    threads = [threading.Thread(target=_commit_each, args=(engine, rows)) for rows in works]
    with at_rest():
        started = time.perf_counter()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        seconds = time.perf_counter() - started
    engine.dispose()
    return sum(map(len, works)) / seconds


def _rows(work: Work) -> Rows:
    rows: list[tuple[Table, dict[str, object]]] = []
    for decision, call in work.pairs:
        rows += (decisions, decision_row(decision, TASK, with_text=True)), (call_closings, call_row(call))
    return rows


def _commit_each(engine: Engine, rows: Rows) -> None:
    for table, row in rows:
        with engine.begin() as connection:
            connection.execute(insert(table), row)


def _set(connection: object, _: object) -> None:
    for pragma in PRAGMAS:
        connection.execute(f"PRAGMA {pragma}")  # type: ignore[attr-defined]  # the driver's own
