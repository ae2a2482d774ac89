"""A ledger in a SQLite file: write-ahead log, foreign keys, writers that begin as writers."""

import json
import sqlite3
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from itertools import chain
from operator import itemgetter
from pathlib import Path
from types import MappingProxyType
from typing import Any

from sqlalchemy import URL, Column, Connection, Engine, Select, Table, bindparam, create_engine, event, func, select
from sqlalchemy.dialects.sqlite import dialect, insert
from sqlalchemy.engine.interfaces import DBAPIConnection, DBAPICursor
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import ConnectionPoolEntry, NullPool
from sqlalchemy.types import TypeEngine

from budget_router.errors import InvalidInput
from budget_router.records import now
from budget_router_sql.durability import Durability
from budget_router_sql.joined import joined, parted
from budget_router_sql.schema import UtcTime

_SYNCHRONOUS: dict[Durability, str] = {"queued": "NORMAL", "committed": "NORMAL", "durable": "FULL"}
_DIALECT = dialect()
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
ROWS_AT_ONCE = 256
"""Of one statement: of our widest table 5,376 values, of the 32,766 that SQLite takes."""
SURVEY_KIB = 192 * 1024
"""Of the file that a question to the whole ledger keeps in memory: the index of some millions of ids."""
_PAUSE_SECONDS = 0.005
"""Between two attempts at what another process is about to have done."""


class Sqlite:
    """A file; raises InvalidInput if the URL names none.

    SQLite's own queue of writers is unfair to threads, so those of this process line up before it.
    """

    migrates_by_itself = True
    writes_one_by_one = True
    numbers_without_gaps = True
    looks_before_it_adds = False
    looks_up_one_by_one = True
    read_options: Mapping[str, object] = MappingProxyType({})
    write_options: Mapping[str, object] = MappingProxyType({})

    def __init__(self, url: URL) -> None:
        if url.host or url.username or url.password:
            raise InvalidInput("a SQLite URL has no host or user: write three slashes, as in sqlite:///spend.db")
        if "\0" in (url.database or ""):
            raise InvalidInput("the ledger's URL holds a NUL byte: remove it, no file has one in its name")
        if not url.database or ":memory:" in url.database or url.query.get("mode") == "memory":
            raise InvalidInput("a database in memory keeps nothing: name a file, as in sqlite:///spend.db, or use MemoryLedger")
        self.url = url
        self.shown_url = url.render_as_string()
        self.file = None if "uri" in url.query else Path(url.database)
        """`None` where SQLite's own notation names it."""
        whole = url if self.file is None else url.set(database=str(self.file.absolute()))
        self.whole_url = whole.render_as_string(hide_password=False)

    def engine(self, *, durability: Durability, busy_seconds: float) -> Engine:
        """Connections that keep the promise."""
        engine = create_engine(self.url, hide_parameters=True, connect_args={"timeout": busy_seconds})
        event.listen(engine, "connect", _settings(busy_seconds, _SYNCHRONOUS[durability]))
        event.listen(engine, "begin", _begin)
        return engine

    def bare_engine(self, *, busy_seconds: float) -> Engine:
        """Connections that make no setting and write nothing."""
        return create_engine(self.url, hide_parameters=True, poolclass=NullPool, connect_args={"timeout": busy_seconds})

    @contextmanager
    def transaction(self, connection: Connection) -> Iterator[None]:
        """One that writes: a write that begins as a read can lose its snapshot, and then an update, to another writer.

        The driver alone begins and ends it. SQLAlchemy takes as long as the rest of a short one, and takes part only where it is
        asked for something.
        """
        _run(connection, "BEGIN IMMEDIATE")
        try:
            yield
            if connection.in_transaction():
                connection.commit()
            else:
                _run(connection, "COMMIT")
        except BaseException:
            _driver_of(connection).rollback()
            raise

    def wait_at_most(self, connection: Connection, seconds: float) -> None:
        """How long statements on a connection wait for other processes from now on."""
        _run(connection, f"PRAGMA busy_timeout = {round(seconds * 1000)}")

    def insert(
        self, connection: Connection, table: Table, rows: Sequence[Mapping[str, object]], *, unless_there: str | None
    ) -> int:
        """Add rows of the same columns, and give how many; those whose key is taken are left out.

        Many rows are one statement: with one for each, the driver lets other threads have the interpreter as often.
        """
        insertion = _insertion(table, tuple(rows[0]), unless_there)
        done = n_added = 0
        while done < len(rows):
            n_rows = min(ROWS_AT_ONCE, 1 << (len(rows) - done).bit_length() - 1)
            try:
                values = insertion.values(rows[done : done + n_rows])
            except (AttributeError, TypeError) as error:
                raise InvalidInput(f"{self.shown_url} refuses a record ({error}): make records by their constructors") from error
            n_added += _run(connection, insertion.statement(n_rows), values).rowcount
            done += n_rows
        return n_added

    def standing(self, connection: Connection, column: Column[str], names: Collection[str]) -> set[str]:
        """Those of some names that stand in a column."""
        return {name for (name,) in _run(connection, _looking(column), [json.dumps([*names])])}

    def by_column(self, connection: Connection, question: Select[Any], given: Mapping[str, object]) -> Sequence[Sequence[Any]]:
        """Answer by columns, in no order; Any: of each column's own type."""
        return parted(question, connection.execute(joined(question), given).one())

    def now(self, connection: Connection) -> datetime:  # noqa: ARG002  # who writes to a file is on its machine
        """The machine's time."""
        return now()

    def prepare_survey(self, connection: Connection) -> None:
        """Let this connection keep more of the file in memory: rows are looked up by ids, and a framework's have no order."""
        connection.exec_driver_sql(f"PRAGMA cache_size = {-SURVEY_KIB}")

    def wipe(self, engine: Engine) -> bool:
        """Empty the log, where what was erased still stands; `False` where a reader of an older moment hinders it."""
        connection = engine.raw_connection()  # outside a transaction
        try:
            cursor = connection.cursor()
            cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            ((is_hindered, *_),) = cursor.fetchall()
            return not is_hindered
        finally:
            connection.close()

    def keep_others_from_migrating(self, connection: Connection) -> None:
        """Do nothing: whoever writes holds the file's only lock already."""

    def keep_others_from_promoting(self, connection: Connection) -> None:
        """Do nothing, as above."""

    def is_foreign(self, error: DBAPIError) -> bool:
        """Tell whether the file is no SQLite database."""
        return getattr(error.orig, "sqlite_errorcode", None) == sqlite3.SQLITE_NOTADB

    def is_refusal(self, error: DBAPIError) -> bool:
        """Tell whether the database works, and takes no such value."""
        return isinstance(error.orig, sqlite3.IntegrityError)

    def is_passing(self, error: DBAPIError) -> bool:  # noqa: ARG002  # its patience is in busy_timeout
        """Tell that what a file refuses it refuses for longer."""
        return False

    def said(self, error: DBAPIError) -> str:
        """What the database said."""
        return str(error.orig)

    def mend(self, error: DBAPIError) -> str:
        """What whoever reads of the error can do about it."""
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


class _Insertion:
    """How rows of one shape are added: the statement for so many of them, and the values that it takes."""

    def __init__(self, table: Table, names: Sequence[str], unless_there: str | None) -> None:
        one = insert(table).inline()
        if unless_there:
            one = one.on_conflict_do_nothing(index_elements=[unless_there])
        self._one = str(one.compile(dialect=_DIALECT, column_keys=names))
        self._places = f"({', '.join('?' * len(names))})"
        columns = [column for column in table.c if column.name in names]  # as the statement names them
        self._n_columns = len(columns)
        self._in_order = itemgetter(*(column.name for column in columns))
        all_stored = enumerate(_as_stored(column.type) for column in columns)
        self._stored = [(place, stored) for place, stored in all_stored if stored is not None]

    def statement(self, n_rows: int) -> str:
        """Add so many rows; a power of two of them, so that few statements are prepared, and stay so."""
        return self._one.replace(self._places, ", ".join([self._places] * n_rows))

    def values(self, rows: Sequence[Mapping[str, object]]) -> tuple[object, ...]:
        """Values in the order of their places; raises TypeError or AttributeError at one that its column does not take."""
        values = [*chain.from_iterable(map(self._in_order, rows))]
        for place, stored in self._stored:
            values[place :: self._n_columns] = map(stored, values[place :: self._n_columns])
        return tuple(values)


_insertion = lru_cache(_Insertion)


@lru_cache
def _looking(column: Column[str]) -> str:
    """Looks for names, given as one JSON array, in a column."""
    names = func.json_each(bindparam("names")).table_valued("value")
    return str(select(column).where(column.in_(select(names.c.value))).compile(dialect=_DIALECT))


def _run(connection: Connection, statement: str, values: Sequence[object] = ()) -> sqlite3.Cursor:
    """Let the driver alone execute a statement: what SQLAlchemy does around a short one takes several times as long as that."""
    try:
        return _driver_of(connection).execute(statement, values)
    except sqlite3.Error as error:
        raise DBAPIError.instance(statement, None, error, sqlite3.Error, hide_parameters=True) from error


def _driver_of(connection: Connection) -> sqlite3.Connection:
    driver: sqlite3.Connection = connection.connection.dbapi_connection  # type: ignore[assignment]  # of this dialect
    return driver


def _as_stored(kind: TypeEngine[Any]) -> Callable[[Any], object] | None:  # Any: of every column's own type
    """What turns a column's values into what the driver takes, if anything must."""
    return _moment if isinstance(kind, UtcTime) else kind.dialect_impl(_DIALECT).bind_processor(_DIALECT)


def _moment(at: datetime) -> str:
    # as SQLAlchemy writes it, in an eighth of its time; no column of ours holds a moment or nothing
    since = at - _EPOCH
    return _second(since.days, since.seconds) + str(since.microseconds).zfill(6)


@lru_cache
def _second(days: int, seconds: int) -> str:
    return (_EPOCH + timedelta(days, seconds)).isoformat(" ").removesuffix("+00:00") + "."


def _settings(busy_seconds: float, synchronous: str) -> Callable[[DBAPIConnection, ConnectionPoolEntry], None]:
    pragmas = (
        f"PRAGMA synchronous = {synchronous}",
        "PRAGMA foreign_keys = ON",
        "PRAGMA secure_delete = ON",  # what is erased, is overwritten
    )

    def on_connect(connection: DBAPIConnection, _: ConnectionPoolEntry) -> None:
        connection.isolation_level = None  # the driver begins nothing by itself
        cursor = connection.cursor()
        try:
            cursor.execute(f"PRAGMA busy_timeout = {round(busy_seconds * 1000)}")  # first: the others may have to wait
            _turn_to_wal(cursor, busy_seconds)
            for pragma in pragmas:
                cursor.execute(pragma)
        except sqlite3.Error:
            connection.close()
            raise

    return on_connect


def _turn_to_wal(cursor: DBAPICursor, busy_seconds: float) -> None:
    """Turn a file to write-ahead logging; of several that do so to a new file at once SQLite refuses some without patience."""
    until = time.monotonic() + busy_seconds
    while True:
        try:
            cursor.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() >= until:
                raise
            time.sleep(_PAUSE_SECONDS)
        else:
            return


def _begin(connection: Connection) -> None:
    if not _driver_of(connection).in_transaction:  # else it is one that writes, see `transaction`
        _run(connection, "BEGIN")
