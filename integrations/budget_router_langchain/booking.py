"""The books of one decision while it is executed."""

from collections.abc import Sequence
from datetime import timedelta

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


def busy_seconds(calls: Sequence[Call]) -> float:
    """Wall time during which at least one of the calls was open: neither a sum of parallel calls, nor a wait for a human."""
    busy, until = timedelta(0), None
    for call in sorted(calls, key=lambda call: call.started_at):
        ended_at = call.started_at + timedelta(seconds=call.seconds)
        begun_at = call.started_at if until is None else max(call.started_at, until)
        busy += max(ended_at - begun_at, timedelta(0))
        until = ended_at if until is None else max(until, ended_at)
    return busy.total_seconds()
