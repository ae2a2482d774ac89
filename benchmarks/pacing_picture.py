"""Average spend against the budget, the shadow price below: one cell per scenario, drawn from what `benchmarks.pacing` ran."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from benchmarks.pacing_rivals import OURS
from budget_router.allocation import FloatArray, IntArray
from budget_router.reports import to_svg
from budget_router.reports.theme import INK, MIX, MUTED, POLICY, SMALL, WIDTH, Margins, axes, plain, sheet, write

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PEER, PEER_INK = "#009e73", "#007a5a"
"""A peer's colour, and a shade darker for words."""
_CELL, _AVERAGE, _PRICE, _TOP, _BELOW = 280.0, 118.0, 60.0, 40.0, 24.0
"""Heights in pixels: a cell, its two axes, what stands over the first, and what stands under everything."""
_LEFT, _GAP, _RIGHT = 44.0, 66.0, 24.0
_LOW, _HIGH = 0.7, 1.4
"""Range of the average that is shown, in budgets; what leaves it is cut off."""
_MOST = 250
"""Points that a line is drawn by."""


class Shown(NamedTuple):
    """One run, to be drawn."""

    average: FloatArray
    """(n_tasks,) running average spend, in budgets."""
    price: FloatArray
    """(n_tasks,) shadow price at each decision, accuracy per budget."""


def picture(shown: Mapping[str, Mapping[str, Shown]]) -> str:
    """A file of SVG, on white; runs by scenario and pacer, `static` being the price with hindsight."""
    title = "The running average keeps to the budget in every scenario, and the price moves so that it does"
    svg = to_svg(draw(shown), prefix="pacing", title=title)
    alone = 'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
    return svg.replace("<svg ", f"<svg {alone}", 1).replace('style="', 'style="background: #fff; ', 1) + "\n"


def draw(shown: Mapping[str, Mapping[str, Shown]]) -> "Figure":
    """The figure: scenarios two by two."""
    height = (len(shown) + 1) // 2 * _CELL + _BELOW
    figure = sheet(height)
    width = (WIDTH - _LEFT - _GAP - _RIGHT) / 2
    for cell, (name, runs) in enumerate(shown.items()):
        left, top = _LEFT + cell % 2 * (width + _GAP), _TOP + cell // 2 * _CELL
        right = WIDTH - left - width
        upper = axes(figure, Margins(left, right, top, height - top - _AVERAGE))
        lower = axes(figure, Margins(left, right, top + _AVERAGE + 34, height - top - _AVERAGE - 34 - _PRICE))
        _draw_average(upper, name, runs, is_first=cell == 0)
        _draw_price(lower, runs, is_first=cell == 0, is_last=cell >= len(shown) - 2)
    return figure


def _draw_average(ax: "Axes", name: str, runs: Mapping[str, Shown], *, is_first: bool) -> None:
    ours, peer = runs[OURS].average, runs["paretobandit"].average
    rows = _rows(len(ours))
    ax.axhline(1, color=INK, linewidth=0.9)
    ax.plot(rows + 1, np.clip(peer[rows], _LOW - 1, _HIGH + 1), color=PEER, linewidth=1.5, linestyle="--")
    ax.plot(rows + 1, ours[rows], color=POLICY, linewidth=2.4)
    ax.set(xlim=(0, len(ours)), ylim=(_LOW, _HIGH), yticks=[0.8, 1.0, 1.2, 1.4], xticks=[])
    ax.spines["bottom"].set_visible(False)
    write(ax, name[:1].upper() + name[1:], (0, _HIGH), offset=(-36, 20), weight="bold")
    write(ax, "average spend, budgets per task", (0, _HIGH), offset=(-36, 6), color=MUTED, size=SMALL)
    if is_first:
        write(ax, "budget-router", (len(ours), 1.0), offset=(-4, -15), color=POLICY, weight="bold", ha="right")
        write(ax, "ParetoBandit's pacer", (len(ours), 1.0), offset=(-4, 14), color=PEER_INK, ha="right")
        write(ax, "budget", (len(ours) * 0.5, 1.0), offset=(0, -15), size=SMALL)
    if peer[-1] > 1.2:
        write(
            ax,
            f"ParetoBandit's pacer: {peer[-1]:.2f} at the end",
            (len(ours), _LOW),
            offset=(-4, 6),
            color=PEER_INK,
            ha="right",
        )


def _draw_price(ax: "Axes", runs: Mapping[str, Shown], *, is_first: bool, is_last: bool) -> None:
    price, static = runs[OURS].price, runs["static"].price
    rows = _rows(len(price))
    shown = np.array([price[start:stop].mean() for start, stop in zip(rows, [*rows[1:], len(price)], strict=True)])
    ax.plot(rows + 1, static[rows], color=MIX, linewidth=1.2, linestyle=":")
    ax.plot(rows + 1, shown, color=POLICY, linewidth=1.5)
    highest = float(max(np.quantile(shown, 0.97), 1.6 * static[0]))
    tick = float(f"{0.9 * highest:.1g}")
    top = 1.1 * max(highest, tick)
    ax.set(xlim=(0, len(price)), ylim=(0, top), yticks=[0, tick])
    ax.set_yticklabels([plain(value) for value in ax.get_yticks()])
    ax.set_xticks([0, len(price) // 2, len(price)], [plain(value) for value in (0, len(price) // 2, len(price))])
    write(ax, "shadow price, accuracy per budget", (0, top), offset=(-36, 5), color=MUTED, size=SMALL)
    if is_first:
        write(ax, "static, with hindsight", (len(price), 0), offset=(-4, 5), color=MIX, size=SMALL, ha="right")
    if is_last:
        ax.set_xlabel("Decisions", fontsize=SMALL, color=MUTED)


def _rows(n_tasks: int) -> IntArray:
    return np.unique(np.linspace(0, n_tasks - 1, min(n_tasks, _MOST)).astype(np.intp))
