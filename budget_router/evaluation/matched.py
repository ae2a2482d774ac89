"""Comparisons at matched spend, where every strategy's outcome is known on every task."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from budget_router.allocation import FloatArray, frontier, solve


def mix_at_spend(accuracy: FloatArray, cost: FloatArray, spend: float) -> float:
    """Accuracy of the best static mix of strategies at a spend: the upper hull of their means on these very tasks.

    The hull is drawn with hindsight, which favours the mix. Below the cheapest strategy it is that strategy's accuracy.

    Args:
        accuracy: (n_tasks, n_strategies).
        cost: (n_tasks, n_strategies).
        spend: mean cost per task to be matched.
    """
    hull = frontier(accuracy.mean(axis=0, keepdims=True), cost.mean(axis=0, keepdims=True))
    return hull.at(max(spend, float(hull.spend[0]))).accuracy


def mixes_at_spend(accuracy: FloatArray, cost: FloatArray, spend: FloatArray) -> FloatArray:
    """`mix_at_spend` of many sets of tasks at once, such as resamples, by their strategies' means.

    The best mix is one strategy within the spend, or one within and one beyond that together meet it.

    Args:
        accuracy: (n_sets, n_strategies), means.
        cost: (n_sets, n_strategies), means.
        spend: (n_sets,) mean cost per task to be matched.
    """
    room = np.maximum(spend, cost.min(axis=1))[:, None] - cost
    within, beyond = room[:, :, None], room[:, None, :]
    share = np.divide(within, within - beyond, out=np.zeros((*room.shape, room.shape[1])), where=(within >= 0) & (beyond < 0))
    mixed = (1 - share) * accuracy[:, :, None] + share * accuracy[:, None, :]
    return np.asarray(np.where(within >= 0, mixed, -np.inf).max(axis=(1, 2)))


@dataclass(frozen=True)
class HonestOracle:
    """What an oracle reaches on samples that it has not seen."""

    spend: float
    """Mean cost per task on the samples that score it."""
    accuracy: float
    """Mean accuracy on the samples that score it."""
    in_sample_accuracy: float
    """Mean accuracy on the samples that it was solved on: what the solve promised."""

    @property
    def optimism(self) -> float:
        """`in_sample_accuracy - accuracy`: what the oracle flattered itself by."""
        return self.in_sample_accuracy - self.accuracy


def honest_oracle(solved: Sequence[FloatArray], scored: Sequence[FloatArray], budget: float) -> HonestOracle:
    """Solve an oracle on one half of the samples and score it on the other.

    An oracle solved and scored on the same samples flatters itself: it picks what was lucky. The optimism is that of
    a half: all samples together would flatter less.

    Args:
        solved: accuracy and cost, each (n_tasks, n_strategies), from one half of each task's samples.
        scored: the same from the other half.
        budget: mean cost per task.
    """
    known_accuracy, known_cost = solved
    allocation = solve(known_accuracy, known_cost, budget)  # not the argmax at its price: alike tasks would all stay cheap
    accuracy, cost = scored
    rows, actions = range(len(allocation.actions)), allocation.actions
    return HonestOracle(float(cost[rows, actions].mean()), float(accuracy[rows, actions].mean()), allocation.accuracy)
