"""The books of one decision while it is executed."""

from budget_router.records import Call, Decision
from budget_router.router import BudgetRouter


class Booking:
    """Listens to the meter for one decision, and books each of its calls through the router."""

    def __init__(self, router: BudgetRouter, decision: Decision) -> None:
        self.router = router
        self.decision = decision
        self.calls: dict[str, Call] = {}

    @property
    def decision_id(self) -> str:
        """The decision that the calls are made for."""
        return self.decision.id

    def opened(self, call: Call) -> None:
        """Write that a model is about to be called; a ledger that refuses keeps the call from being made."""
        self.router.open_call(call)

    def closed(self, call: Call) -> None:
        """Write what a call billed; it stays known here when the ledger refuses."""
        self.calls[call.id] = call
        self.calls[call.id] = self.router.close_call(call)
