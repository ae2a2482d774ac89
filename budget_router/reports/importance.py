"""What a policy goes by: the accuracy that is lost when one of its inputs is shuffled among tasks."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from budget_router.evaluation import Estimate
from budget_router.frames import frame
from budget_router.reports import theme
from budget_router.reports.theme import Margins
from budget_router.reports.whiskers import ROW, Whisker, draw_whiskers, name_rows

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from pandas import DataFrame

ALL_INPUTS = "everything it knows"
"""Names the loss when no task is told from another."""
MOST_INPUTS = 15
"""Inputs drawn; those that matter less stand in the table alone."""


@dataclass(frozen=True)
class ImportanceResult:
    """Inputs of a policy, and what each is worth at the budget; one that could as well be missing is worth nothing.

    Inputs that tell the same share their worth: each looks worth little while the other is there.

    Reference: Breiman (2001), Random Forests, Machine Learning 45(1), section 10.
    """

    inputs: tuple[tuple[str, Estimate], ...]
    """(name, accuracy lost without it, net of the spend that goes with it at the shadow price), the most worth first."""

    def frame(self) -> "DataFrame":
        """One row per input: its name, the accuracy lost without it, and the 95 % interval."""
        names = [name for name, _ in self.inputs]
        parts = {part: [getattr(lost, part) for _, lost in self.inputs] for part in Estimate._fields}
        return frame({"input": names} | parts)

    def plot(self) -> "Figure":
        """Draw it: see `draw_importance`."""
        return draw_importance(self)


def draw_importance(result: ImportanceResult) -> "Figure":
    """Draw what is lost without each input, with its interval; the line is nothing lost."""
    shown = result.inputs[:MOST_INPUTS]
    figure = theme.sheet(12 + 46 + ROW * max(len(shown), 1))
    ax = theme.axes(figure, Margins(230, 24, 12, 46))
    rows = [[Whisker(lost, theme.POLICY)] for _, lost in shown]
    draw_whiskers(ax, rows, shown=lambda value: f"{100 * value:.3g}", must_show=(0.0,))
    ax.axvline(0, color=theme.INK, linewidth=0.9, zorder=1)
    name_rows(ax, [name for name, _ in shown], left=230)
    theme.name_x(ax, "Accuracy lost when it is shuffled among tasks, points")
    return figure
