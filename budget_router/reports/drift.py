"""What has changed in the traffic: each figure's change and its interval, beside the size from which it matters."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from budget_router.evaluation import Estimate
from budget_router.evaluation.drift import Finding
from budget_router.reports import theme
from budget_router.reports.theme import Margins
from budget_router.reports.whiskers import ROW, Whisker, draw_whiskers, name_rows

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST_FINDINGS = 16
"""Drawn of each kind, what matters first; the others stand in the frame alone."""
_LEFT, _ABOVE, _BELOW = 250.0, 14.0, 60.0
_AXES = {
    "input": "Change of the tasks, points",
    "accuracy": "Change of accuracy on like tasks, points",
    "cost": "Change of cost on like tasks, per cent",
}


def draw_drift(findings: Sequence[Finding]) -> "Figure":
    """Draw a panel for each kind: changes of tasks, of accuracy, of cost; hollow is what does not matter, or is not sure.

    Between the shaded edges a change is too small to matter, however sure it is.
    """
    panels = [(kind, [one for one in findings if one.kind == kind][:MOST_FINDINGS]) for kind in _AXES]
    panels = [(kind, shown) for kind, shown in panels if shown] or [("input", [])]
    heights = [_ABOVE + _BELOW + ROW * max(len(shown), 1) for _, shown in panels]
    figure = theme.sheet(sum(heights))
    below = sum(heights)
    for (kind, shown), height in zip(panels, heights, strict=True):
        below -= height
        ax = theme.axes(figure, Margins(_LEFT, 24, sum(heights) - below - height + _ABOVE, below + _BELOW))
        edges = [edge for one in shown for edge in _edges(one)]
        draw_whiskers(
            ax, [[_whisker(one)] for one in shown], shown=lambda value: f"{value:+.3g}" if value else "0", must_show=(0.0, *edges)
        )
        for place, one in enumerate(shown):
            ax.axvspan(*_edges(one), 1 - (place + 1) / len(shown), 1 - place / len(shown), color=theme.SHADE, zorder=0)
        ax.axvline(0, color=theme.INK, linewidth=0.8, zorder=1)
        name_rows(
            ax,
            [one.what.replace("_", " ") if kind == "input" else one.what for one in shown],
            left=_LEFT,
            bold=[place for place, one in enumerate(shown) if one.matters],
        )
        theme.name_x(ax, f"{_AXES[kind]} · shaded: too small to matter")
    return figure


def _whisker(finding: Finding) -> Whisker:
    shown = [100 * (one - 1 if finding.kind == "cost" else one) for one in finding.change]
    return Whisker(Estimate(*shown), theme.INK, is_hollow=not finding.matters, marker="D" if finding.matters else "o")


def _edges(finding: Finding) -> tuple[float, float]:
    """Between which a change is too small to matter; a cost that falls by a tenth is as far away as one that rises by a ninth."""
    if finding.kind == "cost":
        return 100 * (1 / (1 + finding.limit) - 1), 100 * finding.limit
    return -100 * finding.limit, 100 * finding.limit
