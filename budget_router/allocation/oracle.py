"""The oracle action: what each task takes when the truth is known and compute has a price."""

import numpy as np
from numpy.typing import NDArray

from budget_router.allocation.table import FloatArray, IntArray


def cheapest_argmax(value: FloatArray, cost: FloatArray) -> IntArray:
    """Pick for each task the action of highest value; ties go to the lowest cost, then to the lowest column.

    Args:
        value: (n_tasks, n_strategies).
        cost: (n_tasks, n_strategies), same unit throughout.

    Returns:
        (n_tasks,) column index of the chosen action.
    """
    is_best: NDArray[np.bool_] = value == value.max(axis=1, keepdims=True)
    return np.asarray(np.where(is_best, cost, np.inf).argmin(axis=1))


def oracle_actions(accuracy: FloatArray, cost: FloatArray, lam: float) -> IntArray:
    """Pick for each task the action with the best Lagrangian value at shadow price `lam`.

    Ties go to the lowest cost, then to the lowest column.

    Args:
        accuracy: (n_tasks, n_strategies), expected score in [0, 1].
        cost: (n_tasks, n_strategies), expected cost in the budget's unit.
        lam: dual variable of the budget constraint, accuracy per unit of cost, ≥ 0.

    Returns:
        (n_tasks,) column index of the chosen action.

    Reference: Everett (1963), Generalized Lagrange Multiplier Method, Operations Research 11(3).
    """
    return cheapest_argmax(accuracy - lam * cost, cost)
