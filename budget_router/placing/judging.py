"""Judge a policy on what was logged, by decisions that it did not learn from.

A saved policy is judged on decisions later than those that trained it and its price. Where these are too few, or none was saved,
its learner is cross-fitted: two policies learn from half of the tasks each, and each is judged on the other half.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cached_property
from typing import NamedTuple

import numpy as np

from budget_router.allocation import FloatArray, IntArray
from budget_router.errors import NotEnoughEvidence
from budget_router.evaluation import OffPolicyEstimate, Revealed, dr
from budget_router.outcomes import OutcomeTable
from budget_router.policies import Prediction, ValuePolicy
from budget_router.policies.accuracy_model import MIN_TASKS
from budget_router.policies.contract import part_of
from budget_router.policies.learned import LearnedPolicy

MIN_LATER = 1_000
"""Graded decisions later than a policy from which on it is judged by them alone."""


class Fold(NamedTuple):
    """A policy, and tasks that it did not learn from."""

    policy: LearnedPolicy
    rows: IntArray
    """Of the table with one row per task."""


@dataclass(frozen=True)
class Judged:
    """Decisions, and policies that did not learn from them."""

    table: OutcomeTable
    """One row per decision."""
    by_task: OutcomeTable
    """Its `by_task`."""
    folds: tuple[Fold, ...]
    """Their rows part `by_task`."""
    how: str
    """On what the policy is judged, in a sentence."""

    @cached_property
    def scores(self) -> Revealed:
        """What was graded."""
        return Revealed.scores(self.table)

    @cached_property
    def spends(self) -> Revealed:
        """What was billed."""
        return Revealed.spends(self.table)

    @cached_property
    def features(self) -> tuple[FloatArray, ...]:
        """Of each fold's rows, by its own policy."""
        return tuple(policy.features_of(self.by_task.rows(rows).tasks) for policy, rows in self.folds)

    @cached_property
    def prediction(self) -> Prediction:
        """Of every row of `by_task`."""
        return self.predicted(self.features)

    def predicted(self, features: Sequence[FloatArray]) -> Prediction:
        """What the policies expect of tasks with these features."""
        cost, score, accuracy = np.empty((3, len(self.by_task.task_ids), len(self.by_task.menu)))
        for (policy, rows), known in zip(self.folds, features, strict=True):
            found = policy.predict_features(known)
            for cells, part in ((cost, found.cost), (score, found.score), (accuracy, np.asarray(found.accuracy))):
                cells[rows] = part
        return Prediction(cost, score, accuracy)

    def chosen(self, budget: float, prediction: Prediction | None = None) -> tuple[FloatArray, float]:
        """Probabilities of each row of `by_task` at a budget, without exploration; and the mean shadow price."""
        told = self.prediction if prediction is None else prediction
        probabilities, price = np.empty(told.cost.shape), 0.0
        for policy, rows in self.folds:
            choice = policy.choose(part_of(told, rows), budget)
            probabilities[rows] = choice.probabilities
            price += choice.lam * len(rows) / len(told.cost)
        return probabilities, price

    def accuracy(self, probabilities: FloatArray, against: FloatArray | None = None) -> OffPolicyEstimate:
        """Doubly robust accuracy of a policy, or its gain over another; probabilities of each row of `by_task`."""
        return self._dr(self.scores, probabilities, np.asarray(self.prediction.accuracy), against)

    def spend(self, probabilities: FloatArray, against: FloatArray | None = None) -> OffPolicyEstimate:
        """Doubly robust spend, of all that was billed, graded or not."""
        return self._dr(self.spends, probabilities, self.prediction.cost, against)

    def of_rows(self, log: Revealed, cells: FloatArray) -> FloatArray:
        """Cells of `by_task`, one row per decision of a log."""
        return cells[self.table.pool[log.rows]]

    def _dr(
        self, log: Revealed, probabilities: FloatArray, predicted: FloatArray, against: FloatArray | None
    ) -> OffPolicyEstimate:
        return dr(
            log,
            target_prob=self.of_rows(log, probabilities),
            predicted=self.of_rows(log, predicted),
            against=None if against is None else self.of_rows(log, against),
        )

    def always(self, action: int) -> FloatArray:
        """Probabilities of the policy that takes one strategy everywhere."""
        return np.tile(np.eye(len(self.by_task.menu))[action], (len(self.by_task.task_ids), 1))


def judge(
    table: OutcomeTable,
    policy: LearnedPolicy | None,
    *,
    learned_at: datetime | None,
    budget: float,
    rng: np.random.Generator,
    min_later: int = MIN_LATER,
) -> Judged:
    """Judge a saved policy, or what its learner makes of the log; of no policy, what `ValuePolicy` makes of it.

    Args:
        table: one row per decision.
        policy: saved.
        learned_at: end of what it and its price were learned from.
        budget: mean cost per task.
        rng: of the halves.
        min_later: graded decisions later than the policy from which on they alone judge it, if they conclude anything.

    Raises:
        NotEnoughEvidence: half of the tasks are too few to learn from.
    """
    if policy is not None and learned_at is not None:
        judged = on_later(table, policy, learned_at)
        if judged is not None and len(judged.scores.rows) >= min_later:
            estimate = judged.accuracy(judged.chosen(budget)[0])
            if estimate.is_conclusive:
                return judged
    return _cross_fitted(table, policy, rng)


def on_later(table: OutcomeTable, policy: LearnedPolicy, learned_at: datetime) -> Judged | None:
    """A policy on decisions later than what it was learned from; `None` where there are none."""
    if table.decided_at is None:
        return None
    later = np.flatnonzero(table.decided_at > np.datetime64(learned_at.astimezone(UTC).replace(tzinfo=None), "us"))
    if not len(later):
        return None
    table = table.rows(later)
    by_task = table.by_task()
    how = f"judged on {len(later):,} decisions later than those it learned from"
    return Judged(table, by_task, (Fold(policy, np.arange(len(by_task.task_ids))),), how)


class _Fitted(Judged):
    """A policy just fitted, by the predictions that its twins made of tasks that they did not see."""

    @cached_property
    def prediction(self) -> Prediction:
        """Held out."""
        return self.folds[0].policy.held_out_


def fitted(policy: LearnedPolicy) -> Judged:
    """A policy on the tasks that it was fitted on, each judged by a twin that had not seen it; one row per task.

    The price is solved on the same predictions. Which inputs matter cannot be asked: the twins are gone.

    Args:
        policy: fitted in this process; a saved one keeps no tasks.
    """
    table = policy.table_
    every = np.arange(len(table.task_ids))
    return _Fitted(table, table, (Fold(policy, every),), f"cross-fitted on the {len(every):,} tasks it learned from")


def _cross_fitted(table: OutcomeTable, policy: LearnedPolicy | None, rng: np.random.Generator) -> Judged:
    kind = ValuePolicy if policy is None else type(policy)
    if policy is not None and policy.featuriser_.columns_ is None:
        table = replace(table, metadata=None)
    by_task, pool = table.by_task(), table.pool
    cluster = by_task.cluster
    if cluster.max() + 1 < 2 * MIN_TASKS:
        raise NotEnoughEvidence(
            f"{cluster.max() + 1} task(s) in the log, {2 * MIN_TASKS} are needed to learn from half and judge on half: "
            "serve and grade more"
        )
    half = rng.permutation(np.arange(cluster.max() + 1) % 2)[cluster]
    folds = []
    for one in (0, 1):
        learned = kind().fit(table.rows(np.flatnonzero(half[pool] != one)), rng=rng)
        folds.append(Fold(learned, np.flatnonzero(half == one)))
    how = (
        f"cross-fitted on {len(table.task_ids):,} decisions: learned from half of the tasks, judged on the other half, both ways"
    )
    return Judged(table, by_task, tuple(folds), how)
