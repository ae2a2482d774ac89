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
    from sklearn.linear_model import Ridge, RidgeCV
    from sklearn.model_selection import GroupKFold

    folds = None  # each row left out alone, which takes one fit
    if penalty is None and n_clusters < len(target):
        folds = list(GroupKFold(min(_N_FOLDS, n_clusters)).split(features, groups=cluster))
    scoring = None if folds is None else "neg_mean_squared_error"  # by default R², which a fold of one row does not have
    searched = RidgeCV(alphas=_PENALTIES, fit_intercept=intercept, cv=folds, scoring=scoring)
    model = searched if penalty is None else Ridge(alpha=penalty, fit_intercept=intercept)
    model.fit(features, target, sample_weight=weight / weight.mean())
    return np.append(model.coef_, model.intercept_), float(model.alpha_ if penalty is None else penalty)
