"""Ledgers as earlier versions of this package left them."""

from collections.abc import Callable

from budget_router_sql.schema import VERSION_TABLE


def back_to_the_first_schema(execute: Callable[[str], object]) -> None:
    """Take away what later migrations added."""
    for statement in (
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
