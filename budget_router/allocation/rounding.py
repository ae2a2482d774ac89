"""From a mixture to one strategy per task: the few split tasks take a side, and what then passes a limit is mended.

Moves are judged by the Lagrangian value they lose at the optimal multipliers, which bounds what they add to the duality gap. To
find a whole assignment under several budgets at all is NP-hard, so none found does not say that there is none.
"""

import numpy as np
from numpy.typing import NDArray

from budget_router.allocation.constraints import Constraints
from budget_router.allocation.passes import ROUNDING
from budget_router.allocation.table import FloatArray, IntArray

_MOVES_PER_LIMIT = 16
"""Moves to mend, and as many to fill, for each limit: a mixture splits one task per limit."""


def rounded(problem: Constraints, actions: IntArray, multipliers: FloatArray, near: IntArray) -> IntArray | None:
    """Move tasks to other strategies until all limits are kept, then upgrade what still fits; None if no way was found.

    Args:
        problem: with its limits.
        actions: (n_tasks,) of the mixture, split tasks on their larger side.
        multipliers: (n_limits,) optimal ones.
        near: rows that are moved first, those that lose little.
    """
    actions = actions.copy()
    left = problem.allowed * ROUNDING - problem.used(actions)
    for rows in (near, np.arange(problem.n_tasks)):
        if (left >= 0).all():
            break
        _Moves(problem, multipliers, rows).mend(actions, left)
    if (left < 0).any():
        return None
    _Moves(problem, multipliers, near).fill(actions, left)
    return actions if (problem.used(actions) <= problem.allowed * ROUNDING).all() else None


class _Moves:
    """All moves of some tasks to another strategy."""

    def __init__(self, problem: Constraints, multipliers: FloatArray, rows: IntArray) -> None:
        self.rows, self.n_limits = rows, len(problem.limits)
        self.gain = problem.weights[rows, None] * problem.accuracy[rows].astype(np.float64)
        self.value = self.gain - problem.weights[rows, None] * problem.priced(multipliers, rows)
        self.costs = [problem.scoped(limit, rows) for limit in range(self.n_limits)]
        self.scale = [max(float(cost.max()), np.finfo(np.float64).tiny) for cost in self.costs]

    def mend(self, actions: IntArray, left: FloatArray) -> None:
        """Cut what passes the limits, the most for the value lost; of moves that finish, the one that loses the least."""
        for _ in range(_MOVES_PER_LIMIT * self.n_limits):
            if (left >= 0).all():
                return
            passed = np.zeros_like(self.gain)
            for limit, change in enumerate(self._changes(actions)):
                passed += np.maximum(change - left[limit], 0) / self.scale[limit]
            cut = float((np.maximum(-left, 0) / self.scale).sum()) - passed
            lost = np.maximum(self._held(self.value, actions) - self.value, 0)
            worth = np.where(passed == 0, np.inf, cut / (lost + 1e-12))
            ends = (passed == 0) & (cut > 0)
            place = np.where(ends, -lost, -np.inf) if ends.any() else np.where(cut > 1e-12, worth, -np.inf)
            if not self._move(place, actions, left):
                return

    def fill(self, actions: IntArray, left: FloatArray) -> None:
        """Take the upgrade of the largest gain that fits, again and again."""
        for _ in range(_MOVES_PER_LIMIT * self.n_limits):
            fits: NDArray[np.bool_] = np.ones(self.gain.shape, np.bool_)
            for limit, change in enumerate(self._changes(actions)):
                fits &= change <= left[limit]
            gained = self.gain - self._held(self.gain, actions)
            if not self._move(np.where(fits & (gained > 0), gained, -np.inf), actions, left):
                return

    def _held(self, matrix: FloatArray, actions: IntArray) -> FloatArray:
        return np.take_along_axis(matrix, actions[self.rows, None], axis=1)

    def _changes(self, actions: IntArray) -> list[FloatArray]:
        return [cost - self._held(cost, actions) for cost in self.costs]

    def _move(self, worth: FloatArray, actions: IntArray, left: FloatArray) -> bool:
        """Make the move of the most worth; False if none is worth it."""
        row, action = np.unravel_index(int(worth.argmax()), worth.shape)
        if worth[row, action] == -np.inf:
            return False
        for limit, cost in enumerate(self.costs):
            left[limit] -= cost[row, action] - cost[row, actions[self.rows[row]]]
        actions[self.rows[row]] = action
        return True
