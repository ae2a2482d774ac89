"""Who spent it, and what it bought."""

from dataclasses import dataclass
from math import isfinite
from typing import TYPE_CHECKING, NamedTuple

from budget_router.evaluation import Estimate
from budget_router.frames import frame
from budget_router.reports import theme
from budget_router.reports.escaping import clipped
from budget_router.reports.theme import Margins, per_cent, plain
from budget_router.reports.whiskers import ROW

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from pandas import DataFrame

MOST_SPENDERS = 20
"""Spenders drawn, the dearest first; the others stand in the table alone."""


class Spender(NamedTuple):
    """Decisions of one name."""

    name: str
    n_decisions: int
    spend: float
    """Of all of them, in the unit of the result."""
    accuracy: Estimate
    """Of those that were graded."""


@dataclass(frozen=True)
class SpendingResult:
    """Spend in all, by whoever or whatever it went to."""

    by: str
    """E.g. `group and strategy`."""
    unit: str
    """E.g. `completion tokens`, without the `per task`."""
    rows: tuple[Spender, ...]
    """The dearest first."""

    def frame(self) -> "DataFrame":
        """One row per spender: decisions, spend in `unit`, accuracy of what was graded and its 95 % interval."""
        columns = {name: [getattr(row, name) for row in self.rows] for name in ("name", "n_decisions", "spend")}
        names = dict(zip(Estimate._fields, ("accuracy", "low", "high"), strict=True))
        return frame(columns | {told: [getattr(row.accuracy, part) for row in self.rows] for part, told in names.items()})

    def plot(self) -> "Figure":
        """Draw it: see `draw_spending`."""
        return draw_spending(self)


def draw_spending(result: SpendingResult) -> "Figure":
    """Draw a bar for each spender from zero, with its share and what each decision cost and bought beside it."""
    shown = result.rows[:MOST_SPENDERS]
    figure = theme.sheet(32 + 8 + ROW * max(len(shown), 1))
    ax = theme.axes(figure, Margins(230, 270, 32, 8))
    longest = max([row.spend for row in shown if isfinite(row.spend)], default=0.0) or 1.0
    ax.set(ylim=(max(len(shown), 1), 0), xlim=(0, 1.3 * longest), xticks=[], yticks=[])
    ax.grid(visible=False)
    ax.spines["bottom"].set_visible(False)
    total = sum(row.spend for row in result.rows if isfinite(row.spend)) or 1.0
    end = 1.3 * longest
    for text, offset in (("decisions", 76), ("each", 152), ("accuracy, %", 262)):
        theme.write(ax, text, (end, 0), offset=(offset, 10), color=theme.MUTED, size=theme.SMALL, ha="right")
    theme.write(ax, clipped(f"Spend, {result.unit}", 40), (0, 0), offset=(0, 10), color=theme.MUTED, size=theme.SMALL)
    for place, row in enumerate(shown):
        _bar(ax, row, place + 0.5, share=row.spend / total, end=end)
    return figure


def _bar(ax: "Axes", row: Spender, y: float, *, share: float, end: float) -> None:
    if isfinite(row.spend):
        ax.barh(y, row.spend, height=0.62, color=theme.MIX, alpha=0.6, linewidth=0)
    told = f"{short(row.spend)} · {per_cent(share)} %" if isfinite(row.spend) else "unknown"
    theme.write(ax, told, (row.spend if isfinite(row.spend) else 0, y), offset=(7, 0), size=theme.SMALL, va="center")
    theme.write(ax, clipped(row.name, 29), (0, y), offset=(-ax.bbox.x0, 0), va="center")
    each = row.spend / row.n_decisions if row.n_decisions else float("nan")
    accuracy = row.accuracy.value
    low, high = row.accuracy.low, row.accuracy.high
    interval = f" [{per_cent(low)}, {per_cent(high)}]" if isfinite(low) and isfinite(high) else ""
    bought = f"{per_cent(accuracy, 1)}{interval}" if isfinite(accuracy) else "–"
    for text, offset in ((f"{row.n_decisions:,}", 76), (plain(each), 152), (bought, 262)):
        theme.write(ax, text, (end, y), offset=(offset, 0), color=theme.MUTED, size=theme.SMALL, ha="right", va="center")


def short(value: float) -> str:
    """A large number in three digits.

    >>> short(1_234_567), short(45_600), short(3.2)
    ('1.23 M', '45.6 k', '3.2')
    """
    for size, mark in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if abs(value) >= size:
            return f"{value / (1e3 if mark == 'k' else size):.3g} {mark}"
    return plain(value)
