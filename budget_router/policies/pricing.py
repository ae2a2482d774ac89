"""The price that meets a budget, read off a policy's predictions on the tasks of its log."""

from typing import NamedTuple

import numpy as np

from budget_router.allocation import FloatArray, Frontier, trace
from budget_router.policies.contract import Choice, Prediction

_MAX_CORNERS = 512
"""Corners kept of a longer curve; between two of them the price is their chord's slope."""
_TIE = 1e-9
"""Values closer than this are one: predictions are sums of a few dozen floats in [0, 1]."""


class PriceCurve(NamedTuple):
    """What spending more would buy by a policy's predictions: from it every budget gets its price."""

    frontier: Frontier
    mean_cost: FloatArray
    """(n_strategies,) mean predicted cost: what an exploration floor adds to the spend."""

    @classmethod
    def of(cls, prediction: Prediction) -> "PriceCurve":
        """Trace the curve of predictions for many tasks."""
        whole = trace(prediction.score, prediction.cost)
        kept = np.unique(np.linspace(0, len(whole.spend) - 1, _MAX_CORNERS).round().astype(np.intp))
        spend, score = whole.spend[kept], whole.accuracy[kept]
        return cls(Frontier(spend, score, np.diff(score) / np.diff(spend)), prediction.cost.mean(axis=0))

    def choose(self, prediction: Prediction, budget: float, *, floor: float) -> Choice:
        """Price each task's strategies so that the mean spend, the exploration floor's included, meets `budget`.

        With floor ε and K strategies, spend = (1 - Kε) · spend(λ) + ε · Σ_k mean cost_k; it is solved for spend(λ).
        """
        score, cost = prediction.score, prediction.cost
        n_strategies = score.shape[1]
        kept = 1 - floor * n_strategies
        target = (budget - floor * float(self.mean_cost.sum())) / kept if kept > 0 else budget
        lam, share = self.frontier.price(target)
        value = score - lam * cost
        ties = value >= value.max(axis=1, keepdims=True) - _TIE
        rows = np.arange(len(value))
        probabilities = np.full(value.shape, floor, dtype=np.float64)
        probabilities[rows, np.where(ties, cost, np.inf).argmin(axis=1)] += kept * (1 - share)
        probabilities[rows, np.where(ties, cost, -np.inf).argmax(axis=1)] += kept * share
        return Choice(probabilities, lam)
