"""The accuracy-budget frontier: the best accuracy for every budget at once, from one sort."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from budget_router.allocation.passes import ROUNDING, Found, Pass, Total, unchecked
from budget_router.allocation.table import ArrayTable, FloatArray
from budget_router.allocation.upgrades import Steps
from budget_router.errors import InfeasibleBudget, InvalidTable
from budget_router.frames import frame

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from pandas import DataFrame


class FrontierPoint(NamedTuple):
    """One point of the frontier."""

    spend: float
    accuracy: float
    shadow_price: float


class Price(NamedTuple):
    """A shadow price, and how to break the ties that stand exactly at it.

    A task whose two best strategies tie at `lam` takes the dearer one with probability `tie_share`: so one price meets any
    budget, even where many tasks look alike.
    """

    lam: float
    tie_share: float


@dataclass(frozen=True)
class Frontier:
    """The concave curve of best mean accuracy against mean spend, by its corners.

    Between two corners the best allocation is mixed; the segment's slope is the shadow price there.
    """

    spend: FloatArray
    """(n_corners,) mean cost per task, rising."""
    accuracy: FloatArray
    """(n_corners,) best mean accuracy at that spend, rising."""
    shadow_price: FloatArray
    """(n_corners - 1,) slope of each segment, falling, > 0."""

    def at(self, budget: float) -> FrontierPoint:
        """The best point within `budget`; raises InfeasibleBudget below the cheapest assignment."""
        if not budget * ROUNDING >= self.spend[0]:
            raise InfeasibleBudget(
                f"budget of {budget:g} per task is below the cheapest assignment, {self.spend[0]:g} per task: raise the budget"
            )
        spend = min(float(budget), float(self.spend[-1]))
        return FrontierPoint(spend, float(np.interp(spend, self.spend, self.accuracy)), self.price(budget).lam)

    def budget_for(self, accuracy: float) -> float:
        """The least spend that buys `accuracy`; raises InfeasibleBudget above the best that the strategies can do."""
        if not accuracy <= self.accuracy[-1]:
            raise InfeasibleBudget(
                f"accuracy of {accuracy:g} is above the best within reach, {self.accuracy[-1]:g}: add a stronger strategy"
            )
        return float(np.interp(accuracy, self.accuracy, self.spend))

    def price(self, budget: float) -> Price:
        """The price that spends `budget`: λ = 0 from the dearest corner on, the first slope below the cheapest one."""
        if budget >= self.spend[-1] or not len(self.shadow_price):
            return Price(0.0, 0.0)  # strategies that tie where compute is free: the dearer one buys nothing
        segment = max(int(np.searchsorted(self.spend, budget, side="right")) - 1, 0)
        width = self.spend[segment + 1] - self.spend[segment]
        return Price(float(self.shadow_price[segment]), float(np.clip((budget - self.spend[segment]) / width, 0, 1)))

    def frame(self) -> "DataFrame":
        """One row per corner: spend, accuracy, and the shadow price of spending more (0 at the last).

        Raises:
            ImportError: pandas is not installed.
        """
        return frame({"spend": self.spend, "accuracy": self.accuracy, "shadow_price": np.append(self.shadow_price, 0.0)})

    def plot(self, *, budget: float | None = None, unit: str = "cost") -> "Figure":
        """Draw accuracy against spend, and the budget with what it buys and its shadow price.

        Args:
            budget: mean cost per task to be marked.
            unit: of cost, for the axis.

        Raises:
            ImportError: matplotlib is not installed.
        """
        from budget_router.allocation.picture import draw

        point = None if budget is None else self.at(budget)
        return draw(self.spend, self.accuracy, unit=unit, budget=budget, point=point)


def frontier(accuracy: ArrayLike, cost: ArrayLike, *, weights: ArrayLike | None = None) -> Frontier:
    """Trace the best mean accuracy for every budget.

    Args:
        accuracy: (n_tasks, n_strategies), expected score in [0, 1].
        cost: (n_tasks, n_strategies) or (n_strategies,), expected cost in the budget's unit, ≥ 0.
        weights: (n_tasks,) tasks that each row stands for, ≥ 0; None: one each.

    Raises:
        InvalidTable: a value is NaN, infinite or out of range, or shapes do not match.
    """
    return _corners(ArrayTable(accuracy, cost, weights).map_sum(Pass(np.inf, 0.0)))


def trace(value: FloatArray, cost: FloatArray) -> Frontier:
    """The frontier of any value, checked already: scores of a policy need not lie in [0, 1].

    Args:
        value: (n_tasks, n_strategies), finite.
        cost: (n_tasks, n_strategies), finite, ≥ 0.
    """
    return _corners(ArrayTable(value, cost).map_sum(Pass(np.inf, 0.0, unchecked)))


def _corners(found: Found) -> Frontier:
    """Sort all upgrades; those of one slope are one segment."""
    if not found.weight > 0:
        raise InvalidTable("weights are all 0: at least one task must count")
    steps = Steps.joined(found.steps)
    order = np.argsort(-steps.slope, kind="stable")
    slope = steps.slope[order]
    is_last = np.append(np.diff(slope) != 0, True)[: len(slope)]
    spend, best = (
        np.asarray(np.concatenate([[base], base + np.cumsum(part[order], dtype=Total)[is_last]]) / found.weight, np.float64)
        for base, part in ((found.cost, steps.cost), (found.accuracy, steps.gain))
    )
    rises = np.diff(spend) > 0  # a step too cheap to be seen beside the sum is taken at once
    corner = np.append(rises, True)
    return Frontier(spend[corner], best[corner], slope[is_last][rises])
