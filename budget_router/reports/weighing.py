"""How one task's strategies were weighed: what each was expected to cost and to score, the price, and how likely each was."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from budget_router.reports import theme
from budget_router.reports.escaping import clipped
from budget_router.reports.labels import Label, place
from budget_router.reports.theme import Margins
from budget_router.reports.whiskers import name_rows

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_ROW = 34.0
"""Height of a strategy's bar, in pixels."""
_LEFT, _BARS, _GAP = 190.0, 210.0, 90.0
_HEIGHT = 330.0
"""Of a sheet that shows a price."""
_ABOVE, _BELOW = 36.0, 52.0
_HEAVY = 20
"""Points of the line that a name may rather cover than one marker."""


class Weight(NamedTuple):
    """A strategy as it was weighed."""

    strategy: str
    propensity: float
    cost: float | None
    score: float | None
    is_executed: bool


@dataclass(frozen=True)
class Weighing:
    """The strategies of one decision, and the price that they were weighed at."""

    strategies: Sequence[Weight]
    shadow_price: float
    picked: str | None
    """What the price alone picks; `None` where scores are not known."""
    unit: str


def draw_weighing(told: Weighing) -> "Figure":
    """Draw how likely each strategy was to be drawn, and beside it each one's expected score over its expected cost.

    Along the dashed line, whose slope is the price, all would be worth as much as what the price picks: below it they are worth
    less. Filled is what was executed. Where no scores are known the draw stands alone.
    """
    placed = [one for one in told.strategies if one.cost is not None and one.score is not None]
    is_known = len(placed) == len(told.strategies) and told.picked is not None
    n_rows = len(told.strategies)
    height = max(_HEIGHT, _ABOVE + _BELOW + _ROW * n_rows) if is_known else _ABOVE + _BELOW + _ROW * n_rows
    figure = theme.sheet(height)
    below = height - _ABOVE - _ROW * n_rows
    right = theme.WIDTH - _LEFT - _BARS if is_known else 90.0
    _draw_draw(theme.axes(figure, Margins(_LEFT, right, _ABOVE, below)), told)
    if is_known:
        _draw_price(theme.axes(figure, Margins(_LEFT + _BARS + _GAP, 30, _ABOVE, _BELOW)), told, placed)
    return figure


def _draw_draw(ax: "Axes", told: Weighing) -> None:
    ax.set(xlim=(0, 100), ylim=(len(told.strategies), 0), yticks=[], xticks=[0, 50, 100])
    ax.grid(visible=False, axis="y")
    ax.grid(axis="x", color=theme.GRID, linewidth=0.8)
    for row, one in enumerate(told.strategies):
        face = theme.POLICY if one.is_executed else "none"
        ax.barh(row + 0.5, 100 * one.propensity, height=0.5, facecolor=face, edgecolor=theme.POLICY, linewidth=1.2)
        theme.write(ax, f"{100 * one.propensity:.3g} %", (100 * one.propensity, row + 0.5), offset=(6, 0), va="center")
    executed = [row for row, one in enumerate(told.strategies) if one.is_executed]
    name_rows(ax, [one.strategy for one in told.strategies], left=_LEFT, bold=executed, length=24)
    theme.name_x(ax, "Probability of being drawn, per cent")


def _draw_price(ax: "Axes", told: Weighing, placed: Sequence[Weight]) -> None:
    from matplotlib.ticker import MaxNLocator

    cost, score = (np.array([getattr(one, name) for one in placed], dtype=np.float64) for name in ("cost", "score"))
    picked = next(row for row, one in enumerate(placed) if one.strategy == told.picked)
    low, high = min(0.0, float(score.min())), max(1.0, float(score.max()))
    ax.set(xlim=(0, 1.12 * float(cost.max()) or 1.0), ylim=(low, high + 0.04))
    ax.xaxis.set_major_locator(MaxNLocator(5))
    begin, end = ax.get_xlim()
    along = np.array([begin, end])
    worth = float(score[picked] - told.shadow_price * cost[picked])
    ax.plot(along, worth + told.shadow_price * along, color=theme.INK, linewidth=1.1, linestyle=(0, (4, 3)), zorder=1)
    for one in placed:
        face = theme.POLICY if one.is_executed else theme.PAPER
        ax.plot(
            one.cost or 0.0, one.score or 0.0, "o", markersize=9, color=theme.POLICY, markerfacecolor=face, markeredgewidth=1.4
        )
    line = np.linspace(begin, end, 60)
    drawn = np.vstack(
        [np.tile(np.column_stack([cost, score]), (_HEAVY, 1)), np.column_stack([line, worth + told.shadow_price * line])]
    )
    labels = [
        Label(clipped(one.strategy, 22), ((x, y),), weight="bold" if one.is_executed else "normal", size=theme.SMALL)
        for one, x, y in zip(placed, cost.tolist(), score.tolist(), strict=True)
    ]
    place(ax, labels, drawn)
    theme.name_x(ax, f"Expected cost, {told.unit}")
    theme.name_y(ax, "Expected score · along the dashed line all are worth the same")
