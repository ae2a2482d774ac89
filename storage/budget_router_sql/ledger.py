"""The ledger in a database: every write is one short transaction, and idempotent by its key."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from types import TracebackType
from typing import Any, Literal, Self, get_args

from sqlalchemy import Connection, Select, delete, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import IntegrityError

from budget_router.errors import InvalidInput, UnknownDecision
from budget_router.menu import Menu
from budget_router.records import Call, Decision, LoggedDecision, Outcome, Settlement, now
from budget_router.task import Task
from budget_router_sql.backend import backend_of
from budget_router_sql.durability import Durability
from budget_router_sql.engine import BUSY_SECONDS, Database, is_foreign_key_error
from budget_router_sql.hashed_text import HashedText
from budget_router_sql.migrate import make_ready
from budget_router_sql.reading import assembled, latest_decision, one_decision, stream
from budget_router_sql.registry import SqlRegistry
from budget_router_sql.rows import (
    Row,
    call_row,
    decision_of,
    decision_row,
    menu_row,
    outcome_row,
    sample_rows,
    settlement_row,
)
from budget_router_sql.schema import (
    call_closings,
    call_openings,
    decisions,
    erasures,
    menus,
    meta,
    outcomes,
    samples,
    settlements,
    task_ngrams,
)

StoreText = Literal["full", "hash", "none"]
"""What is kept of a task's text: all; salted counts of its n-grams, which a policy still learns its words from; or nothing."""

# PostgreSQL's insert, because SQLite's compiler renders its conflict clause too, and not the other way round
_KEEP_MENU = insert(menus).on_conflict_do_nothing(index_elements=["hash"])
_KEEP_DECISION = insert(decisions).on_conflict_do_nothing(index_elements=["id"]).returning(decisions.c.id)
_KEEP_NGRAMS = insert(task_ngrams)
_KEEP_OPENING = insert(call_openings).on_conflict_do_nothing(index_elements=["id"])
_KEEP_CLOSING = insert(call_closings).on_conflict_do_nothing(index_elements=["id"])
_KEEP_SETTLEMENT = insert(settlements).on_conflict_do_nothing(index_elements=["decision_id"]).returning(settlements.c.decision_id)
_KEEP_SAMPLES = insert(samples)
_KEEP_OUTCOME = insert(outcomes).on_conflict_do_nothing(index_elements=["digest"])


class SqlLedger:
    """The books in a SQLite file, made and migrated when it is opened, or on a PostgreSQL server that `migrate` has made ready.

    Many threads and many processes may write to one database at once. Close it, or use it as a context manager.

    Args:
        url: where the database is, as `sqlite:///spend.db` or `postgresql+psycopg://user@host/spend`.
        durability: what a row survives once a method has returned: `committed` a killed process, `durable` a power cut too.
        store_text: `full` keeps a task's text, `hash` the salted counts of its n-grams, `none` neither; its id, metadata and
            features are kept all the same.
        busy_seconds: how long a write waits for other writers.

    Raises:
        InvalidInput: the URL cannot be read, or names neither a SQLite file nor a PostgreSQL database.
        ForeignLedger: the database is somebody else's; it is left as it is.
        NewerLedger: a newer version of this package wrote it; it is left as it is.
        OlderLedger: nobody has migrated the server's database to this version: `budget-router migrate` does.
        LedgerUnavailable: the database cannot be opened.
    """

    def __init__(
        self,
        url: str,
        *,
        durability: Durability = "committed",
        store_text: StoreText = "full",
        busy_seconds: float = BUSY_SECONDS,
    ) -> None:
        if store_text not in get_args(StoreText):
            raise InvalidInput(f"store_text is {store_text!r}: choose one of {', '.join(get_args(StoreText))}")
        self._database = Database(backend_of(url), durability=durability, busy_seconds=busy_seconds)
        try:
            make_ready(self._database, busy_seconds=busy_seconds)
            with self._database.read() as connection:
                self._salt: str = connection.execute(select(meta.c.value).where(meta.c.key == "salt")).scalar_one()
        except BaseException:
            self._database.close()
            raise
        self._store_text = store_text
        self._hashed = HashedText(self._salt)
        self._registry = SqlRegistry(self._database)
        self._kept_menus: set[str] = set()

    @property
    def salt(self) -> str:
        """Secret of this ledger that answers are hashed with; made once, with the ledger."""
        return self._salt

    @property
    def registry(self) -> SqlRegistry:
        """The policies that were learned from this ledger, in the same database."""
        return self._registry

    def record_decision(self, decision: Decision, task: Task, menu: Menu) -> Decision:
        """Keep a decision, and return the one that stands under its id: the first one given."""
        if decision.menu_hash != menu.hash:
            raise InvalidInput(
                f"decision {decision.id!r} was made from menu {decision.menu_hash}, not from {menu.hash}: pass that menu"
            )
        row = decision_row(decision, task, with_text=self._store_text == "full")
        ngrams = {"decision_id": decision.id, "counts": self._hashed.packed(task.text)} if self._store_text == "hash" else None
        with self._database.write() as connection:
            if menu.hash not in self._kept_menus:
                connection.execute(_KEEP_MENU, menu_row(menu))
            if connection.execute(_KEEP_DECISION, row).first() is None:
                decision = decision_of(connection.execute(one_decision(decision.id)).mappings().one())
            elif ngrams is not None:
                connection.execute(_KEEP_NGRAMS, ngrams)
        self._kept_menus.add(menu.hash)
        return decision

    def open_call(self, call: Call) -> None:
        """Note that a model is about to be called; raises UnknownDecision if nothing decided it."""
        row = call_row(call)
        del row["status"]
        with self._about(call.decision_id) as connection:
            connection.execute(_KEEP_OPENING, row)

    def close_call(self, call: Call) -> None:
        """Note what a call billed. The first closing counts; a call that was never opened is kept all the same."""
        if call.status == "open":
            raise InvalidInput(f"call {call.id!r} is closed with status 'open': tell whether it went 'ok' or ended in an 'error'")
        with self._about(call.decision_id) as connection:
            connection.execute(_KEEP_CLOSING, call_row(call))

    def record_settlement(self, settlement: Settlement) -> None:
        """Note the end of an execution. The first one counts; raises UnknownDecision."""
        drawn: list[Row] = sample_rows(settlement)
        with self._about(settlement.decision_id) as connection:
            is_first = connection.execute(_KEEP_SETTLEMENT, settlement_row(settlement)).first() is not None
            if is_first and drawn:
                connection.execute(_KEEP_SAMPLES, drawn)

    def record_outcome(self, outcome: Outcome) -> None:
        """Note how good an answer was; the latest one by `graded_at` counts. Raises UnknownDecision."""
        with self._about(outcome.decision_id) as connection:
            connection.execute(_KEEP_OUTCOME, outcome_row(outcome))

    def decision(self, decision_id: str) -> LoggedDecision:
        """All that is known of one decision; raises UnknownDecision."""
        return self._only(one_decision(decision_id), f"no decision {decision_id!r} stands in {self._database.shown_url}")

    def latest(self, *, thread_id: str | None = None) -> LoggedDecision:
        """The last decision, of one thread or of all; raises UnknownDecision."""
        of = "" if thread_id is None else f" of thread {thread_id!r}"
        return self._only(latest_decision(thread_id), f"no decision{of} stands in {self._database.shown_url}")

    def read(self, *, since: datetime | None = None, until: datetime | None = None) -> Iterator[LoggedDecision]:
        """Decisions of `since <= decided_at < until`, oldest first, streamed; a slow reader holds up no writer."""
        for moment in (since, until):
            if moment is not None and moment.tzinfo is None:
                raise InvalidInput(f"{moment.isoformat()} has no time zone: give one, such as datetime.now(UTC)")
        return stream(self._database, self._hashed, since=since, until=until)

    def forget(self, task_id: str) -> int:
        """Erase a task's text and metadata from all its decisions, and return how many stood; the erasure is recorded.

        In a SQLite file the bytes are overwritten before the method returns. On a server the rows' former versions go at its next
        VACUUM. Neither reaches backups, or what another process has yet to write.

        Raises:
            LedgerUnavailable: or the rows are erased, and a reader keeps their bytes in the file's log: forget again.
        """
        about = select(decisions.c.id).where(decisions.c.task_id == task_id)
        with self._database.write() as connection:
            connection.execute(delete(task_ngrams).where(task_ngrams.c.decision_id.in_(about)))
            erased = update(decisions).where(decisions.c.task_id == task_id).values(task_text=None, metadata="{}")
            n_decisions = len(connection.execute(erased.returning(decisions.c.position)).all())
            said = {"task_id": task_id, "n_decisions": n_decisions, "erased_at": now()}
            connection.execute(insert(erasures), said)
        self._database.wipe()
        return n_decisions

    def close(self) -> None:
        """Let go of the database; closing twice changes nothing."""
        self._database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"SqlLedger({self._database.shown_url!r})"

    @contextmanager
    def _about(self, decision_id: str) -> Iterator[Connection]:
        with self._database.write() as connection:
            try:
                yield connection
            except IntegrityError as error:
                if not is_foreign_key_error(error):
                    raise
                raise UnknownDecision(
                    f"no decision {decision_id!r} stands in {self._database.shown_url}: record it first, or look for it elsewhere"
                ) from error

    def _only(self, question: Select[Any], not_found: str) -> LoggedDecision:  # Any: a row of many columns
        with self._database.read() as connection:
            found = assembled(connection, connection.execute(question).mappings(), self._hashed)
        if not found:
            raise UnknownDecision(f"{not_found}: record it first, or look for it elsewhere")
        return found[0]
