"""Predictions of tasks by twins of a policy, each fitted on the other tasks."""

from dataclasses import dataclass
from typing import ClassVar, NamedTuple, Protocol, Self

import numpy as np

from budget_router.allocation import FloatArray, IntArray
from budget_router.features.tasks import Tasks
from budget_router.menu import Menu
from budget_router.outcomes import OutcomeTable
from budget_router.policies.contract import Prediction
from budget_router.policies.pricing import Folds


class Predictor(Protocol):
    """What a learned policy has that predicts many tasks."""

    menu: Menu
    is_priced_on_its_own: ClassVar[bool]

    def features_of(self, tasks: Tasks) -> FloatArray:
        """(n_tasks, n_features)."""
        ...

    def predict_features(self, features: FloatArray) -> Prediction:
        """Predict tasks of (n_tasks, n_features)."""
        ...


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
        self.cost[rows], self.score[rows], self.accuracy[rows] = prediction.cost, prediction.score, prediction.expected

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

    policy: Predictor
    twins: tuple[tuple[Predictor, Level], ...]

    def __call__(self, tasks: Tasks, fold: Folds) -> tuple[Prediction, Prediction]:
        """Predict tasks of some folds."""
        features = self.policy.features_of(tasks)
        held_out = Predictions.empty(len(fold), len(self.policy.menu))
        for one, (twin, level) in enumerate(self.twins):
            inside = np.flatnonzero(fold == one)
            held_out.put(inside, level.shifted(twin.predict_features(features[inside])))
        return held_out.all, self.policy.predict_features(features) if self.policy.is_priced_on_its_own else held_out.all


class Lesson(NamedTuple):
    """What was learned from some tasks of a log, for all of them."""

    forecast: Forecast
    held_out: Prediction
    """Of the tasks that were learned from, each by a twin that did not see it."""
    served: Prediction
    """Of the same, by the policy itself."""

    def told(self, table: OutcomeTable, trained: IntArray, fold: Folds) -> tuple[Prediction, Prediction | None]:
        """Held-out predictions of all tasks, and those of the policy itself where it is priced on its own.

        Args:
            table: one row per task.
            trained: rows of those that were learned from.
            fold: (n_tasks,) of each.
        """
        held_out = Predictions.empty(len(fold), len(table.menu))
        held_out.put(trained, self.held_out)
        own = Predictions.empty(len(fold), len(table.menu)) if self.forecast.policy.is_priced_on_its_own else None
        if own is not None:
            own.put(trained, self.served)
        rest = np.setdiff1d(np.arange(len(fold)), trained, assume_unique=True)
        for rows, (by_twins, by_own) in table.tasks.map(lambda tasks, rows: self.forecast(tasks, fold[rows]), rest):
            held_out.put(rows, by_twins)
            if own is not None:
                own.put(rows, by_own)
        return held_out.all, None if own is None else own.all
