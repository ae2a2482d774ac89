"""What a candidate gains: over what serves, over the best static mix, and on each group's tasks."""

from dataclasses import dataclass
from math import isfinite
from typing import TYPE_CHECKING

from budget_router.evaluation import Estimate, OffPolicyEstimate
from budget_router.frames import frame
from budget_router.reports import theme
from budget_router.reports.theme import Margins
from budget_router.reports.whiskers import ROW, Whisker, draw_whiskers, name_rows

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from pandas import DataFrame

_FACTS = ("value", "low", "high", "standard_error", "effective_sample_size", "n", "n_tasks", "reason")
_LEFT, _BELOW = 250, 46


@dataclass(frozen=True)
class GainsResult:
    """Gains in accuracy, each over a rival or on a part of the tasks."""

    rows: tuple[tuple[str, OffPolicyEstimate], ...]
    """Over what or on which tasks, and the gain, a share of the tasks."""

    def frame(self) -> "DataFrame":
        """One row per gain, with all that its estimate carries."""
        columns: dict[str, list[object]] = {"gain": [name for name, _ in self.rows]}
        return frame(columns | {fact: [getattr(gain, fact) for _, gain in self.rows] for fact in _FACTS})

    def plot(self) -> "Figure":
        """Draw each gain with its interval against zero; hollow is what the log tells too little of."""
        figure = theme.sheet(12 + _BELOW + ROW * max(len(self.rows), 1))
        axes = theme.axes(figure, Margins(_LEFT, 24, 12, _BELOW))
        whiskers = [[Whisker(_points(gain), theme.POLICY, is_hollow=not isfinite(gain.low))] for _, gain in self.rows]
        draw_whiskers(axes, whiskers, shown=lambda points: f"{points:+g}", must_show=(0.0,))
        axes.axvline(0, color=theme.INK, linewidth=0.8, zorder=1)
        name_rows(axes, [name for name, _ in self.rows], left=_LEFT, bold=(0,), length=36)
        theme.name_x(axes, "Gain in accuracy, points")
        return figure


def _points(gain: OffPolicyEstimate) -> Estimate:
    return Estimate(*(100 * number for number in gain.interval))
