"""What another policy would have reached, estimated from what this one logged."""

import numpy as np

from budget_router.allocation import FloatArray
from budget_router.outcomes import OutcomeTable


def doubly_robust(table: OutcomeTable, predicted: FloatArray, target_prob: FloatArray) -> FloatArray:
    """Doubly robust terms of a policy's accuracy, one per logged decision; their mean is the estimate.

    `Σ_k π_k m_k + Σ_k π_k 1[k observed] / p_k · (y_k - m_k)` with the predicted accuracies m, the evaluated policy's
    probabilities π, and the probability p_k that the log revealed cell k. Unbiased when the p are right and m and π are fitted on
    other tasks; the variance explodes when a π_k meets a much smaller p_k (Dudík, Langford and Li 2011, ICML).

    Args:
        table: one row per graded decision that the policy made; a forced one has no propensity to weigh by.
        predicted: (n, n_strategies), m.
        target_prob: (n, n_strategies), π.
    """
    observed = table.is_observed
    importance_weight = np.where(observed, target_prob / np.maximum(table.observed_prob, 1e-12), 0.0)
    residual = np.nan_to_num(table.accuracy) - predicted
    return np.asarray((target_prob * predicted + importance_weight * residual).sum(axis=1))
