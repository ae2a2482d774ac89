"""Bring a database to the schema of this version, or tell why it must be left alone.

Whose database it is, is found out before anything is written. A new one is made at the schema of this version, an older one is
migrated to it, in one transaction, under a lock that others who migrate wait for: of two processes that open a new ledger at
once, one makes it and the other finds it made.
SQLite files are migrated when they are opened; a server, which many workers of several versions share, by `migrate` alone.
"""

import secrets
import threading
from collections.abc import Collection
from dataclasses import dataclass
from importlib import metadata as packages
from typing import TYPE_CHECKING

from sqlalchemy import Column, Connection, MetaData, PrimaryKeyConstraint, String, Table, inspect, select
from sqlalchemy.dialects.postgresql import insert

from budget_router.errors import ForeignLedger, NewerLedger, OlderLedger
from budget_router_sql.backend import Backend, backend_of
from budget_router_sql.engine import BUSY_SECONDS, Database, untouched
from budget_router_sql.schema import REVISION, VERSION_TABLE, meta, metadata

if TYPE_CHECKING:
    from alembic.config import Config  # at run time only a ledger of another version loads alembic

_versions = Table(
    VERSION_TABLE,
    MetaData(),
    Column("version_num", String(32), nullable=False),
    PrimaryKeyConstraint("version_num", name=f"{VERSION_TABLE}_pkc"),
)
"""As alembic makes it."""
_one_migration = threading.Lock()
"""Alembic keeps its context in module globals."""


@dataclass(frozen=True)
class Migration:
    """What a migration found, and where the ledger stands now."""

    found: str | None
    """`None`: there was no ledger."""
    revision: str


def migrate(url: str) -> Migration:
    """Bring the ledger at `url` to the schema of this version, or make one where there is none; done already, it does nothing.

    On a server it waits for others that migrate and for whoever holds the tables, however long they take.

    Raises:
        InvalidInput: the URL cannot be read.
        ForeignLedger: the database is somebody else's; it is left as it is.
        NewerLedger: a newer version of this package migrated it; it is left as it is.
        LedgerUnavailable: the database does not answer, or does not let this role make tables.
    """
    database = Database(backend_of(url), durability="durable", busy_seconds=BUSY_SECONDS)
    try:
        found = standing_revision(database.backend, busy_seconds=BUSY_SECONDS)
        if found != REVISION:
            bring_up_to_date(database)
    finally:
        database.close()
    return Migration(found, REVISION)


def make_ready(database: Database, *, busy_seconds: float) -> None:
    """See to it that the database is at the schema of this version: migrate a file, refuse a server that was not migrated."""
    backend = database.backend
    revision = standing_revision(backend, busy_seconds=busy_seconds)
    if revision == REVISION:
        return
    if not backend.migrates_by_itself:
        stands = "holds no ledger yet" if revision is None else f"is at schema {revision}, this version needs {REVISION}"
        raise OlderLedger(f"{backend.shown_url} {stands}: run budget-router migrate --ledger {backend.shown_url}")
    bring_up_to_date(database)


def standing_revision(backend: Backend, *, busy_seconds: float) -> str | None:
    """Revision of the ledger that a backend leads to, `None` where nothing stands yet; writes nothing.

    Raises:
        ForeignLedger: the database is of another kind, or has tables that are not ours.
        NewerLedger: the ledger was written by a newer version of this package.
    """
    with untouched(backend, busy_seconds=busy_seconds) as connection:
        tables = inspect(connection).get_table_names()
        if tables and VERSION_TABLE not in tables:
            other = (
                "another file" if backend.migrates_by_itself else "another database, or a schema by ?options=-csearch_path=..."
            )
            raise ForeignLedger(
                f"{backend.shown_url} holds the tables {', '.join(map(repr, tables[:3]))} and no ledger: name {other}"
            )
        revision = _revision(connection, tables)
    if revision not in {None, REVISION} and revision not in _known_revisions():
        raise NewerLedger(
            f"{backend.shown_url} is at schema {revision}, this version knows up to {REVISION}: upgrade budget-router"
        )
    return revision


def bring_up_to_date(database: Database) -> None:
    """Make a new ledger, or apply the migrations that an older one is missing, and give a new one its salt."""
    with _one_migration, database.write() as connection:
        database.backend.keep_others_from_migrating(connection)
        revision = _revision(connection, inspect(connection).get_table_names())  # another process may have been here meanwhile
        if revision is None:
            metadata.create_all(connection, checkfirst=False)
            _versions.create(connection)
            connection.execute(_versions.insert().values(version_num=REVISION))
        elif revision != REVISION:
            _upgrade(connection)
        born = [
            {"key": "salt", "value": secrets.token_hex(16)},
            {"key": "made_by", "value": packages.version("budget-router")},
        ]
        connection.execute(insert(meta).on_conflict_do_nothing(), born)


def _revision(connection: Connection, tables: Collection[str]) -> str | None:
    return connection.execute(select(_versions.c.version_num)).scalar() if VERSION_TABLE in tables else None


def _config() -> "Config":
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", "budget_router_sql:migrations")
    config.set_main_option("path_separator", "os")
    return config


def _known_revisions() -> set[str]:
    from alembic.script import ScriptDirectory

    return {script.revision for script in ScriptDirectory.from_config(_config()).walk_revisions()}


def _upgrade(connection: Connection) -> None:
    from alembic import command

    config = _config()
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
