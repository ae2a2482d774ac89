"""The two regressions that learned policies rest on: accuracy and cost of every strategy."""

from typing import NamedTuple, Self

import numpy as np

from budget_router.allocation import FloatArray
from budget_router.budget import Unit
from budget_router.menu import Menu
from budget_router.outcomes import OutcomeTable
from budget_router.policies.forest import Forest
from budget_router.strategy import stages

Penalties = tuple[float, ...]
"""Of a model's ridge regressions, in the order they are fitted."""

MIN_TASKS = 5
"""Graded tasks below which nothing is claimed of a strategy."""
_MIN_STRATEGIES = 4
"""Strategies below which their means are not drawn to a common line."""
_MIN_ROWS = 3
"""Rows below which a line is left flat: leave-one-out needs something to leave in."""
_PENALTIES = np.logspace(-2, 3, 11)
_MODEL_VARIANCE = 0.05
"""Variance of true accuracies around the line: keeps well-measured tasks from drowning the others."""
_FOREST_TASKS = 60
"""Tasks below which no forest is grown."""
_N_FOLDS = 5
_LEAST_SHARE = 0.05
"""A forest that would have less of a say is not worth its walk."""


class Hyperparameters(NamedTuple):
    """What a twin takes over from the policy it stands for, so that both bend equally."""

    penalties: Penalties
    share: float = 0.0
    """Of the forest in the prediction, in [0, 1]."""


class AccuracyModel:
    """Accuracy of each strategy: a line and a forest, blended by how well each predicts tasks it has not seen.

    The line shows what little evidence there is, the forest what much evidence hides from a line. Their blend is the least
    squares one on held-out predictions (Breiman 1996, Stacked Regressions, Machine Learning 24). A strategy that was graded on
    fewer than `MIN_TASKS` tasks is predicted to be worth nothing.
    """

    forest_: Forest | None = None

    def fit(self, features: FloatArray, table: OutcomeTable, *, like: Hyperparameters | None = None) -> Self:
        """Learn from the observed cells of a table with one row per task; with given hyperparameters none are searched.

        `fitted_` predicts the very tasks that were learned from, the forest's part by the trees that did not see them.
        """
        line = _AccuracyLine().fit(features, table, penalties=like.penalties if like else None)
        self.weights_: FloatArray = line.weights_
        by_line = features @ self.weights_[:-1] + self.weights_[-1]
        share = 0.0
        if len(features) >= _FOREST_TASKS and (like is None or like.share):
            target = np.where(table.is_observed, np.nan_to_num(table.accuracy), np.clip(by_line, 0.0, 1.0))
            target[:, table.is_observed.sum(axis=0) < MIN_TASKS] = 0.0
            self.forest_ = Forest().fit(features, target)
            by_forest = self.forest_.out_of_bag_
            share = like.share if like else _forest_share(by_forest, _held_out_lines(features, table, line.penalties_), table)
        self.hyperparameters_ = Hyperparameters(line.penalties_, share if share >= _LEAST_SHARE else 0.0)
        if self.hyperparameters_.share:
            self.fitted_: FloatArray = np.clip(by_line + share * (by_forest - by_line), 0.0, 1.0)
        else:
            self.forest_, self.fitted_ = None, np.clip(by_line, 0.0, 1.0)
        return self

    def predict(self, features: FloatArray) -> FloatArray:
        """(n_tasks, n_strategies) in [0, 1]."""
        accuracy = features @ self.weights_[:-1] + self.weights_[-1]
        if self.forest_ is not None:
            accuracy += self.hyperparameters_.share * (self.forest_.predict(features) - accuracy)
        return np.asarray(np.clip(accuracy, 0.0, 1.0))


class _AccuracyLine:
    """The line: what all strategies share, what those share that draw alike, and what is a strategy's own.

    Ridge regressions one after the other, each on what the wider ones left over, penalties by leave-one-task-out. Where a
    strategy was seldom tried its own line stays flat and the shared ones stand.
    """

    def fit(self, features: FloatArray, table: OutcomeTable, *, penalties: Penalties | None = None) -> Self:
        """Learn from the observed cells of a table with one row per task; with given penalties none are searched."""
        given = iter(penalties or ())
        seen = table.is_observed
        weight = np.where(seen, 1 / (_MODEL_VARIANCE + np.nan_to_num(table.standard_error) ** 2), 0.0)
        mean = _means(table, weight)
        centre = features.mean(axis=0)
        slopes = np.zeros((features.shape[1], len(mean)))
        found = []
        for level in _levels(table.menu):
            rest = np.nan_to_num(table.accuracy) - mean - (features - centre) @ slopes
            for columns in level:
                rows, members = np.nonzero(seen[:, columns])
                cells = rows, np.array(columns)[members]
                line, penalty = _ridge(features[rows] - centre, rest[cells], weight[cells], next(given, None), intercept=False)
                slopes[:, columns] += line[:-1, None]
                found.append(penalty)
        lines = np.vstack([slopes, mean - centre @ slopes])
        lines[:, seen.sum(axis=0) < MIN_TASKS] = 0.0
        self.weights_: FloatArray = lines
        self.penalties_: Penalties = tuple(found)
        return self


def _held_out_lines(features: FloatArray, table: OutcomeTable, penalties: Penalties) -> FloatArray:
    """Predict each task by a line that did not see it."""
    fold = np.arange(len(features)) % _N_FOLDS
    predicted = np.empty(table.accuracy.shape)
    for one in range(_N_FOLDS):
        outside, inside = np.flatnonzero(fold != one), np.flatnonzero(fold == one)
        weights = _AccuracyLine().fit(features[outside], table.rows(outside), penalties=penalties).weights_
        predicted[inside] = features[inside] @ weights[:-1] + weights[-1]
    return predicted


def _forest_share(by_forest: FloatArray, by_line: FloatArray, table: OutcomeTable) -> float:
    """Share of the forest in the least squares blend with the line, on the observed cells, less its standard error; in [0, 1].

    Where the line says all there is to say, the forest would only add noise, and the price hangs on the noise of alike tasks.
    """
    apart = np.where(table.is_observed, by_forest - by_line, 0.0)
    missing = np.where(table.is_observed, np.nan_to_num(table.accuracy) - by_line, 0.0)
    total = max(float((apart**2).sum()), 1e-12)
    share = float((apart * missing).sum()) / total
    error = np.sqrt((((apart * (missing - share * apart)).sum(axis=1)) ** 2).sum()) / total
    return float(np.clip(share - error, 0.0, 1.0))


class CostModel:
    """Cost of each strategy: the cost of one sample is log-linear in the features, and strategies that draw alike share it.

    Corrected by the smearing factor, so that predicted costs add up to what was billed (Duan 1983, JASA 78(383)).
    """

    def fit(self, features: FloatArray, table: OutcomeTable, *, penalties: Penalties | None = None) -> Self:
        """Learn from the billed cells of a table with one row per task; with given penalties none are searched."""
        given = iter(penalties or ())
        scale, keys = _scales(table.menu, table.unit), [strategy.cost_key for strategy in table.menu]
        weights, bounds, found = [], [], []
        for key in keys:
            columns = [column for column, other in enumerate(keys) if other == key]
            billed = table.cost[:, columns] / scale[columns]
            rows = np.flatnonzero(~np.isnan(billed).all(axis=1))
            if not rows.size:  # never served: as dear as the dearest that was
                is_adaptive = table.menu.root[columns[0]].is_adaptive  # its cost is that of the whole, not of a sample
                billed, rows = table.cost / (1.0 if is_adaptive else scale), np.flatnonzero(~np.isnan(table.cost).all(axis=1))
                billed = np.nanmax(billed, axis=1, keepdims=True, initial=0.0, where=~np.isnan(billed))
            one = np.nanmean(billed[rows], axis=1)
            least = one[one > 0].min() / 10 if (one > 0).any() else 1.0
            line, penalty = _ridge(features[rows], np.log(np.maximum(one, least)), np.ones(len(rows)), next(given, None))
            expected = np.exp(features[rows] @ line[:-1] + line[-1])
            line[-1] += np.log(max(one.sum(), least) / expected.sum())
            weights.append(line)
            found.append(penalty)
            bounds.append((one.min(), one.max()))
        self.weights_: FloatArray = np.array(weights).T
        self.bounds_: FloatArray = np.array(bounds).T
        self.scale_: FloatArray = scale
        self.penalties_: Penalties = tuple(found)
        return self

    def predict(self, features: FloatArray) -> FloatArray:
        """(n_tasks, n_strategies) in the budget's unit, within what was seen of each strategy."""
        one = np.exp(features @ self.weights_[:-1] + self.weights_[-1])
        return np.asarray(np.clip(one, *self.bounds_) * self.scale_)


def _levels(menu: Menu) -> list[list[list[int]]]:
    """Groups of columns, wide to narrow: all, those that draw alike, each one; a level that splits nothing is left out."""
    alike: dict[str, list[int]] = {}
    for column, strategy in enumerate(menu):
        alike.setdefault(stages(strategy)[-1].sampling.key, []).append(
            column
        )  # an escalation's doubtful answers are its last stage's
    levels = [[list(range(len(menu)))], list(alike.values()), [[column] for column in range(len(menu))]]
    return [level for narrower, level in zip([*levels[1:], None], levels, strict=True) if level != narrower]


def _scales(menu: Menu, unit: Unit) -> FloatArray:
    """Samples that a strategy bills; in seconds one, as samples run side by side."""
    return np.array([1.0 if unit == "seconds" else strategy.cost_scale for strategy in menu])


def _means(table: OutcomeTable, weight: FloatArray) -> FloatArray:
    """Mean accuracy of each strategy, thin evidence shrunk to the menu-wide line of accuracy against log cost.

    Random-effects regression of the means: a mean of variance v moves to the line by v / (v + τ²), and τ² is what the means
    scatter around the line beyond their own variances (DerSimonian and Laird 1986, Controlled Clinical Trials 7(3)). With fewer
    than four strategies a line explains too little, and the means stand as they are.
    """
    total = np.maximum(weight.sum(axis=0), 1e-12)
    mean = (weight * np.nan_to_num(table.accuracy)).sum(axis=0) / total
    known = np.flatnonzero(table.is_observed.sum(axis=0) >= MIN_TASKS)
    if len(known) < _MIN_STRATEGIES:
        return np.asarray(mean)
    deviation = np.where(table.is_observed, np.nan_to_num(table.accuracy) - mean, 0.0)
    deviation -= np.where(table.is_observed, _difficulty(table, deviation)[:, None], 0.0)
    variance = np.maximum(((weight * deviation) ** 2).sum(axis=0) / total**2, 1e-9)[known]
    cost = np.log(np.maximum(np.nanmean(table.cost[:, known], axis=0), 1e-12))
    design = np.column_stack([np.ones(len(known)), cost - cost.mean()])
    line, excess = _fitted(design, mean[known], 1 / variance)
    spread = max(0.0, (float((excess**2 / variance).sum()) - (len(known) - 2)) / float((1 / variance).sum()))
    line, _ = _fitted(design, mean[known], 1 / (variance + spread))
    mean[known] = line + (mean[known] - line) * spread / (variance + spread)
    return np.asarray(mean)


def _difficulty(table: OutcomeTable, deviation: FloatArray) -> FloatArray:
    """What tasks have in common over strategies that were tried on them apart: it moves all means alike, not their order."""
    keys = [strategy.sampling.key for strategy in table.menu]
    n_apart = sum(table.is_observed[:, [key == one for key in keys]].any(axis=1).astype(int) for one in set(keys))
    shared = deviation.sum(axis=1) / np.maximum(table.is_observed.sum(axis=1), 1)
    return np.where(n_apart > 1, shared, 0.0)


def _fitted(design: FloatArray, target: FloatArray, weight: FloatArray) -> tuple[FloatArray, FloatArray]:
    root = np.sqrt(weight)
    solution, *_ = np.linalg.lstsq(design * root[:, None], target * root, rcond=None)
    line = design @ solution
    return line, target - line


def _ridge(
    features: FloatArray, target: FloatArray, weight: FloatArray, penalty: float | None, *, intercept: bool = True
) -> tuple[FloatArray, float]:
    """Slope and offset in one array, and the penalty: the given one, or the best by leave-one-out."""
    if len(target) < _MIN_ROWS:
        level = float(np.average(target, weights=weight)) if len(target) and intercept else 0.0
        return np.append(np.zeros(features.shape[1]), level), float(_PENALTIES[-1])
    from sklearn.linear_model import Ridge, RidgeCV

    searched = RidgeCV(alphas=_PENALTIES, fit_intercept=intercept)
    model = searched if penalty is None else Ridge(alpha=penalty, fit_intercept=intercept)
    model.fit(features, target, sample_weight=weight / weight.mean())
    return np.append(model.coef_, model.intercept_), float(model.alpha_ if penalty is None else penalty)
