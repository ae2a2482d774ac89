"""Tables held by many workers: the map and the sum are Dask's, the solve is the one of every other table.

    with Client(scheduler):
        table = DaskTable(accuracy.persist(), cost.persist())
        allocation = solve_table(table, budget)

Each pass sends a price to the workers and brings home sums, one byte per task for its action, and the tasks that are undecided.
A table that is not persisted is computed anew by each pass: two for most, the first of which reads a sample.
"""

from collections.abc import Callable
from functools import reduce
from operator import add
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from budget_router.allocation.table import AnyArray, Chunk, T
from budget_router.errors import InvalidTable

_SUMMED_AT_ONCE = 16
"""Results that one worker adds up: a tree of sums instead of one long one."""


class DaskTable:
    """A table of Dask arrays, cut into chunks of rows; it works on whatever scheduler Dask is told to use."""

    def __init__(self, accuracy: Any, cost: Any, weights: Any = None) -> None:  # Any: Dask ships no types
        """Line up the chunks of what is given; NumPy arrays beside Dask's are cut like them.

        Args:
            accuracy: (n_tasks, n_strategies) Dask array, of known shape.
            cost: (n_tasks, n_strategies) Dask array, or (n_strategies,) if it is the same for every task.
            weights: (n_tasks,) tasks that each row stands for; None: one each.

        Raises:
            ImportError: Dask is not installed.
            InvalidTable: shapes do not match, or are not known.
        """
        try:
            import dask.array as da
        except ImportError as error:
            raise ImportError("tables on many workers need Dask: pip install 'budget-router[dask]'") from error
        accuracy = da.asarray(accuracy)
        if accuracy.ndim != 2 or 0 in accuracy.shape or any(np.isnan(accuracy.shape)):
            raise InvalidTable(
                f"accuracy has shape {accuracy.shape}: it must be (n_tasks, n_strategies), both at least 1 and known"
            )
        if np.shape(cost) not in {accuracy.shape, accuracy.shape[1:]}:
            raise InvalidTable(f"cost has shape {np.shape(cost)}, accuracy {accuracy.shape}: they must be equal")
        if weights is not None and np.shape(weights) != accuracy.shape[:1]:
            raise InvalidTable(f"weights has shape {np.shape(weights)}: it must be ({accuracy.shape[0]},), one per task")
        self.accuracy = accuracy.rechunk({1: -1})
        rows = self.accuracy.chunks[0]
        self.cost = da.broadcast_to(da.asarray(cost), accuracy.shape).rechunk((rows, -1))
        self.weights = None if weights is None else da.asarray(weights).rechunk((rows,))

    @property
    def n_tasks(self) -> int:
        """Rows."""
        return int(self.accuracy.shape[0])

    @property
    def n_strategies(self) -> int:
        """Columns."""
        return int(self.accuracy.shape[1])

    def map_sum(self, function: Callable[[Chunk], T], /) -> T:
        """Apply `function` where the rows are, and add up in a tree."""
        import dask

        rows = self.accuracy.chunks[0]
        first_rows = np.cumsum([0, *rows[:-1]]).tolist()
        accuracy, cost = self.accuracy.to_delayed().ravel(), self.cost.to_delayed().ravel()
        weights = [None] * len(rows) if self.weights is None else self.weights.to_delayed().ravel()
        apply, total = dask.delayed(_applied, pure=False), dask.delayed(_total, pure=False)
        parts = [
            apply(function, *block)
            for n_rows, block in zip(rows, zip(first_rows, accuracy, cost, weights, strict=True), strict=True)
            if n_rows
        ]
        while len(parts) > 1:
            parts = [total(parts[start : start + _SUMMED_AT_ONCE]) for start in range(0, len(parts), _SUMMED_AT_ONCE)]
        (result,) = dask.compute(parts[0])
        found: T = result
        return found


def _applied(function: Callable[[Chunk], T], first_row: int, accuracy: ArrayLike, cost: ArrayLike, weights: AnyArray | None) -> T:
    return function(Chunk(first_row, np.asarray(accuracy), np.asarray(cost), weights))


def _total(parts: list[T]) -> T:
    return reduce(add, parts)
