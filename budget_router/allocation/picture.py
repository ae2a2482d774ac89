"""The oracle as pictures: its frontier, what a budget buys on it, and whom it gives what."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from budget_router.allocation.table import FloatArray, IntArray

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_ORACLE, _ORACLE_INK, _INK, _MUTED, _GRID = "#d55e00", "#a84a00", "#1b1f24", "#57606a", "#e3e6ea"
"""The oracle's colour, the same for words (4.5 : 1 on paper), and those of words, ticks and grid, as in every report."""
_MOST_CORNERS = 2000
"""Corners that are drawn of a longer curve: more than a picture has pixels across."""


def draw(
    spend: FloatArray, accuracy: FloatArray, *, unit: str, budget: float | None, point: tuple[float, float, float] | None
) -> "Figure":
    """Draw a frontier.

    Args:
        spend: (n_corners,) rising.
        accuracy: (n_corners,) best mean accuracy at that spend.
        unit: of cost.
        budget: mean cost per task to be marked.
        point: spend, accuracy and shadow price at the budget.
    """
    try:
        from matplotlib.figure import Figure
        from matplotlib.ticker import FuncFormatter, MaxNLocator
    except ImportError as error:
        raise ImportError("pictures need matplotlib: pip install 'budget-router[plots]'") from error
    kept = np.unique(np.linspace(0, len(spend) - 1, _MOST_CORNERS).round().astype(np.intp))
    figure = Figure(figsize=(8.6, 4.6), dpi=100, layout="constrained")
    ax = figure.subplots()
    ax.plot(
        spend[kept], accuracy[kept], color=_ORACLE, linestyle=(0, (5, 2)), linewidth=1.8, marker="o" if len(kept) < 20 else ""
    )
    is_log = spend[0] > 0 and spend[-1] / spend[0] > 10
    if is_log:
        ax.set_xscale("log")
    ax.spines[["top", "right", "left"]].set_visible(False)
    ax.grid(axis="y", color=_GRID)
    ax.tick_params(colors=_MUTED, length=0)
    ax.yaxis.set_major_locator(MaxNLocator(6))
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:.3g}"))
    ax.set_xlabel(f"Mean spend, {unit} per task{', log scale' if is_log else ''}", color=_INK)
    ax.set_ylabel("Best accuracy, per cent", color=_INK)
    if budget is not None and point is not None:
        ax.axvline(budget, color=_INK, linewidth=0.9)
        ax.plot(point[0], point[1], marker="o", markersize=9, color=_ORACLE, markeredgecolor="white")
        words = f"budget {budget:.4g}: {100 * point[1]:.1f} %\nshadow price {point[2]:.3g} per {unit}"
        ax.annotate(words, (budget, accuracy[0]), (6, 4), textcoords="offset points", color=_ORACLE_INK)
    return figure


def draw_shares(actions: IntArray, strategies: Sequence[str] | None, *, spend: float, accuracy: float) -> "Figure":
    """Draw a bar for each strategy from zero to the share of tasks that it got, under what they spend and reach.

    Args:
        actions: (n_tasks,) column of each task's strategy.
        strategies: names of the columns; numbers when not given.
        spend: mean cost per task.
        accuracy: mean accuracy.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError("pictures need matplotlib: pip install 'budget-router[plots]'") from error
    share = np.bincount(actions, minlength=0 if strategies is None else len(strategies)) / max(len(actions), 1)
    figure = Figure(figsize=(8.6, 1.0 + 0.4 * len(share)), dpi=100, layout="constrained")
    ax = figure.subplots()
    ax.barh(range(len(share)), 100 * share, color=_ORACLE, height=0.6)
    ax.set_yticks(range(len(share)), [str(one) for one in range(len(share))] if strategies is None else list(strategies))
    ax.invert_yaxis()
    for place, one in enumerate(share.tolist()):
        ax.annotate(f"{100 * one:.1f} %", (100 * one, place), (4, 0), textcoords="offset points", va="center", color=_INK)
    ax.spines[["top", "right", "left"]].set_visible(False)
    ax.tick_params(colors=_MUTED, length=0)
    ax.set_xlabel(f"Share of tasks, per cent · {100 * accuracy:.1f} % accuracy at {spend:.4g} per task", color=_INK)
    return figure
