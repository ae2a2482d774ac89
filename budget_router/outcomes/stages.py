"""An escalation priced from a task's other decisions: one shows how its first vote would go, another what `then` is worth."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from budget_router.allocation import FloatArray, IntArray
from budget_router.menu import Escalate, Menu
from budget_router.outcomes.bundle import Bundle
from budget_router.records import LoggedDecision


class Stages(NamedTuple):
    """What each row tells of the two stages of each escalation; (n, n_strategies) each, NaN where it tells nothing."""

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
    def of(cls, rows: Sequence[FloatArray]) -> "Stages":
        """Put rows, each as `stages_row` gives it, on top of each other."""
        return cls(*np.stack(rows, axis=1))

    def rows(self, chosen: IntArray) -> "Stages":
        """Some of the rows."""
        return Stages(*(part[chosen] for part in self))


class Composed(NamedTuple):
    """Escalations priced from both their stages, one row per task, NaN where one of the two is unknown."""

    accuracy: FloatArray
    standard_error: FloatArray
    cost: FloatArray
    unseen_prob: FloatArray
    """Probability that neither the escalation itself nor both of its stages were revealed."""


def stages_row(entry: LoggedDecision, menu: Menu, bundle: Bundle) -> FloatArray:
    """One decision's row of every part of `Stages`, (n_parts, n_strategies)."""
    parts = np.full((len(Stages._fields), len(menu)), np.nan)
    row = Stages(*parts)
    for action, strategy in enumerate(menu):
        if not isinstance(strategy, Escalate) or strategy.then.sampling == strategy.first.sampling:
            continue  # where both stages draw alike one bundle would speak for both, and they would not be independent
        then = Menu([strategy.then])
        first_vote = bundle.first_vote(strategy)
        if not np.isnan(first_vote.accepted):
            row.accepted_right[action], row.accepted[action] = first_vote
            row.n_votes[action] = len(bundle.answers) / strategy.first.k
            row.first_cost[action] = bundle.cell(strategy.first).cost
        if then.priced_by(bundle.executed):
            cell = bundle.cell(strategy.then)
            row.then_accuracy[action], row.then_error[action], row.then_cost[action] = (
                cell.accuracy,
                cell.standard_error,
                cell.cost,
            )
        propensities = [(one, entry.decision.propensities.get(one.name, 0.0)) for one in entry.menu]
        row.first_prob[action] = sum(
            prob for one, prob in propensities if one.sampling == strategy.sampling and one.n_guaranteed >= strategy.first.k
        )
        row.then_prob[action] = sum(prob for one, prob in propensities if then.priced_by(one))
    return parts


def shows_a_stage(row: FloatArray) -> bool:
    """Tell whether a decision says anything of a stage."""
    parts = Stages(*row)
    return not bool(np.isnan([parts.accepted, parts.then_accuracy, parts.then_cost]).all())


def composed(stages: Stages, observed_prob: FloatArray, task: IntArray, n_tasks: int) -> Composed:
    """Price each task's escalations from their stages, independent given the task.

    With a the share of first votes that are accepted, the accuracy is `accepted_right + (1 - a) · then` and the cost
    `first + (1 - a) · then`. Its variance is the sum of two: the first stage's, at most that of a score in [0, 1] with this mean,
    and `(1 - a)²` times the second's.

    Args:
        stages: of the rows.
        observed_prob: (n, n_strategies) probability that a row revealed the escalation itself.
        task: (n,) each row's task, from 0.
        n_tasks: how many there are.
    """

    def total(part: FloatArray, of: NDArray[np.bool_] | bool = True) -> FloatArray:
        sums = np.zeros((n_tasks, part.shape[1]))
        np.add.at(sums, task, np.where(of, np.nan_to_num(part), 0.0))
        return sums

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
