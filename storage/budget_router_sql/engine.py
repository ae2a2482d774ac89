"""The connection to the database: opened with care, one transaction per unit of work, failures told in our own terms."""

import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Literal, get_args

from pydantic import ValidationError
from sqlalchemy import URL, Connection, create_engine, event, make_url
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import ArgumentError, DBAPIError, IntegrityError, SQLAlchemyError, StatementError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.pool import ConnectionPoolEntry, NullPool

from budget_router.errors import ForeignLedger, InvalidInput, LedgerError, LedgerUnavailable

Durability = Literal["committed", "durable"]
"""What an acknowledged row survives: `committed` a killed process, `durable` a power cut as well, at some milliseconds a row."""

BUSY_SECONDS = 5.0
"""How long a write waits for other writers before it gives up: long beside a commit, short beside a caller's patience."""
_SYNCHRONOUS = {"committed": "NORMAL", "durable": "FULL"}
_IMMEDIATE = "budget_router_immediate"


def readable_url(text: str) -> URL:
    """Check that `text` names a SQLite file; raises InvalidInput with the mend, and never repeats what may hold a password."""
    try:
        url = make_url(text)
    except (ArgumentError, ValueError):
        # not the cause: it may repeat a password
        raise InvalidInput("the ledger's URL cannot be read: write it as sqlite:///spend.db") from None
    backend = url.get_backend_name()
    if backend in {"postgresql", "postgres"}:
        raise InvalidInput("PostgreSQL comes with a later release: for now keep the ledger in a file, as sqlite:///spend.db")
    if url.drivername not in {"sqlite", "sqlite+pysqlite"}:
        raise InvalidInput(f"no ledger is kept in {url.drivername!r}: write the URL as sqlite:///spend.db")
    if url.host or url.username or url.password:
        raise InvalidInput("a SQLite URL has no host or user: write three slashes, as in sqlite:///spend.db")
    if "\0" in (url.database or ""):
        raise InvalidInput("the ledger's URL holds a NUL byte: remove it, no file has one in its name")
    if not url.database or ":memory:" in url.database or url.query.get("mode") == "memory":
        raise InvalidInput("a database in memory keeps nothing: name a file, as in sqlite:///spend.db, or use MemoryLedger")
    return url


def is_foreign_key_error(error: IntegrityError) -> bool:
    """Tell whether a row named another that is not there."""
    code = getattr(error.orig, "sqlite_errorcode", None)
    return code == sqlite3.SQLITE_CONSTRAINT_FOREIGNKEY or getattr(error.orig, "sqlstate", None) == "23503"


class Database:
    """One ledger's engine: reads run side by side, writes one after another.

    SQLite's own queue of writers is unfair to threads, so those of this process line up before it.
    """

    def __init__(self, url: URL, *, durability: Durability, busy_seconds: float) -> None:
        if durability not in get_args(Durability):
            raise InvalidInput(f"durability is {durability!r}: choose one of {', '.join(get_args(Durability))}")
        self.shown_url = url.render_as_string(hide_password=True)
        self._busy_seconds = busy_seconds
        self._engine = create_engine(url, hide_parameters=True, connect_args={"timeout": busy_seconds})
        event.listen(self._engine, "connect", _settings(busy_seconds, _SYNCHRONOUS[durability]))
        event.listen(self._engine, "begin", _begin)
        self._writer = self._engine.execution_options(**{_IMMEDIATE: True})
        self._line = threading.Lock()
        self._is_closed = False

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """One view of the ledger that no write disturbs."""
        with told_plainly(self.shown_url):
            self._check_open()
            with self._engine.begin() as connection:
                try:
                    yield connection
                except (ValidationError, InvalidInput) as error:
                    raise LedgerError(f"{self.shown_url} holds a row that is no record of ours ({error}): restore it") from error

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """One unit of work: all of it or, on any exception, nothing."""
        if not self._line.acquire(timeout=self._busy_seconds):
            raise LedgerUnavailable(
                f"{self.shown_url}: other threads have been writing for {self._busy_seconds:g} s: retry, or raise busy_seconds"
            )
        try:
            with told_plainly(self.shown_url):
                self._check_open()
                with self._writer.begin() as connection:
                    yield connection
        finally:
            self._line.release()

    def close(self) -> None:
        """Let go of all connections; closing twice changes nothing."""
        self._is_closed = True
        self._engine.dispose()

    def _check_open(self) -> None:
        if self._is_closed:
            raise LedgerUnavailable(f"{self.shown_url} was closed: open another SqlLedger")


@contextmanager
def untouched(url: URL, *, busy_seconds: float) -> Iterator[Connection]:
    """Look into a database that may be anybody's: no setting is made, nothing is written."""
    engine = create_engine(url, hide_parameters=True, poolclass=NullPool, connect_args={"timeout": busy_seconds})
    with told_plainly(url.render_as_string(hide_password=True)), engine.connect() as connection:
        yield connection


@contextmanager
def told_plainly(shown_url: str) -> Iterator[None]:
    """Tell what the database or its driver raised as one of our errors."""
    try:
        yield
    except IntegrityError as error:
        raise InvalidInput(f"{shown_url} refuses a record ({error.orig}): make records by their constructors") from error
    except OverflowError as error:
        raise InvalidInput(f"{shown_url} refuses a record ({error}): counts end at 2**63 - 1, times at the year 9999") from error
    except UnicodeEncodeError as error:
        raise InvalidInput(f"{shown_url} refuses a text ({error.reason}): decode its source as UTF-8") from error
    except PoolTimeout as error:
        raise LedgerUnavailable(f"{shown_url}: all connections are in use: read in fewer threads at once") from error
    except DBAPIError as error:
        if getattr(error.orig, "sqlite_errorcode", None) == sqlite3.SQLITE_NOTADB:
            raise ForeignLedger(f"{shown_url} is not a SQLite database: name another file") from error
        raise LedgerUnavailable(f"{shown_url} does not answer ({error.orig}): {_mend(error)}") from error
    except StatementError as error:  # a value that no column takes, found before the database was asked
        raise InvalidInput(f"{shown_url} refuses a record ({error.orig}): make records by their constructors") from error
    except SQLAlchemyError as error:
        raise LedgerUnavailable(f"{shown_url} cannot be used ({type(error).__name__}): see the cause above") from error


def _mend(error: DBAPIError) -> str:
    # the low byte is the plain code, the others tell it in more detail
    match getattr(error.orig, "sqlite_errorcode", 0) & 0xFF:
        case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
            return "another process holds it: retry, raise busy_seconds, or end that process"
        case sqlite3.SQLITE_CANTOPEN:
            return "name a file in a folder that exists and may be written"
        case sqlite3.SQLITE_READONLY:
            return "allow writing to the file and its folder"
        case sqlite3.SQLITE_FULL:
            return "make room on the disk"
        case sqlite3.SQLITE_CORRUPT:
            return "restore it from a backup, or save what is left with sqlite3's .recover"
        case _:
            return "mend the cause, then retry"


def _settings(busy_seconds: float, synchronous: str) -> Callable[[DBAPIConnection, ConnectionPoolEntry], None]:
    pragmas = (
        f"PRAGMA busy_timeout = {round(busy_seconds * 1000)}",  # first: the others may have to wait
        "PRAGMA journal_mode = WAL",
        f"PRAGMA synchronous = {synchronous}",
        "PRAGMA foreign_keys = ON",
    )

    def on_connect(connection: DBAPIConnection, _: ConnectionPoolEntry) -> None:
        connection.isolation_level = None  # not the driver: `_begin` says when a transaction starts
        cursor = connection.cursor()
        try:
            for pragma in pragmas:
                cursor.execute(pragma)
        except sqlite3.Error:
            connection.close()
            raise

    return on_connect


def _begin(connection: Connection) -> None:
    # a write that begins as a read can lose its snapshot, and then an update, to another writer
    immediate = connection.get_execution_options().get(_IMMEDIATE, False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if immediate else "BEGIN")
