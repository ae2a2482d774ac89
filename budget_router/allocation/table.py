"""The table that is solved: accuracies and costs of strategies on tasks, read in chunks and checked once at the border."""

from collections.abc import Callable
from functools import reduce
from operator import add
from typing import Any, NamedTuple, Protocol, Self, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from budget_router.errors import InvalidTable

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.intp]
AnyArray = NDArray[Any]
"""Of whatever numeric type the caller's table has: a float32 table is never copied to float64 as a whole."""

CHUNK_CELLS = 2**15
"""Cells that are worked on at once: half a dozen arrays of them in float64 stay within a processor's own cache."""


class Chunk(NamedTuple):
    """Neighbouring rows of a table."""

    first_row: int
    """Row of the whole table that the chunk starts at."""
    accuracy: AnyArray
    """(n_rows, n_strategies)."""
    cost: AnyArray
    """(n_rows, n_strategies)."""
    weights: AnyArray | None
    """(n_rows,) tasks that each row stands for; None: one each."""

    def parts(self, cells: int = CHUNK_CELLS) -> "list[Chunk]":
        """The same rows in pieces of at most `cells` cells, one row at least."""
        n_rows, n_strategies = self.accuracy.shape
        step = max(cells // n_strategies, 1)
        return [self.rows(slice(start, min(start + step, n_rows))) for start in range(0, n_rows, step)]

    def rows(self, kept: slice) -> "Chunk":
        """Some of the rows, not copied."""
        weights = None if self.weights is None else self.weights[kept]
        return Chunk(self.first_row + kept.start, self.accuracy[kept], self.cost[kept], weights)


class Addable(Protocol):
    """What a pass brings home from each chunk. Sums may come in any order and be grouped in any way."""

    def __add__(self, other: Self, /) -> Self:
        """The sum of two chunks' results."""
        ...


T = TypeVar("T", bound=Addable)


class Table(Protocol):
    """A table of accuracies and costs, wherever its rows are kept: all that a solve asks of it is a map and a sum."""

    @property
    def n_tasks(self) -> int:
        """Rows."""
        ...

    @property
    def n_strategies(self) -> int:
        """Columns."""
        ...

    def map_sum(self, function: Callable[[Chunk], T], /) -> T:
        """Apply a pure function to chunks that together are the table, and add up what it returns."""
        ...


class ArrayTable:
    """A table in memory, or mapped from a file (`numpy.memmap`): chunks are views, and nothing is copied as a whole."""

    def __init__(self, accuracy: ArrayLike, cost: ArrayLike, weights: ArrayLike | None = None) -> None:
        """Check shapes; values are checked as they are read.

        Args:
            accuracy: (n_tasks, n_strategies).
            cost: (n_tasks, n_strategies), or (n_strategies,) if it is the same for every task.
            weights: (n_tasks,) tasks that each row stands for; None: one each.

        Raises:
            InvalidTable: no numbers, or shapes that do not match.
        """
        self.accuracy, self.cost = _matched(_numbers(accuracy, "accuracy"), _numbers(cost, "cost"))
        self.weights = None if weights is None else _numbers(weights, "weights")
        if self.weights is not None and self.weights.shape != (self.n_tasks,):
            raise InvalidTable(f"weights has shape {self.weights.shape}: it must be ({self.n_tasks},), one per task")

    @property
    def n_tasks(self) -> int:
        """Rows."""
        return int(self.accuracy.shape[0])

    @property
    def n_strategies(self) -> int:
        """Columns."""
        return int(self.accuracy.shape[1])

    def map_sum(self, function: Callable[[Chunk], T], /) -> T:
        """Apply `function` to one chunk after another."""
        return reduce(add, map(function, Chunk(0, self.accuracy, self.cost, self.weights).parts()))


def check_table(accuracy: ArrayLike, cost: ArrayLike) -> tuple[FloatArray, FloatArray]:
    """Return both as (n_tasks, n_strategies) arrays of float64.

    A `cost` of shape (n_strategies,) is the same for every task. Raises InvalidTable for shapes that do not match, an empty
    table, NaN or infinite values, accuracies outside [0, 1] and negative costs; the fault is named by row and column.
    """
    table = ArrayTable(accuracy, cost)
    check_chunk(Chunk(0, table.accuracy, table.cost, None))
    return np.asarray(table.accuracy, np.float64), np.asarray(table.cost, np.float64)


def check_chunk(chunk: Chunk, *, highest_accuracy: float = 1.0) -> None:
    """Refuse NaN, infinite and negative values, and accuracies above the highest.

    Raises:
        InvalidTable: with the first fault's row and column.
    """
    _refuse(chunk, "accuracy", 0.0, highest_accuracy, "must lie in [0, 1]")
    _refuse(chunk, "cost", 0.0, np.inf, "must not be negative")
    if chunk.weights is not None:
        _refuse(chunk, "weights", 0.0, np.inf, "must not be negative")


def _matched(accuracy: AnyArray, cost: AnyArray) -> tuple[AnyArray, AnyArray]:
    if accuracy.ndim != 2 or 0 in accuracy.shape:
        raise InvalidTable(f"accuracy has shape {accuracy.shape}: it must be (n_tasks, n_strategies), both at least 1")
    if cost.shape == accuracy.shape[1:]:
        _refuse(Chunk(0, accuracy, cost, None), "cost", 0.0, np.inf, "must not be negative")  # names a column, not a row
        cost = np.broadcast_to(cost, accuracy.shape)
    if cost.shape != accuracy.shape:
        raise InvalidTable(f"cost has shape {cost.shape}, accuracy {accuracy.shape}: they must be equal")
    return accuracy, cost


def _numbers(values: ArrayLike, name: str) -> AnyArray:
    try:
        matrix = np.asanyarray(values)
        if matrix.dtype.kind not in "fiub" or matrix.dtype.itemsize > 8:
            matrix = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise InvalidTable(f"{name} is not a table of numbers: {error}") from error
    return matrix


def _refuse(chunk: Chunk, name: str, low: float, high: float, limit: str) -> None:
    values: AnyArray = getattr(chunk, name)
    least, most = float(values.min()), float(values.max())
    if least >= low and most <= high and np.isfinite(most):
        return  # NaN fails both comparisons
    is_fault = ~np.isfinite(values)
    limit = "must be finite: fill or drop the cell first" if is_fault.any() else limit
    is_fault = is_fault if is_fault.any() else (values < low) | (values > high)
    place = [int(index) for index in np.argwhere(is_fault)[0]]
    found = float(values[tuple(place)])
    if values.ndim == 2 or name == "weights":
        place[0] += chunk.first_row
    where = ", ".join(map(str, place))
    raise InvalidTable(f"{name}[{where}] is {found:g} ({int(is_fault.sum())} such cells): it {limit}")
