"""Held-out predictions of scores or spends, for the doubly robust estimate."""

import numpy as np

from budget_router.allocation import FloatArray
from budget_router.evaluation.revealed import Revealed

N_FOLDS = 5
_SLOPE_PENALTY = 5.0
"""Rows of evidence that a slope of a standardised feature is weighed against."""
_LEVEL_PENALTY = 2.0
"""Rows of evidence at the mean of all strategies that a strategy's own mean is weighed against."""


def cross_fitted(features: FloatArray, log: Revealed, *, n_folds: int = N_FOLDS) -> FloatArray:
    """Predict every cell by ridge regressions, one per strategy, that did not see the row's task.

    Slopes are drawn to zero and a strategy's mean to the mean of all, so that a strategy without a row is predicted at that mean.
    The doubly robust estimate is unbiased however wrong these are, provided that no row is predicted by itself.

    Args:
        features: (n, n_features) of each row's task.
        log: what was revealed.
        n_folds: folds of whole tasks.

    Returns:
        (n, n_strategies), within the range of what was observed.

    Reference: Chernozhukov et al. (2018), Double/debiased machine learning, The Econometrics Journal 21(1).
    """
    spread = features.std(axis=0)
    design = np.column_stack([np.ones(len(features)), (features - features.mean(axis=0)) / np.where(spread > 0, spread, 1.0)])
    seen, value = log.is_observed.astype(float), np.nan_to_num(log.value)
    fold = log.task % n_folds
    folds = [fold == one for one in range(n_folds)]
    grams = np.array([[(design[rows] * column[rows, None]).T @ design[rows] for column in seen.T] for rows in folds])
    moments = np.array([design[rows].T @ value[rows] for rows in folds])  # (n_folds, 1 + n_features, n_strategies)
    penalty = np.diag([_LEVEL_PENALTY] + [_SLOPE_PENALTY] * features.shape[1])
    predicted = np.empty(value.shape)
    for one, rows in enumerate(folds):
        gram, moment = grams.sum(axis=0) - grams[one], moments.sum(axis=0) - moments[one]
        level = moment[0].sum() / max(gram[:, 0, 0].sum(), 1.0)
        lines = np.linalg.solve(gram + penalty, moment.T[..., None] - level * gram[:, :, :1])[..., 0]
        predicted[rows] = level + design[rows] @ lines.T
    low, high = (value[log.is_observed].min(), value[log.is_observed].max()) if seen.any() else (0.0, 0.0)
    return np.asarray(np.clip(predicted, low, high))
