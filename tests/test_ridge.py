"""Ridge regression: the lines and the penalties that scikit-learn finds, from one decomposition."""

import numpy as np
import pytest
from sklearn.linear_model import RidgeCV
from sklearn.model_selection import GroupKFold

from budget_router.policies.ridge import ridge

PENALTIES = np.logspace(-2, 3, 11)


def problem(seed, n_rows, n_features):
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(n_rows, n_features)) * rng.random(n_features)
    return features, features @ rng.normal(size=n_features) / 5 + rng.normal(size=n_rows) + 3, rng.random(n_rows) + 0.01


@pytest.mark.parametrize("intercept", [True, False])
@pytest.mark.parametrize(("n_rows", "n_features"), [(3, 1), (40, 60), (90, 12)])
@pytest.mark.parametrize("rows_per_cluster", [1, 3])
def test_the_line_and_its_penalty_are_scikit_learns(n_rows, n_features, rows_per_cluster, intercept):
    for seed in range(2):
        features, target, weight = problem(seed, n_rows * rows_per_cluster, n_features)
        cluster = np.arange(len(target)) // rows_per_cluster
        folds = None if rows_per_cluster == 1 else GroupKFold(min(5, n_rows)).split(features, groups=cluster)
        scoring = None if folds is None else "neg_mean_squared_error"
        theirs = RidgeCV(PENALTIES, fit_intercept=intercept, cv=folds and list(folds), scoring=scoring)
        theirs.fit(features, target, sample_weight=weight / weight.mean())

        line, penalty = ridge(features, target, weight, cluster, None, intercept=intercept)

        assert penalty == theirs.alpha_
        assert line == pytest.approx(np.append(theirs.coef_, theirs.intercept_), abs=1e-9)
        assert ridge(features, target, weight, cluster, penalty, intercept=intercept)[0] == pytest.approx(line, abs=1e-9)
