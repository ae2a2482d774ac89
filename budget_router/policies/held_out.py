"""Predictions of tasks by twins of a policy, each fitted on the other tasks."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from budget_router.allocation import FloatArray, IntArray
from budget_router.features.tasks import Tasks
from budget_router.policies.contract import Prediction

if TYPE_CHECKING:
    from budget_router.policies.learned import LearnedPolicy


class Predictions(NamedTuple):
    """Room for predictions of many tasks, that are made some at a time; (n_tasks, n_strategies) each."""

    cost: FloatArray
    score: FloatArray
    accuracy: FloatArray

    @classmethod
    def empty(cls, n_tasks: int, n_strategies: int) -> Self:
        """Nothing is known yet."""
        return cls(*(np.empty((n_tasks, n_strategies)) for _ in cls._fields))

    def put(self, rows: IntArray, prediction: Prediction) -> None:
        """Note what was predicted of some rows."""
        accuracy = prediction.score if prediction.accuracy is None else prediction.accuracy
        self.cost[rows], self.score[rows], self.accuracy[rows] = prediction.cost, prediction.score, accuracy

    @property
    def all(self) -> Prediction:
        """Of all rows."""
        return Prediction(*self)


class Level(NamedTuple):
    """How a twin's means over all tasks lie to those of the policy that serves; (n_strategies,) each."""

    cost: FloatArray
    """Ratio."""
    score: FloatArray
    """Difference."""

    @classmethod
    def between(cls, twin: Prediction, served: Prediction) -> Self:
        """Compare predictions of the same tasks."""
        cost = served.cost.mean(axis=0) / np.maximum(twin.cost.mean(axis=0), 1e-300)
        return cls(cost, (served.score - twin.score).mean(axis=0))

    def shifted(self, twin: Prediction) -> Prediction:
        """Predictions of the twin at the level of the policy that serves."""
        return Prediction(twin.cost * self.cost, twin.score + self.score, twin.accuracy)


@dataclass(frozen=True)
class Forecast:
    """Predicts tasks that nothing was learned from: as their fold's twin does, and as the policy itself if it is priced so."""

    policy: "LearnedPolicy"
    twins: "tuple[tuple[LearnedPolicy, Level], ...]"
    fold: NDArray[np.int8]
    """(n,) of each row of the log."""

    def __call__(self, tasks: Tasks, rows: IntArray) -> tuple[Prediction, Prediction]:
        """Predict tasks that stand in some rows of the log."""
        features, fold = self.policy.features_of(tasks), self.fold[rows]
        held_out = Predictions.empty(len(rows), len(self.policy.menu))
        for one, (twin, level) in enumerate(self.twins):
            inside = np.flatnonzero(fold == one)
            held_out.put(inside, level.shifted(twin.predict_features(features[inside])))
        return held_out.all, self.policy.predict_features(features) if self.policy.is_priced_on_its_own else held_out.all
