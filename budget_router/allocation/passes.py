"""One pass over a table: what every task takes at a price, and the upgrades that a somewhat lower price would add."""

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Self

import numpy as np

from budget_router.allocation.table import AnyArray, Chunk, FloatArray, IntArray, check_chunk
from budget_router.allocation.upgrades import Columns, Steps, choose, climb, taken
from budget_router.errors import InvalidTable

Total = np.longdouble
"""The widest float at hand carries sums: however a table is cut into chunks, their rounding stays below float64's own."""

ROUNDING = 1 + 8 * float(np.finfo(np.float64).eps)
"""A budget computed as a mean and multiplied by n again may miss the sum by a few last bits."""


def unchecked(chunk: Chunk) -> None:
    """Take a chunk as it is: its values were checked already."""


@dataclass(frozen=True)
class Found:
    """Sums and pieces that a pass brings home; `+` joins those of two chunks."""

    n_tasks: int
    weight: Total
    """Sum of the tasks' weights."""
    cost: Total
    """Of the actions at the pass's price, summed over tasks by weight."""
    accuracy: Total
    """Of the actions at the pass's price, summed over tasks by weight."""
    actions: tuple[tuple[int, AnyArray], ...]
    """First row and actions of each piece, in as few bytes as they need."""
    steps: tuple[Steps, ...]
    """Upgrades from there that are steeper than the pass's floor."""

    def __add__(self, other: Self, /) -> Self:
        """Both."""
        return type(self)(*(getattr(self, field.name) + getattr(other, field.name) for field in fields(self)))

    def all_actions(self) -> IntArray:
        """(n_tasks,) the pieces in their places."""
        whole = np.empty(self.n_tasks, np.intp)
        for first_row, piece in self.actions:
            whole[first_row : first_row + len(piece)] = piece
        return whole


@dataclass(frozen=True)
class Pass:
    """The function that is mapped over a table's chunks."""

    lam: float
    """Price at which every task takes its oracle action; infinite: the cheapest."""
    floor: float
    """Upgrades from there are told while they are steeper than this."""
    check: Callable[[Chunk], None] = check_chunk

    def __call__(self, chunk: Chunk) -> Found:
        """Check the chunk, choose at the price, climb to the floor."""
        first, *others = (self._part(part) for part in chunk.parts())
        for other in others:
            first += other
        return first

    def _part(self, chunk: Chunk) -> Found:
        self.check(chunk)
        columns = Columns.of(chunk)
        actions = choose(columns, self.lam)
        steps = climb(columns, actions, self.floor)
        weight = Total(len(actions)) if columns.weights is None else columns.weights.sum(dtype=Total)
        kept = actions.astype(np.min_scalar_type(len(columns.cost) - 1))
        return Found(
            len(actions),
            weight,
            _sum(taken(columns.cost, actions), columns.weights),
            _sum(taken(columns.value, actions), columns.weights),
            ((chunk.first_row, kept),),
            (steps,) if len(steps.task) else (),
        )


@dataclass(frozen=True)
class Sampled:
    """Rows of a table, picked; `+` joins those of two chunks."""

    pieces: tuple[Columns, ...]

    def __add__(self, other: Self, /) -> Self:
        """Both."""
        return type(self)(self.pieces + other.pieces)

    def columns(self) -> Columns:
        """As one."""
        weights = [piece.weights for piece in self.pieces if piece.weights is not None]
        return Columns(
            0,
            np.concatenate([piece.value for piece in self.pieces], axis=1),
            np.concatenate([piece.cost for piece in self.pieces], axis=1),
            np.concatenate(weights) if weights else None,
        )


@dataclass(frozen=True)
class Sampling:
    """The function that picks rows out of chunks."""

    rows: IntArray
    """Of the whole table, rising."""
    check: Callable[[Chunk], None] = check_chunk

    def __call__(self, chunk: Chunk) -> Sampled:
        """Pick, and check what was picked."""
        low, high = np.searchsorted(self.rows, (chunk.first_row, chunk.first_row + len(chunk.accuracy)))
        if low == high:
            return Sampled(())
        rows = self.rows[low:high] - chunk.first_row
        weights = None if chunk.weights is None else chunk.weights[rows]
        picked = Chunk(chunk.first_row, chunk.accuracy[rows], chunk.cost[rows], weights)
        try:
            self.check(picked)
        except InvalidTable:
            self.check(chunk)  # names the fault by its row in the table
            raise
        return Sampled((Columns.of(picked),))


def _sum(values: FloatArray, weights: FloatArray | None) -> Total:
    return Total((values if weights is None else weights * values).sum(dtype=Total))
