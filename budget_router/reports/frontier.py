"""The picture that explains the product: accuracy bought against compute spent."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from math import isfinite
from typing import TYPE_CHECKING, Literal

import numpy as np

from budget_router.allocation import FloatArray
from budget_router.evaluation import Estimate
from budget_router.frames import frame
from budget_router.reports import theme
from budget_router.reports.escaping import clipped
from budget_router.reports.labels import Label, place
from budget_router.reports.theme import Margins, per_cent, plain

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from pandas import DataFrame

_US = "learned policy"
_DOTS = (0.0, (1.0, 1.2))
_DASHES = (0.0, (6.0, 3.0))


@dataclass(frozen=True)
class Point:
    """One (spend, accuracy) point of the frontier picture, with its name."""

    name: str
    spend: float
    accuracy: Estimate


@dataclass(frozen=True)
class FrontierResult:
    """Accuracy bought against compute spent: us, the fixed strategies, the best static mix and the oracle."""

    unit: str
    """E.g. `completion tokens per task`."""
    budget: float
    policy: tuple[Point, ...]
    """The learned policy at several budgets, by rising spend."""
    operating_point: Point | None
    """The learned policy at the budget; None where there is none to speak of."""
    fixed: tuple[Point, ...]
    """Every strategy of the menu used for all tasks."""
    mix: tuple[tuple[float, float], ...]
    """Corners (spend, accuracy) of the best static mix's hull."""
    oracle: tuple[tuple[float, float], ...]
    """(spend, accuracy) of the oracle at several budgets."""
    gain: Estimate | None = None
    """Of the operating point over the best static mix at its spend, on the same tasks; None is the distance to the drawn mix,
    which is the same only if the mix is drawn from these tasks."""
    served: Point | None = None
    """What the log spent and reached, whoever decided; None where that is not told apart."""
    is_honest: bool = True
    """Whether the oracle was scored on other samples than it was solved on; in hindsight it flatters itself."""

    @property
    def told_gain(self) -> Estimate | None:
        """The gain that pictures and sentences tell: the given one, else the distance to the mix; None where there is no mix."""
        if self.gain is not None or not self.mix or self.operating_point is None:
            return self.gain
        corners, here = np.array(sorted(self.mix), dtype=np.float64), self.operating_point
        mix = float(np.interp(here.spend, corners[:, 0], corners[:, 1]))
        return Estimate(here.accuracy.value - mix, float("nan"), float("nan"))

    @property
    def is_drawable(self) -> bool:
        """Whether any accuracy is known."""
        return any(isfinite(point.accuracy.value) for _, point in self.series)

    @property
    def oracle_name(self) -> str:
        """What the oracle's line is called."""
        return "honest oracle" if self.is_honest else "oracle in hindsight"

    @property
    def series(self) -> tuple[tuple[str, Point], ...]:
        """Everything that is drawn, point by point, each with the name of what it belongs to."""
        unknown = float("nan")
        here = [(_US, point) for point in self.policy]
        here += [("operating point", self.operating_point)] if self.operating_point is not None else []
        here += [("as served", self.served)] if self.served is not None else []
        here += [("fixed strategy", point) for point in self.fixed]
        corners = [("best static mix", corner) for corner in self.mix] + [(self.oracle_name, corner) for corner in self.oracle]
        return (*here, *((name, Point("", spend, Estimate(reached, unknown, unknown))) for name, (spend, reached) in corners))

    def frame(self) -> "DataFrame":
        """One row per point: series, name, spend in `unit`, accuracy in [0, 1] and its 95 % interval; see `frames.frame`."""
        series, points = zip(*self.series, strict=True) if self.series else ((), ())
        return frame(
            {
                "series": series,
                "name": [point.name for point in points],
                "spend": [point.spend for point in points],
                "accuracy": [point.accuracy.value for point in points],
                "low": [point.accuracy.low for point in points],
                "high": [point.accuracy.high for point in points],
            }
        )

    def plot(self) -> "Figure":
        """Draw it: see `draw_frontier`."""
        return draw_frontier(self)


def draw_frontier(result: FrontierResult) -> "Figure":
    """Draw accuracy against spend: us, the fixed strategies, the best static mix, the oracle, what was served, the budget."""
    figure = theme.sheet(460)
    result = replace(result, policy=_known(result.policy), fixed=_known(result.fixed))
    others = _known([point for point in (result.operating_point, result.served) if point is not None])
    us = (*result.policy, *others)
    corners = (*result.mix, *result.oracle)
    named = (*us, *result.fixed)
    accuracy = [each for point in named for each in point.accuracy if isfinite(each)] + [y for _, y in corners]
    ax = theme.axes(figure, Margins(36, 24, 34, 46))
    is_log = theme.scale_spend(ax, [result.budget, *(point.spend for point in named), *(x for x, _ in corners)])
    theme.scale_accuracy(ax, accuracy)
    theme.name_x(ax, f"Mean spend, {result.unit}{', log scale' if is_log else ''}")
    drawn = [
        *_curve(ax, sorted(result.mix), theme.MIX, width=1.8, linestyle=_DOTS),
        *_curve(ax, sorted(result.oracle), theme.ORACLE, width=1.1, linestyle="solid" if result.is_honest else _DASHES),
        *_fixed(ax, result.fixed),
        *_served(ax, result.served),
        *_policy(ax, result),
        *_budget_and_gain(ax, result),
    ]
    place(ax, _frontier_labels(ax, result), drawn)
    return figure


def _known(points: Sequence[Point]) -> tuple[Point, ...]:
    return tuple(point for point in points if isfinite(point.accuracy.value))


def _curve(
    ax: "Axes",
    corners: Sequence[tuple[float, float]],
    color: str,
    *,
    width: float,
    linestyle: Literal["solid"] | tuple[float, tuple[float, float]] = "solid",
) -> list[tuple[float, float]]:
    """Draw straight segments, which a log axis bends, and return points along them."""
    if not corners:
        return []
    x = _between([spend for spend, _ in corners])
    y = np.interp(x, [spend for spend, _ in corners], [accuracy for _, accuracy in corners])
    ax.plot(x, y, color=color, linewidth=width, linestyle=linestyle, zorder=2)
    return list(zip(x.tolist(), y.tolist(), strict=True))


def _between(corners: Sequence[float]) -> FloatArray:
    """The corners and 24 steps between each two."""
    steps = [np.linspace(start, stop, 24, endpoint=False) for start, stop in pairwise(corners)]
    return np.concatenate([*steps, np.array(corners[-1:], dtype=np.float64)])


def _fixed(ax: "Axes", points: Sequence[Point]) -> list[tuple[float, float]]:
    for point in points:
        _interval(ax, point.spend, point.accuracy, theme.MIX)
        ax.plot(
            point.spend,
            point.accuracy.value,
            color=theme.INK,
            marker="o",
            markersize=7,
            markerfacecolor=theme.PAPER,
            markeredgewidth=1.3,
            clip_on=False,
            zorder=4,
        )
    return [spot for point in points for spot in _span(point)]


def _served(ax: "Axes", point: Point | None) -> list[tuple[float, float]]:
    """Draw where the log stands, as a square."""
    if point is None or not isfinite(point.accuracy.value):
        return []
    _interval(ax, point.spend, point.accuracy, theme.INK)
    ax.plot(point.spend, point.accuracy.value, color=theme.INK, marker="s", markersize=8, clip_on=False, zorder=6)
    return _span(point)


def _span(point: Point) -> list[tuple[float, float]]:
    """A point and its interval, from end to end."""
    known = [value for value in point.accuracy if isfinite(value)]
    return [(point.spend, float(value)) for value in np.linspace(min(known), max(known), 9 if len(known) > 1 else 1)]


def _interval(ax: "Axes", x: float, estimate: Estimate, color: str) -> None:
    if isfinite(estimate.low) and isfinite(estimate.high):
        ax.vlines(x, estimate.low, estimate.high, color=color, alpha=theme.BAND, linewidth=7, zorder=1)


def _policy(ax: "Axes", result: FrontierResult) -> list[tuple[float, float]]:
    """Draw the learned policy's line, its band and its operating point."""
    points = sorted(result.policy, key=lambda point: point.spend)
    known = [point for point in points if isfinite(point.accuracy.low) and isfinite(point.accuracy.high)]
    if len(known) > 1:
        x = _between([point.spend for point in known])
        low, high = (np.interp(x, [p.spend for p in known], [p.accuracy[bound] for p in known]) for bound in (1, 2))
        ax.fill_between(x, low, high, color=theme.POLICY, alpha=theme.BAND, linewidth=0, zorder=1)
    along = _curve(ax, [(point.spend, point.accuracy.value) for point in points], theme.POLICY, width=3.2)
    ax.plot(
        [point.spend for point in points],
        [point.accuracy.value for point in points],
        linestyle="none",
        marker="o",
        markersize=6,
        color=theme.POLICY,
        clip_on=False,
        zorder=5,
    )
    here = result.operating_point
    if here is None:
        return along
    _interval(ax, here.spend, here.accuracy, theme.POLICY)
    ax.plot(
        here.spend,
        here.accuracy.value,
        color=theme.POLICY,
        marker="o",
        markersize=12,
        markeredgecolor=theme.PAPER,
        markeredgewidth=2,
        clip_on=False,
        zorder=7,
    )
    return [*along, (here.spend, here.accuracy.value)]


def _budget_and_gain(ax: "Axes", result: FrontierResult) -> list[tuple[float, float]]:
    """Draw the budget, and the way up from the mix to us."""
    ax.axvline(result.budget, color=theme.INK, linewidth=0.9, zorder=1)
    upright = [(result.budget, float(y)) for y in np.linspace(*ax.get_ylim(), 60)]
    here = result.operating_point
    if result.told_gain is None or here is None:
        return upright
    mix = here.accuracy.value - result.told_gain.value
    ax.vlines(here.spend, mix, here.accuracy.value, color=theme.POLICY, linewidth=1.6, zorder=6)
    ax.plot(here.spend, mix, marker="_", markersize=10, markeredgewidth=1.6, color=theme.POLICY, zorder=6)
    return upright


def _frontier_labels(ax: "Axes", result: FrontierResult) -> list[Label]:
    top = ax.get_ylim()[1]
    policy = [(point.spend, point.accuracy.value) for point in result.policy]
    labels = [Label(f"budget {plain(result.budget)}", ((result.budget, top),), size=theme.SMALL)]
    here = result.operating_point
    if here is not None:
        value = f"{per_cent(here.accuracy.value, 1)} %"
        labels.insert(0, Label(value if policy else f"{_US}: {value}", _at(here), theme.POLICY, "bold", theme.WORDS + 1))
    if result.served is not None and isfinite(result.served.accuracy.value):
        labels.append(Label(clipped(result.served.name, 24), _at(result.served), weight="bold"))
    labels += [Label(clipped(point.name, 24), _at(point)) for point in result.fixed]
    if policy:
        labels.append(Label(_US, tuple(_along(policy)[::-1]), theme.POLICY, "bold", theme.WORDS + 1))
    gain = result.told_gain
    if here is not None and gain is not None and abs(gain.value) >= 0.0005:  # what one decimal shows
        middle = tuple((here.spend, here.accuracy.value - share * gain.value) for share in (0.5, 0.65, 0.35, 0.8, 0.2))
        labels.append(Label(f"{100 * gain.value:+.1f} points", middle, theme.POLICY, size=theme.SMALL))
    if result.mix:
        labels.append(Label("best static mix", tuple(_along(result.mix)[::-1]), theme.MIX, size=theme.SMALL))
    if result.oracle:
        labels.append(Label(result.oracle_name, tuple(_along(result.oracle)[::-1]), theme.ORACLE_INK, size=theme.SMALL))
    return labels


def _at(point: Point) -> tuple[tuple[float, float]]:
    return ((point.spend, point.accuracy.value),)


def _along(corners: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Places for a line's name: its corners and points between them."""
    spend, accuracy = zip(*sorted(corners), strict=True)
    x = _between(spend)[::4]
    return list(zip(x.tolist(), np.interp(x, spend, accuracy).tolist(), strict=True))
