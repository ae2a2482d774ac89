"""The price that meets a budget, read off a policy's predictions on the tasks of its log."""

from collections.abc import Sequence
from functools import reduce
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from budget_router.allocation import FloatArray, IntArray, trace
from budget_router.policies.contract import Choice, Prediction, part_of

Folds = NDArray[np.integer[Any]]
"""(n_tasks,) of each task, from 0."""
_MAX_PRICES = 160
"""Prices kept of a longer curve; a budget between two of them is met by a mixture of their picks."""
_DITHER = 0.1
"""Relative half width around a price from which each decision draws its own."""
_N_DITHERED = 8
"""Prices that stand for all within the dither."""
_PRIOR_TASKS = 20
"""Tasks that the predictions count as, beside what was billed."""
_MAX_TRACED = 50_000
"""Tasks, evenly over a log, whose corners are looked at for prices to keep; what is spent at each price, all tasks tell."""
_AT_ONCE = 2**13
"""Tasks whose picks are worked on at once."""
_TIE = 1e-9
"""Values closer than this are one: predictions are sums of a few dozen floats in [0, 1]."""


class PriceCurve(NamedTuple):
    """What is spent at each price: from it every budget gets its price.

    The price is dithered: each decision draws its own from within 10 % of the nominal one. A strategy far from its rivals is
    chosen all the same; where two are all but tied, both get a share. So alike tasks do not cross the price all at once, spend
    follows the budget, and the log shows both sides of a close call.
    """

    price: FloatArray
    """(n,) falling to 0, accuracy per unit of cost."""
    spend: FloatArray
    """(n,) mean spend at each price, rising."""
    mean_cost: FloatArray
    """(n_strategies,) mean predicted cost: what an exploration floor adds to the spend."""

    @classmethod
    def of(cls, prediction: Prediction, *, billed: FloatArray | None = None) -> "PriceCurve":
        """Trace the curve of predictions for many tasks.

        Args:
            prediction: for the tasks of a log.
            billed: (n_tasks, n_strategies) what those tasks were billed, NaN where unknown. A price picks the strategies that
                are predicted to be cheap, so its picks bill more than predicted; with this, the curve tells what they bill.
        """
        nobody = np.full(len(prediction.cost), -1)
        (curve,) = cls.without_each(prediction, nobody, 1, billed=billed)
        return curve

    @classmethod
    def without_each(
        cls, prediction: Prediction, fold: Folds, n_folds: int, *, billed: FloatArray | None = None
    ) -> "list[PriceCurve]":
        """Trace a curve for each fold: that of all tasks but the fold's own.

        They tell the spend at the same prices; which those are, hangs on the tasks of all folds.

        Args:
            prediction: for the tasks of a log.
            fold: (n_tasks,) number from 0 to `n_folds` - 1; a task with another is in every curve.
            n_folds: how many.
            billed: see `of`.
        """
        prices = Prices.of(part_of(prediction, prices_from(len(prediction.cost))))
        return cls.told(prices, taken(prediction, fold, n_folds, prices, billed=billed))

    @classmethod
    def told(cls, prices: "Prices", picks: "Sequence[Taken]") -> "list[PriceCurve]":
        """The curve of each fold, from what the picks of the folds come to: see `taken`."""
        *own, rest = picks
        whole = reduce(Taken.__add__, own, rest)
        curves = []
        for part in own:
            sums = (whole.sums - part.sums)[:, prices.place].mean(axis=2)
            spend = _spend(sums, whole.n_tasks - part.n_tasks)
            mean_cost = (whole.cost - part.cost) / (whole.n_tasks - part.n_tasks)
            curves.append(cls(prices.price, np.maximum.accumulate(spend), mean_cost))
        return curves

    def choose(self, prediction: Prediction, budget: float, *, floor: float) -> Choice:
        """Price each task's strategies so that the mean spend, the exploration floor's included, meets `budget`.

        With floor ε and K strategies, spend = (1 - Kε) · spend(λ) + ε · Σ_k mean cost_k; it is solved for spend(λ).
        """
        kept, explored = 1 - floor * prediction.score.shape[1], floor * float(self.mean_cost.sum())
        target = (budget - explored) / kept if kept > 0 else budget
        after = int(np.searchsorted(self.spend, target, side="right"))
        before = max(after - 1, 0)
        after = min(after, len(self.spend) - 1)
        step = float(self.spend[after] - self.spend[before])
        share = (target - float(self.spend[before])) / step if step > 0 and after > before else 0.0
        shares = (1 - share) * _shares(prediction, float(self.price[before]))
        if share:
            shares += share * _shares(prediction, float(self.price[after]))
        lam, spend = (float((1 - share) * curve[before] + share * curve[after]) for curve in (self.price, self.spend))
        return Choice(kept * shares + floor, lam, kept * spend + explored)


def _shares(prediction: Prediction, price: float) -> FloatArray:
    """(n_tasks, n_strategies) how often each strategy is picked at prices around this one; ties go to the cheapest."""
    around = _around(price) if price else np.zeros(1)
    shares = np.empty(prediction.score.shape)
    for rows in _stretches(len(shares)):
        score, cost = prediction.score[rows], prediction.cost[rows]
        value = score - around[:, None, None] * cost
        is_tied = value >= value.max(axis=2, keepdims=True) - _TIE
        picked = np.where(is_tied, cost, np.inf).argmin(axis=2)
        shares[rows] = (picked[:, :, None] == np.arange(score.shape[1])).mean(axis=0)
    return shares


def _around(price: float) -> FloatArray:
    """(n_dithered,) prices that stand for all within the dither, rising."""
    return np.asarray(price * (1 + _DITHER * ((2 * np.arange(_N_DITHERED) + 1) / _N_DITHERED - 1)))


def _stretches(n_tasks: int) -> list[slice]:
    return [slice(start, start + _AT_ONCE) for start in range(0, n_tasks, _AT_ONCE)]


class Prices(NamedTuple):
    """At which prices a curve is told."""

    price: FloatArray
    """(n_prices,) at which picks change, falling to 0."""
    level: FloatArray
    """(n_levels,) all prices within the dither around one of these, rising."""
    place: IntArray
    """(n_prices, n_dithered) of each price's levels."""

    @classmethod
    def of(cls, prediction: Prediction) -> "Prices":
        """Look at tasks, of many those that `prices_from` names."""
        corners = trace(prediction.score, prediction.cost).shadow_price
        kept = np.unique(np.linspace(0, max(len(corners) - 1, 0), _MAX_PRICES).round().astype(np.intp))[: len(corners)]
        price = np.array([*corners[kept][:1] * (1 + 2 * _DITHER), *corners[kept], 0.0])
        levels, place = np.unique([_around(one) for one in price], return_inverse=True)
        return cls(price, levels, place.reshape(len(price), -1))


def prices_from(n_tasks: int) -> IntArray:
    """Rows of the tasks from which prices are taken: evenly over many, and not all of them."""
    return np.arange(0, n_tasks, -(-n_tasks // _MAX_TRACED))


class Taken(NamedTuple):
    """What some tasks' picks come to; `+` is that of two parts."""

    n_tasks: int
    cost: FloatArray
    """(n_strategies,) summed predicted cost, picked or not."""
    sums: FloatArray
    """(3, n_levels) summed over picks: the predicted cost, what was billed, and the predicted cost of what was billed."""

    def __add__(self, other: "Taken", /) -> "Taken":  # type: ignore[override]  # of sums, not of tuples
        return Taken(self.n_tasks + other.n_tasks, self.cost + other.cost, self.sums + other.sums)


def taken(
    prediction: Prediction, fold: Folds, n_folds: int, prices: Prices, *, billed: FloatArray | None = None
) -> "list[Taken]":
    """What the picks of each fold come to at each price, and at last those of tasks in no fold: see `PriceCurve.without_each`."""
    folds = [*(fold == one for one in range(n_folds)), (fold < 0) | (fold >= n_folds)]
    return [_taken(prediction, billed, np.flatnonzero(one), prices.level) for one in folds]


def _taken(prediction: Prediction, billed: FloatArray | None, tasks: IntArray, levels: FloatArray) -> Taken:
    sums, total = np.zeros((3, len(levels))), np.zeros(prediction.cost.shape[1])
    for start in range(0, len(tasks), _AT_ONCE):
        rows = tasks[start : start + _AT_ONCE]
        cost = prediction.cost[rows]
        bills = np.full(cost.shape, np.nan) if billed is None else billed[rows]
        amounts = np.array([cost, np.nan_to_num(bills), np.where(np.isnan(bills), 0.0, cost)])
        sums += _picked(prediction.score[rows], cost, amounts, levels)
        total += cost.sum(axis=0)
    return Taken(len(tasks), total, sums)


def _spend(sums: FloatArray, n_tasks: int) -> FloatArray:
    """Mean spend of the picks at each price: the predicted one, corrected by what the picks billed where that is known.

    A ratio estimate, `predicted · (Σ billed + m) / (Σ predicted + m)` with `_PRIOR_TASKS` tasks in m that bill what was
    predicted (Cochran 1977, Sampling Techniques, chapter 6).
    """
    predicted, bill, expected = sums
    mean = predicted / n_tasks
    prior = _PRIOR_TASKS * mean
    return np.asarray(mean * (bill + prior) / np.maximum(expected + prior, 1e-300))


def _picked(score: FloatArray, cost: FloatArray, amounts: FloatArray, price: FloatArray) -> FloatArray:
    """Amounts of the strategies that are picked at each price, summed over tasks, without a look at each price.

    As the price falls a task changes from one corner of its concave hull to the next: it takes the step that first pays.

    Args:
        score: (n_tasks, n_strategies).
        cost: (n_tasks, n_strategies).
        amounts: (n_amounts, n_tasks, n_strategies).
        price: (n_prices,), rising.

    Returns:
        (n_amounts, n_prices)
    """
    tasks = np.arange(len(score))
    held = np.where(cost == cost.min(axis=1, keepdims=True), score, -np.inf).argmax(axis=1)
    before = amounts[:, tasks, held]
    total = np.tile(before.sum(axis=1, keepdims=True), len(price))
    pays_below = np.full(len(score), np.inf)
    for _ in range(score.shape[1] - 1):
        dearer = cost - cost[tasks, held, None]
        gain = score - score[tasks, held, None] - _TIE
        slope = np.divide(gain, dearer, out=np.full(score.shape, -np.inf), where=dearer > 0)
        following = slope.argmax(axis=1)
        pays_below = np.minimum(pays_below, slope[tasks, following])
        held = np.where(pays_below > 0, following, held)
        now = amounts[:, tasks, held]
        n_prices = np.searchsorted(price, pays_below)
        for place, step in enumerate(now - before):
            taken = np.bincount(n_prices, weights=step, minlength=len(price) + 1)
            total[place] += taken[:0:-1].cumsum()[::-1]
        before = now
    return total
