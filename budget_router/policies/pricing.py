"""The price that meets a budget, read off a policy's predictions on the tasks of its log."""

from typing import NamedTuple

import numpy as np

from budget_router.allocation import FloatArray, trace
from budget_router.policies.contract import Choice, Prediction

_MAX_PRICES = 160
"""Prices kept of a longer curve; a budget between two of them is met by a mixture of their picks."""
_DITHER = 0.1
"""Relative half width around a price from which each decision draws its own."""
_N_DITHERED = 8
"""Prices that stand for all within the dither."""
_PRIOR_TASKS = 20
"""Tasks that the predictions count as, beside what was billed."""
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
        corners = trace(prediction.score, prediction.cost).shadow_price
        kept = np.unique(np.linspace(0, max(len(corners) - 1, 0), _MAX_PRICES).round().astype(np.intp))[: len(corners)]
        price = np.array([*corners[kept][:1] * (1 + 2 * _DITHER), *corners[kept], 0.0])
        spend = [_spend(prediction, billed, _shares(prediction, float(one))) for one in price]
        return cls(price, np.maximum.accumulate(np.array(spend)), prediction.cost.mean(axis=0))

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
    score, cost = prediction.score, prediction.cost
    n_prices = _N_DITHERED if price else 1
    around = price * (1 + _DITHER * ((2 * np.arange(n_prices) + 1) / n_prices - 1))
    value = score - around[:, None, None] * cost
    is_tied = value >= value.max(axis=2, keepdims=True) - _TIE
    picked = np.where(is_tied, cost, np.inf).argmin(axis=2)
    return np.asarray((picked[:, :, None] == np.arange(score.shape[1])).mean(axis=0))


def _spend(prediction: Prediction, billed: FloatArray | None, shares: FloatArray) -> float:
    """Mean spend of picks: the predicted one, corrected by what the picks billed where that is known.

    A ratio estimate, `predicted · (Σ billed + m) / (Σ predicted + m)` with `_PRIOR_TASKS` tasks in m that bill what was
    predicted (Cochran 1977, Sampling Techniques, chapter 6).
    """
    predicted = shares * prediction.cost
    mean = float(predicted.sum(axis=1).mean())
    if billed is None:
        return mean
    known = ~np.isnan(billed)
    prior = _PRIOR_TASKS * mean
    bill, expected = float((shares * np.nan_to_num(billed))[known].sum()), float(predicted[known].sum())
    return mean * (bill + prior) / max(expected + prior, 1e-300)
