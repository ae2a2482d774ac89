"""Keep the running average at the budget: what the next decisions may spend, given what the past ones did."""

import threading

from budget_router.budget import Budget

DEFAULT_HORIZON = 100
"""Decisions over which a deviation is worked off; a shorter one reacts faster and swings more."""
MAX_CATCH_UP = 2.0
"""Multiple of the budget that an unspent past may be spent at; without it a quiet night would end in a dear morning."""


class Pacer:
    """Tells what the next decision should spend on average so that the average of all ends at the budget.

    The deviation so far is spread over the next `horizon` decisions: `target = (budget (n + horizon) - spent) / horizon`, within
    [0, `MAX_CATCH_UP` budgets]. A decision counts at its expected cost until it settles, then at what was billed.

    Reference: re-solving heuristics of online resource allocation, e.g. Jasin and Kumar (2012), Mathematics of OR 37(2).
    """

    def __init__(self, budget: Budget, *, horizon: int = DEFAULT_HORIZON) -> None:
        self.budget = budget
        self.horizon = horizon
        self._n_decided = 0
        self._spent = 0.0  # settled decisions at what they billed, pending ones at what they are expected to
        self._pending: dict[str, float] = {}
        self._lock = threading.Lock()

    def target(self) -> float:
        """Mean cost that the next decision should have, in the budget's unit."""
        with self._lock:
            allowed = self.budget.per_task * (self._n_decided + self.horizon)
            target = (allowed - self._spent) / self.horizon
        return min(max(target, 0.0), MAX_CATCH_UP * self.budget.per_task)

    def decided(self, decision_id: str, expected_cost: float, *, is_new_task: bool = True) -> None:
        """Count a decision at its expected cost until it settles; a second one on a task earns it no second budget."""
        with self._lock:
            if is_new_task and decision_id not in self._pending:
                self._n_decided += 1
            self._spent += expected_cost - self._pending.get(decision_id, 0.0)
            self._pending[decision_id] = expected_cost

    def settled(self, decision_id: str, cost: float) -> bool:
        """Count what was billed, and tell whether it counts; a decision made elsewhere, or settled before, changes nothing."""
        with self._lock:
            expected = self._pending.pop(decision_id, None)
            if expected is None:
                return False
            self._spent += cost - expected
            return True
