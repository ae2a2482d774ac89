"""Upgrades: the steps along each task's upper concave hull, best accuracy per unit of cost first.

A task starts at its cheapest strategy. From there the only strategies that any shadow price can choose are the corners of the
upper concave hull of its (cost, accuracy) points. Each step from corner to corner is an upgrade; its slope is the shadow price
at which the task takes it. Taking upgrades by falling slope until the budget is spent solves the linear relaxation of the
multiple-choice knapsack exactly (Sinha and Zoltners 1979, The Multiple-Choice Knapsack Problem, Operations Research 27(3)).
"""

from typing import NamedTuple

import numpy as np

from budget_router.allocation.oracle import cheapest_argmax
from budget_router.allocation.table import FloatArray, IntArray

_STEEPEST = float(np.finfo(np.float64).max)


class Upgrades(NamedTuple):
    """All upgrades of all tasks, by falling slope; equal slopes by step of their task, then by task."""

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


def upgrades(accuracy: FloatArray, cost: FloatArray) -> Upgrades:
    """Walk every task's hull at once, one step of all tasks per pass: at most n_strategies - 1 passes over the table.

    Args:
        accuracy: (n_tasks, n_strategies).
        cost: (n_tasks, n_strategies).
    """
    start = cheapest_argmax(-cost, -accuracy)
    corner, rows = start.copy(), np.arange(len(start))
    last_slope = np.full(len(start), np.inf)
    steps: list[tuple[IntArray, IntArray, FloatArray, FloatArray, FloatArray]] = []
    for _ in range(accuracy.shape[1] - 1):
        gained = accuracy[rows] - accuracy[rows, corner[rows]][:, None]
        added = cost[rows] - cost[rows, corner[rows]][:, None]
        slopes = np.full(gained.shape, -np.inf)
        with np.errstate(over="ignore"):  # a gain over next to no cost: as steep as a number can be
            np.divide(gained, added, out=slopes, where=added > 0)
        np.minimum(slopes, _STEEPEST, out=slopes)
        target = cheapest_argmax(slopes, added)
        picked = np.arange(len(rows)), target
        # a hull's slopes fall; rounding may lift a collinear one by an ulp, and order within a task must hold
        slope = np.minimum(slopes[picked], last_slope[rows])
        rises = slope > 0
        steps.append((rows[rises], target[rises], slope[rises], gained[picked][rises], added[picked][rises]))
        rows = rows[rises]
        corner[rows], last_slope[rows] = target[rises], slope[rises]
        if not rows.size:
            break
    if not steps:
        none, zero = np.empty(0, np.intp), np.empty(0)
        return Upgrades(start, none, none, zero, zero, zero)
    task, action, slope, gain, extra = (np.concatenate(parts) for parts in zip(*steps, strict=True))
    order = np.argsort(-slope, kind="stable")
    return Upgrades(start, task[order], action[order], slope[order], gain[order], extra[order])
