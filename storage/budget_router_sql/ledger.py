"""The ledger in a database: writes that wait together share a transaction, and each is idempotent by its key."""

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from datetime import datetime
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self, get_args

from sqlalchemy import Connection, Select, delete, exists, func, insert, literal, or_, select, update

from budget_router.caps import Caps
from budget_router.errors import BudgetRouterError, ForeignLedger, InvalidInput, LedgerUnavailable, UnknownDecision
from budget_router.evidence import Act, Evidence
from budget_router.leases import Leases
from budget_router.menu import Menu
from budget_router.paces import Paces
from budget_router.records import Call, Decision, LoggedDecision, Outcome, Settlement, Solve, now
from budget_router.task import Task
from budget_router_sql.backend import backend_of
from budget_router_sql.batches import MANY_DECISIONS, Batches
from budget_router_sql.caps import SqlShelves
from budget_router_sql.durability import Durability
from budget_router_sql.engine import BUSY_SECONDS, Database
from budget_router_sql.entries import Entry, Record, closed, decided, noted, opened
from budget_router_sql.evidence import acts, settled
from budget_router_sql.hashed_text import HashedText
from budget_router_sql.leases import SqlLeaseBook
from budget_router_sql.migrate import make_ready
from budget_router_sql.paces import SqlPaceBook
from budget_router_sql.parts import SqlPart, mark_of
from budget_router_sql.reading import Window, assembled, decision_of_call, decisions_of_run, latest_decision, one_decision, stream
from budget_router_sql.registry import SqlRegistry
from budget_router_sql.schema import decisions, erasures, meta, outcomes, task_ngrams
from budget_router_sql.solves import SqlSolves
from budget_router_sql.spilling import Spilling
from budget_router_sql.spool import Spool, known_salt
from budget_router_sql.writer import Writer, drain_on_sigterm

StoreText = Literal["full", "hash", "none"]
"""What is kept of a task's text: all; salted counts of its n-grams, which a policy still learns its words from; or nothing."""


class SqlLedger:
    """The books in a SQLite file, made and migrated when it is opened, or on a PostgreSQL server that `migrate` has made ready.

    Many threads and many processes may write to one database at once. Close it, or use it as a context manager.

    Args:
        url: where the database is, as `sqlite:///spend.db` or `postgresql+psycopg://user@host/spend`.
        durability: what a record survives once a method has returned: `committed` a killed process, `durable` a power cut too;
            `queued` returns at once, acknowledges nothing, and logs what is refused.
        store_text: `full` keeps a task's text, `hash` the salted counts of its n-grams, `none` neither; its id, metadata and
            features are kept all the same.
        spool: local file that takes records while the database is away, and from which they are replayed; without one they are
            refused. An acknowledgement then means the spool. What is read is the database alone. A worker whose spool knows the
            ledger starts while the database is away, too.
        busy_seconds: how long a write waits for other writers.

    Raises:
        InvalidInput: the URL cannot be read, or names neither a SQLite file nor a PostgreSQL database.
        ForeignLedger: the database is somebody else's; it is left as it is.
        NewerLedger: a newer version of this package wrote it; it is left as it is.
        OlderLedger: nobody has migrated the server's database to this version: `budget-router migrate` does.
        LedgerUnavailable: the database cannot be opened, and no spool knows it.
    """

    def __init__(
        self,
        url: str,
        *,
        durability: Durability = "committed",
        store_text: StoreText = "full",
        spool: str | Path | None = None,
        busy_seconds: float = BUSY_SECONDS,
    ) -> None:
        if store_text not in get_args(StoreText):
            raise InvalidInput(f"store_text is {store_text!r}: choose one of {', '.join(get_args(StoreText))}")
        self._database = Database(backend_of(url), durability=durability, busy_seconds=busy_seconds)
        batches = Batches(self._database)
        check = None
        try:
            try:
                self._salt = self._ready(busy_seconds)
            except LedgerUnavailable:
                salt = None if spool is None else known_salt(spool)
                if salt is None:
                    raise
                self._salt, check = salt, partial(self._check_salt, busy_seconds)
            self._spilling = None
            if spool is not None:
                kept = Spool(spool, salt=self._salt, is_durable=durability == "durable")
                self._spilling = Spilling(batches, kept, name=self._database.shown_url, check=check)
        except BaseException:
            self._database.close()
            raise
        self._store_text = store_text
        self._hashed = HashedText(self._salt)
        self._registry = SqlRegistry(self._database)
        self._is_queued = durability == "queued"
        self._at_once = self._database
        if self._is_queued:  # caps, paces, leases and solves wait for nobody, and are acknowledged
            self._at_once = Database(backend_of(url), durability="committed", busy_seconds=busy_seconds)
        self._caps = Caps(SqlShelves(self._at_once))
        self._paces = Paces(SqlPaceBook(self._at_once))
        self._leases = Leases(SqlLeaseBook(self._at_once))
        self._solves = SqlSolves(self._at_once)
        self._lately: OrderedDict[str, Decision] = OrderedDict()  # queued, so the database may not know them yet
        self._writer = Writer(
            (self._spilling or batches).write,
            at_once=batches.write_at_once if self._database.is_quick and self._spilling is None else None,
            name=self._database.shown_url,
        )
        if self._is_queued:
            drain_on_sigterm()

    @property
    def salt(self) -> str:
        """Secret of this ledger that answers are hashed with; made once, with the ledger."""
        return self._salt

    @property
    def registry(self) -> SqlRegistry:
        """The policies that were learned from this ledger, in the same database."""
        return self._registry

    @property
    def caps(self) -> Caps:
        """What is set aside and paid under hard caps, by all who share the database; written at once, or refused."""
        return self._caps

    @property
    def paces(self) -> Paces:
        """What was spent of which average, by all who share the database; told when a router exchanges it, and at the end."""
        return self._paces

    @property
    def leases(self) -> Leases:
        """Who works alone at what, among all who share the database, by its clock."""
        return self._leases

    @property
    def database(self) -> Database:
        """The connections to its database, for questions that are not about single decisions; what waits is written first."""
        self._writer.catch_up()
        return self._database

    def record_decision(self, decision: Decision, task: Task, menu: Menu) -> Decision:
        """Keep a decision, and return the one that stands under its id: the first one given."""
        if self._is_queued:
            return self._queued(decision, task, menu)
        _check_menu(decision, menu)
        return self._writer.write(self._decided(decision, task, menu), decision)

    def open_call(self, call: Call) -> None:
        """Note that a model is about to be called; raises UnknownDecision if nothing decided it."""
        self._keep(opened(call))

    def close_call(self, call: Call) -> None:
        """Note what a call billed. The first closing counts; a call that was never opened is kept all the same."""
        self._keep(closed(call))

    def close_call_soon(self, call: Call) -> None:
        """Hand in what a call billed: it is written within moments, at the latest with the next record that is waited for.

        While the database is away it waits in memory; what refuses it is logged.
        """
        entry = closed(call)
        self._writer.enqueue(lambda: entry)

    def record_settlement(self, settlement: Settlement) -> None:
        """Note the end of an execution. The first one counts; raises UnknownDecision."""
        self._keep(noted(settlement))

    def record_outcome(self, outcome: Outcome) -> None:
        """Note how good an answer was; the latest one by `graded_at` counts. Raises UnknownDecision."""
        self._keep(noted(outcome))

    def record_solve(self, solve: Solve) -> None:
        """Note what a solve came to, once by its id; raises ArtifactError if it names a policy that was never saved."""
        self._solves.record(solve)

    def solves(self, menu_hash: str) -> list[Solve]:
        """What was solved for a menu, oldest first."""
        return self._solves.of_menu(menu_hash)

    async def arecord_decision(self, decision: Decision, task: Task, menu: Menu, *, opens: Sequence[Call] = ()) -> Decision:
        """Do as `record_decision`, in a coroutine; those that wait at the same time share a commit.

        A file that needs not wait for its disk is written in the event loop, for that takes less time than to hand it to a
        thread; whatever has to wait for a disk, a server or another writer is left to a thread.

        Args:
            decision: to be kept.
            task: that it was made for.
            menu: that it was made from.
            opens: calls that are about to be made for it, opened in the same transaction where it is the first under its id.
        """
        if self._is_queued:
            return self._queued(decision, task, menu, opens)
        _check_menu(decision, menu)
        return await self._writer.awrite(self._decided(decision, task, menu, opens), decision)

    async def arecord_settlement(self, settlement: Settlement) -> None:
        """Do as `record_settlement`, in a coroutine, as above."""
        if self._is_queued:
            self.record_settlement(settlement)
        else:
            await self._writer.awrite(noted(settlement), None)

    def submit_decision(self, decision: Decision, task: Task, menu: Menu) -> Future[Decision]:
        """Hand in a decision; the future holds the one that stands under its id, once that is as durable as was promised."""
        _check_menu(decision, menu)
        return self._writer.submit(self._decided(decision, task, menu), decision)

    def submit(self, record: Record) -> Future[None]:
        """Hand in a call, opened or closed by its status, a settlement or an outcome; the future tells when it is kept."""
        return self._writer.submit(noted(record), None)

    def decision(self, decision_id: str) -> LoggedDecision:
        """All that is known of one decision; raises UnknownDecision."""
        return self._only(one_decision(decision_id), f"no decision {decision_id!r} stands in {self._database.shown_url}")

    def latest(self, *, thread_id: str | None = None) -> LoggedDecision:
        """The last decision, of one thread or of all; raises UnknownDecision."""
        of = "" if thread_id is None else f" of thread {thread_id!r}"
        return self._only(latest_decision(thread_id), f"no decision{of} stands in {self._database.shown_url}")

    def of_run(self, run_id: str) -> list[LoggedDecision]:
        """The decisions that bear a run's id, oldest first; none where nothing was decided in it."""
        return self._found(decisions_of_run(run_id))

    def of_call(self, call_id: str) -> LoggedDecision:
        """The decision that a call was made for; raises UnknownDecision."""
        return self._only(decision_of_call(call_id), f"no call {call_id!r} stands in {self._database.shown_url}")

    def read(self, *, since: datetime | None = None, until: datetime | None = None) -> Iterator[LoggedDecision]:
        """Decisions of `since <= decided_at < until`, oldest first, streamed; a slow reader holds up no writer."""
        return stream(self._database, self._hashed, self._window(since, until))

    def evidence(self, *, since: datetime | None = None, until: datetime | None = None) -> Iterator[Evidence]:
        """What the settled ones among these decisions tell, oldest first, streamed by columns."""
        return settled(self._database, self._hashed, self._window(since, until))

    def parts(self, n_decisions: int, *, since: datetime | None = None, until: datetime | None = None) -> list[SqlPart]:
        """The same decisions, so many to a part, for other processes to read; what is recorded later is in none."""
        window = self._window(since, until)
        with self._database.read() as connection:
            windows = list(window.parts(connection, n_decisions))
        return [SqlPart(self._database.backend.whole_url, mark_of(self._salt), one) for one in windows]

    def acts(self, *, since: datetime | None = None, until: datetime | None = None) -> Iterator[Act]:
        """The same decisions, and what was expected of each, which takes a quarter longer to read."""
        return acts(self._database, self._hashed, self._window(since, until))

    def n_outcomes(self, *, since: datetime | None = None) -> int:
        """Grades given at a moment or later, corrections included: one pass over them, some tenths of a second for a million."""
        question = select(func.count()).select_from(outcomes)
        if since is not None:
            _check_zone(since)
            question = question.where(outcomes.c.graded_at >= since)
        self._catch_up()
        with self._database.read() as connection:
            n_outcomes: int = connection.execute(question).scalar_one()
        return n_outcomes

    def forget(self, task_id: str) -> int:
        """Erase a task's text and metadata from all its decisions, and return how many stood; the erasure is recorded.

        In a SQLite file the bytes are overwritten before the method returns. On a server the rows' former versions go at its next
        VACUUM. Neither reaches backups, or what another process has yet to write.

        Raises:
            LedgerUnavailable: or the rows are erased, and a reader keeps their bytes in the file's log: forget again.
        """
        about = select(decisions.c.id).where(decisions.c.task_id == task_id)
        with self._erasing() as connection:
            connection.execute(delete(task_ngrams).where(task_ngrams.c.decision_id.in_(about)))
            erased = update(decisions).where(decisions.c.task_id == task_id).values(task_text=None, metadata="{}")
            n_decisions = len(connection.execute(erased.returning(decisions.c.position)).all())
            said = {"task_id": task_id, "n_decisions": n_decisions, "erased_at": now()}
            connection.execute(insert(erasures), said)
        return n_decisions

    def forget_before(self, moment: datetime) -> int:
        """Erase what was said in all decisions before a moment, as `forget` does, and return of how many anything was left.

        So a rule such as "no text is kept for longer than 90 days" is one call a night; spend, grades and features stay.

        Raises:
            InvalidInput: the moment has no time zone.
            LedgerUnavailable: as from `forget`.
        """
        _check_zone(moment)
        is_old = decisions.c.decided_at < moment
        is_told = or_(decisions.c.task_text.is_not(None), decisions.c.metadata != "{}")
        is_counted = exists(select(literal(1)).where(task_ngrams.c.decision_id == decisions.c.id))
        left = select(decisions.c.task_id, func.count().label("n_decisions")).where(is_old, or_(is_told, is_counted))
        with self._erasing() as connection:
            erased_at = now()
            found = connection.execute(left.group_by(decisions.c.task_id)).mappings()
            said = [{**row, "erased_at": erased_at} for row in found]
            about = select(decisions.c.id).where(is_old)
            connection.execute(delete(task_ngrams).where(task_ngrams.c.decision_id.in_(about)))
            connection.execute(update(decisions).where(is_old, is_told).values(task_text=None, metadata="{}"))
            if said:
                connection.execute(insert(erasures), said)
        return sum(row["n_decisions"] for row in said)

    def close(self) -> None:
        """Write what was handed in, and let go of the database; closing twice changes nothing."""
        self._writer.close()
        if self._spilling is not None:
            self._spilling.close()
        with suppress(BudgetRouterError):  # a past that nobody hears of is no loss of a record
            self._paces.tell()
        self._at_once.close()
        self._database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"SqlLedger({self._database.shown_url!r})"

    def _queued(self, decision: Decision, task: Task, menu: Menu, opens: Sequence[Call] = ()) -> Decision:
        _check_menu(decision, menu)
        standing = self._lately.setdefault(decision.id, decision)
        if standing is decision:
            task = task.model_copy(update={"metadata": dict(task.metadata)})  # as it is now
            self._writer.enqueue(partial(self._decided, decision, task, menu, opens))
            if len(self._lately) > MANY_DECISIONS:
                self._lately.popitem(last=False)
        return standing

    def _decided(self, decision: Decision, task: Task, menu: Menu, opens: Sequence[Call] = ()) -> Entry:
        return decided(decision, task, menu, store_text=self._store_text, hashed=self._hashed, opens=opens)

    def _keep(self, entry: Entry) -> None:
        if self._is_queued:
            self._writer.enqueue(lambda: entry)
        else:
            self._writer.write(entry, None)

    @contextmanager
    def _erasing(self) -> Iterator[Connection]:
        self._writer.drain()
        if self._spilling is not None and self._spilling.is_away:
            raise LedgerUnavailable(f"{self._database.shown_url}: records wait in the spool: forget once they are replayed")
        with self._database.write() as connection:
            yield connection
        self._database.wipe()

    def _ready(self, busy_seconds: float) -> str:
        """Bring the database to this version's schema, and return its salt."""
        make_ready(self._database, busy_seconds=busy_seconds)
        with self._database.read() as connection:
            salt: str = connection.execute(select(meta.c.value).where(meta.c.key == "salt")).scalar_one()
        return salt

    def _check_salt(self, busy_seconds: float) -> None:
        """Tell whether a database that was away when it was opened is the one whose spool was filled."""
        if self._ready(busy_seconds) != self._salt:
            raise ForeignLedger(f"{self._database.shown_url} is not the ledger of the spool: give each ledger a spool of its own")

    def _window(self, since: datetime | None, until: datetime | None) -> Window:
        for moment in (since, until):
            if moment is not None:
                _check_zone(moment)
        self._catch_up()
        return Window.between(since, until)

    def _catch_up(self) -> None:
        """Let a reader find what this process has queued."""
        if self._is_queued:
            self._writer.catch_up()

    def _only(self, question: Select[Any], not_found: str) -> LoggedDecision:  # Any: a row of many columns
        found = self._found(question)
        if not found:
            raise UnknownDecision(f"{not_found}: record it first, or look for it elsewhere")
        return found[0]

    def _found(self, question: Select[Any]) -> list[LoggedDecision]:  # Any: as above
        self._catch_up()
        with self._database.read() as connection:
            return assembled(connection, connection.execute(question).mappings(), self._hashed)


def _check_zone(moment: datetime) -> None:
    if moment.tzinfo is None:
        raise InvalidInput(f"{moment.isoformat()} has no time zone: give one, such as datetime.now(UTC)")


def _check_menu(decision: Decision, menu: Menu) -> None:
    if decision.menu_hash != menu.hash:
        raise InvalidInput(
            f"decision {decision.id!r} was made from menu {decision.menu_hash}, not from {menu.hash}: pass that menu"
        )
