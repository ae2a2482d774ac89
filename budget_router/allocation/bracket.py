"""Where the shadow price must lie: a bracket from a sample of tasks, narrow enough that few tasks are undecided within it.

Sampling to discard most of a selection problem is the idea of linear-time median finding (Floyd and Rivest 1975), which Dyer
(1984) and Zemel (1984) brought to the multiple-choice knapsack. The bracket is a guess: the pass that follows confirms it, and
one that fails narrows the next. So the answer never depends on the sample.
"""

from dataclasses import dataclass

import numpy as np

from budget_router.allocation.table import FloatArray
from budget_router.allocation.upgrades import Columns, Steps, choose, climb, taken

_NUDGE = 2.0**-20
"""A bracket's ends stand this much beside slopes that occur, so that a tie at one, which rounding may break, lies inside."""
_SIGMAS = 4.0
"""Half width of a bracket in standard errors of the sample's spend: a normal one fails once in 16,000 times."""
_UNDECIDED = 2**21
"""Upgrades that a bracket may hold, by the sample's count: 40 bytes each."""


@dataclass
class Bracket:
    """What is known about the critical price, and a sample to guess the rest from."""

    sample: Columns
    n_tasks: int
    low: float = 0.0
    """The critical price is not below."""
    high: float = np.inf
    """The critical price is not above."""
    spend_at_high: float | None = None
    """Mean cost per task at `high`, once a pass has told."""

    def guess(self, budget: float) -> tuple[float, float]:
        """The higher and the lower end of a bracket within which mean cost crosses `budget`, in all likelihood."""
        cost, steps = self._climb()
        n_sampled = self.sample.cost.shape[1]
        weight = n_sampled if self.sample.weights is None else float(self.sample.weights.sum())
        if not weight:
            return self.high, self.low
        base = float(cost.sum()) / weight if self.spend_at_high is None else self.spend_at_high
        running = base + np.cumsum(steps.cost) / weight
        here = int(np.searchsorted(running, budget, side="right"))
        spread = np.bincount(steps.task[:here], steps.cost[:here], n_sampled).astype(np.float64)
        if self.spend_at_high is None:
            spread = spread + cost
        margin = _SIGMAS * float(spread.std()) * np.sqrt(n_sampled) / weight
        n_kept = max(int(_UNDECIDED * n_sampled / self.n_tasks) // 2, 1)
        first = min(max(int(np.searchsorted(running, budget - margin)), here - n_kept), len(running) - 1)
        last = min(int(np.searchsorted(running, budget + margin)), here + n_kept)
        upper = float(steps.slope[first]) * (1 + _NUDGE) if first > 0 else self.high
        lower = float(steps.slope[last]) * (1 - _NUDGE) if last < len(running) else self.low
        return min(upper, self.high), max(lower, self.low)

    def is_above(self, lam: float) -> None:
        """Note that spend at `lam` passes the budget."""
        self.low = max(lam * (1 - _NUDGE), self.low)

    def is_below(self, lam: float, spend: float) -> None:
        """Note that `spend` at `lam` leaves budget unused."""
        self.high, self.spend_at_high = min(lam * (1 + _NUDGE), self.high), spend

    def _climb(self) -> tuple[FloatArray, Steps]:
        start = choose(self.sample, self.high)
        steps = climb(self.sample, start, self.low)
        cost = taken(self.sample.cost, start)
        if self.sample.weights is not None:
            cost = cost * self.sample.weights
        return cost, steps.at(np.argsort(-steps.slope, kind="stable"))
