"""Two ways to spend the same budget, told apart by one log: what each would have reached, and the gain of one over the other."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from budget_router.allocation import FloatArray
from budget_router.evaluation.off_policy import OffPolicyEstimate, dr, ips, snips
from budget_router.evaluation.revealed import Revealed
from budget_router.outcomes import OutcomeTable
from budget_router.policies.contract import Prediction
from budget_router.policies.static import Mixture


class Estimates(NamedTuple):
    """One figure by three estimators; the gap between them is a diagnosis, `dr` is what to lean on."""

    ips: OffPolicyEstimate
    snips: OffPolicyEstimate
    dr: OffPolicyEstimate

    @classmethod
    def of(cls, log: Revealed, *, target_prob: FloatArray, predicted: FloatArray) -> "Estimates":
        """Estimate by all three; see `budget_router.evaluation.off_policy`."""
        return cls(
            ips(log, target_prob=target_prob),
            snips(log, target_prob=target_prob),
            dr(log, target_prob=target_prob, predicted=predicted),
        )


class Worth(NamedTuple):
    """What a policy would have reached on the decisions of a log."""

    accuracy: Estimates
    """Of all graded decisions."""
    spend: Estimates
    """Per task, in the table's unit, of all settled decisions, graded or not."""
    shares: dict[str, float]
    """Share of the decisions that each strategy would have had, by name."""


@dataclass(frozen=True)
class Comparison:
    """A policy beside a rival, on the same decisions."""

    policy: Worth
    rival: Worth
    gain: OffPolicyEstimate
    """Accuracy of the policy over that of the rival: doubly robust, paired on the same terms."""


def compare(table: OutcomeTable, prediction: Prediction, *, chosen: FloatArray, rival: FloatArray) -> Comparison:
    """Estimate what two policies would have reached on logged decisions that neither was trained on.

    Args:
        table: one row per logged decision.
        prediction: for the task of each row, by models that did not see it: what `dr` starts from.
        chosen: (n, n_strategies) probabilities of the policy.
        rival: (n, n_strategies) probabilities of what it is compared with, such as `static_mix`.
    """
    scores, spends = Revealed.scores(table), Revealed.spends(table)
    accuracy = prediction.expected

    def worth(prob: FloatArray) -> Worth:
        return Worth(
            Estimates.of(scores, target_prob=prob[scores.rows], predicted=accuracy[scores.rows]),
            Estimates.of(spends, target_prob=prob[spends.rows], predicted=prediction.cost[spends.rows]),
            dict(zip(table.menu.names, prob.mean(axis=0).tolist(), strict=True)),
        )

    gain = dr(scores, target_prob=chosen[scores.rows], predicted=accuracy[scores.rows], against=rival[scores.rows])
    return Comparison(worth(chosen), worth(rival), gain)


class Expected(NamedTuple):
    """What tasks are predicted to come to, summed; `+` is that of two sets of tasks."""

    n_tasks: int
    accuracy: FloatArray
    """(n_strategies,)"""
    cost: FloatArray
    """(n_strategies,)"""
    spend: float
    """Of a policy."""

    @classmethod
    def of(cls, prediction: Prediction, chosen: FloatArray) -> "Expected":
        """Take tasks.

        Args:
            prediction: for each task.
            chosen: (n, n_strategies) probabilities of the policy.
        """
        spend = float((chosen * prediction.cost).sum(axis=1).sum())
        return cls(len(chosen), prediction.expected.sum(axis=0), prediction.cost.sum(axis=0), spend)

    def __add__(self, other: "Expected", /) -> "Expected":  # type: ignore[override]  # of sums, not of tuples
        return Expected(
            self.n_tasks + other.n_tasks, self.accuracy + other.accuracy, self.cost + other.cost, self.spend + other.spend
        )

    def mix(self) -> FloatArray:
        """(n_strategies,) probabilities of the best static mix, by the strategies' means, at the policy's spend."""
        mixture = Mixture(np.clip(self.accuracy / self.n_tasks, 0, 1), self.cost / self.n_tasks)
        one = Prediction(self.cost[None], self.accuracy[None])
        return np.asarray(mixture.choose(one, self.spend / self.n_tasks).probabilities[0])


def static_mix(prediction: Prediction, chosen: FloatArray) -> FloatArray:
    """The best static mix, by the strategies' predicted means, at the spend that a policy is predicted to have.

    Args:
        prediction: for each task.
        chosen: (n, n_strategies) probabilities of the policy.

    Returns:
        (n, n_strategies) the same probabilities for each task, as one row that is only read.
    """
    return np.broadcast_to(Expected.of(prediction, chosen).mix(), chosen.shape)
