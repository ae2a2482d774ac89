"""Solve the budget: the shadow price, the allocation it buys, and the certificate that none is better."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from budget_router.allocation.table import IntArray, check_table
from budget_router.allocation.upgrades import upgrades
from budget_router.errors import InfeasibleBudget, InvalidTable

_ROUNDING = 1 + 8 * float(np.finfo(np.float64).eps)
"""A budget computed as a mean and multiplied by n again may miss the sum by a few last bits."""


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
    """dual_bound - accuracy = λ (budget - spend), ≥ 0."""
    status: Literal["binding", "slack"]
    """`slack`: every task has its best strategy and budget is left."""
    split: Split | None


def solve(accuracy: ArrayLike, cost: ArrayLike, budget: float) -> Allocation:
    """Maximise mean accuracy subject to mean cost ≤ `budget`.

    Exact, with no tolerance to set: upgrades are taken by falling slope until the next one does not fit. Among equal slopes a
    task's earlier step goes first, then the lower row.

    Args:
        accuracy: (n_tasks, n_strategies), expected score in [0, 1].
        cost: (n_tasks, n_strategies) or (n_strategies,), expected cost in the budget's unit, ≥ 0.
        budget: mean cost per task that may be reached.

    Raises:
        InvalidTable: a value is NaN, infinite or out of range, or shapes do not match.
        InfeasibleBudget: the cheapest assignment costs more than the budget.
    """
    accuracy, cost = check_table(accuracy, cost)
    if not np.isfinite(budget):
        raise InvalidTable(f"budget is {budget}: give a finite mean cost per task")
    n_tasks = len(accuracy)
    rows = np.arange(n_tasks)
    steps = upgrades(accuracy, cost)
    cheapest = cost[rows, steps.start].sum()
    allowed = n_tasks * budget * _ROUNDING
    if cheapest > allowed:
        raise InfeasibleBudget(
            f"budget of {budget:g} per task is below the cheapest assignment, {cheapest / n_tasks:g} per task: "
            "raise the budget or add a cheaper strategy"
        )
    running = cheapest + np.cumsum(steps.cost)
    n_taken = int(np.searchsorted(running, allowed, side="right"))
    actions = steps.start.copy()
    actions[steps.task[:n_taken]] = steps.action[:n_taken]
    spend = float(cost[rows, actions].sum()) / n_tasks
    reached = float(accuracy[rows, actions].sum()) / n_tasks
    if n_taken == len(steps.task):
        return Allocation(0.0, actions, min(spend, budget), reached, reached, 0.0, "slack", None)
    left = max(budget - spend, 0.0)
    lam = float(steps.slope[n_taken])
    share = min(left * n_tasks / float(steps.cost[n_taken]), 1.0)
    split = Split(int(steps.task[n_taken]), int(steps.action[n_taken]), share) if share > 0 else None
    return Allocation(lam, actions, min(spend, budget), reached, reached + lam * left, lam * left, "binding", split)
