"""What a production ledger honestly tells, as a page: served, judged off-policy, explained."""

from budget_router.reporting.making import report

__all__ = ["report"]
