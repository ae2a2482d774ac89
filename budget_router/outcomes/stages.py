"""An escalation priced from a task's other decisions: one shows how its first vote would go, another what `then` is worth."""

import math
from collections.abc import Sequence
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from budget_router.allocation import FloatArray, IntArray
from budget_router.menu import Escalate, Menu
from budget_router.outcomes.rows import BundleCells, Rows, summed


class Stages(NamedTuple):
    """What each row tells of the two stages of each escalation; (n, n_escalations) each, NaN where it tells nothing."""

    actions: IntArray
    """(n_escalations,) their columns in the menu."""
    accepted_right: FloatArray
    accepted: FloatArray
    """See `FirstVote`."""
    n_votes: FloatArray
    """Independent first votes that speak for these two."""
    first_cost: FloatArray
    first_prob: FloatArray
    """Probability that the row revealed the first stage."""
    then_accuracy: FloatArray
    then_error: FloatArray
    then_cost: FloatArray
    then_prob: FloatArray
    """Probability that the row revealed the second stage."""

    @classmethod
    def of(cls, rows: Rows, menu: Menu) -> Self:
        """What each row tells. Where both stages draw alike one bundle would speak for both, so nothing is told."""
        actions = [action for action, strategy in enumerate(menu) if isinstance(strategy, Escalate)]
        bundles, chances = (len(rows.bundles), len(actions)), (len(rows.chances), len(actions))
        accepted_right, accepted, n_votes = (np.full(bundles, np.nan) for _ in range(3))
        first_prob, then_prob = (np.full(chances, np.nan) for _ in range(2))
        firsts, thens = BundleCells.empty(*bundles), BundleCells.empty(*bundles)
        for action, strategy in enumerate(menu.root[one] for one in actions):
            if not isinstance(strategy, Escalate) or strategy.then.sampling == strategy.first.sampling:
                continue
            then = Menu([strategy.then])
            for place, bundle in enumerate(rows.bundles):
                first_vote = bundle.first_vote(strategy)
                if not math.isnan(first_vote.accepted):
                    accepted_right[place, action], accepted[place, action] = first_vote
                    n_votes[place, action] = len(bundle.answers) / strategy.first.k
                    firsts.put(place, action, bundle.cell(strategy.first))
                if then.priced_by(bundle.executed):
                    thens.put(place, action, bundle.cell(strategy.then))
            for place, (offered, propensities) in enumerate(rows.chances):
                probs = [(one, propensities.get(one.name, 0.0)) for one in offered]
                first_prob[place, action] = sum(
                    prob for one, prob in probs if one.sampling == strategy.sampling and one.n_guaranteed >= strategy.first.k
                )
                then_prob[place, action] = sum(prob for one, prob in probs if then.priced_by(one))
        return cls(
            actions=np.array(actions),
            accepted_right=accepted_right[rows.bundle],
            accepted=accepted[rows.bundle],
            n_votes=n_votes[rows.bundle],
            first_cost=firsts.costs(rows),
            first_prob=first_prob[rows.chance],
            then_accuracy=thens.accuracy[rows.bundle],
            then_error=thens.standard_error[rows.bundle],
            then_cost=thens.costs(rows),
            then_prob=then_prob[rows.chance],
        )

    @property
    def is_shown(self) -> NDArray[np.bool_]:
        """(n,) whether a row says anything of a stage."""
        return np.asarray(~np.isnan([self.accepted, self.then_accuracy, self.then_cost]).all(axis=(0, 2)))

    @classmethod
    def joined(cls, parts: Sequence["Stages"]) -> "Stages":
        """The rows of several, one after the other."""
        return cls(parts[0].actions, *(np.concatenate(column) for column in list(zip(*parts, strict=True))[1:]))

    def rows(self, chosen: IntArray) -> "Stages":
        """Some of the rows."""
        return Stages(self.actions, *(part[chosen] for part in self[1:]))


class Composed(NamedTuple):
    """Escalations priced from both their stages, one row per task; (n_tasks, n_escalations) each, NaN where one is unknown."""

    accuracy: FloatArray
    standard_error: FloatArray
    cost: FloatArray
    unseen_prob: FloatArray
    """Probability that neither the escalation itself nor both of its stages were revealed."""


def composed(stages: Stages, observed_prob: FloatArray, task: IntArray, n_tasks: int) -> Composed:
    """Price each task's escalations from their stages, independent given the task.

    With a the share of first votes that are accepted, the accuracy is `accepted_right + (1 - a) · then` and the cost
    `first + (1 - a) · then`. Its variance is the sum of two: the first stage's, at most that of a score in [0, 1] with this mean,
    and `(1 - a)²` times the second's.

    Args:
        stages: of the rows.
        observed_prob: (n, n_escalations) probability that a row revealed the escalation itself.
        task: (n,) each row's task, from 0.
        n_tasks: how many there are.
    """

    def total(part: FloatArray, of: NDArray[np.bool_] | bool = True) -> FloatArray:
        return summed(np.where(of, np.nan_to_num(part), 0.0), task, n_tasks)

    def mean(part: FloatArray, weight: FloatArray) -> FloatArray:
        known = ~np.isnan(part)
        return np.asarray(total(part * weight, known) / total(weight, known))

    even = np.ones_like(stages.accepted)
    precision = 1 / np.square(stages.then_error)
    with np.errstate(invalid="ignore", divide="ignore"):  # 0 / 0 is an unknown part: NaN, as it should be
        accepted, right = mean(stages.accepted, stages.n_votes), mean(stages.accepted_right, stages.n_votes)
        escalated = 1 - mean(np.where(np.isnan(stages.accepted_right), np.nan, stages.accepted), stages.n_votes)
        accuracy = right + escalated * mean(stages.then_accuracy, precision)
        n_votes = total(stages.n_votes, ~np.isnan(stages.accepted_right))
        shrunk = (accuracy * n_votes + 0.5) / (n_votes + 1)
        variance = shrunk * (1 - shrunk) / n_votes + escalated**2 / total(precision, ~np.isnan(stages.then_accuracy))
        cost = mean(stages.first_cost, even) + (1 - accepted) * mean(stages.then_cost, even)

    def never(prob: FloatArray) -> FloatArray:
        return np.asarray(np.exp(total(np.log1p(-np.clip(np.nan_to_num(prob), 0.0, 1 - 1e-12)))))

    # the escalation itself shows its first stage, so unseen are both without the first, and both without the second
    first, then = np.nan_to_num(stages.first_prob), np.nan_to_num(stages.then_prob)
    unseen = (
        never(np.maximum(first, observed_prob)) + never(observed_prob + then) - never(np.maximum(first, observed_prob) + then)
    )
    return Composed(accuracy, np.sqrt(variance), cost, unseen)
