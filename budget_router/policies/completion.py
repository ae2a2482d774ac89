"""Complete an outcome table: fill what was not observed, and shrink what was by how sure it is."""

import numpy as np

from budget_router.allocation import FloatArray
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
    Parametric Empirical Bayes Inference, JASA 78(381)).

    Args:
        table: one row per task.
        predicted: (n_tasks, n_strategies) accuracy, of each task by models that did not see it.
        cost: (n_tasks, n_strategies), in the budget's unit.
    """
    predicted = predicted + _bias(table, predicted)
    error2 = np.nan_to_num(table.standard_error) ** 2
    scatter = np.where(table.is_observed, (np.nan_to_num(table.accuracy) - predicted) ** 2 - error2, 0.0)
    prior = np.maximum(scatter.sum(axis=0) / np.maximum(table.is_observed.sum(axis=0), 1), _LEAST_VARIANCE)
    trust = np.where(table.is_observed, prior / (prior + error2), 0.0)
    accuracy = predicted + trust * (np.nan_to_num(table.accuracy) - predicted)
    return np.clip(accuracy, 0.0, 1.0), np.where(np.isnan(table.cost), cost, table.cost)


def _bias(table: OutcomeTable, predicted: FloatArray) -> FloatArray:
    """(n_strategies,) mean error of the predictions, observed cells weighted by their inverse propensity, shrunk to none.

    The self-normalised doubly robust correction (Robins, Rotnitzky and Zhao 1994, JASA 89(427)), with Kish's effective sample
    size against `_PRIOR_TASKS`. What callers forced was not drawn, and weak labels were not observed: both are left out.
    """
    drawn = ~np.isnan(table.graded) & ~table.is_forced[:, None]
    weight = np.where(drawn, 1 / np.maximum(table.observed_prob, _LEAST_PROBABILITY), 0.0)
    total = np.maximum(weight.sum(axis=0), 1e-12)
    n_effective = total**2 / np.maximum((weight**2).sum(axis=0), 1e-12)
    error = (weight * (np.nan_to_num(table.graded) - predicted)).sum(axis=0) / total
    return np.asarray(error * n_effective / (n_effective + _PRIOR_TASKS))
