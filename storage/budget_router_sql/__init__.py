"""The ledger in a database: `SqlLedger("sqlite:///spend.db")`."""

from budget_router_sql.ledger import SqlLedger

__all__ = ["SqlLedger"]
