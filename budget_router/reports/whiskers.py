"""Estimates one below the other: a name, a dot, and its interval."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import TYPE_CHECKING

from budget_router.evaluation import Estimate
from budget_router.reports import theme
from budget_router.reports.escaping import clipped

if TYPE_CHECKING:
    from matplotlib.axes import Axes

ROW = 30.0
"""Height of a row, in pixels."""


@dataclass(frozen=True)
class Whisker:
    """One estimate of a row; without an interval it is hollow."""

    estimate: Estimate
    color: str = theme.INK
    is_hollow: bool = False
    marker: str = "o"


def draw_whiskers(
    ax: "Axes", rows: Sequence[Sequence[Whisker]], *, shown: Callable[[float], str], must_show: Sequence[float] = ()
) -> None:
    """Draw rows from the top down; several of one row stand in the order given, one over the other.

    Args:
        ax: empty.
        rows: of whiskers.
        shown: writes a value of the axis.
        must_show: values that the axis reaches in any case.
    """
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    known = [each for row in rows for one in row for each in one.estimate if isfinite(each)] + list(must_show) or [0.0, 1.0]
    low, high = min(known), max(known)
    room = 0.06 * (high - low) or max(abs(high), 1.0) * 0.1
    ax.set(ylim=(len(rows), 0), xlim=(low - room, high + room), yticks=[])
    ax.grid(visible=False, axis="y")
    ax.grid(axis="x", color=theme.GRID, linewidth=0.8)
    ax.xaxis.set_major_locator(MaxNLocator(5))
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: shown(value)))
    for place, row in enumerate(rows):
        for one in row:
            _draw(ax, place + 0.5, one)


def _draw(ax: "Axes", y: float, one: Whisker) -> None:
    value, low, high = one.estimate
    if isfinite(low) and isfinite(high):
        ax.hlines(y, low, high, color=one.color, linewidth=2.2, alpha=0.55, zorder=2)
    if isfinite(value):
        face = theme.PAPER if one.is_hollow else one.color
        ax.plot(value, y, marker=one.marker, markersize=8, color=one.color, markerfacecolor=face, markeredgewidth=1.4, zorder=3)


def name_rows(ax: "Axes", names: Sequence[str], *, left: float, bold: Sequence[int] = (), length: int = 30) -> None:
    """Write the rows' names so many pixels left of the axes."""
    for place, name in enumerate(names):
        theme.write(
            ax,
            clipped(name, length),
            (ax.get_xlim()[0], place + 0.5),
            offset=(-left, 0),
            weight="bold" if place in bold else "normal",
            va="center",
        )
