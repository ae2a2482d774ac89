"""Complete an outcome table: fill what was not observed, and shrink what was by how sure it is."""

import numpy as np

from budget_router.allocation import FloatArray
from budget_router.outcomes import OutcomeTable

_LEAST_VARIANCE = 1e-3
"""Variance below which predictions are not trusted to be, however well they fit."""


def completed(table: OutcomeTable, predicted: FloatArray, cost: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Fill a table's unobserved cells with predicted accuracy and cost, and shrink the observed ones to them by their precision.

    The posterior mean of a normal prior around the prediction, whose variance per strategy is what the observed cells scatter
    beyond their own errors (Morris 1983, Parametric Empirical Bayes Inference, JASA 78(381)).

    Args:
        table: one row per task.
        predicted: (n_tasks, n_strategies) accuracy.
        cost: (n_tasks, n_strategies), in the budget's unit.
    """
    error2 = np.nan_to_num(table.standard_error) ** 2
    scatter = np.where(table.is_observed, (np.nan_to_num(table.accuracy) - predicted) ** 2 - error2, 0.0)
    prior = np.maximum(scatter.sum(axis=0) / np.maximum(table.is_observed.sum(axis=0), 1), _LEAST_VARIANCE)
    trust = np.where(table.is_observed, prior / (prior + error2), 0.0)
    accuracy = predicted + trust * (np.nan_to_num(table.accuracy) - predicted)
    return np.clip(accuracy, 0.0, 1.0), np.where(np.isnan(table.cost), cost, table.cost)
