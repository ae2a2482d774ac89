"""Least privilege on PostgreSQL: a role each for who serves, who learns and who looks on."""

from importlib import resources


def roles() -> str:
    """The SQL that makes the three roles and grants each what it needs; its head says what that is.

    >>> "CREATE ROLE" in roles(), "GRANT TRUNCATE" in roles(), "GRANT DELETE" in roles()
    (True, False, False)
    """
    return resources.files("budget_router_sql").joinpath("roles.sql").read_text(encoding="utf-8")
