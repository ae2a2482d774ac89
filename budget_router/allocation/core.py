"""The core: the tasks whose strategy a small change of prices would change. All others keep the one they have.

Tasks that are alike in all stand as one row of it, so that a table of few kinds is a small program however many tasks it has.
"""

from functools import cached_property
from typing import NamedTuple

import numpy as np

from budget_router.allocation.constraints import Constraints
from budget_router.allocation.restricted import Restricted, mix
from budget_router.allocation.table import FloatArray, IntArray


class Mix(NamedTuple):
    """One task of a mixed allocation."""

    task: int
    actions: tuple[int, ...]
    shares: tuple[float, ...]
    """Probability of each action; they sum to 1."""


class Core:
    """Some rows of a problem, those that are alike merged."""

    def __init__(self, problem: Constraints, rows: IntArray) -> None:
        self.problem, self.rows = problem, rows
        columns = [problem.accuracy[rows], *(cost[rows] for cost in problem.costs), problem.codes[rows, None]]
        kinds = np.ascontiguousarray(np.concatenate([np.asarray(column, np.float64) for column in columns], axis=1)) + 0.0
        whole_rows = kinds.view(np.dtype((np.void, kinds.strides[0]))).ravel()
        _, self.first, self.kind = np.unique(whole_rows, return_index=True, return_inverse=True)
        self.weight = np.bincount(self.kind, problem.weights[rows])

    @cached_property
    def gain(self) -> FloatArray:
        """(n_kinds, n_strategies) sum of accuracies."""
        return np.asarray(self.weight[:, None] * self.problem.accuracy[self.rows[self.first]])

    @cached_property
    def costs(self) -> FloatArray:
        """(n_limits, n_kinds, n_strategies) sum of costs."""
        rows = self.rows[self.first]
        scoped = self.problem.covers[:, self.problem.codes[rows]] * self.weight
        tables = np.stack([cost[rows] for cost in self.problem.costs])
        return np.asarray(scoped[:, :, None] * tables[self.problem.table_of])

    def mix(self, room: FloatArray, *, penalty: float | None = None) -> Restricted | None:
        """The best mixture in what the other tasks leave; None if there is none."""
        return mix(self.gain, self.costs, room, penalty=penalty)

    @cached_property
    def largest(self) -> FloatArray:
        """(n_limits,) the largest cost under each limit."""
        return np.asarray(self.costs.max(axis=(1, 2)))

    def least_excess(self, room: FloatArray) -> Restricted:
        """The mixture that passes the limits by the least, each counted in its largest cost."""
        least = mix(np.zeros_like(self.gain), self.costs, room, penalty=1.0)
        assert least is not None, "passing the limits is allowed, so there is a mixture"  # noqa: S101  ours
        return least

    def dealt(self, mixture: Restricted, actions: IntArray) -> tuple[IntArray, tuple[Mix, ...]]:
        """Deal a mixture of kinds to tasks: whole strategies in order, and a split where a share ends within a task.

        Returns:
            (n_tasks,) actions, those of split tasks on their larger side; and the split tasks.
        """
        actions = actions.copy()
        actions[self.rows] = mixture.shares.argmax(axis=1)[self.kind]
        splits: list[Mix] = []
        for kind in np.flatnonzero((mixture.shares > 0).sum(axis=1) > 1):
            tasks = self.rows[self.kind == kind]
            weight = self.problem.weights[tasks]
            ends = np.cumsum(weight) / weight.sum()
            edges = np.append(0, np.cumsum(mixture.shares[kind]))
            edges[-1] = ends[-1]
            starts = np.append(0, ends[:-1])
            held = np.minimum(ends[:, None], edges[None, 1:]) - np.maximum(starts[:, None], edges[None, :-1])
            held = np.where(held > 1e-12, held, 0)
            actions[tasks] = held.argmax(axis=1)
            for place in np.flatnonzero((held > 0).sum(axis=1) > 1):
                taken = np.flatnonzero(held[place])
                shares = held[place, taken] / held[place].sum()
                splits.append(Mix(int(tasks[place]), tuple(taken.tolist()), tuple(shares.tolist())))
        return actions, tuple(splits)
