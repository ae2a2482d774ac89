"""Complete an outcome table: fill what was not observed, and shrink what was by how sure it is."""

from typing import NamedTuple

import numpy as np

from budget_router.allocation import FloatArray, IntArray
from budget_router.outcomes import OutcomeTable

_LEAST_VARIANCE = 1e-3
"""Variance below which predictions are not trusted to be, however well they fit."""
_PRIOR_TASKS = 20
"""Observed tasks that a strategy's predicted mean counts as, beside the observed ones."""
_LEAST_PROBABILITY = 1e-3
"""Propensity below which a cell weighs no more."""


def completed(table: OutcomeTable, predicted: FloatArray, cost: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Fill a table's unobserved cells with predicted accuracy and cost, and shrink the observed ones to them by their precision.

    Predictions are first brought to the doubly robust mean of their strategy: a policy that served it where it does well, for
    reasons that features do not show, would else be believed everywhere. Then each cell is the posterior mean of a normal prior
    around its prediction, whose variance per strategy is what the observed cells scatter beyond their own errors (Morris 1983,
    Parametric Empirical Bayes Inference, JASA 78(381)). So two sums over the tasks come first, and the rest is row by row.

    Args:
        table: one row per task.
        predicted: (n_tasks, n_strategies) accuracy, of each task by models that did not see it.
        cost: (n_tasks, n_strategies), in the budget's unit.
    """
    predicted = predicted + Misses.of(table, predicted).bias
    return filled(table, predicted, cost, Scatter.of(table, predicted).prior)


class Misses(NamedTuple):
    """How far predictions miss what was drawn, by inverse propensity; (n_strategies,) each, `+` is that of two sets of tasks.

    What callers forced was not drawn, and weak labels were not observed: both are left out.
    """

    weight: FloatArray
    square: FloatArray
    """Of the weights."""
    error: FloatArray
    """By weight."""

    @classmethod
    def of(cls, table: OutcomeTable, predicted: FloatArray) -> "Misses":
        """Take tasks; see `completed`."""
        drawn = ~np.isnan(table.graded) & ~table.is_forced[:, None]
        weight = np.where(drawn, 1 / np.maximum(table.observed_prob, _LEAST_PROBABILITY), 0.0)
        error = weight * (np.nan_to_num(table.graded) - predicted)
        return cls(weight.sum(axis=0), (weight**2).sum(axis=0), error.sum(axis=0))

    def __add__(self, other: "Misses", /) -> "Misses":  # type: ignore[override]  # of sums, not of tuples
        return Misses(self.weight + other.weight, self.square + other.square, self.error + other.error)

    @property
    def bias(self) -> FloatArray:
        """(n_strategies,) mean error of the predictions, shrunk to none.

        The self-normalised doubly robust correction (Robins, Rotnitzky and Zhao 1994, JASA 89(427)), with Kish's effective sample
        size against `_PRIOR_TASKS`.
        """
        total = np.maximum(self.weight, 1e-12)
        n_effective = total**2 / np.maximum(self.square, 1e-12)
        return np.asarray(self.error / total * n_effective / (n_effective + _PRIOR_TASKS))


class Scatter(NamedTuple):
    """How far observed cells lie from their predictions beyond their own errors, squared and summed; (n_strategies,) each."""

    beyond: FloatArray
    n_observed: IntArray

    @classmethod
    def of(cls, table: OutcomeTable, predicted: FloatArray) -> "Scatter":
        """Take tasks, and predictions at the level of what was drawn."""
        apart = (np.nan_to_num(table.accuracy) - predicted) ** 2 - np.nan_to_num(table.standard_error) ** 2
        return cls(np.where(table.is_observed, apart, 0.0).sum(axis=0), table.is_observed.sum(axis=0))

    def __add__(self, other: "Scatter", /) -> "Scatter":  # type: ignore[override]  # of sums, not of tuples
        return Scatter(self.beyond + other.beyond, self.n_observed + other.n_observed)

    @property
    def prior(self) -> FloatArray:
        """(n_strategies,) variance of what is true around its prediction."""
        return np.maximum(self.beyond / np.maximum(self.n_observed, 1), _LEAST_VARIANCE)


def filled(table: OutcomeTable, predicted: FloatArray, cost: FloatArray, prior: FloatArray) -> tuple[FloatArray, FloatArray]:
    """The completed cells of some tasks, (n_tasks, n_strategies) each: accuracy in [0, 1], and cost.

    Args:
        table: one row per task.
        predicted: (n_tasks, n_strategies) accuracy at the level of what was drawn.
        cost: (n_tasks, n_strategies) predicted.
        prior: (n_strategies,) variance of what is true around its prediction.
    """
    trust = np.where(table.is_observed, prior / (prior + np.nan_to_num(table.standard_error) ** 2), 0.0)
    accuracy = predicted + trust * (np.nan_to_num(table.accuracy) - predicted)
    return np.clip(accuracy, 0.0, 1.0), np.where(np.isnan(table.cost), cost, table.cost)
