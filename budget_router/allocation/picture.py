"""The frontier as a picture: the oracle's curve, and what a budget buys on it."""

from typing import TYPE_CHECKING

import numpy as np

from budget_router.allocation.table import FloatArray

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
