"""Upgrades: the steps along each task's upper concave hull, best accuracy per unit of cost first.

A task starts at its cheapest strategy. From there the only strategies that any shadow price can choose are the corners of the
upper concave hull of its (cost, accuracy) points. Each step from corner to corner is an upgrade; its slope is the shadow price
at which the task takes it. Taking upgrades by falling slope until the budget is spent solves the linear relaxation of the
multiple-choice knapsack exactly (Sinha and Zoltners 1979, The Multiple-Choice Knapsack Problem, Operations Research 27(3)).

Everything here works on columns: a chunk is turned once, so that a pass over its strategies runs along contiguous tasks.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from budget_router.allocation.table import AnyArray, ArrayTable, Chunk, FloatArray, IntArray

_STEEPEST = float(np.finfo(np.float64).max)


class Columns(NamedTuple):
    """A chunk turned on its side: one row per strategy, in float64."""

    first_row: int
    value: FloatArray
    """(n_strategies, n_rows)."""
    cost: FloatArray
    """(n_strategies, n_rows)."""
    weights: FloatArray | None
    """(n_rows,)."""

    @classmethod
    def of(cls, chunk: Chunk) -> "Columns":
        """Turn a chunk."""
        weights = None if chunk.weights is None else chunk.weights.astype(np.float64)
        return cls(chunk.first_row, _turned(chunk.accuracy), _turned(chunk.cost), weights)


class Steps(NamedTuple):
    """Upgrades in the order they were found: those of one task in the order they build on each other."""

    task: IntArray
    """(n_upgrades,) row of the task."""
    action: IntArray
    """(n_upgrades,) action that the upgrade leads to."""
    slope: FloatArray
    """(n_upgrades,) accuracy gained per unit of cost, > 0."""
    gain: FloatArray
    """(n_upgrades,) accuracy gained."""
    cost: FloatArray
    """(n_upgrades,) cost added."""

    def at(self, kept: IntArray | NDArray[np.bool_] | slice) -> "Steps":
        """Some of the upgrades, or all in another order."""
        return Steps(self.task[kept], self.action[kept], self.slope[kept], self.gain[kept], self.cost[kept])

    @classmethod
    def joined(cls, parts: "Sequence[Steps]") -> "Steps":
        """One after another; none makes an empty one."""
        none, zero = np.empty(0, np.intp), np.empty(0)
        return cls(
            np.concatenate([none, *(part.task for part in parts)]),
            np.concatenate([none, *(part.action for part in parts)]),
            np.concatenate([zero, *(part.slope for part in parts)]),
            np.concatenate([zero, *(part.gain for part in parts)]),
            np.concatenate([zero, *(part.cost for part in parts)]),
        )


class Upgrades(NamedTuple):
    """All upgrades of all tasks, by falling slope; equal slopes by chunk, then by step of their task, then by task."""

    start: IntArray
    """(n_tasks,) cheapest action of each task, the most accurate of equally cheap ones."""
    task: IntArray
    """(n_upgrades,) row of the task."""
    action: IntArray
    """(n_upgrades,) action that the upgrade leads to."""
    slope: FloatArray
    """(n_upgrades,) accuracy gained per unit of cost, > 0."""
    accuracy: FloatArray
    """(n_upgrades,) accuracy gained."""
    cost: FloatArray
    """(n_upgrades,) cost added."""


def pick(wanted: FloatArray, then: FloatArray) -> IntArray:
    """For each task the strategy with the most of `wanted`, ties by the least of `then`, then by the lowest column.

    Args:
        wanted: (n_strategies, n_rows).
        then: (n_strategies, n_rows).

    Returns:
        (n_rows,) row of `wanted`.
    """
    is_best = wanted == wanted.max(axis=0)
    second = np.where(is_best, then, np.inf)
    is_best &= second == second.min(axis=0)
    picked = np.zeros(wanted.shape[1], np.intp)
    for action in range(len(wanted) - 1, -1, -1):  # the lowest column writes last
        np.putmask(picked, is_best[action], action)
    return picked


def taken(matrix: FloatArray, actions: IntArray) -> FloatArray:
    """The cells of `actions`, (n_rows,), from columns of shape (n_strategies, n_rows)."""
    cells: FloatArray = matrix.ravel()[actions * matrix.shape[1] + np.arange(matrix.shape[1])]
    return cells


def choose(columns: Columns, lam: float) -> IntArray:
    """The oracle actions at a price; an infinite one buys the cheapest, the most accurate of equally cheap ones.

    Costs count from each task's cheapest: what every strategy of a task costs alike blurs no difference between them.
    """
    if lam == np.inf:
        return pick(-columns.cost, -columns.value)
    extra = columns.cost - columns.cost.min(axis=0)
    return pick(columns.value - lam * extra, extra)


def climb(columns: Columns, start: IntArray, floor: float) -> Steps:
    """Walk every task's hull at once, from `start` as long as steps are steeper than `floor`.

    One step of all tasks per pass: at most n_strategies - 1 passes over those tasks that still climb.

    Args:
        columns: of the chunk.
        start: (n_rows,) a corner of each task's hull.
        floor: price at which the walk ends, ≥ 0.
    """
    value, cost = columns.value, columns.cost
    gained, added = value - taken(value, start), cost - taken(cost, start)
    rows = np.flatnonzero(((added > 0) & (gained > floor * added)).any(axis=0))
    value, cost, gained, added = (matrix.take(rows, axis=1) for matrix in (value, cost, gained, added))
    last_slope = np.full(len(rows), np.inf)
    found: list[Steps] = []
    while rows.size:
        slopes = np.full(gained.shape, -np.inf)
        with np.errstate(over="ignore"):  # a gain over next to no cost: as steep as a number can be
            np.divide(gained, added, out=slopes, where=added > 0)
        np.minimum(slopes, _STEEPEST, out=slopes)
        target = pick(slopes, added)
        # a hull's slopes fall; rounding may lift a collinear one by an ulp, and order within a task must hold
        slope = np.minimum(taken(slopes, target), last_slope)
        rises = np.flatnonzero(slope > floor)
        value, cost, gained, added = (matrix.take(rises, axis=1) for matrix in (value, cost, gained, added))
        rows, target, last_slope = rows[rises], target[rises], slope[rises]
        weight = 1.0 if columns.weights is None else columns.weights[rows]
        gain, extra = weight * taken(gained, target), weight * taken(added, target)
        found.append(Steps(rows + columns.first_row, target, last_slope, gain, extra))
        # always between the table's own cells: differences of differences would drift
        gained, added = value - taken(value, target), cost - taken(cost, target)
    return Steps.joined(found)


def upgrades(accuracy: FloatArray, cost: FloatArray, weights: FloatArray | None = None) -> Upgrades:
    """Every upgrade of every task.

    Args:
        accuracy: (n_tasks, n_strategies).
        cost: (n_tasks, n_strategies).
        weights: (n_tasks,) tasks that each row stands for: gains and costs are multiplied by it, slopes are not.
    """
    starts: list[IntArray] = []
    found: list[Steps] = []
    table = ArrayTable(accuracy, cost, weights)
    for chunk in Chunk(0, table.accuracy, table.cost, table.weights).parts():
        columns = Columns.of(chunk)
        start = choose(columns, np.inf)
        starts.append(start)
        found.append(climb(columns, start, 0.0))
    steps = Steps.joined(found)
    return Upgrades(np.concatenate(starts), *steps.at(np.argsort(-steps.slope, kind="stable")))


def _turned(matrix: AnyArray) -> FloatArray:
    return np.ascontiguousarray(matrix.T, dtype=np.float64)
