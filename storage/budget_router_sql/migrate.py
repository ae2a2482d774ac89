"""Bring a database to the schema of this version, or tell why it must be left alone.

Whose database it is, is found out before anything is written. A new or an older one is migrated in one transaction, under the
lock that writers take: of two processes that open a new ledger at once, one makes it and the other finds it made.
"""

import secrets
import threading
from importlib import metadata as packages
from typing import TYPE_CHECKING

from sqlalchemy import URL, Connection, Text, column, inspect, select, table
from sqlalchemy.dialects.postgresql import insert

from budget_router.errors import ForeignLedger, NewerLedger
from budget_router_sql.engine import Database, untouched
from budget_router_sql.schema import REVISION, VERSION_TABLE, meta

if TYPE_CHECKING:
    from alembic.config import Config  # at run time only a database that is not up to date loads alembic

_one_migration = threading.Lock()
"""Alembic keeps its context in module globals."""


def standing_revision(url: URL, *, busy_seconds: float) -> str | None:
    """Revision of the ledger at `url`, `None` where nothing stands yet; writes nothing.

    Raises:
        ForeignLedger: the file is no SQLite database, or has tables that are not ours.
        NewerLedger: the ledger was written by a newer version of this package.
    """
    with untouched(url, busy_seconds=busy_seconds) as connection:
        tables = inspect(connection).get_table_names()
        if tables and VERSION_TABLE not in tables:
            raise ForeignLedger(
                f"{url.render_as_string()} holds the tables {', '.join(map(repr, tables[:3]))} and no ledger: name another file"
            )
        revision = _revision(connection) if tables else None
    if revision not in {None, REVISION} and revision not in _known_revisions():
        raise NewerLedger(
            f"{url.render_as_string()} is at schema {revision}, this version knows up to {REVISION}: upgrade budget-router"
        )
    return revision


def bring_up_to_date(database: Database) -> None:
    """Apply the migrations that are missing, and give a new ledger its salt."""
    with _one_migration, database.write() as connection:
        _upgrade(connection)
        born = [
            {"key": "salt", "value": secrets.token_hex(16)},
            {"key": "made_by", "value": packages.version("budget-router")},
        ]
        connection.execute(insert(meta).on_conflict_do_nothing(), born)


def _revision(connection: Connection) -> str | None:
    revision = column("version_num", Text)
    found: str | None = connection.execute(select(revision).select_from(table(VERSION_TABLE, revision))).scalar()
    return found


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
