"""AIQ of a policy on recorded outcomes: one figure for all its budgets, beside that of the best static mix."""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from benchmarks.recorded import Recorded
from benchmarks.rivals import Chosen
from budget_router.allocation import FloatArray, IntArray, frontier
from budget_router.evaluation import Estimate, aiq


class Area(NamedTuple):
    """Mean accuracy over all spends between two limits."""

    aiq: float
    aiq_static: float
    """Of the best static mix of fixed votes on the same tasks: RouterBench's zero router."""
    gain: Estimate
    """What the first is above the second."""


def limits(test: Recorded, budgets: Iterable[float]) -> tuple[float, float] | None:
    """The lowest and the highest budget, the same for every policy, from the cheapest fixed vote on; `None` if they are one."""
    low, high = min(budgets), max(budgets)
    low = max(low, float(test.cost[:, test.plain].mean(axis=0).min()))
    return (low, high) if low < high else None


def area(test: Recorded, chosen: Chosen, between: tuple[float, float], draws: Iterable[IntArray]) -> Area:
    """AIQ of a policy's points, one per budget, with an interval of the gain over resampled rows."""
    points = np.array([[(one * cells).sum(axis=1) for one in chosen.values()] for cells in (test.cost, test.accuracy)])

    def both(rows: IntArray) -> tuple[float, float]:
        spend, accuracy = points[:, :, rows].mean(axis=2)
        plain = np.ix_(rows, test.plain)
        return areas(spend, accuracy, test.cost[plain].mean(axis=0), test.accuracy[plain].mean(axis=0), between)

    reached, static = both(np.arange(len(test.texts)))
    low, high = np.percentile([ours - mix for ours, mix in map(both, draws)], [2.5, 97.5])
    return Area(reached, static, Estimate(reached - static, float(low), float(high)))


def areas(
    spend: FloatArray, accuracy: FloatArray, mean_cost: FloatArray, mean_accuracy: FloatArray, between: tuple[float, float]
) -> tuple[float, float]:
    """AIQ of points, (n_points,) each, and of the hull of strategies' means, (n_strategies,) each."""
    static = frontier(mean_accuracy[None], mean_cost[None])
    low, high = max(between[0], float(static.spend[0])), between[1]  # in a resample the cheapest may be dearer
    return (
        aiq(spend, accuracy, c_min=low, c_max=high, static=static),
        aiq(static.spend, static.accuracy, c_min=low, c_max=high),
    )
