"""What prices make of each task under several limits: what it would change to, and whether a small change would change it."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from budget_router.allocation.constraints import Constraints
from budget_router.allocation.core import Core
from budget_router.allocation.passes import Total
from budget_router.allocation.table import FloatArray, IntArray

_SMALL = 2**10
"""Tasks up to which all are undecided."""
_GUESS_PENALTY = 1e4
"""Of passing a limit in the sample, which may have no mixture within its limits where the table has one."""
_FAINT = 0.01
"""Accuracy that a whole budget is worth at least, where tasks are asked how small a change of prices would change them."""
_TINY = float(np.finfo(np.float64).tiny)


class Priced(NamedTuple):
    """The actions that tasks hold, beside their best ones."""

    loss: FloatArray
    """(n_tasks,) what each task would gain by changing from the action it holds."""
    bound: Total
    """Dual value, summed over tasks."""


def priced(problem: Constraints, multipliers: FloatArray, held: IntArray, *, has_gain: bool) -> Priced:
    """One pass: every task's best strategy at the multipliers; without gain, its cheapest."""
    loss, total = np.empty(problem.n_tasks), Total(0)
    for rows in problem.rows():
        value = -problem.priced(multipliers, rows)
        if has_gain:
            value += problem.accuracy[rows]
        best = value.max(axis=1)
        loss[rows] = problem.weights[rows] * (best - np.take_along_axis(value, held[rows, None], axis=1)[:, 0])
        total += (problem.weights[rows] * best).sum(dtype=Total)
    return Priced(loss, total + Total(multipliers @ problem.allowed))


def undecided(problem: Constraints) -> tuple[IntArray, NDArray[np.bool_]]:
    """Each task's strategy at prices guessed from a sample, and those tasks that the least change of prices would change."""
    n_tasks = problem.n_tasks
    if n_tasks <= _SMALL:
        return np.zeros(n_tasks, np.intp), np.ones(n_tasks, np.bool_)
    # as for one budget: the sample's program is about as large as what it leaves undecided
    size = min(int(2 * n_tasks ** (2 / 3)), n_tasks)
    multipliers = _guess(problem, np.unique(np.random.default_rng(0).integers(n_tasks, size=size)))
    faint = np.divide(_FAINT * problem.weight, problem.allowed, out=np.zeros(len(problem.limits)), where=problem.allowed > 0)
    prices = problem.prices(np.maximum(multipliers, faint))
    held, change = np.empty(n_tasks, np.intp), np.empty(n_tasks)
    for rows in problem.rows():
        value = problem.accuracy[rows] - problem.priced(multipliers, rows)
        held[rows] = value.argmax(axis=1)
        best = held[rows, None]
        moved = np.zeros_like(value)
        for price, cost in zip(prices, problem.costs, strict=True):
            moved += price[problem.codes[rows], None] * np.abs(cost[rows] - np.take_along_axis(cost[rows], best, axis=1))
        relative = (np.take_along_axis(value, best, axis=1) - value) / np.maximum(moved, _TINY)
        np.put_along_axis(relative, best, np.inf, axis=1)
        change[rows] = relative.min(axis=1)
    return held, change <= np.partition(change, size - 1)[size - 1]


def _guess(problem: Constraints, rows: IntArray) -> FloatArray:
    """Multipliers of a sample."""
    seen = problem.covers @ np.bincount(problem.codes[rows], problem.weights[rows], problem.covers.shape[1])
    guessed = Core(problem, rows).mix(problem.allowed * seen / problem.weight, penalty=_GUESS_PENALTY)
    return np.zeros(len(problem.limits)) if guessed is None else guessed.multipliers
