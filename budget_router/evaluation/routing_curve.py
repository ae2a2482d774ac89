"""One figure for a router's whole curve of accuracy against spend.

- `aiq`: the mean height of the curve's non-decreasing concave hull between two fixed spends. For any menu; compares routers whose
  curves start and end at different spends.
- `RoutingCurve`, between a weak and a strong model: the mean share of their gap that is recovered (`apgr`), and the spend that
  recovers a given share of it (`cpt`). Spend is whatever the points were measured in: mean cost, or RouteLLM's share of calls to
  the strong model.

A router that draws lots between the two models has an `apgr` of 0.5 and a `cpt(p)` at p of the way. The optimum exceeds 1 where
the weak model is sometimes right and the strong one wrong.

References: Hu et al. (2024), RouterBench, arXiv 2403.12031; Ong et al. (2024), RouteLLM, arXiv 2406.18665.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from budget_router.allocation import FloatArray, Frontier, trace
from budget_router.errors import InvalidInput

N_BINS = 10
"""RouteLLM's number of equally filled bins of the scores: eleven thresholds."""
CALL_SHARE = (0.0, 1.0)
"""Costs of the weak and the strong model that make a curve's spend the share of calls to the strong one."""


class CurvePoint(NamedTuple):
    """Where one model stands."""

    spend: float
    """Mean cost per task, in the unit of the curve."""
    accuracy: float


@dataclass(frozen=True)
class RoutingCurve:
    """A router's accuracy between the spend of a weak model and that of a strong one, linear from point to point."""

    spend: FloatArray
    """(n_points,) rising, from `weak.spend` to `strong.spend`."""
    accuracy: FloatArray
    """(n_points,) as measured: it may fall."""
    weak: CurvePoint
    strong: CurvePoint

    @property
    def recovered(self) -> FloatArray:
        """(n_points,) share of the models' gap, RouteLLM's PGR: `(accuracy - weak) / (strong - weak)`."""
        return (self.accuracy - self.weak.accuracy) / (self.strong.accuracy - self.weak.accuracy)

    @property
    def apgr(self) -> float:
        """Mean of `recovered` over the spend between the models, by trapezoids."""
        return _area(self.spend, self.recovered) / (self.strong.spend - self.weak.spend)

    def cpt(self, share: float) -> float:
        """The least spend that recovers a share of the gap, in the unit of the curve.

        RouteLLM interpolates the spend over the points' accuracies as they come, which is undefined where they fall; here over
        their running maximum. A share that the curve never reaches costs what the strong model does.

        Args:
            share: of the models' gap, in [0, 1].

        Raises:
            InvalidInput: the share is out of range.
        """
        if not 0 <= share <= 1:
            raise InvalidInput(f"share is {share:g}: the recovered part of the gap must lie in [0, 1]")
        best = np.maximum.accumulate(self.recovered)
        reached = np.flatnonzero(best >= share)
        if not reached.size:
            return self.strong.spend
        last = int(reached[0])
        if last == 0:
            return float(self.spend[0])
        return float(np.interp(share, best[last - 1 : last + 1], self.spend[last - 1 : last + 1]))


def routing_curve(
    spend: ArrayLike, accuracy: ArrayLike, *, weak: tuple[float, float], strong: tuple[float, float]
) -> RoutingCurve:
    """Order a router's points by spend, and cut their line at the spends of the two models.

    Args:
        spend: (n_points,) mean cost per task at each budget or threshold, in any order and unit.
        accuracy: (n_points,) mean accuracy there.
        weak: spend and accuracy of the weak model, in the same units.
        strong: of the strong model.

    Raises:
        InvalidInput: a value is not finite, the strong model is not better and dearer, or the points do not span the two spends.
    """
    spends, heights = _points(spend, accuracy)
    weak, strong = CurvePoint(*weak), CurvePoint(*strong)
    if not np.isfinite([*weak, *strong]).all():
        raise InvalidInput(f"weak {tuple(weak)} and strong {tuple(strong)} must be finite: measure both models on the same tasks")
    if not strong.accuracy > weak.accuracy:
        raise InvalidInput(
            f"the strong model's accuracy, {strong.accuracy:g}, is not above the weak model's, {weak.accuracy:g}: there is no "
            "gap to recover, so exchange them or take other tasks"
        )
    if not strong.spend > weak.spend:
        raise InvalidInput(
            f"the strong model spends {strong.spend:g}, the weak one {weak.spend:g}: it must be dearer, "
            "so call it for every task or count another cost"
        )
    slack = 1e-9 * (strong.spend - weak.spend)  # means of the same costs, summed in another order
    if spends[0] > weak.spend + slack or spends[-1] < strong.spend - slack:
        raise InvalidInput(
            f"the points spend {spends[0]:g} to {spends[-1]:g}, the models {weak.spend:g} to {strong.spend:g}: "
            "add points until they span both, or the models' own"
        )
    knots, line = _cut(spends, heights, weak.spend, strong.spend)
    return RoutingCurve(knots, line, weak, strong)


def threshold_curve(score: ArrayLike, accuracy: ArrayLike, *, cost: ArrayLike = CALL_SHARE, n_bins: int = N_BINS) -> RoutingCurve:
    """The curve of a router that calls the strong model where a score is at least a threshold.

    Thresholds are the edges of `n_bins` equally filled bins of these very scores; the highest is exclusive, so that the curve
    runs from the weak model alone to the strong one alone. Equal edges, which RouteLLM refuses, give one point here.

    Args:
        score: (n_tasks,) the higher, the sooner the strong model is called, e.g. its predicted gain.
        accuracy: (n_tasks, 2), of the weak and the strong model.
        cost: (n_tasks, 2) in the budget's unit, or (2,) if it is the same for every task; by default as RouteLLM counts.
        n_bins: ≥ 1.

    Raises:
        InvalidInput: shapes that do not match, a value that is not finite, or a strong model that is not better and dearer.
    """
    scores, right, paid = (np.asarray(values, np.float64) for values in (score, accuracy, cost))
    n_tasks = scores.size
    if scores.shape != (n_tasks,) or not n_tasks or right.shape != (n_tasks, 2) or paid.shape not in {(n_tasks, 2), (2,)}:
        raise InvalidInput(
            f"score has shape {scores.shape}, accuracy {right.shape}, cost {paid.shape}: they must be (n_tasks,), (n_tasks, 2) "
            "and (n_tasks, 2) or (2,), the weak model first"
        )
    for name, values in (("score", scores), ("accuracy", right), ("cost", paid)):
        if not np.isfinite(values).all():
            raise InvalidInput(f"{name} is not finite {(~np.isfinite(values)).sum()} times: drop tasks not known for both models")
    if n_bins < 1:
        raise InvalidInput(f"n_bins is {n_bins}: at least 1 is needed")
    edges = np.quantile(scores, np.linspace(0, 1, n_bins + 1))
    is_strong = np.vstack([scores >= edges[:-1, None], np.zeros(n_tasks, dtype=bool)])
    spends, heights = (np.where(is_strong, both[..., 1], both[..., 0]).mean(axis=1) for both in (paid, right))
    return routing_curve(spends, heights, weak=(spends[-1], heights[-1]), strong=(spends[0], heights[0]))


def aiq(spend: ArrayLike, accuracy: ArrayLike, *, c_min: float, c_max: float, static: Frontier | None = None) -> float:
    """Average improvement in quality: mean height of the curve's non-decreasing concave hull over spends in [c_min, c_max].

    `∫ hull(c) dc / (c_max - c_min)`, both limits given by the caller and the same for all routers compared. RouterBench's code
    divides by the highest spend seen and starts each router at its own lowest, so that its figures depend on who is compared.

    - Between two points the hull mixes them by lot.
    - Below the router's first point the best static mix stands in: corners of `static` that are cheaper than any point of the
      router join the hull.
    - Beyond the last point the hull goes on level: what is not spent is not lost.

    The zero router, which any other has to beat, is `aiq(static.spend, static.accuracy, ...)` within the same limits.

    Args:
        spend: (n_points,) mean cost per task at each budget or threshold, ≥ 0, in any order.
        accuracy: (n_points,) mean accuracy there.
        c_min: lower limit, mean cost per task.
        c_max: upper limit, > c_min.
        static: hull of the single strategies, `frontier` of their means; not needed where the router's points start by c_min.

    Returns:
        Mean accuracy over the range of spends.

    Raises:
        InvalidInput: a value is not finite or a spend negative, limits out of order, or nothing is known as cheap as c_min.

    Reference: Hu et al. (2024), arXiv 2403.12031, section 3.
    """
    spends, heights = _points(spend, accuracy)
    if spends[0] < 0:
        raise InvalidInput(f"the lowest spend is {spends[0]:g}: a cost must be ≥ 0")
    if not (np.isfinite([c_min, c_max]).all() and c_min < c_max):
        raise InvalidInput(f"limits run from {c_min:g} to {c_max:g}: both must be finite, c_min below c_max")
    if static is not None:
        cheaper = static.spend < spends[0]
        spends, heights = np.append(static.spend[cheaper], spends), np.append(static.accuracy[cheaper], heights)
    if spends[0] > c_min:
        raise InvalidInput(
            f"nothing is known as cheap as c_min = {c_min:g}, the first point spends {spends[0]:g}: raise c_min, or give the "
            "static hull of cheaper strategies"
        )
    hull = trace(heights[None], spends[None])
    return _area(*_cut(hull.spend, hull.accuracy, c_min, c_max)) / (c_max - c_min)


def _points(spend: ArrayLike, accuracy: ArrayLike) -> tuple[FloatArray, FloatArray]:
    """Both, checked, by rising spend and then accuracy."""
    spends, heights = np.asarray(spend, np.float64), np.asarray(accuracy, np.float64)
    if spends.ndim != 1 or spends.shape != heights.shape or not spends.size:
        raise InvalidInput(f"spend has shape {spends.shape}, accuracy {heights.shape}: both must be (n_points,), at least 1")
    is_finite = np.isfinite(spends) & np.isfinite(heights)
    if not is_finite.all():
        point = int(is_finite.argmin())
        raise InvalidInput(f"point {point} is ({spends[point]:g}, {heights[point]:g}): it must be finite, so leave it out")
    order = np.lexsort((heights, spends))
    return spends[order], heights[order]


def _cut(spend: FloatArray, accuracy: FloatArray, low: float, high: float) -> tuple[FloatArray, FloatArray]:
    """The line through the points from `low` to `high`; level beyond its ends."""
    inside = (spend > low) & (spend < high)
    ends = np.interp([low, high], spend, accuracy)
    return np.concatenate([[low], spend[inside], [high]]), np.concatenate([ends[:1], accuracy[inside], ends[1:]])


def _area(x: FloatArray, y: FloatArray) -> float:
    return float(np.diff(x) @ (y[1:] + y[:-1])) / 2
