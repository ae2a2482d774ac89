"""Learned policies: the price is applied last, so that one of them serves every budget."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar, NamedTuple, Self

import numpy as np

from budget_router.allocation import FloatArray, IntArray
from budget_router.budget import Unit
from budget_router.errors import NotEnoughEvidence
from budget_router.features import Featuriser
from budget_router.features.ranges import UNKNOWN, OutOfRange
from budget_router.features.strangeness import Strange
from budget_router.features.tasks import Tasks
from budget_router.menu import Menu
from budget_router.outcomes import OutcomeTable
from budget_router.policies.accuracy_model import MIN_TASKS, AccuracyModel
from budget_router.policies.contract import Choice, Prediction, part_of
from budget_router.policies.cost_model import CostModel
from budget_router.policies.held_out import Forecast, Lesson, Level, Predictions
from budget_router.policies.knobs import Between, interpolated, untried
from budget_router.policies.pricing import Folds, PriceCurve
from budget_router.policies.sampling import trained_rows
from budget_router.task import Task

N_FOLDS = 5


class LearnedPolicy(ABC):
    """What both learners share: features, costs, pricing; a child says how strategies are scored.

    Args:
        n_components: width of the text projection.
    """

    kind: ClassVar[str]
    is_priced_on_its_own: ClassVar[bool] = False
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
        check_evidence(Evidenced.of(table), table.unit)
        trained = trained_rows(table, rng)
        fold = folds_of(table.cluster, rng)
        lesson = self.learn(table.rows(trained), fold[trained])
        self.held_out_, own = lesson.told(table, trained, fold)
        self.curve_ = PriceCurve.of(self.held_out_ if own is None else own, billed=table.cost)
        self.table_ = table
        return self

    def learn(self, known: OutcomeTable, fold: Folds) -> Lesson:
        """Fit the models, and twins that did not see their fold, for all the tasks that were not learned from.

        What sets a fold's policy apart is mostly one shift per strategy, and a shift moves a whole fold across the price at once:
        unshifted, the twins would not choose as the policy does that they stand for. So each fold's means are shifted to those of
        the policy that serves.

        Args:
            known: one row per task that is learned from.
            fold: (n_tasks,) as `folds_of` draws it.
        """
        self.menu, self.unit = known.menu, known.unit
        self.n_trained_ = len(known.task_ids)
        self.featuriser_ = Featuriser(self.n_components)
        features = self.featuriser_.fit_transform(known.structure, known.texts, known.metadata, cluster=known.cluster)
        self._fit_models(features, known)
        served = self.predict_features(features)
        held_out = Predictions.empty(len(fold), len(known.menu))
        twins = []
        for one in range(N_FOLDS):
            outside, inside = np.flatnonzero(fold != one), np.flatnonzero(fold == one)
            twin = type(self)(n_components=self.n_components)
            twin._fit_models(features[outside], known.rows(outside), like=self)
            predicted = twin.predict_features(features)
            twins.append((twin, Level.between(predicted, served)))
            held_out.put(inside, part_of(twins[-1][1].shifted(predicted), inside))
        return Lesson(Forecast(self, tuple(twins)), held_out.all, served)

    def predict(self, tasks: Sequence[Task]) -> Prediction:
        """Score, cost and accuracy of every strategy on each task."""
        return self.predict_features(self.featuriser_.transform([task.text for task in tasks], [task.metadata for task in tasks]))

    def predict_known(self, tasks: Tasks) -> Prediction:
        """The same of tasks as a ledger knows them; a text that was not kept says nothing."""
        return self.predict_features(self.features_of(tasks))

    def predict_table(self, table: OutcomeTable) -> Prediction:
        """The same of the task of each row of a table."""
        found = Predictions.empty(len(table.task_ids), len(self.menu))
        for rows, prediction in table.tasks.map(self._predict_rows, np.arange(len(table.task_ids))):
            found.put(rows, prediction)
        return found.all

    def predict_features(self, features: FloatArray) -> Prediction:
        """The same of tasks whose features are known already, as `features_of` gives them; (n_tasks, n_features)."""
        accuracy, cost = self.expected(features)
        return Prediction(cost, self._score(features, cost, accuracy), np.clip(accuracy, 0.0, 1.0))

    def features_of(self, tasks: Tasks) -> FloatArray:
        """(n_tasks, n_features) of tasks as a ledger knows them; a text that was not kept says nothing."""
        texts = [{}] * len(tasks) if tasks.texts is None else tasks.texts
        return self.featuriser_.transform_known(tasks.structure, texts, tasks.metadata)

    def out_of_range(self, table: OutcomeTable, rows: IntArray) -> OutOfRange:
        """How many tasks, of some rows of a table, are unlike those that trained."""
        trained = self.featuriser_.range_
        if trained is None or not len(rows):
            return UNKNOWN
        found = [strange for _, strange in table.tasks.map(self._strange_rows, rows) if strange]
        return OutOfRange.of(found, len(rows), chance=trained.chance(len(np.unique(table.cluster[rows]))))

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

    def _predict_rows(self, tasks: Tasks, _rows: IntArray) -> Prediction:
        return self.predict_known(tasks)

    def _strange_rows(self, tasks: Tasks, _rows: IntArray) -> Strange | None:
        return self.featuriser_.strange(tasks.structure, tasks.texts, tasks.metadata)

    def __getstate__(self) -> dict[str, object]:
        """What another process needs to predict: not what this one was learned from, nor judged by."""
        return {name: value for name, value in vars(self).items() if name not in {"table_", "held_out_"}}


class Evidenced(NamedTuple):
    """How much is known of each strategy, (n_strategies,) tasks each; `+` is that of two sets of tasks."""

    n_observed: IntArray
    n_graded: IntArray
    n_billed: IntArray

    @classmethod
    def of(cls, table: OutcomeTable) -> "Evidenced":
        """Count the tasks of a table with one row per task."""
        return cls(*((~np.isnan(cells)).sum(axis=0) for cells in (table.accuracy, table.graded, table.cost)))

    def __add__(self, other: "Evidenced", /) -> "Evidenced":  # type: ignore[override]  # of sums, not of tuples
        return Evidenced(*(one + two for one, two in zip(self, other, strict=True)))


def folds_of(cluster: IntArray, rng: np.random.Generator) -> Folds:
    """(n_tasks,) fold of each task, whole clusters in one, drawn at random."""
    return np.asarray(rng.permutation(np.arange(cluster.max() + 1) % N_FOLDS)[cluster].astype(np.int8))


def check_evidence(found: Evidenced, unit: Unit) -> None:
    """Raise NotEnoughEvidence if no strategy was graded on `MIN_TASKS` tasks, or no cost is known."""
    if found.n_observed.max() < MIN_TASKS:
        raise NotEnoughEvidence(
            f"no strategy was graded on more than {found.n_observed.max()} tasks, {MIN_TASKS} are needed: call router.grade more "
            "often, or widen the window"
        )
    if not found.n_billed.any():
        raise NotEnoughEvidence(f"no decision's cost is known in {unit}: give the price of the models that were called")
