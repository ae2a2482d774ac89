"""Solve the budget: the shadow price, the allocation it buys, and the certificate that none is better.

The budget's dual variable λ separates tasks (Everett 1963, Generalized Lagrange Multiplier Method, Operations Research 11(3));
the linear relaxation of what remains is the multiple-choice knapsack's, whose optimum divides one task at most (Sinha and
Zoltners 1979, Operations Research 27(3)). A sample brackets λ, one full pass confirms the bracket and lists the upgrades within
it, and sorting those few finishes: linear work in the table, as in Dyer (1984) and Zemel (1984).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import ArrayLike

from budget_router.allocation.bracket import Bracket
from budget_router.allocation.passes import ROUNDING, Found, Pass, Sampling, Total
from budget_router.allocation.table import ArrayTable, Chunk, IntArray, Table, check_chunk
from budget_router.allocation.upgrades import Steps
from budget_router.errors import InfeasibleBudget, InvalidTable
from budget_router.frames import frame

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from pandas import DataFrame

_SMALL = 2**11
"""Tasks up to which no sample is drawn: the first pass lists every upgrade."""
_GUESSES = 6
"""Guesses after which all that may still hold the price is listed at once."""


@dataclass(frozen=True)
class Split:
    """The one task that the optimal mixed allocation divides between two actions."""

    task: int
    action: int
    """The dearer of the two; the other one stands in `Allocation.actions`."""
    share: float
    """Probability of the dearer action, in (0, 1]; 1 only where the rest of the budget differs from the upgrade by rounding."""


@dataclass(frozen=True)
class Allocation:
    """The best use of a budget, with its certificate.

    `actions` gives one strategy to each task and spends within one task's upgrade of the budget. Mixing the `split` task between
    two strategies meets the budget exactly and reaches `dual_bound`, the optimum of the linear relaxation.
    """

    lam: float
    """Dual variable λ of the budget: accuracy per unit of cost; 0 when the budget does not bind."""
    actions: IntArray
    """(n_tasks,) column index of each task's strategy."""
    spend: float
    """Mean cost of `actions`, ≤ budget."""
    accuracy: float
    """Mean accuracy of `actions`."""
    dual_bound: float
    """No allocation, mixed or not, is more accurate within the budget."""
    duality_gap: float
    """dual_bound - accuracy = λ (budget - spend), ≥ 0; at most the split task's upgrade over the number of tasks."""
    status: Literal["binding", "slack"]
    """`slack`: every task has its best strategy and budget is left."""
    split: Split | None
    n_passes: int = 1
    """Times that the whole table was read; 1 unless the sample misled."""

    def frame(self) -> "DataFrame":
        """One row per strategy that some task got: its column `action`, `n_tasks` and their `share`; see `frames.frame`."""
        action, n_tasks = np.unique(self.actions, return_counts=True)
        return frame({"action": action, "n_tasks": n_tasks, "share": n_tasks / max(len(self.actions), 1)})

    def plot(self, *, strategies: Sequence[str] | None = None) -> "Figure":
        """Draw the share of tasks that each strategy got.

        Args:
            strategies: their names, by column; numbers when not given.

        Raises:
            ImportError: matplotlib is not installed.
        """
        from budget_router.allocation.picture import draw_shares

        return draw_shares(self.actions, strategies, spend=self.spend, accuracy=self.accuracy)


def solve(accuracy: ArrayLike, cost: ArrayLike, budget: float, *, weights: ArrayLike | None = None) -> Allocation:
    """Maximise mean accuracy subject to mean cost ≤ `budget`.

    Exact, with no tolerance to set: upgrades are taken by falling slope until the next one does not fit. Of upgrades that are
    equally steep, each task's first ones go before its next ones, then those of lower rows. A strategy that ties with another at
    the price is taken only as such an upgrade; of strategies that are equal in all, the lowest column is taken.

    float32 tables are not copied to float64, and memory-mapped ones are read in chunks: the memory that is needed is that of the
    actions and of the tasks that a bracket around the price leaves undecided (all those that tie at it among them).

    Args:
        accuracy: (n_tasks, n_strategies), expected score in [0, 1].
        cost: (n_tasks, n_strategies) or (n_strategies,), expected cost in the budget's unit, ≥ 0.
        budget: mean cost per task that may be reached.
        weights: (n_tasks,) tasks that each row stands for, ≥ 0: means are weighted by it. None: one each.

    Raises:
        InvalidTable: a value is NaN, infinite or out of range, or shapes do not match.
        InfeasibleBudget: the cheapest assignment costs more than the budget.
    """
    return solve_table(ArrayTable(accuracy, cost, weights), budget)


def solve_table(table: Table, budget: float, *, check: Callable[[Chunk], None] = check_chunk) -> Allocation:
    """`solve` a table wherever its rows are kept; the answer does not depend on how it is cut into chunks.

    Args:
        table: any that can map and sum.
        budget: mean cost per task that may be reached.
        check: refuses a chunk's values at the border.
    """
    if not np.isfinite(budget):
        raise InvalidTable(f"budget is {budget}: give a finite mean cost per task")
    bracket = _bracket(table, check) if table.n_tasks > _SMALL else None
    for n_passes in count(1):
        lam, floor = np.inf, 0.0
        if bracket is not None:
            lam, floor = bracket.guess(budget) if n_passes <= _GUESSES else (bracket.high, bracket.low)
        found = table.map_sum(Pass(lam, floor, check))
        if not found.weight > 0:
            raise InvalidTable("weights are all 0: at least one task must count")
        allowed = found.weight * Total(budget) * Total(ROUNDING)
        steps = Steps.joined(found.steps)
        at_floor = found.cost + steps.cost.sum(dtype=Total)
        if found.cost > allowed and lam == np.inf:
            raise InfeasibleBudget(
                f"budget of {budget:g} per task is below the cheapest assignment, {float(found.cost / found.weight):g} per task: "
                "raise the budget or add a cheaper strategy"
            )
        if bracket is not None and found.cost > allowed:
            bracket.is_above(lam)
        elif bracket is not None and floor > 0 and at_floor <= allowed:
            bracket.is_below(floor, float(at_floor / found.weight))
        else:
            break
    return _filled(found, steps, budget, allowed, n_passes)


def _bracket(table: Table, check: Callable[[Chunk], None]) -> Bracket:
    """A bracket that knows nothing yet but a sample; always the same one, so that a solve can be repeated."""
    size = int(2 * table.n_tasks ** (2 / 3))  # Floyd and Rivest's: with it, the sample costs what it leaves undecided
    rows = np.unique(np.random.default_rng(0).integers(table.n_tasks, size=size))
    return Bracket(table.map_sum(Sampling(rows, check)).columns(), table.n_tasks)


def _filled(found: Found, steps: Steps, budget: float, allowed: Total, n_passes: int) -> Allocation:
    """Take upgrades in their order until the next one does not fit."""
    steps, n_taken = _in_order(steps, found.cost, allowed)
    actions = found.all_actions()
    actions[steps.task[:n_taken]] = steps.action[:n_taken]  # of one task's upgrades the last one stays
    spend = float((found.cost + steps.cost[:n_taken].sum(dtype=Total)) / found.weight)
    reached = float((found.accuracy + steps.gain[:n_taken].sum(dtype=Total)) / found.weight)
    if n_taken == len(steps.task):
        return Allocation(0.0, actions, min(spend, budget), reached, reached, 0.0, "slack", None, n_passes)
    left = max(budget - spend, 0.0)
    lam = float(steps.slope[n_taken])
    share = min(left * float(found.weight) / float(steps.cost[n_taken]), 1.0)
    split = Split(int(steps.task[n_taken]), int(steps.action[n_taken]), share) if share > 0 else None
    gap = lam * left
    return Allocation(lam, actions, min(spend, budget), reached, reached + gap, gap, "binding", split, n_passes)


def _in_order(steps: Steps, base: Total, allowed: Total) -> tuple[Steps, int]:
    """Upgrades by falling slope, those at the critical slope in their documented order, and how many of them fit."""
    steps = steps.at(np.argsort(-steps.slope, kind="stable"))
    n_taken = _fitting(steps, base, allowed)
    if n_taken < len(steps.slope):
        slope = steps.slope[n_taken]
        low, high = np.searchsorted(-steps.slope, -slope, "left"), np.searchsorted(-steps.slope, -slope, "right")
        order = np.arange(len(steps.slope))
        order[low:high] = low + _tie_order(steps.task[low:high])
        steps = steps.at(order)
        n_taken = _fitting(steps, base, allowed)
    return steps, n_taken


def _fitting(steps: Steps, base: Total, allowed: Total) -> int:
    return int(np.searchsorted(base + np.cumsum(steps.cost, dtype=Total), allowed, side="right"))


def _tie_order(task: IntArray) -> IntArray:
    """Order equally steep upgrades by their place among those of their task, then by task."""
    by_task = np.argsort(task, kind="stable")
    is_first = np.append(True, np.diff(task[by_task]) != 0)
    places = np.arange(len(task))
    rank = np.empty(len(task), np.intp)
    rank[by_task] = places - np.maximum.accumulate(np.where(is_first, places, 0))
    return np.lexsort((task, rank))
