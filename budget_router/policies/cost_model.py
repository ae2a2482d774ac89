"""What learned policies expect of every strategy: its cost on a task."""

from collections.abc import Mapping, Sequence
from typing import Self

import numpy as np

from budget_router.allocation import FloatArray, IntArray
from budget_router.budget import Unit
from budget_router.menu import Menu
from budget_router.outcomes import OutcomeTable
from budget_router.policies.ridge import Penalties, ridge
from budget_router.strategy import Escalate, stages

_Part = tuple[int, int, int]
"""Column that draws like a stage, samples of it drawn in any case, samples at most."""

_N_FOLDS = 5
_PRIOR_TASKS = 20
"""Tasks that what an adaptive strategy's stages bill counts as, beside its own bills."""
_TENTH = 0.1
"""Of the tasks, those that seem to doubt least: none is believed to doubt less than they did."""
_SAME_COST = 0.02
"""Relative difference of two mean costs of a sample that is none."""
_PRIOR_DOUBTS = 5
"""Tasks of the usual doubt that are counted with that tenth."""


class CostModel:
    """Cost of each strategy: the cost of one sample is log-linear in the features, and strategies that draw alike share it.

    An adaptive strategy costs what it draws in any case, and a share of all that it might draw beyond: the share is linear in the
    features, and strategies that stop or escalate on the same doubt share it. So few bills suffice; of an escalation every first
    vote that was seen tells as well. Where a stage was never served alone, and in seconds, where samples run side by side, the
    whole is a line instead. Lines are corrected by the smearing factor, so that predicted costs add up to what was billed (Duan
    1983, JASA 78(383)).

    Fitted:
        weights_: (n_features + 1, n_strategies) lines, offset last: of the log of a sample's cost, or of an adaptive share.
        bounds_: (2, n_strategies) least and highest cost of a sample that was seen, or share that is believed.
        least_: (n_strategies, n_strategies) samples like the row's that the column's strategy draws in any case.
        rest_: (n_strategies, n_strategies) samples like the row's that it might draw beyond.
    """

    def fit(self, features: FloatArray, table: OutcomeTable, *, penalties: Penalties | None = None) -> Self:
        """Learn from the billed cells of a table with one row per task; with given penalties, by strategy, none are searched."""
        n_strategies = len(table.menu)
        scale = _scales(table.menu, table.unit)
        self.least_: FloatArray = np.diag(scale)
        self.rest_: FloatArray = np.zeros((n_strategies, n_strategies))
        self.weights_: FloatArray = np.zeros((features.shape[1] + 1, n_strategies))
        self.bounds_: FloatArray = np.zeros((2, n_strategies))
        found = np.zeros(n_strategies)
        given = [None] * n_strategies if penalties is None else penalties
        parts = {} if table.unit == "seconds" else _parts(table)
        for columns in _alike(table.menu, table.cost / scale):
            if columns[0] in parts:
                continue
            billed = table.cost[:, columns] / scale[columns]
            rows = np.flatnonzero(~np.isnan(billed).all(axis=1))
            if not rows.size:  # never served: as dear as the dearest that was
                is_adaptive = table.menu.root[columns[0]].is_adaptive  # its cost is that of the whole, not of a sample
                billed = table.cost / (1.0 if is_adaptive else scale)
                rows = np.flatnonzero(~np.isnan(table.cost).all(axis=1))
                billed = np.nanmax(billed, axis=1, keepdims=True, initial=0.0, where=~np.isnan(billed))
            one = np.nanmean(billed[rows], axis=1)
            line, found[columns] = _log_line(features[rows], one, table.cluster[rows], given[columns[0]])
            expected = np.exp(features[rows] @ line[:-1] + line[-1])
            line[-1] += np.log((one.sum() or 1.0) / expected.sum())
            self.weights_[:, columns], self.bounds_[:, columns] = line[:, None], np.array([[one.min()], [one.max()]])
        for columns in _doubting_alike(table.menu, list(parts)):
            found[columns] = self._fit_adaptive(features, table, {column: parts[column] for column in columns}, given[columns[0]])
        self.penalties_: Penalties = tuple(found.tolist())
        return self

    def predict(self, features: FloatArray) -> FloatArray:
        """(n_tasks, n_strategies) in the budget's unit, each sample within what was seen of its like."""
        lines = features @ self.weights_[:-1] + self.weights_[-1]
        one = np.clip(np.exp(lines), *self.bounds_)
        return np.asarray(one @ self.least_ + np.clip(lines, *self.bounds_) * (one @ self.rest_))

    def _fit_adaptive(
        self, features: FloatArray, table: OutcomeTable, parts: Mapping[int, Sequence[_Part]], given: float | None
    ) -> float:
        """Fit strategies that stop on the same doubt, by the lines of those that draw like their stages; the penalty."""
        columns = list(parts)
        both = [self._stages(features, part) for part in parts.values()]
        least, rest = np.column_stack([one for one, _ in both]), np.column_stack([one for _, one in both])
        billed = table.cost[:, columns]
        known = ~np.isnan(billed)
        beyond, most = (np.where(known, cells, 0.0).sum(axis=1) for cells in (np.nan_to_num(billed) - least, rest))
        with np.errstate(invalid="ignore", divide="ignore"):  # 0 / 0: nothing billed
            drawn = np.clip(beyond / most, 0.0, 1.0)
        if table.doubt is not None:  # a first vote tells whether it would be accepted, whatever it was drawn for
            drawn = np.where(np.isnan(table.doubt[:, columns[0]]), drawn, table.doubt[:, columns[0]])
        rows = np.flatnonzero(~np.isnan(drawn))
        line, penalty = ridge(features[rows], drawn[rows], np.ones(len(rows)), table.cluster[rows], given)
        if not rows.size:
            line[-1] = 1.0
        low = _least_share(features[rows], drawn[rows], table.cluster[rows], penalty)
        share = np.clip(features @ line[:-1] + line[-1], low, 1.0)
        for place, (column, part) in enumerate(parts.items()):
            cost, own = least[:, place] + share * rest[:, place], known[:, place]
            prior = _PRIOR_TASKS * float(cost.mean())
            ratio = (float(billed[own, place].sum()) + prior) / (float(cost[own].sum()) + prior)
            self.weights_[:, column], self.bounds_[:, column], self.least_[:, column] = line, (low, 1.0), 0.0
            for alone, n_least, n_most in part:
                self.least_[alone, column] += ratio * n_least
                self.rest_[alone, column] += ratio * (n_most - n_least)
        return penalty

    def _stages(self, features: FloatArray, parts: Sequence[_Part]) -> tuple[FloatArray, FloatArray]:
        """What each task costs by the samples that are drawn whatever they say, and by all the others; > 0."""
        one = np.clip(np.exp(features @ self.weights_[:-1] + self.weights_[-1]), *self.bounds_)
        least, most = (sum((part[n] * one[:, part[0]] for part in parts), np.zeros(len(features))) for n in (1, 2))
        tiny = 1e-12 * (most.max() or 1.0)
        return np.maximum(least, tiny), np.maximum(most - least, tiny)


def _parts(table: OutcomeTable) -> dict[int, list[_Part]]:
    """By column of an adaptive strategy: its stages. It is left out where a stage was never served alone."""
    n_served = (~np.isnan(table.cost)).sum(axis=0)
    alone = {
        strategy.sampling.key: column
        for column, strategy in enumerate(table.menu)
        if not strategy.is_adaptive and n_served[column]
    }
    return {
        column: [
            (alone[stage.sampling.key], 0 if place else strategy.n_guaranteed, stage.n_samples)
            for place, stage in enumerate(stages(strategy))
        ]
        for column, strategy in enumerate(table.menu)
        if strategy.is_adaptive and all(stage.sampling.key in alone for stage in stages(strategy))
    }


def _doubting_alike(menu: Menu, columns: Sequence[int]) -> list[list[int]]:
    """Columns of adaptive strategies that stop, or escalate, on the same doubt: it is drawn out of one pool of bills."""
    alike: dict[object, list[int]] = {}
    for column in columns:
        strategy = menu.root[column]
        first = strategy.first if isinstance(strategy, Escalate) else strategy
        doubt = strategy.agreement if isinstance(strategy, Escalate) else None
        alike.setdefault((first.settings_key, doubt), []).append(column)
    return list(alike.values())


def _least_share(features: FloatArray, drawn: FloatArray, cluster: IntArray, penalty: float) -> float:
    """What was drawn of those tasks of which a line that had not seen them expected least.

    Prices seek out what looks cheap, and a line does not end where doubt does.
    """
    usual = float(drawn.mean()) if drawn.size else 1.0
    n_least = int(_TENTH * len(drawn))
    n_folds = min(_N_FOLDS, len(np.unique(cluster)))
    if not n_least or n_folds < 2:
        return usual
    fold = np.unique(cluster, return_inverse=True)[1] % n_folds
    expected = np.empty(len(drawn))
    for one in range(n_folds):
        out = fold != one
        line, _ = ridge(features[out], drawn[out], np.ones(int(out.sum())), cluster[out], penalty)
        expected[~out] = features[~out] @ line[:-1] + line[-1]
    least = drawn[np.argsort(expected, kind="stable")[:n_least]]
    return (float(least.sum()) + _PRIOR_DOUBTS * usual) / (n_least + _PRIOR_DOUBTS)


def _log_line(features: FloatArray, cost: FloatArray, cluster: IntArray, penalty: float | None) -> tuple[FloatArray, float]:
    """Regress the logs of costs, zeros as a tenth of the least; slope and offset, and the penalty."""
    least = cost[cost > 0].min() / 10 if (cost > 0).any() else 1.0
    return ridge(features, np.log(np.maximum(cost, least)), np.ones(len(cost)), cluster, penalty)


def _alike(menu: Menu, billed: FloatArray) -> list[list[int]]:
    """Columns of one cost line each: they draw alike, and where both were billed one sample costs the same.

    It does not where samples come in one request and have its prompt in common. What was never billed goes with the column whose
    number of samples is nearest below its own.

    Args:
        menu: its columns.
        billed: (n_tasks, n_strategies) cost of one sample, NaN where unknown.
    """
    by_key: dict[str, list[list[int]]] = {}
    for column in sorted(range(len(menu)), key=lambda column: menu.root[column].cost_scale):
        groups = by_key.setdefault(menu.root[column].cost_key, [])
        alike = next((group for group in reversed(groups) if _costs_alike(billed[:, [column, *group]])), None)
        if alike is None:
            groups.append([column])
        else:
            alike.append(column)
    return sorted(sorted(group) for groups in by_key.values() for group in groups)


def _costs_alike(billed: FloatArray) -> bool:
    """Tell whether the first column costs what the others do in the rows where it and one of them are known."""
    one, others = billed[:, 0], billed[:, 1:]
    both = ~np.isnan(others) & ~np.isnan(one)[:, None]
    mine, theirs = np.broadcast_to(one[:, None], others.shape)[both].sum(), others[both].sum()
    return bool(abs(mine - theirs) <= _SAME_COST * max(mine, theirs))


def _scales(menu: Menu, unit: Unit) -> FloatArray:
    """Samples that a strategy bills; in seconds one, as samples run side by side."""
    return np.array([1 if unit == "seconds" else strategy.cost_scale for strategy in menu], dtype=np.float64)
