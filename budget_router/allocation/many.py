"""Several budgets at once: tokens and seconds and money, for all tasks together or for each group of them.

The linear relaxation has a row per task, which chooses one strategy, and few limits (generalised upper bounds: Dantzig and Van
Slyke 1967, Journal of Computer and System Sciences 1(3)); a basic optimum splits at most as many tasks as there are limits. It is
solved on a core of tasks that are undecided near the optimal prices (Balas and Zemel 1980, An Algorithm for Large Zero-One
Knapsack Problems, Operations Research 28(5)), which a sample guesses. One pass over the table then prices the other tasks; those
that would rather change join the core (sifting: Bixby et al. 1992, Very Large-Scale Linear Programming, Operations Research
40(5)). When none would, the primal and the dual value are equal, and each proves the other. Limits that share no task are solved
apart; one alone is `solve`'s.
"""

from dataclasses import dataclass
from itertools import count
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from budget_router.allocation.clash import FEASIBLE, clash
from budget_router.allocation.constraints import Budgets, Constraints, Costs, Limit, read
from budget_router.allocation.core import Core, Mix
from budget_router.allocation.lagrangian import solve
from budget_router.allocation.passes import Total
from budget_router.allocation.pricing import priced, undecided
from budget_router.allocation.restricted import TOLERANCE, Restricted
from budget_router.allocation.rounding import rounded
from budget_router.allocation.table import FloatArray, IntArray
from budget_router.errors import InfeasibleBudget

_ROUNDS = 64
"""Passes after which all tasks are the core."""


@dataclass(frozen=True)
class MixedAllocation:
    """The optimum of the linear relaxation: one strategy for all but a few tasks, which are split."""

    actions: IntArray
    """(n_tasks,) column index of each task's strategy, of a split task that of its largest share."""
    splits: tuple[Mix, ...]
    """The split tasks, no more than there are limits."""
    spend: FloatArray
    """(n_limits,) mean cost, ≤ the budgets up to HiGHS' tolerance."""
    accuracy: float
    """Mean accuracy."""


@dataclass(frozen=True)
class ManyAllocation:
    """The best use of several budgets, with its certificate."""

    limits: tuple[Limit, ...]
    """What each number below is of: a cost, and a group if the budget is that group's own."""
    multipliers: FloatArray
    """(n_limits,) dual variables λ: accuracy per unit of cost; 0 where a budget does not bind."""
    actions: IntArray | None
    """(n_tasks,) column index of each task's strategy, within every budget; None: none was found, take `mixed`."""
    spend: FloatArray
    """(n_limits,) mean cost of `actions`, or of `mixed` where there are none."""
    accuracy: float
    """Mean accuracy of the same."""
    mixed: MixedAllocation
    dual_bound: float
    """No allocation, mixed or not, is more accurate within the budgets: the dual value at `multipliers`, read off the table."""
    duality_gap: float
    """dual_bound - accuracy, ≥ 0."""
    status: Literal["binding", "slack", "mixed"]
    """`slack`: every task has its best strategy. `mixed`: only mixtures were found within all budgets."""
    n_passes: int
    """Times that the whole table was priced."""


def solve_many(
    accuracy: ArrayLike,
    costs: Costs,
    budgets: Budgets,
    *,
    groups: ArrayLike | None = None,
    weights: ArrayLike | None = None,
) -> ManyAllocation:
    """Maximise mean accuracy subject to several mean costs, each within its budget.

    A budget that is a number is shared by all tasks at one price. One that maps group labels to numbers is each group's own
    average, at its own price; both kinds may stand together.

    >>> accuracy = [[0.5, 0.7, 0.9], [0.4, 0.8, 0.9]]
    >>> costs = {"tokens": [100, 400, 500], "seconds": [1, 2, 8]}
    >>> allocation = solve_many(accuracy, costs, {"tokens": 450, "seconds": 4.5})
    >>> allocation.actions.tolist(), [round(spend, 3) for spend in allocation.spend.tolist()]
    ([1, 1], [400.0, 2.0])
    >>> [(split.task, split.actions, round(split.shares[0], 3)) for split in allocation.mixed.splits]
    [(0, (1, 2), 0.167)]
    >>> by_team = solve_many(accuracy, [costs["tokens"]], [{"red": 500, "blue": 100}], groups=["red", "blue"])
    >>> by_team.actions.tolist()
    [2, 0]

    Args:
        accuracy: (n_tasks, n_strategies), expected score in [0, 1].
        costs: (n_constraints, n_tasks, n_strategies), or by name tables of shape (n_tasks, n_strategies) or (n_strategies,); ≥ 0,
            each in its budget's unit.
        budgets: for each cost, a mean per task, or such means by group.
        groups: (n_tasks,) label of the group that each task belongs to.
        weights: (n_tasks,) tasks that each row stands for, ≥ 0: means are weighted by it. None: one each.

    Raises:
        InvalidTable: a value is NaN, infinite or out of range, or shapes, names or groups do not match.
        ClashingBudgets: no mixture fits all budgets; its certificate proves it and names those that clash.
    """
    problem = read(accuracy, costs, budgets, groups, weights)
    multipliers = np.zeros(len(problem.limits))
    mixed, whole = np.zeros(problem.n_tasks, np.intp), np.zeros(problem.n_tasks, np.intp)
    splits: list[Mix] = []
    bound, n_passes, is_whole = Total(0), 0, True
    for rows, limits, part in problem.apart():
        found = _one(part) if len(part.limits) == 1 else _several(part)
        multipliers[limits], mixed[rows], bound = found.multipliers, found.mixed, bound + found.bound
        splits += [split._replace(task=int(rows[split.task])) for split in found.splits]
        n_passes, is_whole = max(n_passes, found.n_passes), is_whole and found.whole is not None
        if found.whole is not None:
            whole[rows] = found.whole
    return _reported(problem, _Found(multipliers, mixed, tuple(splits), whole if is_whole else None, bound, n_passes))


class _Found(NamedTuple):
    multipliers: FloatArray
    mixed: IntArray
    """(n_tasks,) actions of the mixture, split tasks on their larger side."""
    splits: tuple[Mix, ...]
    whole: IntArray | None
    """(n_tasks,) actions that keep every limit."""
    bound: Total
    """Dual value, summed over tasks."""
    n_passes: int


def _one(problem: Constraints) -> _Found:
    """One limit alone."""
    (limit,), (cost,) = problem.limits, (problem.costs[problem.table_of[0]],)
    try:
        found = solve(problem.accuracy, cost, limit.budget, weights=problem.weights)
    except InfeasibleBudget as error:
        cheapest = float(problem.weights @ cost.min(axis=1).astype(np.float64)) / float(problem.weight[0])
        raise clash(problem, np.ones(1), np.array([cheapest - limit.budget])) from error
    mixed, splits = found.actions, tuple[Mix, ...]()
    if found.split is not None:
        task, share = found.split.task, found.split.share
        splits = (Mix(task, (int(mixed[task]), found.split.action), (1 - share, share)),)
        if share > 1 / 2:
            mixed = mixed.copy()
            mixed[task] = found.split.action
    bound = Total(found.dual_bound) * Total(problem.weight[0])
    return _Found(np.array([found.lam]), mixed, splits, found.actions, bound, found.n_passes)


def _several(problem: Constraints) -> _Found:
    """Solve on the core, price the other tasks, let those join that would change; until none would."""
    held, is_core = undecided(problem)
    batch = int(is_core.sum())
    for n_passes in count(1):
        core, others = Core(problem, np.flatnonzero(is_core)), np.flatnonzero(~is_core)
        room = problem.allowed - problem.used(held, others)
        best, has_gain = _mixed(core, room)
        wish = priced(problem, best.multipliers, held, has_gain=has_gain)
        wish.loss[is_core] = 0
        worth = problem.weights.sum() if has_gain else float(best.multipliers @ problem.allowed)
        is_settled = float(wish.loss.sum()) <= TOLERANCE * worth
        if is_settled and not has_gain:
            raise clash(problem, best.multipliers, best.excess / problem.weight)
        if is_settled:
            break
        batch *= 2
        n_joining = min(batch, int((wish.loss > 0).sum())) if n_passes < _ROUNDS else problem.n_tasks
        is_core[np.argpartition(-wish.loss, n_joining - 1)[:n_joining]] = True
    mixed, splits = core.dealt(best, held)
    whole = rounded(problem, mixed, best.multipliers, core.rows)
    return _Found(best.multipliers, mixed, splits, whole, wish.bound, n_passes)


def _mixed(core: Core, room: FloatArray) -> tuple[Restricted, bool]:
    """The core's best mixture, or the one that passes the limits by the least; and whether it is the first."""
    best = core.mix(room)
    if best is not None:
        return best, True
    least = core.least_excess(room)
    if (least.excess <= FEASIBLE * core.largest).all():  # a budget that just fits, but for HiGHS' own rounding
        best = core.mix(room + 2 * least.excess + TOLERANCE * core.largest)
    return (least, False) if best is None else (best, True)


def _reported(problem: Constraints, found: _Found) -> ManyAllocation:
    """Means, as they are read off the table."""
    spend, accuracy = _means(problem, found.mixed)
    for split in found.splits:
        row = np.array([split.task])
        moved = -np.eye(problem.n_strategies)[found.mixed[split.task]]
        np.add.at(moved, list(split.actions), split.shares)
        costs = np.array([problem.scoped(limit, row)[0] for limit in range(len(spend))])
        spend = spend + costs @ moved / problem.weight
        accuracy += float(problem.weights[split.task] * (problem.accuracy[split.task] @ moved) / problem.weights.sum())
    mixed = MixedAllocation(found.mixed, found.splits, spend, accuracy)
    bound = float(found.bound / problem.weights.sum())
    status: Literal["binding", "slack", "mixed"] = "binding" if found.multipliers.any() else "slack"
    if found.whole is None:
        status = "mixed"
    else:
        budgets = np.array([limit.budget for limit in problem.limits])
        spend, accuracy = _means(problem, found.whole)
        spend = np.minimum(spend, budgets)
    gap = max(bound - accuracy, 0.0)
    return ManyAllocation(
        problem.limits, found.multipliers, found.whole, spend, accuracy, mixed, bound, gap, status, found.n_passes
    )


def _means(problem: Constraints, actions: IntArray) -> tuple[FloatArray, float]:
    reached = Total(0)
    for rows in problem.rows():
        taken = np.take_along_axis(problem.accuracy[rows], actions[rows, None], axis=1)[:, 0]
        reached += (problem.weights[rows] * taken).sum(dtype=Total)
    return problem.used(actions) / problem.weight, float(reached / problem.weights.sum())
