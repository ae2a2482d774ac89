"""What learned policies expect of every strategy: its accuracy on a task."""

import math
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from budget_router.allocation import FloatArray, IntArray
from budget_router.menu import Menu
from budget_router.outcomes import OutcomeTable
from budget_router.policies.forest import N_TREES, Forest
from budget_router.policies.ridge import Penalties, ridge
from budget_router.strategy import stages

MIN_TASKS = 5
"""Graded tasks below which nothing is claimed of a strategy."""
_MIN_STRATEGIES = 4
"""Strategies below which their means are not drawn to a common line."""
_MODEL_VARIANCE = 0.05
"""Variance of true accuracies around the line: keeps well-measured tasks from drowning the others."""
_FOREST_TASKS = 60
"""Tasks below which no forest is grown."""
MIN_LEAVES = (12, 5)
"""Tasks in a leaf, smooth to fine: the finer forest is taken where it is surely the better one."""
_NEVER_RIGHT = 1e-12
"""Offset of a strategy that never was: 0 stands for one of which too little is known."""
_LEAST_SHARE = 0.05
"""A forest that is believed less is not worth its walk."""


class Hyperparameters(NamedTuple):
    """What a twin takes over from the policy it stands for, so that both bend equally."""

    penalties: Penalties
    min_leaf: int = 0
    """Tasks in the smallest leaf of the forest."""
    share: float = 0.0
    """Of the differences between strategies that a forest sees, how much is believed; in [0, 1]."""


class AccuracyModel:
    """Accuracy of each strategy: by a line where tasks are few, by a forest where they are many.

    The line shows what little evidence there is, and fills what was not observed; the forest, grown on that, finds what a line
    cannot, and where every strategy does well it sees no difference between them. Differences that it does see are shrunk to
    those of the strategies' means, by how well they predict tasks that it has not seen. A strategy that was graded on fewer than
    `MIN_TASKS` tasks is predicted to be worth nothing.
    """

    forest_: Forest | None = None

    def fit(self, features: FloatArray, table: OutcomeTable, *, like: Hyperparameters | None = None) -> Self:
        """Learn from the observed cells of a table with one row per task; with given hyperparameters none are searched."""
        line = _AccuracyLine().fit(features, table, penalties=like.penalties if like else None)
        self.weights_: FloatArray = line.weights_
        self.hyperparameters_ = Hyperparameters(line.penalties_)
        if len(features) < _FOREST_TASKS:
            return self
        by_line = features @ self.weights_[:-1] + self.weights_[-1]
        self.weights_ = np.vstack([np.zeros_like(self.weights_[:-1]), by_line.mean(axis=0)])
        target = np.where(table.is_observed, np.nan_to_num(table.accuracy), np.clip(by_line, 0.0, 1.0))
        target[:, table.is_observed.sum(axis=0) < MIN_TASKS] = 0.0
        if like is not None:
            self.hyperparameters_ = like._replace(penalties=line.penalties_)
            if like.share:  # how far to believe it is told, so that no tree is needed to judge it
                forest = Forest().fit(features, target, cluster=table.cluster, min_leaf=like.min_leaf, n_grown=N_TREES)
                self.forest_ = forest
            return self
        error = None
        for min_leaf in MIN_LEAVES:
            forest = Forest().fit(features, target, cluster=table.cluster, min_leaf=min_leaf)
            share, found = _belief(forest.out_of_bag_, self._alike(forest.out_of_bag_), table)
            if error is None or _is_lower(found, error, table.cluster):
                self.hyperparameters_, self.forest_, error = Hyperparameters(line.penalties_, min_leaf, share), forest, found
        if self.hyperparameters_.share < _LEAST_SHARE:
            self.hyperparameters_, self.forest_ = Hyperparameters(line.penalties_), None
        return self

    @property
    def is_known(self) -> NDArray[np.bool_]:
        """(n_strategies,) of which strategies enough was graded."""
        return np.asarray(self.weights_[-1] != 0)

    def predict(self, features: FloatArray) -> FloatArray:
        """(n_tasks, n_strategies); on tasks far from those learned from, a line may leave [0, 1].

        It is not clipped here: where every strategy's accuracy would be cut to 1, what sets them apart would be cut as well.
        """
        if self.forest_ is None:
            return np.asarray(features @ self.weights_[:-1] + self.weights_[-1])
        return self._believed(self.forest_.predict(features))

    def _believed(self, by_forest: FloatArray) -> FloatArray:
        alike = self._alike(by_forest)
        return np.where(self.is_known, alike + self.hyperparameters_.share * (by_forest - alike), 0.0)

    def _alike(self, by_forest: FloatArray) -> FloatArray:
        """As hard as the forest finds each task, with the strategies as far apart as their means are."""
        means = self.weights_[-1]
        return np.asarray(means + (by_forest - means).mean(axis=1, keepdims=True, where=self.is_known))


class _AccuracyLine:
    """The line: what all strategies share, what those share that draw alike, and what is a strategy's own.

    Ridge regressions one after the other, each on what the wider ones left over, penalties by leave-one-task-out. Where a
    strategy was seldom tried its own line stays flat and the shared ones stand.
    """

    def fit(self, features: FloatArray, table: OutcomeTable, *, penalties: Penalties | None = None) -> Self:
        """Learn from the observed cells of a table with one row per task; with given penalties none are searched."""
        given = iter(penalties or ())
        seen, cluster = table.is_observed, table.cluster
        weight = np.where(seen, 1 / (_MODEL_VARIANCE + np.nan_to_num(table.standard_error) ** 2), 0.0)
        mean = _means(table, weight)
        centre = features.mean(axis=0)
        slopes = np.zeros((features.shape[1], len(mean)))
        found = []
        for level in _levels(table.menu):
            rest = np.nan_to_num(table.accuracy) - mean - (features - centre) @ slopes
            for columns in level:
                rows = np.flatnonzero(seen[:, columns].any(axis=1))
                known = weight[rows][:, columns]
                shared = (known * rest[rows][:, columns]).sum(axis=1) / known.sum(axis=1)
                certain = known.sum(axis=1) / (known > 0).sum(axis=1)
                line, penalty = ridge(features[rows] - centre, shared, certain, cluster[rows], next(given, None), intercept=False)
                slopes[:, columns] += line[:-1, None]
                found.append(penalty)
        lines = np.vstack([slopes, mean - centre @ slopes])
        lines[-1, lines[-1] == 0] = _NEVER_RIGHT
        lines[:, seen.sum(axis=0) < MIN_TASKS] = 0.0
        self.weights_: FloatArray = lines
        self.penalties_: Penalties = tuple(found)
        return self


def _belief(by_forest: FloatArray, alike: FloatArray, table: OutcomeTable) -> tuple[float, FloatArray]:
    """How much of the forest's differences to believe, in [0, 1], by least squares on observed cells; and each task's error."""
    apart = np.where(table.is_observed, by_forest - alike, 0.0)
    missing = np.where(table.is_observed, np.nan_to_num(table.accuracy) - alike, 0.0)
    share = float(np.clip((apart * missing).sum() / max(float((apart**2).sum()), 1e-12), 0.0, 1.0))
    rest = missing - share * apart
    shared = rest.sum(axis=1, keepdims=True) / np.maximum(table.is_observed.sum(axis=1, keepdims=True), 2)
    return share, np.where(table.is_observed, (rest - shared) ** 2, 0.0).sum(axis=1)


def _is_lower(error: FloatArray, than: FloatArray, cluster: IntArray) -> bool:
    """Whether errors are lower by more than a standard error (Breiman et al. 1984, Classification and Regression Trees, 3.4)."""
    difference = np.bincount(cluster, weights=error - than)
    return float(difference.sum()) < -math.sqrt(float((difference**2).sum()))


def _levels(menu: Menu) -> list[list[list[int]]]:
    """Groups of columns, wide to narrow: all, those that draw alike, each one; a level that splits nothing is left out."""
    alike: dict[str, list[int]] = {}
    for column, strategy in enumerate(menu):
        alike.setdefault(stages(strategy)[-1].sampling.key, []).append(
            column
        )  # an escalation's doubtful answers are its last stage's
    levels = [[list(range(len(menu)))], list(alike.values()), [[column] for column in range(len(menu))]]
    return [level for narrower, level in zip([*levels[1:], None], levels, strict=True) if level != narrower]


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
