"""What a worker does with its shard of a log: each function is given what is kept of the shard, and what it takes beside.

First the decisions stand alone (`Shard`), then with a row for each task (`Pooled`), with what is predicted of it (`Told`), and at
last with what a policy would have chosen (`Trial`).
"""

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from budget_router.allocation import Chunk, FloatArray, IntArray
from budget_router.budget import Budget
from budget_router.evaluation import Revealed
from budget_router.evaluation.comparison import Expected
from budget_router.evaluation.rivals import Weighings
from budget_router.features.columns import Columns
from budget_router.features.ranges import WITHIN
from budget_router.judging import Trial, graded_rows, rivals
from budget_router.outcomes import OutcomeTable
from budget_router.outcomes.on_dask import Shard, packed
from budget_router.outcomes.recency import chances
from budget_router.policies.completion import Misses, Scatter, filled
from budget_router.policies.contract import Prediction, part_of
from budget_router.policies.held_out import Forecast, Lesson
from budget_router.policies.learned import Evidenced, LearnedPolicy
from budget_router.policies.pricing import Folds, PriceCurve, Prices, Taken, taken
from budget_router.policies.sampling import rarest

T = TypeVar("T")
Objects = NDArray[np.object_]


# --- decisions


class Summary(NamedTuple):
    """What a shard holds."""

    n_decisions: int
    n_tasks: int
    is_graded: bool
    last_decided_at: datetime | None
    is_told_apart: bool
    """Whether the facts of some task are not the same in all decisions on it."""


def summary_of(shard: Shard) -> Summary:
    """Count."""
    table = shard.table
    is_graded = bool((~np.isnan(table.graded)).any())
    return Summary(len(table), len(set(table.task_ids)), is_graded, table.last_decided_at, len(table.told_apart) > 0)


def place_of(shard: Shard) -> IntArray:
    """(n,) of each decision in the log."""
    return shard.place


def graded_place_of(shard: Shard) -> IntArray:
    """(n_graded,) of each graded decision in the log."""
    return shard.place[graded_rows(shard.table)]


def decisions_at(shard: Shard, places: IntArray) -> OutcomeTable:
    """Those that stand in some places of the log."""
    return shard.table.rows(np.flatnonzero(np.isin(shard.place, places)))


def recent_of(shard: Shard, drawn: FloatArray, latest: datetime, half_life: timedelta) -> Shard:
    """Those that a draw from [0, 1) for each of them keeps: see `budget_router.outcomes.recent`."""
    chance = chances(shard.table, np.datetime64(latest.replace(tzinfo=None)), half_life)
    return shard.rows(np.flatnonzero(drawn < chance))


def clusters_of(shard: Shard, before: int | None, is_by_task: bool) -> Objects:
    """Clusters, or tasks, of the decisions before a place of the log; of all where no place is given."""
    names = _clusters(shard, is_by_task)
    return packed({name for name, place in zip(names, shard.place.tolist(), strict=True) if before is None or place < before})


def earlier_of(shard: Shard, before: int) -> Shard:
    """Those before a place of the log."""
    return shard.rows(np.flatnonzero(shard.place < before))


def later_of(shard: Shard, begin: int, is_by_task: bool, seen: set[str]) -> Shard:
    """Those from a place of the log on, of clusters that were not seen before it."""
    is_new = np.array([name not in seen for name in _clusters(shard, is_by_task)], dtype=np.bool_)
    return shard.rows(np.flatnonzero(is_new & (shard.place >= begin)))


def metadata_of(shard: Shard) -> Objects:
    """Of each decision's task."""
    return packed(shard.table.metadata or ())


def _clusters(shard: Shard, is_by_task: bool) -> Sequence[str]:
    ids = shard.table.cluster_ids
    return shard.table.task_ids if is_by_task or ids is None else ids


# --- with a row for each task


class Pooled(NamedTuple):
    """Decisions, and one row per task beside them."""

    table: OutcomeTable
    row: IntArray
    """(n_decisions,) of each one's task."""
    by_task: OutcomeTable


def pool(shard: Shard, columns: Columns | None) -> Pooled:
    """Put a row for each task beside its decisions.

    Args:
        shard: of the log.
        columns: that tell tasks apart; none where no facts do.
    """
    table = shard.table
    vars(table)["pool"] = row = table.task if columns is None else table.pool_by(columns)
    return Pooled(table.without_stages(), row, table.by_task())


def evidence_in(pooled: Pooled) -> Evidenced:
    """How much it tells of each strategy."""
    return Evidenced.of(pooled.by_task)


def cluster_ids_in(pooled: Pooled) -> Objects:
    """What each task shares with others, (n_tasks,)."""
    ids = pooled.by_task.cluster_ids
    return packed(pooled.by_task.task_ids if ids is None else ids)


def task_ids_in(pooled: Pooled) -> Objects:
    """Of each task, (n_tasks,)."""
    return packed(pooled.by_task.task_ids)


def rarest_in(pooled: Pooled, by_rarity: IntArray) -> NDArray[np.int16]:
    """(n_tasks,) see `budget_router.policies.sampling.rarest`."""
    return rarest(pooled.by_task.is_observed, by_rarity)


def tasks_in(pooled: Pooled, rows: IntArray) -> OutcomeTable:
    """Some of the tasks, with their texts."""
    return pooled.by_task.rows(rows)


# --- with what is predicted


class Told(NamedTuple):
    """Predictions of tasks."""

    held_out: Prediction
    own: Prediction | None
    """The policy's, where it is priced on its own."""

    def priced(self, is_own: bool) -> Prediction:
        """Those that serve a price: the policy's own, if that is asked for and there are any."""
        return self.own if is_own and self.own is not None else self.held_out


def tell(pooled: Pooled, trained: IntArray, fold: Folds, held_out: Prediction, served: Prediction, *, forecast: Forecast) -> Told:
    """Predict: see `budget_router.policies.held_out.Lesson`."""
    return Told(*Lesson(forecast, held_out, served).told(pooled.by_task, trained, fold))


def predicted_at(told: Told, rows: IntArray, is_own: bool) -> Prediction:
    """Predictions of some tasks."""
    return part_of(told.priced(is_own), rows)


def picks_of(pooled: Pooled, told: Told, fold: Folds, *, n_folds: int, prices: Prices, is_own: bool) -> list[Taken]:
    """What is picked at some prices: see `budget_router.policies.pricing.taken`."""
    return taken(told.priced(is_own), fold, n_folds, prices, billed=pooled.by_task.cost)


def misses_of(pooled: Pooled, told: Told) -> Misses:
    """How far predictions miss what was drawn."""
    return Misses.of(pooled.by_task, told.held_out.expected)


def scatter_of(pooled: Pooled, told: Told, bias: FloatArray) -> Scatter:
    """How far observed cells lie from predictions that were mended by a bias."""
    return Scatter.of(pooled.by_task, told.held_out.expected + bias)


class Completed(NamedTuple):
    """The completed cells of tasks, (n_tasks, n_strategies) each."""

    accuracy: FloatArray
    cost: FloatArray


def complete(pooled: Pooled, told: Told, bias: FloatArray, prior: FloatArray) -> Completed:
    """Fill what was not observed, and shrink what was: see `budget_router.policies.completion`."""
    return Completed(*filled(pooled.by_task, told.held_out.expected + bias, told.held_out.cost, prior))


def cheapest_of(cells: Completed) -> float:
    """Summed cost of each task's cheapest strategy."""
    return float(cells.cost.min(axis=1).sum())


def pass_over(cells: Completed, first_row: int, function: Callable[[Chunk], T]) -> T:
    """Do what a solve asks of a part of its table."""
    return function(Chunk(first_row, cells.accuracy, cells.cost, None))


# --- with what a policy would have chosen


def cross_fitted(pooled: Pooled, told: Told, fold: Folds, curves: Sequence[PriceCurve], budget: float) -> Trial:
    """Choose for each task at the price of its fold."""
    row, held_out = pooled.row, told.held_out
    return Trial.priced(pooled.table, row, held_out, fold=fold, curves=curves, budget=budget, out_of_range=WITHIN)


def later(shard: Shard, policy: LearnedPolicy, budget: float) -> Trial:
    """Choose as a policy does that learned from earlier decisions."""
    prediction = policy.predict_table(shard.table)
    return Trial(shard.table, prediction, policy.choose(prediction, budget).probabilities, WITHIN, "later")


def expected_of(trial: Trial) -> Expected:
    """What tasks are predicted to come to."""
    return Expected.of(trial.prediction, trial.chosen)


def is_grouped(trial: Trial) -> bool:
    """Whether a judged task has a group."""
    groups = trial.table.groups
    return groups is not None and any(groups[row] is not None for row in Revealed.scores(trial.table).rows)


def weigh(trial: Trial, mix: FloatArray, budget: Budget, incumbent: LearnedPolicy | None, is_grouped: bool) -> Weighings:
    """What the decisions add to every estimate that a gate asks for.

    Args:
        trial: of the candidate.
        mix: (n_strategies,) the best static mix.
        budget: that all are priced for.
        incumbent: the policy that serves.
        is_grouped: whether groups are told apart.
    """
    table, prediction = trial.table, trial.prediction
    return Weighings.of(
        Revealed.scores(table),
        Revealed.spends(table),
        rivals(trial, np.broadcast_to(mix, trial.chosen.shape), budget, incumbent=incumbent),
        predicted_accuracy=prediction.expected,
        predicted_cost=prediction.cost,
        groups=table.groups if is_grouped else None,
    )
