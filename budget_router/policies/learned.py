"""Learned policies: the price is applied last, so that one of them serves every budget."""

import os
from abc import ABC, abstractmethod
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import ClassVar, NamedTuple, Self

import numpy as np

from budget_router.allocation import FloatArray, IntArray
from budget_router.budget import Unit
from budget_router.errors import NotEnoughEvidence
from budget_router.features import Featuriser
from budget_router.features.columns import Facts
from budget_router.features.projection import NgramCounts
from budget_router.features.structure import Structure
from budget_router.menu import Menu
from budget_router.outcomes import OutcomeTable
from budget_router.policies.accuracy_model import MIN_TASKS, AccuracyModel
from budget_router.policies.contract import Choice, Prediction, part_of
from budget_router.policies.cost_model import CostModel
from budget_router.policies.knobs import Between, interpolated, untried
from budget_router.policies.pricing import PriceCurve
from budget_router.policies.sampling import trained_rows
from budget_router.task import Task

N_FOLDS = 5
_AT_ONCE = 2**13
"""Tasks whose features are held in memory at once, of those that are not learned from."""


class LearnedPolicy(ABC):
    """What both learners share: features, costs, pricing; a child says how strategies are scored.

    Args:
        n_components: width of the text projection.
    """

    kind: ClassVar[str]
    _is_priced_on_its_own: ClassVar[bool] = False
    """Whether the price is found on the policy's own predictions, and not on those of twins, which scatter as fresh ones do."""

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
        Of a long log a sample is learned from, see `trained_rows` and `n_trained_`; every row is predicted and priced.

        Raises NotEnoughEvidence when no strategy was graded that often.
        """
        table = table.by_task()
        check_evidence(table)
        self.menu, self.unit = table.menu, table.unit
        trained = trained_rows(table, rng)
        known = table if len(trained) == len(table.structure) else table.rows(trained)
        self.n_trained_ = len(trained)
        self.featuriser_ = Featuriser(self.n_components)
        features = self.featuriser_.fit_transform(known.structure, known.texts, known.metadata)
        self._fit_models(features, known)
        self.held_out_, own = self._held_out(features, known, trained, table, rng)
        self.curve_ = PriceCurve.of(self.held_out_ if own is None else own, billed=table.cost)
        self.table_ = table
        return self

    def predict(self, tasks: Sequence[Task]) -> Prediction:
        """Score, cost and accuracy of every strategy on each task."""
        return self._predict(self.featuriser_.transform([task.text for task in tasks], [task.metadata for task in tasks]))

    def predict_known(
        self, structure: Structure, texts: Sequence[str | NgramCounts] | None, metadata: Sequence[Facts] | None
    ) -> Prediction:
        """The same of tasks as a ledger knows them; a text that was not kept says nothing.

        Args:
            structure: (n_tasks, n_structural_features).
            texts: of the same tasks, or their n-gram counts.
            metadata: of the same tasks.
        """
        silent: list[str | NgramCounts] = [{}] * len(structure)
        return self._predict(self.featuriser_.transform_known(structure, silent if texts is None else texts, metadata))

    def predict_table(self, table: OutcomeTable) -> Prediction:
        """The same of the task of each row of a table; a text that the ledger did not keep says nothing."""
        found = _Predictions.empty(len(table.structure), len(self.menu))
        for rows in _stretches(np.arange(len(table.structure))):
            found.put(rows, self._predict(self._features(table, rows)))
        return found.all

    def predict_features(self, features: FloatArray) -> Prediction:
        """The same of tasks whose features are known already, as `featuriser_` gives them; (n_tasks, n_features)."""
        return self._predict(features)

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

    def _features(self, table: OutcomeTable, rows: IntArray | None = None) -> FloatArray:
        """Of the tasks of some rows, or of all; a text that the ledger did not keep says nothing."""
        texts = [{}] * len(table.structure) if table.texts is None else table.texts
        if rows is None:
            return self.featuriser_.transform_known(table.structure, texts, table.metadata)
        metadata = None if table.metadata is None else [table.metadata[row] for row in rows.tolist()]
        return self.featuriser_.transform_known(table.structure[rows], [texts[row] for row in rows.tolist()], metadata)

    def _held_out(
        self, features: FloatArray, known: OutcomeTable, trained: IntArray, table: OutcomeTable, rng: np.random.Generator
    ) -> tuple[Prediction, Prediction | None]:
        """Predict each task by a policy that did not see it, and shift each fold's means to those of the policy that serves.

        What sets a fold's policy apart is mostly one shift per strategy, and a shift moves a whole fold across the price at once:
        unshifted, the twins would not choose as the policy does that they stand for.

        Args:
            features: of the tasks that are learned from.
            known: their rows of the table.
            trained: which rows these are.
            table: one row per task.
            rng: of the folds.

        Returns:
            held-out predictions of the table's rows, and those of the policy itself where it is priced on its own.
        """
        cluster = table.cluster
        fold = rng.permutation(np.arange(cluster.max() + 1) % N_FOLDS)[cluster]
        served = self._predict(features)
        held_out, own = (_Predictions.empty(len(fold), len(table.menu)) for _ in range(2))
        own.put(trained, served)
        twins = []
        for one in range(N_FOLDS):
            outside, inside = np.flatnonzero(fold[trained] != one), np.flatnonzero(fold[trained] == one)
            twin = type(self)(n_components=self.n_components)
            twin._fit_models(features[outside], known.rows(outside), like=self)
            predicted = twin._predict(features)
            twins.append((twin, _Level.between(predicted, served)))
            held_out.put(trained[inside], part_of(twins[-1][1].shifted(predicted), inside))

        def predict_rest(rows: IntArray) -> None:
            features = self._features(table, rows)
            for one, (twin, level) in enumerate(twins):
                inside = fold[rows] == one
                held_out.put(rows[inside], level.shifted(twin._predict(features[inside])))
            if self._is_priced_on_its_own:
                own.put(rows, self._predict(features))

        rest = np.setdiff1d(np.arange(len(fold)), trained, assume_unique=True)
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            list(pool.map(predict_rest, _stretches(rest)))
        return held_out.all, own.all if self._is_priced_on_its_own else None


class _Predictions(NamedTuple):
    """Room for predictions of many tasks, that are made some at a time; (n_tasks, n_strategies) each."""

    cost: FloatArray
    score: FloatArray
    accuracy: FloatArray

    @classmethod
    def empty(cls, n_tasks: int, n_strategies: int) -> Self:
        return cls(*(np.empty((n_tasks, n_strategies)) for _ in cls._fields))

    def put(self, rows: IntArray, prediction: Prediction) -> None:
        self.cost[rows], self.score[rows], self.accuracy[rows] = prediction.cost, prediction.score, prediction.accuracy

    @property
    def all(self) -> Prediction:
        return Prediction(*self)


class _Level(NamedTuple):
    """How a twin's means over all tasks lie to those of the policy that serves; (n_strategies,) each."""

    cost: FloatArray
    """Ratio."""
    score: FloatArray
    """Difference."""

    @classmethod
    def between(cls, twin: Prediction, served: Prediction) -> Self:
        cost = served.cost.mean(axis=0) / np.maximum(twin.cost.mean(axis=0), 1e-300)
        return cls(cost, (served.score - twin.score).mean(axis=0))

    def shifted(self, twin: Prediction) -> Prediction:
        return Prediction(twin.cost * self.cost, twin.score + self.score, twin.accuracy)


def _stretches(rows: IntArray) -> list[IntArray]:
    return [rows[start : start + _AT_ONCE] for start in range(0, len(rows), _AT_ONCE)]


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
