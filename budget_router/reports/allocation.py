"""Which kinds of task got which strategies: a heat map with its numbers."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from budget_router.frames import frame
from budget_router.reports import theme
from budget_router.reports.escaping import clipped, visible
from budget_router.reports.theme import Margins, per_cent

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from pandas import DataFrame

MOST_KINDS = 30
"""Rows of the heat map; the rarest kinds beyond them stand in its table alone."""

_ROW = 32.0
"""Height of a row of the heat map, in pixels."""
_MOST_WIDE = 8
"""Columns that have room for a level name and for a per-cent sign."""
_LETTER = 8.2
"""Width of a letter, in pixels: that of wide fonts."""
_DEEPEST = 0.7
"""Opacity of a full cell: words on it keep 5 : 1 on light and on dark paper."""


@dataclass(frozen=True)
class AllocationResult:
    """Which strategy went to which kind of task."""

    kinds: tuple[str, ...]
    n_tasks: tuple[int, ...]
    """Tasks of each kind."""
    strategies: tuple[str, ...]
    share: tuple[tuple[float, ...], ...]
    """(n_kinds, n_strategies), rows add up to one."""
    is_ordered: bool = False
    """Whether the kinds stand in an order of their own; else those that take the cheapest come first."""

    def frame(self) -> "DataFrame":
        """One row per kind: its name, its tasks, and the share in [0, 1] of them that each strategy got."""
        shares = {name: [row[column] for row in self.share] for column, name in enumerate(self.strategies)}
        return frame({"kind": self.kinds, "n_tasks": self.n_tasks, **shares})

    def plot(self) -> "Figure":
        """Draw it: see `draw_allocation`."""
        return draw_allocation(self)


class Row(NamedTuple):
    """Tasks of one kind, and the share of them that each strategy got."""

    kind: str
    n_tasks: int
    share: tuple[float, ...]

    @property
    def favourite(self) -> int:
        """Column of the strategy that most of them got."""
        return int(np.argmax(self.share))


def rows(result: AllocationResult) -> list[Row]:
    """The kinds, those that have no order by their mean column: as a menu runs from cheap to dear, so do they."""
    found = [Row(*row) for row in zip(result.kinds, result.n_tasks, result.share, strict=True)]
    if result.is_ordered:
        return found
    return sorted(found, key=lambda row: float(np.dot(row.share, range(len(row.share)))))


def all_tasks(result: AllocationResult) -> Row:
    """Every kind together."""
    share = np.average(result.share, axis=0, weights=np.maximum(result.n_tasks, 1e-12))
    return Row("all tasks", sum(result.n_tasks), tuple(float(each) for each in share))


def draw_allocation(result: AllocationResult) -> "Figure":
    """Draw the share of each kind's tasks that each strategy got, as a heat map with its numbers."""
    rarest_shown = sorted(result.n_tasks, reverse=True)[:MOST_KINDS][-1]
    shown = [row for row in rows(result) if row.n_tasks >= rarest_shown][:MOST_KINDS]
    n_columns = len(result.strategies)
    is_narrow = n_columns > _MOST_WIDE
    longest = max(len(_kind(row)) for row in (*shown, all_tasks(result)))
    margins = Margins(16 + _LETTER * longest, 76, 110 if is_narrow else 32, 8)
    figure = theme.sheet(margins.top + margins.bottom + _ROW * (len(shown) + 1.3))
    ax = theme.axes(figure, margins)
    ax.set(xlim=(0, n_columns), ylim=(len(shown) + 1.3, 0), xticks=[], yticks=[])
    ax.spines["bottom"].set_visible(False)
    for column, strategy in enumerate(result.strategies):
        name = clipped(strategy, 14 if is_narrow else max(int(ax.bbox.width / n_columns / _LETTER), 8))
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
