"""The gate's verdict on a candidate, condition by condition."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from budget_router.frames import frame
from budget_router.reports import theme
from budget_router.reports.escaping import clipped
from budget_router.reports.theme import Margins

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from pandas import DataFrame

_ROW = 58.0
"""Height of a condition, in pixels: its sentence, and its line below."""
_LEFT = 96.0
_LONGEST = 96
"""Letters of a sentence that have room."""
_MET, _NOT_MET = "met", "not met"


class GateRow(NamedTuple):
    """One condition."""

    name: str
    found: float | None
    """`None` where the log does not tell."""
    limit: float | None
    is_met: bool
    sentence: str


@dataclass(frozen=True)
class GateResult:
    """Whether a candidate may serve, and why."""

    version: str
    sentence: str
    rows: tuple[GateRow, ...]

    def frame(self) -> "DataFrame":
        """One row per condition."""
        return frame({name: [getattr(row, name) for row in self.rows] for name in GateRow._fields})

    def plot(self) -> "Figure":
        """Draw it: see `draw_gate`."""
        return draw_gate(self)


def draw_gate(result: GateResult) -> "Figure":
    """Draw what was found of each condition against its limit, each on a scale of its own that holds zero.

    What is asked for is shaded; a hollow square is what does not lie there, and no mark is what the log does not tell.
    """
    n_rows = max(len(result.rows), 1)
    figure = theme.sheet(20 + _ROW * n_rows)
    ax = theme.axes(figure, Margins(_LEFT, 24, 12, 8))
    ax.set(xlim=(0, 1), ylim=(n_rows, 0), xticks=[], yticks=[])
    ax.grid(visible=False)
    ax.spines["bottom"].set_visible(False)
    if not result.rows:
        theme.write(ax, clipped(result.sentence, _LONGEST), (0, 0.5), offset=(-_LEFT, 0), va="center")
    for place, row in enumerate(result.rows):
        weight = "normal" if row.is_met else "bold"
        word = _MET if row.is_met else _NOT_MET
        color = theme.POLICY if row.is_met else theme.INK
        theme.write(ax, word, (0, place + 0.3), offset=(-_LEFT, 0), color=color, weight=weight, va="center")
        theme.write(ax, clipped(row.sentence, _LONGEST), (0, place + 0.3), weight=weight, va="center")
        _draw_line(ax, row, place + 0.68)
    return figure


def _draw_line(ax: "Axes", row: GateRow, y: float) -> None:
    """Draw a condition's scale, what is asked for, the limit, and what was found."""
    from matplotlib.patches import Rectangle

    ax.hlines(y, 0, 1, color=theme.GRID, linewidth=0.8, zorder=1)
    if row.limit is None:
        return
    found = row.limit if row.found is None else row.found
    low, high = min(0.0, found, row.limit), max(0.0, found, row.limit)
    room = 0.1 * (high - low) or 1.0

    def at(value: float) -> float:
        return (value - low + room) / (high - low + 2 * room)

    limit = at(row.limit)
    if row.found is not None and found != row.limit:
        is_above = (found > row.limit) == row.is_met
        left, right = (limit, 1.0) if is_above else (0.0, limit)
        ax.add_patch(Rectangle((left, y - 0.14), right - left, 0.28, facecolor=theme.POLICY, alpha=theme.BAND, linewidth=0))
    ax.vlines(limit, y - 0.2, y + 0.2, color=theme.INK, linewidth=1.4, zorder=2)
    if row.found is not None:
        color, marker = (theme.POLICY, "o") if row.is_met else (theme.INK, "s")
        face = color if row.is_met else theme.PAPER
        ax.plot(at(found), y, marker=marker, markersize=9, color=color, markerfacecolor=face, markeredgewidth=1.6, zorder=3)
