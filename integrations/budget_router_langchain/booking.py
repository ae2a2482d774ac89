"""The books of one decision while it is executed."""

import asyncio
from collections.abc import Sequence
from datetime import timedelta

from budget_router.records import Call, Decision
from budget_router.router import BudgetRouter
from budget_router_langchain.sent import Sent


class Booking:
    """Listens to the meter for one decision, and books each of its calls through the router.

    Args:
        router: that made the decision.
        decision: that the calls are made for.
        n_samples: generations that one of them may be asked for.
        settles_soon: whether nobody hears of what a call brought before the decision is settled.
        opened_before: call that was opened with the decision.
    """

    def __init__(
        self,
        router: BudgetRouter,
        decision: Decision,
        *,
        n_samples: int = 1,
        settles_soon: bool = False,
        opened_before: Call | None = None,
    ) -> None:
        self.router = router
        self.decision = decision
        self.n_samples = n_samples
        self.settles_soon = settles_soon
        self._before = opened_before
        self._is_let_go = False
        self.calls: dict[str, Call] = {}

    @property
    def decision_id(self) -> str:
        """The decision that the calls are made for."""
        return self.decision.id

    def let_go(self) -> Call | None:
        """The call that was opened with the decision, if it has not been made by now; from here on it must not be."""
        self._is_let_go = True
        return self._before

    def opened(self, call: Call, sent: Sent) -> None:
        """Write that a model is about to be called; a ledger or a hard cap that refuses keeps the call from being made."""
        if self.decision.budget.hard_cap is not None:
            self.router.claim(
                self.decision,
                call,
                prompt_tokens=sent.prompt_tokens,
                completion_tokens=sent.completion_tokens(self.n_samples),
            )
        is_open = self._before is not None and self._before.id == call.id
        if is_open and self._is_let_go:
            raise asyncio.CancelledError("its execution ended before it was made")
        if is_open:
            self._before = None
        self.router.open_call(call, provider=sent.provider, operation=sent.operation, is_open=is_open)

    def closed(self, call: Call) -> None:
        """Write what a call billed; it stays known here when the ledger refuses."""
        self.calls[call.id] = call
        self.calls[call.id] = self.router.close_call(call, settles_soon=self.settles_soon)


def busy_seconds(calls: Sequence[Call]) -> float:
    """Wall time during which at least one of the calls was open: neither a sum of parallel calls, nor a wait for a human."""
    busy, until = timedelta(0), None
    for call in sorted(calls, key=lambda call: call.started_at):
        ended_at = call.started_at + timedelta(seconds=call.seconds)
        begun_at = call.started_at if until is None else max(call.started_at, until)
        busy += max(ended_at - begun_at, timedelta(0))
        until = ended_at if until is None else max(until, ended_at)
    return busy.total_seconds()
