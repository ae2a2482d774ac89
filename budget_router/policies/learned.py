"""Learned policies: the price is applied last, so that one of them serves every budget."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar, Self

import numpy as np

from budget_router.allocation import FloatArray
from budget_router.budget import Unit
from budget_router.errors import NotEnoughEvidence
from budget_router.features import Featuriser
from budget_router.menu import Menu
from budget_router.outcomes import OutcomeTable
from budget_router.policies.accuracy_model import MIN_TASKS, AccuracyModel
from budget_router.policies.contract import Choice, Prediction
from budget_router.policies.cost_model import CostModel
from budget_router.policies.knobs import Between, interpolated, untried
from budget_router.policies.pricing import PriceCurve
from budget_router.task import Task

N_FOLDS = 5


class LearnedPolicy(ABC):
    """What both learners share: features, costs, pricing; a child says how strategies are scored.

    Args:
        n_components: width of the text projection.
    """

    kind: ClassVar[str]

    def __init__(self, *, n_components: int = 24) -> None:
        self.n_components = n_components
        self.version = "unsaved"

    menu: Menu
    unit: Unit
    accuracy_: AccuracyModel
    cost_: CostModel
    between_: list[Between]

    @abstractmethod
    def _fit_score(self, features: FloatArray, table: OutcomeTable) -> None:
        """Learn the scores from a table with one row per task; costs are learned already."""

    @abstractmethod
    def _score(self, features: FloatArray, cost: FloatArray, accuracy: FloatArray) -> FloatArray:
        """(n_tasks, n_strategies), what the price is weighed against."""

    def fit(self, table: OutcomeTable, *, rng: np.random.Generator) -> Self:
        """Learn from an outcome table, then price on predictions of tasks not seen, and keep held-out ones to judge it by.

        The price curve tells what is billed at a price: what would be chosen on those predictions, and what it billed.

        A strategy that was graded on fewer than `MIN_TASKS` tasks is told by its neighbours where it is a setting between tried
        ones of the same knob; else it is predicted to be worth nothing, and not chosen until exploration has tried it more often.
        Raises NotEnoughEvidence when no strategy was graded that often.
        """
        table = table.by_task()
        check_evidence(table)
        self.menu, self.unit = table.menu, table.unit
        self.featuriser_ = Featuriser(self.n_components).fit(table.structure, table.texts, table.metadata)
        features = self.featuriser_.transform_known(table.structure, table.texts, table.metadata)
        self._fit_models(features, table)
        self.held_out_ = self._held_out(features, table, rng)
        self.curve_ = PriceCurve.of(self._unseen(features), billed=table.cost)
        self.table_ = table
        return self

    def _unseen(self, features: FloatArray) -> Prediction:  # noqa: ARG002  # a child may predict afresh
        """Predictions of the log's tasks that scatter as those of fresh tasks will."""
        return self.held_out_

    def predict(self, tasks: Sequence[Task]) -> Prediction:
        """Score, cost and accuracy of every strategy on each task."""
        return self._predict(self.featuriser_.transform([task.text for task in tasks], [task.metadata for task in tasks]))

    def predict_table(self, table: OutcomeTable) -> Prediction:
        """The same of the task of each row of a table; a text that the ledger did not keep says nothing."""
        texts = [{}] * len(table.structure) if table.texts is None else table.texts
        return self._predict(self.featuriser_.transform_known(table.structure, texts, table.metadata))

    def choose(self, prediction: Prediction, budget: float, *, floor: float = 0.0) -> Choice:
        """Price the strategies so that the mean spend meets `budget`, none below `floor`."""
        return self.curve_.choose(prediction, budget, floor=floor)

    def _fit_models(self, features: FloatArray, table: OutcomeTable, *, like: Self | None = None) -> Self:
        """Fit the models; a served policy's `like` shares its hyperparameters, so that both bend equally."""
        self.accuracy_ = AccuracyModel().fit(features, table, like=like.accuracy_.hyperparameters_ if like else None)
        self.cost_ = CostModel().fit(features, table, penalties=like.cost_.penalties_ if like else None)
        self.between_ = untried(table.menu, self.accuracy_.is_known)
        self._fit_score(features, table)
        return self

    def expected(self, features: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Accuracy, which a line may lead out of [0, 1], and cost of every strategy; (n_tasks, n_strategies) each."""
        return interpolated(self.accuracy_.predict(features), self.cost_.predict(features), self.between_)

    def _predict(self, features: FloatArray) -> Prediction:
        accuracy, cost = self.expected(features)
        return Prediction(cost, self._score(features, cost, accuracy), np.clip(accuracy, 0.0, 1.0))

    def _held_out(self, features: FloatArray, table: OutcomeTable, rng: np.random.Generator) -> Prediction:
        """Predict each task by a policy that did not see it, and shift each fold's means to those of the policy that serves.

        What sets a fold's policy apart is mostly one shift per strategy, and a shift moves a whole fold across the price at once:
        unshifted, the twins would not choose as the policy does that they stand for.
        """
        cluster = table.cluster
        fold = rng.permutation(np.arange(cluster.max() + 1) % N_FOLDS)[cluster]
        served = self._predict(features)
        cost, score, accuracy = np.empty((3, *served.cost.shape))
        for one in range(N_FOLDS):
            outside, inside = np.flatnonzero(fold != one), np.flatnonzero(fold == one)
            twin = type(self)(n_components=self.n_components)
            apart = _level(twin._fit_models(features[outside], table.rows(outside), like=self)._predict(features), served)
            for cells, predicted in ((cost, apart.cost), (score, apart.score), (accuracy, np.asarray(apart.accuracy))):
                cells[inside] = predicted[inside]
        return Prediction(cost, score, accuracy)


def _level(prediction: Prediction, served: Prediction) -> Prediction:
    """Bring a twin's means over all tasks to those of the policy that serves."""
    cost = prediction.cost * (served.cost.mean(axis=0) / np.maximum(prediction.cost.mean(axis=0), 1e-300))
    score = prediction.score + (served.score - prediction.score).mean(axis=0)
    return Prediction(cost, score, prediction.accuracy)


def check_evidence(table: OutcomeTable) -> None:
    """Raise NotEnoughEvidence if no strategy was graded on `MIN_TASKS` tasks, or no cost is known; one row per task."""
    graded = table.is_observed.sum(axis=0)
    if graded.max() < MIN_TASKS:
        raise NotEnoughEvidence(
            f"no strategy was graded on more than {graded.max()} tasks, {MIN_TASKS} are needed: call router.grade more often, "
            "or widen the window"
        )
    if np.isnan(table.cost).all():
        raise NotEnoughEvidence(f"no decision's cost is known in {table.unit}: give the price of the models that were called")
