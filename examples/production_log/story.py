"""Draw the month: accuracy, spend, where the compute went, and its price, with all that happened on one axis of days."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.transforms import Transform

from budget_router import Budget
from budget_router.allocation import FloatArray
from budget_router.reports import to_svg
from budget_router.reports.theme import (
    BAND,
    INK,
    MIX,
    MUTED,
    ORACLE_INK,
    PAPER,
    POLICY,
    SMALL,
    WORDS,
    Margins,
    axes,
    sheet,
    write,
)

STRATEGIES = {"answer": "#e4edf5", "think briefly": "#a9cbe3", "vote of 5": "#5fa0cb", "think hard": "#0b5a8c"}
"""From the cheapest to the dearest, darker and darker."""
_PANELS = (170.0, 84.0, 150.0, 84.0)
"""Heights of accuracy, spend, allocation and price, in pixels."""
_TOP, _BETWEEN, _BELOW, _LEFT, _RIGHT = 132.0, 46.0, 44.0, 52.0, 118.0
_AWAY = 8.0
"""From the last day to the words beside it."""
_LANES, _STRIP = (66.0, 48.0), 30.0
"""Heights above the panels of the two rows of words, and of the marks, in pixels."""
_MARKS = {
    "promoted": ("^", POLICY, POLICY, "a candidate passed the gate and serves"),
    "kept": ("^", "white", MUTED, "one was learned and kept back"),
    "drift": ("D", ORACLE_INK, ORACLE_INK, "drift was found"),
}
"""Shape, face, edge, and what it says."""
_SMOOTHED = 3
"""Days of an average: one day's accuracy is known to four points only."""


class Day(Protocol):
    """What is shown of a day."""

    number: int
    static_accuracy: float
    is_learned: bool
    scores: list[float]
    spend: list[float]
    shadow_price: list[float]
    strategies: Counter[str]


class Event(Protocol):
    """What happened on a morning."""

    @property
    def day(self) -> int:
        """The day."""
        ...

    @property
    def kind(self) -> str:
        """`world`, `menu`, `drift`, `promoted` or `kept`."""
        ...

    @property
    def says(self) -> str:
        """In words."""
        ...


class Month(Protocol):
    """What is drawn."""

    days: Sequence[Day]
    events: Sequence[Event]


def draw(month: Month, path: Path, *, budget: Budget) -> None:
    """Write the picture, by its ending as .svg or .png."""
    figure = _figure(month, budget)
    if path.suffix != ".svg":
        figure.savefig(path, dpi=144)
        return
    svg = to_svg(figure, prefix="month", title=headline(month))
    alone = 'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
    path.write_text(svg.replace("<svg ", f"<svg {alone}", 1).replace('style="', 'style="background: #fff; ', 1) + "\n")


def headline(month: Month) -> str:
    """The finding in one sentence."""
    learned = [day for day in month.days if day.is_learned]
    if not learned:
        return "No policy has passed the gate yet"
    right = np.mean([score for day in learned for score in day.scores])
    static = np.average([day.static_accuracy for day in learned], weights=[len(day.scores) for day in learned])
    return f"Once it has learned, {100 * right:.0f} % are right; the best mix that looks at no task has {100 * static:.0f} %"


def _figure(month: Month, budget: Budget) -> Figure:
    height = _TOP + sum(_PANELS) + _BETWEEN * (len(_PANELS) - 1) + _BELOW
    figure = sheet(height)
    panels: list[Axes] = []
    top = _TOP
    for part in _PANELS:
        panels.append(axes(figure, Margins(_LEFT, _RIGHT, top, height - top - part)))
        top += part + _BETWEEN
    days = np.array([day.number for day in month.days], dtype=float)
    for ax in panels:
        ax.set_xlim(0.5, len(days) + 0.5)
        ax.set_xticks([day for day in (1, 8, 15, 22, 28) if day <= len(days)])
        ax.tick_params(axis="x", labelbottom=ax is panels[-1])
    _accuracy(panels[0], month, days)
    _spend(panels[1], month, days, budget)
    _allocation(panels[2], month, days)
    _price(panels[3], month, days)
    panels[-1].set_xlabel("day", fontsize=SMALL, color=MUTED, labelpad=6)
    _events(figure, panels, month)
    figure.text(0.012, 1 - 26 / height, headline(month), fontsize=15, fontweight="bold", color=INK)
    return figure


def _accuracy(ax: Axes, month: Month, days: FloatArray) -> None:
    mean, error = np.empty(len(days)), np.empty(len(days))
    for place in range(len(days)):
        near = month.days[max(place - _SMOOTHED // 2, 0) : place + _SMOOTHED // 2 + 1]
        scores = np.array([score for day in near for score in day.scores])
        mean[place], error[place] = scores.mean(), scores.std() / np.sqrt(len(scores))
    static = np.array([day.static_accuracy for day in month.days])
    ax.fill_between(days, 100 * (mean - 1.96 * error), 100 * (mean + 1.96 * error), color=POLICY, alpha=BAND, linewidth=0)
    ax.step(days, 100 * static, where="mid", color=MIX, linewidth=1.4, dashes=(5, 2))
    ax.plot(days, 100 * mean, color=POLICY, linewidth=2.6)
    low = 10 * np.floor(10 * min(static.min(), (mean - 2 * error).min()))
    ax.set_ylim(low, 100)
    _name(ax, f"right, % ({_SMOOTHED}-day mean, 95 %; from {low:.0f} up)")
    ax.set_yticks(np.arange(low, 101, 10))
    ends = sorted([(100 * mean[-1], "this router", POLICY, "bold"), (100 * static[-1], "best static mix", MIX, "normal")])
    gap = max(ends[1][0] - ends[0][0], 5.5)
    for (_, name, color, weight), at in zip(ends, (ends[1][0] - gap, ends[1][0]), strict=True):
        write(ax, name, (days[-1] + 0.5, at), offset=(_AWAY, -4), color=color, weight=weight)


def _spend(ax: Axes, month: Month, days: FloatArray, budget: Budget) -> None:
    _name(ax, "spend, milli-USD per task")
    daily = [1e3 * float(np.mean(day.spend)) for day in month.days]
    totals, counts = np.cumsum([sum(day.spend) for day in month.days]), np.cumsum([len(day.spend) for day in month.days])
    allowed = 1e3 * budget.per_task
    ax.axhline(allowed, color=INK, linewidth=0.9)
    ax.plot(days, daily, "o", color=POLICY, markersize=3.5, alpha=0.55, markeredgewidth=0)
    ax.plot(days, 1e3 * totals / counts, color=POLICY, linewidth=2.6)
    ax.set_ylim(0, 1.25 * max(*daily, allowed))
    ax.set_yticks([0, allowed])
    ax.set_yticklabels(["0", f"{allowed:g}"])
    write(ax, "average so far", (days[-1] + 0.5, 1e3 * totals[-1] / counts[-1]), offset=(_AWAY, -13), color=POLICY, weight="bold")
    write(ax, "budget", (days[-1] + 0.5, allowed), offset=(_AWAY, 4))


def _allocation(ax: Axes, month: Month, days: FloatArray) -> None:
    _name(ax, "which strategy, % of the day's tasks")
    share = np.array([[day.strategies[name] / len(day.scores) for name in STRATEGIES] for day in month.days]).T
    edges = np.vstack([np.zeros(len(days)), share.cumsum(axis=0)])
    for place, (name, color) in enumerate(STRATEGIES.items()):
        ax.bar(days, 100 * share[place], bottom=100 * edges[place], width=0.86, color=color, linewidth=0)
        last = np.flatnonzero(share[place] > 0)
        if last.size and last[-1] == len(days) - 1:
            middle = 50 * (edges[place, -1] + edges[place + 1, -1])
            write(ax, name, (days[-1] + 0.5, middle), offset=(_AWAY, -4))
        elif last.size:
            middle = 50 * (edges[place, : last[-1] + 1] + edges[place + 1, : last[-1] + 1])
            at = int(last[last.size // 6])
            write(ax, name, (days[at], middle[at]), offset=(0, -4), color=INK, ha="center")
    ax.set_ylim(0, 100)
    ax.set_yticks([0, 50, 100])
    ax.grid(visible=False)


def _price(ax: Axes, month: Month, days: FloatArray) -> None:
    _name(ax, "shadow price, points of accuracy that another milli-USD would buy")
    price = np.array([float(np.mean(day.shadow_price)) for day in month.days]) * 100 / 1e3
    ax.step(days, price, where="mid", color=POLICY, linewidth=2.0)
    ax.set_ylim(0, 1.15 * max(price.max(), 1e-9))
    ax.yaxis.get_major_locator().set_params(nbins=2, integer=True)  # type: ignore[attr-defined]  # an AutoLocator


def _events(figure: Figure, panels: Sequence[Axes], month: Month) -> None:
    """Lines through all panels for what happened to the service, marks above them for what was learned."""
    top = panels[0]
    for place, event in enumerate(event for event in month.events if event.kind in {"world", "menu"}):
        color, lane = ORACLE_INK if event.kind == "world" else INK, _LANES[place % len(_LANES)]
        line = {"color": color, "linewidth": 0.8, "linestyle": (0, (3, 2))}
        for ax in panels:
            ax.axvline(event.day - 0.5, zorder=0.5, **line)
        at = {"xy": (event.day - 0.5, 1), "xycoords": ("data", "axes fraction"), "textcoords": "offset points"}
        top.annotate("", xytext=(0, lane), arrowprops={"arrowstyle": "-", "shrinkA": 0, "shrinkB": 0, **line}, **at)
        words = top.annotate(event.says, xytext=(4, lane - 9), fontsize=WORDS, color=color, **at)
        words.set_zorder(5)
        words.set_bbox({"facecolor": PAPER, "edgecolor": "none", "pad": 1.5})
    height = _PANELS[0]
    for event in month.events:
        if event.kind in _MARKS:
            shape, face, edge, _ = _MARKS[event.kind]
            day = event.day - (1.1 if event.kind == "drift" else 0.5)  # it was found before the candidate was learned
            _mark(top, (day, 1 + _STRIP / height), top.get_xaxis_transform(), shape=shape, face=face, edge=edge)
    left, wide, tall = _LEFT, *(72 * figure.get_size_inches())
    for shape, face, edge, says in _MARKS.values():
        _mark(top, (left / wide, 1 - 46 / tall), figure.transFigure, shape=shape, face=face, edge=edge)
        figure.text((left + 9) / wide, 1 - 50 / tall, says, fontsize=SMALL, color=MUTED)
        left += 30 + 6.6 * len(says)


def _mark(ax: Axes, at: tuple[float, float], transform: Transform, *, shape: str, face: str, edge: str) -> None:
    size = 6.0 if shape == "D" else 8.0
    line = Line2D(
        [at[0]], [at[1]], marker=shape, linestyle="", markersize=size, markerfacecolor=face, markeredgecolor=edge, clip_on=False
    )
    ax.add_line(line)
    line.set_transform(transform)


def _name(ax: Axes, name: str) -> None:
    ax.annotate(name, (0, 1), (-_LEFT + 10, 9), xycoords="axes fraction", textcoords="offset points", fontsize=SMALL, color=MUTED)
