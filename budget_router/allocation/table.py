"""The table that is solved: accuracies and costs of strategies on tasks, checked once at the border."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from budget_router.errors import InvalidTable

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.intp]


def check_table(accuracy: ArrayLike, cost: ArrayLike) -> tuple[FloatArray, FloatArray]:
    """Return both as (n_tasks, n_strategies) arrays of float64.

    A `cost` of shape (n_strategies,) is the same for every task. Raises InvalidTable for shapes that do not match, an empty
    table, NaN or infinite values, accuracies outside [0, 1] and negative costs; the fault is named by row and column.
    """
    checked_accuracy = _matrix(accuracy, "accuracy")
    if checked_accuracy.ndim != 2 or 0 in checked_accuracy.shape:
        raise InvalidTable(f"accuracy has shape {checked_accuracy.shape}: it must be (n_tasks, n_strategies), both at least 1")
    checked_cost = _matrix(cost, "cost")
    if checked_cost.shape == checked_accuracy.shape[1:]:
        checked_cost = np.broadcast_to(checked_cost, checked_accuracy.shape)
    if checked_cost.shape != checked_accuracy.shape:
        raise InvalidTable(f"cost has shape {checked_cost.shape}, accuracy {checked_accuracy.shape}: they must be equal")
    _refuse(checked_accuracy, (checked_accuracy < 0) | (checked_accuracy > 1), "accuracy", "must lie in [0, 1]")
    _refuse(checked_cost, checked_cost < 0, "cost", "must not be negative")
    return checked_accuracy, checked_cost


def _matrix(values: ArrayLike, name: str) -> FloatArray:
    try:
        matrix = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise InvalidTable(f"{name} is not a table of numbers: {error}") from error
    _refuse(matrix, ~np.isfinite(matrix), name, "must be finite: fill or drop the cell first")
    return matrix


def _refuse(matrix: FloatArray, is_fault: NDArray[np.bool_], name: str, limit: str) -> None:
    if is_fault.any():
        place = tuple(int(index) for index in np.argwhere(is_fault)[0])
        where = f"[{', '.join(map(str, place))}]"
        raise InvalidTable(f"{name}{where} is {matrix[place]:g} ({int(is_fault.sum())} such cells): it {limit}")
