"""The ledger in a database: `SqlLedger("sqlite:///spend.db")`, or on a PostgreSQL that `migrate` has made ready."""

from budget_router_sql.ledger import SqlLedger
from budget_router_sql.migrate import Migration, migrate

__all__ = ["Migration", "SqlLedger", "migrate"]
