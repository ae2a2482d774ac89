"""The connection to the database: opened with care, one transaction per unit of work, failures told in our own terms."""

import os
import threading
import weakref
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import get_args

from pydantic import ValidationError
from sqlalchemy import Connection, Executable
from sqlalchemy.exc import DBAPIError, SQLAlchemyError, StatementError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from budget_router.errors import ForeignLedger, InvalidInput, LedgerError, LedgerUnavailable
from budget_router_sql.backend import Backend
from budget_router_sql.durability import Durability

BUSY_SECONDS = 5.0
"""How long a write waits for other writers before it gives up: long beside a commit, short beside a caller's patience."""


class Database:
    """One ledger's engine: reads run side by side, and writes too where the database is the better for it."""

    def __init__(self, backend: Backend, *, durability: Durability, busy_seconds: float) -> None:
        if durability not in get_args(Durability):
            raise InvalidInput(f"durability is {durability!r}: choose one of {', '.join(get_args(Durability))}")
        self.backend = backend
        self.shown_url = backend.shown_url
        self._busy_seconds = busy_seconds
        self._durability = durability
        self._engine = backend.engine(durability=durability, busy_seconds=busy_seconds)
        self._reader = self._engine.execution_options(**backend.read_options)
        self._writer = self._engine.execution_options(**backend.write_options)
        self._line = threading.Lock()
        self._kept: Connection | None = None
        self._is_patient = True
        """Whether the connection that is kept waits for other processes."""
        self._of_parent: Connection | None = None
        self._is_closed = False
        _databases.add(self)

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """One view of the ledger that no write disturbs."""
        with told_plainly(self.backend):
            self._check_open()
            with self._reader.begin() as connection:
                try:
                    yield connection
                except (ValidationError, InvalidInput) as error:
                    raise LedgerError(f"{self.shown_url} holds a row that is no record of ours ({error}): restore it") from error

    @contextmanager
    def survey(self) -> Iterator[Connection]:
        """One view of the ledger for questions to all of it."""
        with self.read() as connection:
            self.backend.prepare_survey(connection)
            yield connection

    @contextmanager
    def survey_with_another(self, moment: Executable) -> Iterator[tuple[Connection, Connection]]:
        """Two views of one moment, so that two threads may ask at once; nobody writes while they begin.

        Args:
            moment: a statement that reads something: with it a view begins.
        """
        with ExitStack() as stack:
            with self.write():
                views = stack.enter_context(self.survey()), stack.enter_context(self.read())
                for view in views:
                    view.execute(moment)
            yield views

    @property
    def is_quick(self) -> bool:
        """Whether a write takes less time than to hand it to a thread: in a file whose disk is not waited for."""
        return self.backend.writes_one_by_one and self._durability != "durable"

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """One unit of work: all of it or, on any exception, nothing."""
        with self.append() as connection:
            if not connection.in_transaction():
                connection.begin()
            yield connection

    @contextmanager
    def append(self, *, waits: bool = True) -> Iterator[Connection]:
        """Do as `write`, for those who have the backend add rows: SQLAlchemy begins to take part when it is asked for something.

        Args:
            waits: for other writers, as long as they are given; else raise LedgerUnavailable where there are any.
        """
        with self._turn(self._busy_seconds if waits else 0.0), told_plainly(self.backend):
            self._check_open()
            with self._writing(waits=waits) as connection, self.backend.transaction(connection):
                yield connection

    def wipe(self) -> None:
        """Let the bytes of what was erased go too; raises LedgerUnavailable where readers hinder it."""
        with self._turn(self._busy_seconds), told_plainly(self.backend):
            if not self.backend.wipe(self._engine):
                raise LedgerUnavailable(
                    f"{self.shown_url}: the rows are erased, but a reader of an older moment keeps their bytes in the log: "
                    "let it finish, then forget again"
                )

    def leave_to_parent(self) -> None:
        """Forget the connections that came along into a child process; they are the parent's."""
        self._of_parent, self._kept = self._kept, None  # held, for to let it go would be to close it
        self._engine.dispose(close=False)
        self._line = threading.Lock()

    def close(self) -> None:
        """Let go of all connections; closing twice changes nothing."""
        self._is_closed = True
        kept, self._kept = self._kept, None
        if kept is not None:
            kept.close()
        self._engine.dispose()

    @contextmanager
    def _writing(self, *, waits: bool) -> Iterator[Connection]:
        """A connection; where writes stand in line one that is kept: to get it anew takes longer than to write."""
        if not self.backend.writes_one_by_one:
            with self._writer.connect() as connection:
                yield connection
            return
        kept, self._kept = self._kept, None
        is_patient = kept is None or self._is_patient
        connection = kept or self._writer.connect()
        try:
            if is_patient is not waits:
                self.backend.wait_at_most(connection, self._busy_seconds if waits else 0.0)
            yield connection
        except BaseException:
            try:
                if not waits:  # whoever takes it from the pool next, does
                    self.backend.wait_at_most(connection, self._busy_seconds)
            finally:
                connection.close()
            raise
        if self._is_closed:  # meanwhile
            connection.close()
        else:
            self._kept, self._is_patient = connection, waits

    @contextmanager
    def _turn(self, seconds: float) -> Iterator[None]:
        if not self.backend.writes_one_by_one:
            yield
            return
        if not self._line.acquire(timeout=seconds):
            raise LedgerUnavailable(
                f"{self.shown_url}: other threads have been writing for {seconds:g} s: retry, or raise busy_seconds"
            )
        try:
            yield
        finally:
            self._line.release()

    def _check_open(self) -> None:
        if self._is_closed:
            raise LedgerUnavailable(f"{self.shown_url} was closed: open another SqlLedger")


_databases: "weakref.WeakSet[Database]" = weakref.WeakSet()


def _leave_to_parent() -> None:
    for database in list(_databases):
        database.leave_to_parent()


os.register_at_fork(after_in_child=_leave_to_parent)


@contextmanager
def untouched(backend: Backend, *, busy_seconds: float) -> Iterator[Connection]:
    """Look into a database that may be anybody's: no setting is made, nothing is written."""
    engine = backend.bare_engine(busy_seconds=busy_seconds)
    with told_plainly(backend), engine.connect() as connection:
        yield connection


@contextmanager
def told_plainly(backend: Backend) -> Iterator[None]:
    """Tell what the database or its driver raised as one of our errors."""
    url = backend.shown_url
    try:
        yield
    except OverflowError as error:
        raise InvalidInput(f"{url} refuses a record ({error}): counts end at 2**63 - 1, times at the year 9999") from error
    except UnicodeEncodeError as error:
        raise InvalidInput(f"{url} refuses a text ({error.reason}): decode its source as UTF-8") from error
    except PoolTimeout as error:
        raise LedgerUnavailable(f"{url}: all connections are in use: read in fewer threads at once") from error
    except DBAPIError as error:
        said = backend.said(error)
        if backend.is_foreign(error):
            raise ForeignLedger(f"{url} is not a SQLite database: name another file") from error
        if backend.is_refusal(error):  # not the cause: it may repeat the row, and with it a task's text
            raise InvalidInput(f"{url} refuses a record ({said}): make records by their constructors") from None
        raise LedgerUnavailable(f"{url} does not answer ({said}): {backend.mend(error)}") from error
    except StatementError as error:  # a value that no column takes, found before the database was asked
        raise InvalidInput(f"{url} refuses a record ({error.orig}): make records by their constructors") from error
    except SQLAlchemyError as error:
        raise LedgerUnavailable(f"{url} cannot be used ({type(error).__name__}): see the cause above") from error
