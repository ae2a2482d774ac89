"""Predicted against observed accuracy, and predicted against billed cost."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from budget_router.evaluation.estimate import Z_95
from budget_router.frames import frame
from budget_router.reports import theme
from budget_router.reports.escaping import clipped
from budget_router.reports.labels import Label, place
from budget_router.reports.theme import Margins, per_cent

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from pandas import DataFrame


@dataclass(frozen=True)
class CalibrationResult:
    """Predicted against observed accuracy, and predicted against billed cost, in bins of the prediction."""

    unit: str
    """As in FrontierResult."""
    accuracy: tuple[tuple[float, float, int], ...]
    """(mean predicted, mean observed, n) of each bin; empty where nothing was predicted."""
    cost: tuple[tuple[float, float, int], ...]
    """(mean predicted, mean billed, n) of each bin."""

    def frame(self) -> "DataFrame":
        """One row per bin: of `accuracy`, in [0, 1], or of `cost`, in `unit`; predicted, observed, and the decisions in it."""
        rows = [("accuracy", *each) for each in self.accuracy] + [("cost", *each) for each in self.cost]
        return frame({name: [row[place] for row in rows] for place, name in enumerate(("of", "predicted", "observed", "n"))})

    def plot(self) -> "Figure":
        """Draw it: see `draw_calibration`."""
        return draw_calibration(self)


def draw_calibration(result: CalibrationResult) -> "Figure":
    """Draw observed over predicted: accuracy on the left, cost on the right, the diagonal for perfect foresight."""
    figure = theme.sheet(410)
    left = theme.axes(figure, Margins(36, theme.WIDTH - 36 - 330, 34, 46))
    right = theme.axes(figure, Margins(theme.WIDTH - 24 - 330, 24, 34, 46))
    _per_cent_axes(left)
    theme.name_x(left, "Predicted accuracy, per cent")
    theme.name_y(left, "Observed accuracy, per cent")
    bins = [(predicted, observed, n) for predicted, observed, n in result.accuracy if n > 0]
    for predicted, observed, n in bins:
        low, high = wilson_interval(observed, n)
        left.vlines(predicted, low, high, color=theme.POLICY, alpha=theme.BAND, linewidth=7, zorder=1)
    _bins(left, bins)
    costs = [(predicted, billed, n) for predicted, billed, n in result.cost if n > 0]
    is_log = _cost_axes(right, [value for predicted, billed, _ in costs for value in (predicted, billed)])
    theme.name_x(right, f"Predicted cost{', log scale' if is_log else ''}")
    theme.name_y(right, f"Billed cost, {clipped(result.unit, 34)}")
    _bins(right, costs)
    return figure


def _per_cent_axes(ax: "Axes") -> None:
    from matplotlib.ticker import FixedLocator, FuncFormatter

    ax.set(xlim=(0, 1), ylim=(0, 1))
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_locator(FixedLocator([0, 0.25, 0.5, 0.75, 1]))
        axis.set_major_formatter(FuncFormatter(lambda value, _: per_cent(value)))


def _cost_axes(ax: "Axes", values: Sequence[float]) -> bool:
    """Give both axes the same limits."""
    is_log = False
    for which in ("x", "y"):
        is_log = theme.scale_spend(ax, values or [1.0], which)
    return is_log


def _bins(ax: "Axes", bins: Sequence[tuple[float, float, int]]) -> None:
    """Draw the diagonal and one marker a bin, its area by the number of decisions."""
    if not bins:
        middle = (sum(ax.get_xlim()) / 2, 0.45 * sum(ax.get_ylim()))
        theme.write(ax, "no predictions to check yet", middle, color=theme.MUTED, ha="center", va="center")
        return
    low, high = ax.get_xlim()
    along = np.geomspace(low, high, 100) if ax.get_xscale() == "log" else np.linspace(low, high, 100)
    ax.plot(along, along, color=theme.MUTED, linewidth=0.9, linestyle=(0, (4, 3)), zorder=1)
    drawn = [(float(x), float(x)) for x in along]
    largest = max(n for _, _, n in bins)
    predicted, observed, counts = zip(*bins, strict=True)
    area = [40 + 80 * n / largest for n in counts]
    ax.scatter(predicted, observed, s=area, color=theme.POLICY, edgecolor=theme.PAPER, linewidth=1.2, zorder=4, clip_on=False)
    ordered = sorted(zip(predicted, observed, strict=True))
    ax.plot(*zip(*ordered, strict=True), color=theme.POLICY, linewidth=1.2, alpha=0.5, zorder=3)
    drawn += [point for pair in pairwise(ordered) for point in np.linspace(*pair, 20).tolist()] + ordered
    place(ax, [Label("as predicted", tuple(drawn[15:96:8]), theme.MUTED, size=theme.SMALL)], drawn)


def wilson_interval(share: float, n: int) -> tuple[float, float]:
    """95 % interval of a share of n decisions; for scores between 0 and 1 it is wide enough as well.

    Reference: Wilson (1927), Journal of the American Statistical Association 22(158).
    """
    z2 = Z_95**2
    middle = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = Z_95 * np.sqrt(max(share * (1 - share), 0.0) / n + z2 / (4 * n**2)) / (1 + z2 / n)
    return float(middle - half), float(middle + half)
