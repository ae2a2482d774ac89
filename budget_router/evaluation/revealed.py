"""What a log reveals: some cells of every decision's row, each with the probability of being seen."""

from dataclasses import dataclass, field
from functools import cached_property
from typing import Self

import numpy as np
from numpy.typing import NDArray

from budget_router.allocation import FloatArray, IntArray
from budget_router.errors import InvalidInput
from budget_router.outcomes import OutcomeTable
from budget_router.outcomes.rows import numbered


@dataclass(frozen=True)
class Cells:
    """Scores or spends of logged decisions, one row each, one column per strategy."""

    value: FloatArray
    """(n, n_strategies) observed score in [0, 1], or spend in the budget's unit; NaN where unobserved."""
    prob: FloatArray
    """(n, n_strategies) probability that the log revealed the cell: the propensity, summed over all strategies that reveal it."""

    @cached_property
    def is_observed(self) -> NDArray[np.bool_]:
        """(n, n_strategies) whether the cell is known."""
        return ~np.isnan(self.value)

    def importance_weights(self, target_prob: FloatArray) -> FloatArray:
        """(n, n_strategies) target_prob / prob where observed, 0 elsewhere; a row's sum has mean 1 where all was loggable."""
        return np.divide(target_prob, self.prob, out=np.zeros(self.value.shape), where=self.is_observed)


@dataclass(frozen=True)
class Revealed(Cells):
    """What a log reveals of its decisions; what off-policy estimates are made of.

    A decision reveals its strategy's cell, and where one graded bundle prices smaller votes, theirs too.
    """

    task_ids: tuple[str, ...]
    """(n,) rows of one id are about one task: they are one cluster, and one side of every split."""
    strategies: tuple[str, ...]
    """(n_strategies,) names, for messages."""
    n_settled: IntArray | None = None
    """(n_strategies,) decisions that could have been graded; `None` where whatever was settled is known, or the probability of
    being graded is part of `prob`."""
    rows: IntArray = field(default_factory=lambda: np.zeros(0, dtype=np.intp))
    """(n,) row of the table that each came from; empty where it came from none."""

    def __post_init__(self) -> None:
        shape = (len(self.task_ids), len(self.strategies))
        if self.value.shape != shape or self.prob.shape != shape:
            raise InvalidInput(f"value {self.value.shape} and prob {self.prob.shape} must both be (n, n_strategies) = {shape}")
        if not ((self.prob >= 0) & (self.prob <= 1)).all():
            raise InvalidInput("prob must lie in [0, 1]: log the probability of every strategy with each decision")
        if (self.is_observed & (self.prob == 0)).any():
            raise InvalidInput(
                "a cell was observed that has probability 0: leave forced decisions out, or log what was drawn from"
            )

    @classmethod
    def scores(cls, table: OutcomeTable) -> Self:
        """Scores of the graded decisions that a policy made; forced ones have no propensity to weigh by, weak labels no truth."""
        settled = ~np.isnan(table.cost) & ~table.is_forced[:, None]
        rows = np.flatnonzero(~np.isnan(table.graded).all(axis=1) & ~table.is_forced)
        return cls._of(table, table.graded, rows, settled.sum(axis=0))

    @classmethod
    def spends(cls, table: OutcomeTable) -> Self:
        """Spends of the settled decisions that a policy made, graded or not, in the table's unit."""
        rows = np.flatnonzero(~np.isnan(table.cost).all(axis=1) & ~table.is_forced)
        return cls._of(table, table.cost, rows)

    @classmethod
    def _of(cls, table: OutcomeTable, value: FloatArray, rows: IntArray, n_settled: IntArray | None = None) -> Self:
        ids = tuple(table.task_ids[row] for row in rows.tolist())
        found = cls(rows_of(value, rows), rows_of(table.observed_prob, rows), ids, tuple(table.menu.names), n_settled, rows)
        found._know(table.task[rows])
        return found

    def _know(self, task: IntArray) -> None:
        """Take over the numbers of tasks, which may have gaps: they sort ten times as fast as names."""
        vars(self)["task"] = np.unique(task, return_inverse=True)[1]

    @cached_property
    def task(self) -> IntArray:
        """(n,) number of each row's task, from 0."""
        return numbered(self.task_ids)

    @cached_property
    def n_tasks(self) -> int:
        """How many tasks the rows are about."""
        return int(self.task.max()) + 1 if len(self.task) else 0

    def part(self, which: IntArray) -> "Revealed":
        """Some of the rows, by their numbers; what was settled without a grade is not known of a part."""
        ids = tuple(self.task_ids[row] for row in which)
        rows = self.rows[which] if len(self.rows) else self.rows
        part = Revealed(self.value[which], self.prob[which], ids, self.strategies, rows=rows)
        part._know(self.task[which])
        return part


def rows_of(array: FloatArray, rows: IntArray) -> FloatArray:
    """Rows of a table, by rising numbers without a repeat: the array itself where they are all of them."""
    return array if len(rows) == len(array) else array[rows]
