"""The ledger in a database: `SqlLedger("sqlite:///spend.db")`, or on a PostgreSQL that `migrate` has made ready."""

from budget_router_sql.audit import Amount, Audit, Finding, audit
from budget_router_sql.closing import close_open
from budget_router_sql.doctor import Checkup, Line, doctor
from budget_router_sql.ledger import SqlLedger
from budget_router_sql.migrate import Migration, migrate
from budget_router_sql.roles import roles
from budget_router_sql.spend import SpendReport, SpendRow, spend

__all__ = [
    "Amount",
    "Audit",
    "Checkup",
    "Finding",
    "Line",
    "Migration",
    "SpendReport",
    "SpendRow",
    "SqlLedger",
    "audit",
    "close_open",
    "doctor",
    "migrate",
    "roles",
    "spend",
]
