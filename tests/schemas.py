"""Ledgers as earlier versions of this package left them, and as they are migrated."""

from collections.abc import Callable

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection

from budget_router_sql.schema import VERSION_TABLE


def back_to_the_first_schema(execute: Callable[[str], object]) -> None:
    """Take away what later migrations added."""
    for statement in (
        "DROP TABLE shadows",
        "DROP INDEX which_policy_serves_a_menu",
        "DROP TABLE promotions",
        "CREATE TABLE promotions (position INTEGER PRIMARY KEY, version TEXT NOT NULL, menu_hash TEXT NOT NULL, "
        "promoted_at TIMESTAMP NOT NULL)",
        "CREATE INDEX which_policy_serves_a_menu ON promotions (menu_hash, position)",
        "DROP TABLE leases",
        "DROP TABLE solves",
        "DROP TABLE paces",
        "DROP TABLE cap_buckets",
        "DROP TABLE cap_reservations",
        "DROP TABLE cap_accounts",
        "DROP TABLE cap_events",
        "DROP TABLE task_ngrams",
        "DROP TABLE erasures",
        "DROP INDEX which_decisions_are_about_a_task",
        "DROP INDEX what_was_decided_in_a_run",
        f"UPDATE {VERSION_TABLE} SET version_num = '0001'",
    ):
        execute(statement)


def migrate_from_nothing(connection: Connection) -> None:
    """Apply every migration, the first one included, where a new ledger would be made at once."""
    config = Config()
    config.set_main_option("script_location", "budget_router_sql:migrations")
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
