"""The two regressions that learned policies rest on: accuracy and cost of every strategy, linear in the features."""

from typing import Self

import numpy as np

from budget_router.allocation import FloatArray
from budget_router.budget import Unit
from budget_router.errors import NotEnoughEvidence
from budget_router.menu import Menu
from budget_router.outcomes import OutcomeTable

_MIN_ROWS = 3
"""Rows below which a line is left flat: leave-one-out needs something to leave in."""
_PENALTIES = np.logspace(-2, 3, 11)
_MODEL_VARIANCE = 0.05
"""Variance of true accuracies around the line: keeps well-measured tasks from drowning the others."""


class AccuracyModel:
    """Accuracy of each strategy: what all strategies share, plus what is its own.

    Two ridge regressions, penalties by leave-one-task-out: first one line for all strategies around their means, then one line
    per strategy on what is left. Where a strategy was seldom tried, its own line is flat and the shared one stands.
    """

    def fit(self, features: FloatArray, table: OutcomeTable) -> Self:
        """Learn from the observed cells of a table with one row per task."""
        seen = table.is_observed
        weight = np.where(seen, 1 / (_MODEL_VARIANCE + np.nan_to_num(table.standard_error) ** 2), 0.0)
        accuracy = np.nan_to_num(table.accuracy)
        total = weight.sum(axis=0)
        overall = float((weight * accuracy).sum() / total.sum())
        mean = np.where(total > 0, (weight * accuracy).sum(axis=0) / np.maximum(total, 1e-12), overall)
        rows, columns = np.nonzero(seen)
        shared, offset = _ridge(features[rows], (accuracy - mean)[rows, columns], weight[rows, columns])
        lines = []
        for column in range(len(table.menu)):
            rows = np.flatnonzero(seen[:, column])
            rest = accuracy[rows, column] - mean[column] - features[rows] @ shared - offset
            own, own_offset = _ridge(features[rows], rest, weight[rows, column])
            lines.append(np.append(shared + own, mean[column] + offset + own_offset))
        self.weights_: FloatArray = np.array(lines).T
        return self

    def predict(self, features: FloatArray) -> FloatArray:
        """(n_tasks, n_strategies) in [0, 1]."""
        return np.asarray(np.clip(features @ self.weights_[:-1] + self.weights_[-1], 0.0, 1.0))


class CostModel:
    """Cost of each strategy: the cost of one sample is log-linear in the features, and strategies that draw alike share it.

    Corrected by the smearing factor, so that predicted costs add up to what was billed (Duan 1983, JASA 78(383)).
    """

    def fit(self, features: FloatArray, table: OutcomeTable) -> Self:
        """Learn from the billed cells of a table with one row per task."""
        scale, keys = _scales(table.menu, table.unit), [strategy.sampling.key for strategy in table.menu]
        weights, bounds = [], []
        for key in keys:
            columns = [column for column, other in enumerate(keys) if other == key]
            billed = table.cost[:, columns] / scale[columns]
            rows = np.flatnonzero(~np.isnan(billed).all(axis=1))
            if not rows.size:
                raise NotEnoughEvidence(f"no spend of {table.menu.names[columns[0]]!r} or its like was settled: serve it first")
            one = np.nanmean(billed[rows], axis=1)
            least = one[one > 0].min() / 10 if (one > 0).any() else 1.0
            line, offset = _ridge(features[rows], np.log(np.maximum(one, least)), np.ones(len(rows)))
            expected = np.exp(features[rows] @ line + offset)
            offset += np.log(max(one.sum(), least) / expected.sum())
            weights.append(np.append(line, offset))
            bounds.append((one.min(), one.max()))
        self.weights_: FloatArray = np.array(weights).T
        self.bounds_: FloatArray = np.array(bounds).T
        self.scale_: FloatArray = scale
        return self

    def predict(self, features: FloatArray) -> FloatArray:
        """(n_tasks, n_strategies) in the budget's unit, within what was seen of each strategy."""
        one = np.exp(features @ self.weights_[:-1] + self.weights_[-1])
        return np.asarray(np.clip(one, *self.bounds_) * self.scale_)


def _scales(menu: Menu, unit: Unit) -> FloatArray:
    """Samples that a strategy bills; in seconds one, as samples run side by side."""
    return np.array([1.0 if unit == "seconds" else strategy.n_samples for strategy in menu])


def _ridge(features: FloatArray, target: FloatArray, weight: FloatArray) -> tuple[FloatArray, float]:
    if len(target) < _MIN_ROWS:
        level = float(np.average(target, weights=weight)) if len(target) else 0.0
        return np.zeros(features.shape[1]), level
    from sklearn.linear_model import RidgeCV

    model = RidgeCV(alphas=_PENALTIES).fit(features, target, sample_weight=weight / weight.mean())
    return np.asarray(model.coef_, dtype=np.float64), float(model.intercept_)
