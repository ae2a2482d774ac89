"""A ledger on PostgreSQL (psycopg 3), for many workers: writers side by side, migrations by command alone."""

import json
import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from functools import lru_cache
from types import MappingProxyType
from typing import Any

from sqlalchemy import (
    URL,
    Column,
    Connection,
    Engine,
    Select,
    Table,
    Text,
    bindparam,
    cast,
    column,
    create_engine,
    event,
    func,
    select,
)
from sqlalchemy import table as named
from sqlalchemy.dialects.postgresql import JSON, Insert, insert
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import ConnectionPoolEntry, NullPool

from budget_router.errors import InvalidInput
from budget_router_sql.durability import Durability

STATEMENT_SECONDS = 60.0
"""Longest statement, where neither the role nor the URL sets a limit: far beyond a batch of ours, within a worker's patience."""
_SYNCHRONOUS_COMMIT: dict[Durability, str] = {"queued": "off", "committed": "local", "durable": "on"}
_MIGRATING = 0x6275_6467_6574  # one lock for all ledgers of a database: migrations are rare and short
_PROMOTING = _MIGRATING + 1  # likewise

_TAKEN = "23505"
"""A key that another writer took since it was looked for."""

_MENDS = {
    "08": "the connection was lost: retry, a record given twice is kept once",
    "22": "make records by their constructors",
    _TAKEN: "another writer came first: retry",
    "25006": "connect to the primary server, this one may only be read",
    "28": "correct the user or the password",
    "3D": "create that database, or name another",
    "40": "it stood in another writer's way: retry",
    "42501": "grant the role what it needs, or connect as another",
    "42P01": "its tables were taken away: restore them from a backup",
    "53100": "make room on the server's disk",
    "53300": "allow the server more connections, or put a pooler before it",
    "55P03": "another process holds a lock: retry, raise busy_seconds, or end that process",
    "57014": "a statement took longer than the server allows: raise statement_timeout for this role, or lighten its load",
    "57P": "the server ended the connection: retry once it is up again",
}
"""By SQLSTATE or how it begins, the longest first."""
_MENDS_OF_CONNECTING = {
    "password": _MENDS["28"],
    "authentication": _MENDS["28"],
    "pg_hba.conf": _MENDS["28"],
    "does not exist": "create that role or database, or name another",
    "too many": _MENDS["53300"],
    "remaining connection slots": _MENDS["53300"],
    "starting up": "retry in a moment",
}
"""By what is said: a connection that never stood has no SQLSTATE. Servers that speak another language get the general mend."""
_CHECK_ALL = "start the server, or correct host, port, user, password and database"


class PostgreSql:
    """A database on a server; raises InvalidInput if the URL would show a secret."""

    migrates_by_itself = False
    writes_one_by_one = False
    numbers_without_gaps = False  # a sequence counts what was rolled back too
    looks_before_it_adds = True  # as long as it may wait for another writer, who takes back what stood in the way
    looks_up_one_by_one = False
    read_options: Mapping[str, object] = MappingProxyType({"isolation_level": "REPEATABLE READ", "postgresql_readonly": True})
    write_options: Mapping[str, object] = MappingProxyType({"isolation_level": "READ COMMITTED"})

    def __init__(self, url: URL) -> None:
        if "sslpassword" in url.query:
            raise InvalidInput("a key's password does not belong in a URL: put it in a service file, and name that by ?service=")
        password = url.query.get("password")
        if password is not None:  # where SQLAlchemy hides it
            given = password if isinstance(password, str) else password[-1]
            url = url.set(password=given).difference_update_query(["password"])
        self.url = url.set(drivername="postgresql+psycopg")
        self.shown_url = self.url.render_as_string(hide_password=True)
        self.whole_url = self.url.render_as_string(hide_password=False)

    def engine(self, *, durability: Durability, busy_seconds: float) -> Engine:
        """Connections that keep the promise; one that went stale in the pool is replaced unnoticed."""
        engine = _engine(self.url, busy_seconds, pool_pre_ping=True)
        event.listen(engine, "connect", _settings(busy_seconds, _SYNCHRONOUS_COMMIT[durability]))
        return engine

    def bare_engine(self, *, busy_seconds: float) -> Engine:
        """Connections that make no setting and write nothing."""
        return _engine(self.url, busy_seconds, poolclass=NullPool)

    @contextmanager
    def transaction(self, connection: Connection) -> Iterator[None]:
        """One that writes."""
        with connection.begin():
            yield

    def wait_at_most(self, connection: Connection, seconds: float) -> None:
        """Leave it to the session's settings: nobody stands in line here."""

    def insert(
        self, connection: Connection, table: Table, rows: Sequence[Mapping[str, object]], *, unless_there: str | None
    ) -> int:
        """Add rows of the same columns, and give how many; those whose key is taken are left out.

        They travel as one JSON text: a statement per row costs both ends several times the work.
        """
        statement = _insertion(table, tuple(rows[0]), unless_there)
        return connection.execute(statement, {"rows": json.dumps(rows, default=_as_text, ensure_ascii=False)}).rowcount

    def standing(self, connection: Connection, column: Column[str], names: Collection[str]) -> set[str]:
        """Those of some names that stand in a column."""
        if len(names) == 1:  # a question that need not be made to measure takes half the time
            return set(connection.execute(_looking_for_one(column), {"name": next(iter(names))}).scalars())
        return set(connection.execute(_looking(column), {"names": list(names)}).scalars())

    def by_column(self, connection: Connection, question: Select[Any], given: Mapping[str, object]) -> Sequence[Sequence[Any]]:
        """Answer by columns; Any: of each column's own type."""
        return list(zip(*connection.execute(question, given), strict=True)) or [()] * len(question.selected_columns)

    def now(self, connection: Connection) -> datetime:
        """The server's time."""
        now: datetime = connection.execute(select(func.clock_timestamp())).scalar_one()
        return now

    def prepare_survey(self, connection: Connection) -> None:
        """Lift our own limit of a statement's time, and nobody else's: the whole ledger is read."""
        setting = column("setting", Text)
        limit = select(setting).select_from(named("pg_settings")).where(column("name", Text) == "statement_timeout")
        if connection.execute(limit).scalar() == f"{STATEMENT_SECONDS * 1000:.0f}":
            connection.execute(select(func.set_config("statement_timeout", "0", True)))

    def wipe(self, engine: Engine) -> bool:  # noqa: ARG002  # the server does it by itself
        """Leave it to the server's next VACUUM to overwrite the rows' former versions."""
        return True

    def keep_others_from_migrating(self, connection: Connection) -> None:
        """Wait, as long as it takes, until no other process migrates; let none begin before this transaction ends."""
        for limit in ("lock_timeout", "statement_timeout"):
            connection.execute(select(func.set_config(limit, "0", True)))  # of this transaction alone
        connection.execute(select(func.pg_advisory_xact_lock(_MIGRATING)))

    def keep_others_from_promoting(self, connection: Connection) -> None:
        """Wait until no other process rolls anything out, and let none before this transaction ends."""
        connection.execute(select(func.pg_advisory_xact_lock(_PROMOTING)))

    def is_foreign(self, error: DBAPIError) -> bool:  # noqa: ARG002  # what speaks PostgreSQL's protocol is one
        """Tell that a server which answers is a PostgreSQL."""
        return False

    def is_refusal(self, error: DBAPIError) -> bool:
        """Tell whether the server works, and takes no such value."""
        state = _sqlstate(error) or ""
        return state[:2] in {"22", "23"} and state != _TAKEN

    def is_passing(self, error: DBAPIError) -> bool:
        """Tell whether a connection was lost that had stood, or another writer stood in the way."""
        state = _sqlstate(error) or ""
        return error.connection_invalidated or state[:2] in {"08", "40"} or state == _TAKEN

    def said(self, error: DBAPIError) -> str:
        """What the server said, without the detail, which may repeat a row."""
        said = getattr(getattr(error.orig, "diag", None), "message_primary", None) or str(error.orig)
        return said.strip().splitlines()[0] if said.strip() else type(error.orig).__name__

    def mend(self, error: DBAPIError) -> str:
        """What whoever reads of the error can do about it."""
        state = _sqlstate(error)
        if state is not None:
            begun = [start for start in sorted(_MENDS, key=len, reverse=True) if state.startswith(start)]
            return _MENDS[begun[0]] if begun else "mend the cause, then retry"
        said = str(error.orig)
        if "connection failed" not in said and error.connection_invalidated:
            return _MENDS["08"]
        return next((mend for part, mend in _MENDS_OF_CONNECTING.items() if part in said), _CHECK_ALL)


@lru_cache
def _looking(column: Column[str]) -> Select[str]:
    return select(column).where(column.in_(bindparam("names", expanding=True)))


@lru_cache
def _looking_for_one(column: Column[str]) -> Select[str]:
    return select(column).where(column == bindparam("name"))


@lru_cache
def _insertion(table: Table, names: tuple[str, ...], unless_there: str | None) -> Insert:
    told = func.json_to_recordset(cast(bindparam("rows", type_=Text), JSON))
    rows = told.table_valued(*(column(name, table.c[name].type) for name in names)).render_derived("told", with_types=True)
    added = select(*(rows.c[name] for name in names))
    statement = insert(table).from_select(names, added, include_defaults=False).execution_options(preserve_rowcount=True)
    return statement.on_conflict_do_nothing(index_elements=[unless_there]) if unless_there else statement


def _as_text(value: object) -> str:
    """What JSON has no form for: a moment, or bytes."""
    return value.isoformat() if isinstance(value, datetime) else f"\\x{value.hex()}"  # type: ignore[attr-defined]  # no third


def _engine(url: URL, busy_seconds: float, **pool: object) -> Engine:
    patience = {"connect_timeout": max(2, math.ceil(busy_seconds)), "application_name": "budget-router"}
    asked = {name: value for name, value in patience.items() if name not in url.query}
    try:
        return create_engine(url, hide_parameters=True, connect_args=asked, **pool)
    except ModuleNotFoundError as error:
        raise ImportError("a ledger on PostgreSQL needs psycopg: pip install 'budget-router[postgres]'") from error


def _sqlstate(error: DBAPIError) -> str | None:
    state: str | None = getattr(error.orig, "sqlstate", None)
    return state


def _settings(busy_seconds: float, synchronous_commit: str) -> Callable[[DBAPIConnection, ConnectionPoolEntry], None]:
    limits = {"lock_timeout": busy_seconds, "statement_timeout": STATEMENT_SECONDS}

    def on_connect(connection: DBAPIConnection, _: ConnectionPoolEntry) -> None:
        cursor = connection.cursor()
        try:
            cursor.execute("SET TIME ZONE 'UTC'")  # a moment at the end of time must not leave it in a session's own zone
            cursor.execute("SELECT set_config('synchronous_commit', %s, false)", (synchronous_commit,))
            for limit, seconds in limits.items():
                unless_set = "SELECT set_config(%s, %s, false) WHERE current_setting(%s) = '0'"
                cursor.execute(unless_set, (limit, f"{round(seconds * 1000)}ms", limit))
            connection.commit()
        except BaseException:
            connection.close()
            raise

    return on_connect
