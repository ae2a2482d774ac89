"""Ridge regression whose penalty is chosen on clusters left out."""

import numpy as np

from budget_router.allocation import FloatArray, IntArray

Penalties = tuple[float, ...]
"""Of a model's ridge regressions."""

_MIN_ROWS = 3
"""Rows below which a line is left flat: leave-one-out needs something to leave in."""
_PENALTIES = np.logspace(-2, 3, 11)
_N_FOLDS = 5


def ridge(
    features: FloatArray,
    target: FloatArray,
    weight: FloatArray,
    cluster: IntArray,
    penalty: float | None,
    *,
    intercept: bool = True,
) -> tuple[FloatArray, float]:
    """Slope and offset in one array, and the penalty: the given one, or the best on clusters left out."""
    n_clusters = len(np.unique(cluster))
    if min(len(target), n_clusters) < _MIN_ROWS:
        level = float(np.average(target, weights=weight)) if len(target) and intercept else 0.0
        return np.append(np.zeros(features.shape[1]), level), float(_PENALTIES[-1])
    tried = _PENALTIES if penalty is None else np.array([penalty])
    weight = weight / weight.mean()
    lines, leverage = _lines(features, target, weight, tried, intercept=intercept)
    if penalty is not None:
        best = 0
    elif n_clusters == len(target):  # each row left out alone, which takes one fit
        missed = (target[:, None] - features @ lines[:-1] - lines[-1]) / (1 - leverage)
        best = int((weight @ missed**2).argmin())
    else:
        best = int(_left_out(features, target, weight, cluster, intercept=intercept).argmin())
    return lines[:, best], float(tried[best])


def _lines(
    features: FloatArray, target: FloatArray, weight: FloatArray, penalties: FloatArray, *, intercept: bool
) -> tuple[FloatArray, FloatArray]:
    """Lines of all penalties from one decomposition, (n_features + 1, n_penalties), and each row's leverage, (n, n_penalties).

    With rows in deviations from their weighted mean, `XᵀWX = V D Vᵀ`, slopes are `V (D + α)⁻¹ Vᵀ XᵀWy`. A row left out alone is
    missed by its residual over one minus its leverage (Hastie, Tibshirani and Friedman 2009, The Elements of Statistical
    Learning, 3.4 and 7.10).
    """
    root = np.sqrt(weight)
    mean = weight / weight.sum() if intercept else np.zeros(len(weight))
    centre, level = mean @ features, float(mean @ target)
    rows = (features - centre) * root[:, None]
    strength, axes = np.linalg.eigh(rows.T @ rows)
    turned = rows @ axes
    kept = 1 / (np.maximum(strength, 0.0)[:, None] + penalties)
    slopes = axes @ (kept * (turned.T @ (root * (target - level)))[:, None])
    return np.vstack([slopes, level - centre @ slopes]), turned**2 @ kept + mean[:, None]


def _left_out(features: FloatArray, target: FloatArray, weight: FloatArray, cluster: IntArray, *, intercept: bool) -> FloatArray:
    """(n_penalties,) weighted mean squared errors on folds of whole clusters that are left out, summed."""
    from sklearn.model_selection import GroupKFold

    folds = GroupKFold(min(_N_FOLDS, len(np.unique(cluster)))).split(features, groups=cluster)
    error = np.zeros(len(_PENALTIES))
    for fit, judge in folds:
        lines, _ = _lines(features[fit], target[fit], weight[fit], _PENALTIES, intercept=intercept)
        missed = target[judge, None] - features[judge] @ lines[:-1] - lines[-1]
        error += weight[judge] @ missed**2 / weight[judge].sum()
    return error
