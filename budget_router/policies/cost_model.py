"""What learned policies expect of every strategy: its cost on a task."""

from collections.abc import Sequence
from typing import Self

import numpy as np

from budget_router.allocation import FloatArray, IntArray
from budget_router.budget import Unit
from budget_router.menu import Menu
from budget_router.outcomes import OutcomeTable
from budget_router.policies.ridge import Penalties, ridge
from budget_router.strategy import stages

_PRIOR_TASKS = 5
"""Tasks that the mean share of all adaptive strategies counts as, beside a strategy's own."""


class CostModel:
    """Cost of each strategy: the cost of one sample is log-linear in the features, and strategies that draw alike share it.

    An adaptive strategy costs a share of what its stages would if all their samples were drawn. The log of that share is a line
    of its own, so few bills suffice: how dear a task is, is learned from all strategies that draw alike. Where a stage was never
    served alone, and in seconds, where samples run side by side, the whole is a line instead. Lines are corrected by the
    smearing factor, so that predicted costs add up to what was billed (Duan 1983, JASA 78(383)).
    """

    def fit(self, features: FloatArray, table: OutcomeTable, *, penalties: Penalties | None = None) -> Self:
        """Learn from the billed cells of a table with one row per task; with given penalties, by strategy, none are searched."""
        n_strategies = len(table.menu)
        self.scale_: FloatArray = _scales(table.menu, table.unit)
        self.weights_: FloatArray = np.zeros((features.shape[1] + 1, n_strategies))
        self.bounds_: FloatArray = np.zeros((2, n_strategies))
        found = np.zeros(n_strategies)
        given = [None] * n_strategies if penalties is None else penalties
        parts = {} if table.unit == "seconds" else _parts(table)
        for columns in _alike(table.menu):
            if columns[0] in parts:
                continue
            billed = table.cost[:, columns] / self.scale_[columns]
            rows = np.flatnonzero(~np.isnan(billed).all(axis=1))
            if not rows.size:  # never served: as dear as the dearest that was
                is_adaptive = table.menu.root[columns[0]].is_adaptive  # its cost is that of the whole, not of a sample
                billed = table.cost / (1.0 if is_adaptive else self.scale_)
                rows = np.flatnonzero(~np.isnan(table.cost).all(axis=1))
                billed = np.nanmax(billed, axis=1, keepdims=True, initial=0.0, where=~np.isnan(billed))
            one = np.nanmean(billed[rows], axis=1)
            line, found[columns] = _log_line(features[rows], one, table.cluster[rows], given[columns[0]])
            expected = np.exp(features[rows] @ line[:-1] + line[-1])
            line[-1] += np.log((one.sum() or 1.0) / expected.sum())
            self.weights_[:, columns], self.bounds_[:, columns] = line[:, None], np.array([[one.min()], [one.max()]])
        whole = {column: self._whole(features, of) for column, of in parts.items()}
        pooled = _share([(table.cost[:, column], most) for column, most in whole.items()])
        for column, most in whole.items():
            rows = np.flatnonzero(~np.isnan(table.cost[:, column]))
            billed = table.cost[rows, column]
            line, found[column] = _log_line(features[rows], billed / most[rows], table.cluster[rows], given[column])
            line += _offset(features, most)
            prior = _PRIOR_TASKS * float(most.mean())
            share = (float(billed.sum()) + prior * pooled) / (float(most[rows].sum()) + prior)
            of = rows if rows.size else np.arange(len(features))
            line[-1] += np.log(share * most[of].sum() / np.exp(features[of] @ line[:-1] + line[-1]).sum())
            self.weights_[:, column] = line
            least = table.menu.root[column].n_guaranteed * self.bounds_[0, parts[column][0][0]]
            self.bounds_[:, column] = least, sum(n_samples * self.bounds_[1, part] for part, n_samples in parts[column])
        self.penalties_: Penalties = tuple(found.tolist())
        return self

    def predict(self, features: FloatArray) -> FloatArray:
        """(n_tasks, n_strategies) in the budget's unit, within what was seen of each strategy."""
        one = np.exp(features @ self.weights_[:-1] + self.weights_[-1])
        return np.asarray(np.clip(one, *self.bounds_) * self.scale_)

    def _whole(self, features: FloatArray, parts: Sequence[tuple[int, int]]) -> FloatArray:
        """What each task would cost if all samples of these parts were drawn; > 0."""
        one = np.clip(np.exp(features @ self.weights_[:-1] + self.weights_[-1]), *self.bounds_)
        total: FloatArray = sum((n_samples * one[:, column] for column, n_samples in parts), np.zeros(len(features)))
        return np.maximum(total, 1e-12 * (total.max() or 1.0))


def _parts(table: OutcomeTable) -> dict[int, list[tuple[int, int]]]:
    """By column of an adaptive strategy: its stages, each as a column that draws like it, and its samples at most.

    An adaptive strategy is left out where a stage was never served alone.
    """
    n_served = (~np.isnan(table.cost)).sum(axis=0)
    alone = {
        strategy.sampling.key: column
        for column, strategy in enumerate(table.menu)
        if not strategy.is_adaptive and n_served[column]
    }
    return {
        column: [(alone[stage.sampling.key], stage.n_samples) for stage in stages(strategy)]
        for column, strategy in enumerate(table.menu)
        if strategy.is_adaptive and all(stage.sampling.key in alone for stage in stages(strategy))
    }


def _log_line(features: FloatArray, cost: FloatArray, cluster: IntArray, penalty: float | None) -> tuple[FloatArray, float]:
    """Regress the logs of costs, zeros as a tenth of the least; slope and offset, and the penalty."""
    least = cost[cost > 0].min() / 10 if (cost > 0).any() else 1.0
    return ridge(features, np.log(np.maximum(cost, least)), np.ones(len(cost)), cluster, penalty)


def _offset(features: FloatArray, cost: FloatArray) -> FloatArray:
    """The line nearest to the log of a cost: exact for one stage, and near for two, as a sum of like lines is like them."""
    design = np.column_stack([features, np.ones(len(features))])
    line, *_ = np.linalg.lstsq(design, np.log(cost), rcond=None)
    return np.asarray(line)


def _share(bills: Sequence[tuple[FloatArray, FloatArray]]) -> float:
    """What adaptive strategies bill of the most that they could: a ratio of sums (Cochran 1977, Sampling Techniques, 6)."""
    billed = sum(float(np.nansum(bill)) for bill, _ in bills)
    whole = sum(float(most[~np.isnan(bill)].sum()) for bill, most in bills)
    return max(billed / whole, 1e-9) if whole else 1.0


def _alike(menu: Menu) -> list[list[int]]:
    """Columns of one cost line each."""
    columns: dict[str, list[int]] = {}
    for column, strategy in enumerate(menu):
        columns.setdefault(strategy.cost_key, []).append(column)
    return list(columns.values())


def _scales(menu: Menu, unit: Unit) -> FloatArray:
    """Samples that a strategy bills; in seconds one, as samples run side by side."""
    return np.array([1.0 if unit == "seconds" else strategy.cost_scale for strategy in menu])
