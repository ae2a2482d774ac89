"""The pictures, each drawn from its result alone; a figure is returned, never shown."""

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from budget_router.evaluation.estimate import Z_95
from budget_router.reports import theme
from budget_router.reports.escaping import clipped, visible
from budget_router.reports.frontier_picture import draw_frontier
from budget_router.reports.kinds import Row, all_tasks, rows
from budget_router.reports.labels import Label, place
from budget_router.reports.results import AllocationResult, CalibrationResult, StreamResult
from budget_router.reports.streaming import Moment, moments, phases
from budget_router.reports.theme import Margins, per_cent, plain

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["MOST_KINDS", "draw_allocation", "draw_calibration", "draw_frontier", "draw_stream"]

MOST_KINDS = 30
"""Rows of the heat map; the rarest kinds beyond them stand in its table alone."""

_ROW = 32.0
"""Height of a row of the heat map, in pixels."""
_MOST_WIDE = 8
"""Columns that have room for a level name and for a per-cent sign."""
_DEEPEST = 0.7
"""Opacity of a full cell: words on it keep 5 : 1 on light and on dark paper."""


def draw_allocation(result: AllocationResult) -> "Figure":
    """Draw the share of each kind's tasks that each strategy got, as a heat map with its numbers."""
    rarest_shown = sorted(result.n_tasks, reverse=True)[:MOST_KINDS][-1]
    shown = [row for row in rows(result) if row.n_tasks >= rarest_shown][:MOST_KINDS]
    n_columns = len(result.strategies)
    is_narrow = n_columns > _MOST_WIDE
    longest = max(len(_kind(row)) for row in (*shown, all_tasks(result)))
    margins = Margins(16 + 8.2 * longest, 76, 110 if is_narrow else 32, 8)
    figure = theme.sheet(margins.top + margins.bottom + _ROW * (len(shown) + 1.3))
    ax = theme.axes(figure, margins)
    ax.set(xlim=(0, n_columns), ylim=(len(shown) + 1.3, 0), xticks=[], yticks=[])
    ax.spines["bottom"].set_visible(False)
    for column, strategy in enumerate(result.strategies):
        name = clipped(strategy, 14)
        head = theme.write(ax, name, (column + 0.5, 0), offset=(0, 10), ha="left" if is_narrow else "center")
        if is_narrow:
            head.set(rotation=40, rotation_mode="anchor")
    theme.write(ax, "tasks", (n_columns, 0), offset=(64, 10), color=theme.MUTED, size=theme.SMALL, ha="right")
    for top, row in enumerate(shown):
        _heat(ax, row, float(top), "normal")
    _heat(ax, all_tasks(result), len(shown) + 0.3, "bold")
    return figure


def _kind(row: Row) -> str:
    return clipped(visible(row.kind), 18)


def _heat(ax: "Axes", row: Row, top: float, weight: str) -> None:
    """Write one row of the heat map: its kind, its cells, its number of tasks."""
    from matplotlib.patches import Rectangle

    middle = top + 0.5
    theme.write(ax, _kind(row), (0, middle), offset=(-ax.bbox.x0, 0), weight=weight, va="center")
    count = f"{row.n_tasks:,}"
    theme.write(ax, count, (len(row.share), middle), offset=(64, 0), color=theme.MUTED, ha="right", va="center")
    is_narrow = len(row.share) > _MOST_WIDE
    for column, share in enumerate(row.share):
        box = (column + 0.02, top + 0.03), 0.96, 0.94
        ax.add_patch(Rectangle(*box, facecolor=theme.SHADE, linewidth=0))
        ax.add_patch(Rectangle(*box, facecolor=theme.HEAT, alpha=_DEEPEST * share, linewidth=0))
        is_some = round(100 * share) > 0
        theme.write(
            ax,
            per_cent(share) + " %" * (not is_narrow) if is_some else "–",
            (column + 0.5, middle),
            color=theme.INK if is_some else theme.MUTED,
            size=theme.SMALL if is_narrow else theme.WORDS,
            weight=weight if is_some else "normal",
            ha="center",
            va="center",
        )


def draw_stream(result: StreamResult) -> "Figure":
    """Draw the average spend so far against the budget and, below on the same axis, the shadow price."""
    figure = theme.sheet(456)
    upper = theme.axes(figure, Margins(52, 24, 34, 184))
    lower = theme.axes(figure, Margins(52, 24, 320, 46))
    seen = moments(result)
    last = max(len(result.spend), 1)
    for ax in (upper, lower):
        _scale_decisions(ax, last)
    upper.tick_params(axis="x", labelbottom=False)
    theme.name_x(lower, "Decision")
    theme.name_y(lower, "Shadow price, accuracy per unit spent")
    _phases(upper, lower, result)
    _running_spend(upper, seen, result)
    prices = [moment.shadow_price for moment in seen]
    lower.plot(
        [moment.decision for moment in seen], prices, color=theme.POLICY, linewidth=1.8, drawstyle="steps-post", clip_on=False
    )
    _scale_from_zero(lower, prices, 3)
    return figure


def _scale_decisions(ax: "Axes", last: int) -> None:
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    ax.set_xlim(1, max(last, 2))
    ax.xaxis.set_major_locator(MaxNLocator(7, integer=True))
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))


def _scale_from_zero(ax: "Axes", values: Sequence[float], n_ticks: int) -> None:
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    top = max([*values, 0.0])
    ax.set_ylim(0, 1.2 * top if top > 0 else 1.0)
    if top == 0:
        ax.set_yticks([0], ["0"])
        return
    ax.yaxis.set_major_locator(MaxNLocator(n_ticks))
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: plain(value)))


def _phases(upper: "Axes", lower: "Axes", result: StreamResult) -> None:
    """Shade every other phase and name those that have room for their name."""
    found = phases(result)
    n = max(len(result.spend), 1)
    for rank, phase in enumerate(found[:60]):
        for ax in (upper, lower):
            if rank % 2 == 0 and len(found) > 1:
                ax.axvspan(phase.start + 1, phase.stop, color=theme.SHADE, linewidth=0, zorder=0)
        name = clipped(phase.name, 30)
        if 7.5 * len(name) < (phase.stop - phase.start) / n * 770 or len(found) == 1:
            theme.write(upper, name, (phase.start + 1, 0), offset=(6, 6), color=theme.MUTED, size=theme.SMALL)


def _running_spend(ax: "Axes", seen: Sequence[Moment], result: StreamResult) -> None:
    """Draw the average spend so far; what its first decisions throw it to may leave the picture, and is then said."""
    means = [moment.mean_spend for moment in seen]
    settled = [moment.mean_spend for moment in seen if moment.decision > 0.05 * len(result.spend)]
    top = max([2 * result.budget, *settled])
    _scale_from_zero(ax, [min(mean, top) for mean in [*means, result.budget]], 5)
    cut = f" · the first decisions reach {plain(max(means))}" if max(means, default=0.0) > ax.get_ylim()[1] else ""
    theme.name_y(ax, f"Mean spend so far, {result.unit}{cut}")
    ax.axhline(result.budget, color=theme.INK, linewidth=0.9, zorder=2)
    ax.plot([moment.decision for moment in seen], means, color=theme.POLICY, linewidth=2.6, zorder=3)
    ax.plot(
        [moment.decision for moment in seen[-1:]],
        means[-1:],
        marker="o",
        markersize=7,
        color=theme.POLICY,
        zorder=4,
        clip_on=False,
    )
    if not seen:
        return
    drawn = [(moment.decision, moment.mean_spend) for moment in seen]
    level = [(float(x), result.budget) for x in np.linspace(*ax.get_xlim(), 200)]
    end = Label(f"spent {plain(means[-1])}", tuple(drawn[:-60:-6]), theme.POLICY, "bold")
    place(ax, [end, Label(f"budget {plain(result.budget)}", tuple(level[::-8]), size=theme.SMALL)], [*drawn, *level])


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
