"""Keep the running average at the budget: what the next decisions may spend, given what the past ones did.

What was spent over the budget so far is worked off over the next decisions, and the policy's own table of spend by price turns
that into a price: a re-solve at every decision (Jasin and Kumar 2012, Mathematics of OR 37(2)), and a step of lazy dual mirror
descent whose mirror map is the table (Balseiro, Lu and Mirrokni 2023, Operations Research 71(1)). Where the table is off, because
traffic or tariffs have moved, the recent ratio between spend and table corrects it: the integral term of a dual controller
(Balseiro et al. 2022, arXiv 2202.06152).
"""

import threading
from typing import NamedTuple

from budget_router.budget import Budget

DEFAULT_HORIZON = 50
"""Decisions over which a deviation is worked off; a shorter one reacts faster and swings more."""
MAX_CATCH_UP = 1.5
"""Multiple of the budget that an unspent past may be spent at; without it a quiet night would end in a dear morning."""
MAX_EXCESS = 0.05
"""Share of all budgets so far by which spend may be ahead of them before the price allows nothing but the cheapest."""
FIRST_DECISIONS = 200
"""Decisions that the excess is measured against while there have been fewer: one dear answer may come first."""

_MEMORY = 75
"""Decisions after which evidence on a drift keeps 37 % of its weight; more than the horizon, so that the loops do not swing."""
_KEPT = 1 - 1 / _MEMORY
_PRIOR_TASKS = 50
"""Average tasks that the table counts as right on, before it is found wrong."""
_MAX_DRIFT = 30.0
"""Factor by which spend may be held to be off the table, either way."""
_MAX_SURPRISE = 10.0
"""Multiple of what was expected that one bill teaches of the drift; all of it is spent all the same."""


class Sums(NamedTuple):
    """What a past comes to. All are sums: those of several workers add up."""

    n_tasks: float = 0.0
    allowed: float = 0.0
    """Budgets of all tasks."""
    spent: float = 0.0
    """What settled decisions billed, and what pending ones are expected to."""
    billed: float = 0.0
    """Bills of settled decisions, older ones forgotten."""
    expected: float = 0.0
    """Cost that was expected of the same decisions, forgotten alike."""
    chosen: float = 0.0
    """Expected cost of the chosen strategies, older ones forgotten."""
    promised: float = 0.0
    """Mean spend that the policy's table promised for the same decisions, forgotten alike."""

    def plus(self, other: "Sums") -> "Sums":
        """Both pasts together."""
        return Sums(*(one + two for one, two in zip(self, other, strict=True)))

    @property
    def bill_drift(self) -> float:
        """What is billed per unit of expected cost: tariffs and lengths of answers have moved where it is not 1."""
        return _ratio(self.billed, self.expected)

    @property
    def drift(self) -> float:
        """What is billed per unit of promised spend: traffic has moved as well."""
        return _ratio(self.bill_drift * self.chosen, self.promised)

    def target(self, per_task: float, *, horizon: float, share: float = 1.0) -> float:
        """Mean spend to ask of the policy's table, so that the average ends at `share` of the budgets.

        The excess `spent - share · allowed` is worked off over `horizon` decisions. Its limit is `MAX_EXCESS` of the budgets of n
        decisions, at least `FIRST_DECISIONS`: from half way there the spend falls faster, to nothing at the limit. If decisions
        then cost no more than the budget, the excess never passes its limit by more than the dearest decision.
        """
        per_task *= share
        excess = self.spent - share * self.allowed
        limit = MAX_EXCESS * max(self.n_tasks, FIRST_DECISIONS) * per_task
        spend = per_task - excess / horizon
        if excess > 0:
            spend = min(spend, 2 * per_task * (1 - excess / limit)) if limit > 0 else 0.0
        return min(max(spend, 0.0), MAX_CATCH_UP * per_task) / self.drift


class Account:
    """Sums that follow decisions: each counts at its expected cost until it settles, then at what was billed.

    Args:
        per_task: budget of an average task.
    """

    def __init__(self, per_task: float) -> None:
        self._prior = (_PRIOR_TASKS * per_task,) * 4
        self.sums = Sums(0.0, 0.0, 0.0, *self._prior)
        self._pending: dict[str, tuple[float, float]] = {}  # expected cost, and what it was counted at
        self._lock = threading.Lock()

    def recalibrated(self) -> None:
        """Trust the table again: it is a new one."""
        with self._lock:
            self.sums = Sums(*self.sums[:3], *self._prior)

    def decided(self, decision_id: str, expected_cost: float, *, promised: float, allowed: float) -> None:
        """Count a decision; made again under its id, it replaces the first."""
        with self._lock:
            n_tasks, before, spent, billed, expected, chosen, total = self.sums
            counted = expected_cost * self.sums.bill_drift
            if decision_id in self._pending:
                spent -= self._pending[decision_id][1]
            else:
                n_tasks, before = n_tasks + (allowed > 0), before + allowed
                chosen, total = _KEPT * chosen + expected_cost, _KEPT * total + promised
            self._pending[decision_id] = expected_cost, counted
            self.sums = Sums(n_tasks, before, spent + counted, billed, expected, chosen, total)

    def settled(self, decision_id: str, cost: float, *, is_typical: bool) -> bool:
        """Count what was billed, and tell whether it counts."""
        with self._lock:
            pending = self._pending.pop(decision_id, None)
            if pending is None:
                return False
            cost_before, counted = pending
            n_tasks, allowed, spent, billed, expected, chosen, promised = self.sums
            if is_typical:
                seen = min(cost, _MAX_SURPRISE * self.sums.bill_drift * cost_before)
                billed, expected = _KEPT * billed + seen, _KEPT * expected + cost_before
            self.sums = Sums(n_tasks, allowed, spent + cost - counted, billed, expected, chosen, promised)
            return True


class Pacer:
    """Tells what the next decision should spend on average so that the average of all ends at the budget."""

    def __init__(self, budget: Budget, *, horizon: int = DEFAULT_HORIZON) -> None:
        self.budget = budget
        self.horizon = horizon
        self._account = Account(budget.per_task)

    @property
    def sums(self) -> Sums:
        """What the past comes to."""
        return self._account.sums

    def target(self) -> float:
        """Mean spend to ask of the policy for the next decision, in the budget's unit."""
        return self.sums.target(self.budget.per_task, horizon=self.horizon)

    def decided(self, decision_id: str, expected_cost: float, *, promised: float | None = None, is_new_task: bool = True) -> None:
        """Count a decision at its expected cost until it settles.

        Args:
            decision_id: that it settles under.
            expected_cost: of the strategy that was chosen, whether by the policy or by force.
            promised: mean spend that the policy's table holds for the price; when not given, what was expected.
            is_new_task: a second decision on a task earns it no second budget, and was promised nothing.
        """
        promised = expected_cost if promised is None else promised
        self._decided(decision_id, expected_cost, promised * is_new_task, self.budget.per_task * is_new_task)

    def settled(self, decision_id: str, cost: float, *, is_typical: bool = True) -> bool:
        """Count what was billed, and tell whether it counts; a decision made elsewhere, or settled before, changes nothing.

        Args:
            decision_id: that it was decided under.
            cost: all that was billed, failed calls included.
            is_typical: whether it tells what decisions to come will bill; an outage's empty bills do not.
        """
        return self._account.settled(decision_id, cost, is_typical=is_typical)

    def recalibrated(self) -> None:
        """Forget how far the last policy's table was off, for another policy serves."""
        self._account.recalibrated()

    def _decided(self, decision_id: str, expected_cost: float, promised: float, allowed: float) -> None:
        self._account.decided(decision_id, expected_cost, promised=promised, allowed=allowed)


def _ratio(part: float, whole: float) -> float:
    return min(max(part / whole, 1 / _MAX_DRIFT), _MAX_DRIFT) if whole > 0 else 1.0
