"""Policies that look at no task: the baselines that a learned one has to beat."""

from collections.abc import Sequence

import numpy as np

from budget_router.allocation import FloatArray, frontier
from budget_router.policies.contract import Choice, Prediction
from budget_router.task import Task


class Mixture:
    """The best static mix: one distribution over strategies for every task, on the upper hull of their mean costs and accuracies.

    At any budget it mixes at most two strategies; no policy that ignores the task does better.
    """

    version = "mixture"

    def __init__(self, accuracy: FloatArray, cost: FloatArray) -> None:
        """Take the strategies' mean accuracies and mean costs, each (n_strategies,)."""
        self.accuracy = np.asarray(accuracy, dtype=np.float64)
        self.cost = np.asarray(cost, dtype=np.float64)
        self.frontier = frontier(self.accuracy[None, :], self.cost[None, :])

    def predict(self, tasks: Sequence[Task]) -> Prediction:
        """The same means for every task."""
        shape = len(tasks), len(self.cost)
        accuracy = np.broadcast_to(self.accuracy, shape)
        return Prediction(np.broadcast_to(self.cost, shape), accuracy, accuracy)

    def choose(self, prediction: Prediction, budget: float, *, floor: float = 0.0) -> Choice:
        """Mix the two strategies whose segment of the hull the budget falls on."""
        n_strategies = len(self.cost)
        kept = 1 - floor * n_strategies
        target = (budget - floor * float(self.cost.sum())) / kept if kept > 0 else budget
        lam, share = self.frontier.price(target)
        value = self.accuracy - lam * self.cost
        rounding = 1e-12 * max(np.abs(self.accuracy).max(), lam * self.cost.max())  # gains may be tiny, and apart all the same
        ties = np.flatnonzero(np.isclose(value, value.max(), rtol=1e-9, atol=rounding))
        probabilities = np.full(n_strategies, floor, dtype=np.float64)
        probabilities[ties[self.cost[ties].argmin()]] += kept * (1 - share)
        probabilities[ties[self.cost[ties].argmax()]] += kept * share
        return Choice(np.tile(probabilities, (len(prediction.cost), 1)), lam, float(probabilities @ self.cost))


class Uniform:
    """Every strategy with the same probability, whatever it costs; ignores the budget."""

    version = "uniform"

    def __init__(self, cost: FloatArray) -> None:
        """Take the strategies' mean costs, (n_strategies,)."""
        self.cost = np.asarray(cost, dtype=np.float64)

    def predict(self, tasks: Sequence[Task]) -> Prediction:
        """The same mean costs for every task; no opinion on accuracy."""
        cost = np.broadcast_to(self.cost, (len(tasks), len(self.cost)))
        return Prediction(cost, np.zeros(cost.shape))

    def choose(self, prediction: Prediction, budget: float, *, floor: float = 0.0) -> Choice:  # noqa: ARG002  # spends what it spends
        """The same probability for each strategy."""
        shape = prediction.cost.shape
        return Choice(np.full(shape, 1 / shape[1]), 0.0, float(self.cost.mean()))
