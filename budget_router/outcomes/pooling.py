"""What several decisions on one task tell together, some thousands of tasks at a time."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from budget_router.allocation import FloatArray, IntArray
from budget_router.menu import Menu
from budget_router.outcomes.rows import summed
from budget_router.outcomes.stages import Composed, Stages, composed

_AT_ONCE = 2**14
"""Tasks that are pooled at once: what is worked out on the way takes several times the room of what comes of it."""


class Unpooled(NamedTuple):
    """One row per decision, as an `OutcomeTable` has them."""

    menu: Menu
    accuracy: FloatArray
    standard_error: FloatArray
    observed_prob: FloatArray
    cost: FloatArray
    doubt: FloatArray | None
    is_weak: NDArray[np.bool_] | None
    stages: Stages | None


class Pooled(NamedTuple):
    """One row per task, (n_tasks, n_strategies) each; NaN where nothing is told."""

    accuracy: FloatArray
    standard_error: FloatArray
    observed_prob: FloatArray
    """Of seeing the cell at least once."""
    cost: FloatArray
    doubt: FloatArray
    is_weak: NDArray[np.bool_]
    """Whether weak labels alone speak for the accuracy."""


def pooled(table: Unpooled, task: IntArray) -> Pooled:
    """Average cells by their precision, costs plainly; price escalations that were not tried from their two stages.

    Args:
        table: one row per decision.
        task: (n,) number of each row's task, from 0 without a gap.
    """
    order = np.argsort(task, kind="stable")
    n_tasks = int(task[order[-1]]) + 1
    shape = n_tasks, len(table.menu)
    accuracy, error, prob, cost, doubt = (np.empty(shape) for _ in range(5))
    whole = Pooled(accuracy, error, prob, cost, doubt, np.empty(shape, dtype=np.bool_))
    for begin in range(0, n_tasks, _AT_ONCE):
        end = min(begin + _AT_ONCE, n_tasks)
        low, high = np.searchsorted(task, (begin, end), sorter=order)
        rows = order[low:high]
        for all_tasks, part in zip(whole, _pooled(table, rows, task[rows] - begin, end - begin), strict=True):
            all_tasks[begin:end] = part
    return whole


def _pooled(table: Unpooled, rows: IntArray, task: IntArray, n_tasks: int) -> Pooled:
    def total(cells: NDArray[np.generic]) -> FloatArray:
        return summed(np.nan_to_num(cells), task, n_tasks)

    def mean(cells: FloatArray) -> FloatArray:
        return np.asarray(total(cells) / total(~np.isnan(cells)))

    known, error, prob = table.accuracy[rows], table.standard_error[rows], table.observed_prob[rows]
    is_observed = ~np.isnan(known)
    is_graded = is_observed if table.is_weak is None else is_observed & ~table.is_weak[rows]
    n_graded = total(is_graded)
    is_weak = (n_graded == 0) & (total(is_observed) > 0)
    is_counted = np.where(n_graded[task] > 0, is_graded, is_observed)
    precision = np.where(is_counted, 1 / np.square(error), 0.0)
    with np.errstate(invalid="ignore", divide="ignore"):  # 0 / 0 is an unobserved cell: NaN, as it should be
        accuracy = total(precision * np.nan_to_num(known)) / total(precision)
        n_alike = np.where(is_weak, total(is_counted), 1.0)
        error = np.where(np.isnan(accuracy), np.nan, np.sqrt(n_alike / total(precision)))
        cost = mean(table.cost[rows])
        doubt = np.full(cost.shape, np.nan) if table.doubt is None else mean(table.doubt[rows])
    unseen = np.exp(total(np.log1p(-np.minimum(prob, 1 - 1e-12))))
    if table.stages is not None:
        actions = table.stages.actions
        told = composed(table.stages.rows(rows), prob[:, actions], task, n_tasks)
        other = Composed(*(spread(part, actions, len(table.menu)) for part in told))
        is_open = (np.isnan(accuracy) | is_weak) & ~np.isnan(other.accuracy)
        accuracy, error = np.where(is_open, other.accuracy, accuracy), np.where(is_open, other.standard_error, error)
        cost = np.where(np.isnan(cost), other.cost, cost)
        unseen = np.fmin(unseen, other.unseen_prob)
        is_weak &= ~is_open
    return Pooled(accuracy, error, 1 - unseen, cost, doubt, is_weak)


def spread(cells: FloatArray, actions: IntArray, n_strategies: int) -> FloatArray:
    """Cells of some columns in their places, NaN in all others."""
    placed = np.full((len(cells), n_strategies), np.nan)
    placed[:, actions] = cells
    return placed
