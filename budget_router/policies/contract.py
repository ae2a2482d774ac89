"""What a router asks of a policy: predictions for every strategy, and probabilities once the price is known.

The price is applied last, `score_k(x) - λ cost_k(x)`: so one learned policy serves every budget and every group.
"""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from budget_router.allocation import FloatArray, IntArray
from budget_router.task import Task


class Prediction(NamedTuple):
    """What a policy expects of every strategy on each task."""

    cost: FloatArray
    """(n_tasks, n_strategies), in the budget's unit, ≥ 0."""
    score: FloatArray
    """(n_tasks, n_strategies), what the price is weighed against; higher is better."""
    accuracy: FloatArray | None = None
    """(n_tasks, n_strategies) in [0, 1]; `None` when the policy does not claim to know."""

    @property
    def expected(self) -> FloatArray:
        """(n_tasks, n_strategies) the accuracy, or the score where no accuracy is claimed."""
        return self.score if self.accuracy is None else self.accuracy


def part_of(prediction: Prediction, rows: NDArray[np.bool_] | IntArray) -> Prediction:
    """Predictions of some of the tasks."""
    accuracy = None if prediction.accuracy is None else prediction.accuracy[rows]
    return Prediction(prediction.cost[rows], prediction.score[rows], accuracy)


class Choice(NamedTuple):
    """How likely each strategy is to be executed, and the price that made it so."""

    probabilities: FloatArray
    """(n_tasks, n_strategies), rows add up to one."""
    lam: float
    """Shadow price, accuracy per unit of cost; 0 when the policy weighs no accuracy."""
    spend: float
    """Mean cost per task that the policy promises at this price, the floor's included: the budget, where it can be met."""


class Policy(Protocol):
    """Decides from what is known before the answer, and reports probabilities, never a bare pick."""

    @property
    def version(self) -> str:
        """Name under which decisions log it."""
        ...

    def predict(self, tasks: Sequence[Task]) -> Prediction:
        """Expectations for every strategy of the menu, in the menu's order."""
        ...

    def choose(self, prediction: Prediction, budget: float, *, floor: float = 0.0) -> Choice:
        """Probabilities that spend `budget` on average, none of them below `floor`.

        Args:
            prediction: of this policy.
            budget: mean cost per task to be met, in the budget's unit.
            floor: least probability of every strategy; what it costs is part of the budget.
        """
        ...
