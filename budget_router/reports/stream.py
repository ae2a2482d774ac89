"""Spend against the budget over a stream of decisions, thinned to what a picture can hold; the shadow price below it."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from budget_router.allocation import FloatArray
from budget_router.frames import frame
from budget_router.reports import theme
from budget_router.reports.escaping import clipped
from budget_router.reports.labels import Label, place
from budget_router.reports.theme import Margins, plain

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from pandas import DataFrame

_MOST = 400
"""Moments shown of a stream: more than a picture has room for, few enough for a page."""
_RECENT = 0.05
"""Share of a stream that its recent spend is the mean of."""
_LEAST_RECENT = 20
"""Decisions that it is the mean of at least."""


@dataclass(frozen=True)
class StreamResult:
    """Spend against the budget, decision by decision; the shadow price below it."""

    unit: str
    """As in FrontierResult."""
    budget: float
    phase: Sequence[str]
    """(n,) name of each decision's phase, e.g. `cold start`, `learned policy`."""
    spend: Sequence[float] | FloatArray
    """(n,) what each decision billed."""
    shadow_price: Sequence[float] | FloatArray
    """(n,) the price under which it was made, accuracy per unit of cost."""
    decided_at: NDArray[np.datetime64] | None = None
    """(n,) when, UTC, rising: the axis then shows time; None: the decisions are numbered."""

    def frame(self) -> "DataFrame":
        """One row per decision: its phase, spend in `unit` and shadow price, and when it was made where that is known."""
        told = {"phase": self.phase, "spend": self.spend, "shadow_price": self.shadow_price}
        return frame(told if self.decided_at is None else {"decided_at": self.decided_at, **told})

    def plot(self) -> "Figure":
        """Draw it: see `draw_stream`."""
        return draw_stream(self)


class Moment(NamedTuple):
    """The stream after `decision` decisions."""

    decision: int
    phase: str
    mean_spend: float
    """Of all decisions so far."""
    recent_spend: float
    """Mean of the latest twentieth of all decisions, of 20 at least."""
    shadow_price: float


class Phase(NamedTuple):
    """Decisions of one name that follow each other."""

    name: str
    start: int
    """Decisions before it."""
    stop: int
    mean_spend: float


def moments(result: StreamResult) -> list[Moment]:
    """The stream at evenly spaced decisions; the first, the last and the ends of phases are always among them."""
    n = len(result.spend)
    if n == 0:
        return []
    total = np.concatenate([[0.0], np.cumsum(result.spend)])
    n_recent = max(round(_RECENT * n), _LEAST_RECENT)
    ends = [row for phase in phases(result)[:_MOST] for row in (phase.start, phase.stop - 1)]
    rows = sorted({*np.linspace(0, n - 1, min(n, _MOST)).astype(int).tolist(), *ends, n - 1})
    return [
        Moment(
            row + 1,
            result.phase[row],
            float(total[row + 1]) / (row + 1),
            float(total[row + 1] - total[max(row + 1 - n_recent, 0)]) / min(n_recent, row + 1),
            float(result.shadow_price[row]),
        )
        for row in rows
    ]


def phases(result: StreamResult) -> list[Phase]:
    """The stream's phases in turn; a name that comes back is a phase again."""
    found, start = [], 0
    for name, members in groupby(result.phase):
        stop = start + sum(1 for _ in members)
        found.append(Phase(name, start, stop, float(np.mean(result.spend[start:stop]))))
        start = stop
    return found


def draw_stream(result: StreamResult) -> "Figure":
    """Draw the average spend so far against the budget and, below on the same axis, the shadow price."""
    figure = theme.sheet(456)
    upper = theme.axes(figure, Margins(52, 24, 34, 184))
    lower = theme.axes(figure, Margins(52, 24, 320, 46))
    seen = moments(result)
    x = _positions(result)
    for ax in (upper, lower):
        _scale_along(ax, result, x)
    upper.tick_params(axis="x", labelbottom=False)
    upper.xaxis.get_offset_text().set_visible(False)
    theme.name_x(lower, _along(result))
    theme.name_y(lower, "Shadow price, accuracy per unit spent")
    _phases(upper, lower, result, x)
    _running_spend(upper, seen, result, x)
    prices = [moment.shadow_price for moment in seen]
    at = [x[moment.decision - 1] for moment in seen]
    lower.plot(at, prices, color=theme.POLICY, linewidth=1.8, drawstyle="steps-post", clip_on=False)
    _scale_from_zero(lower, prices, 3)
    return figure


def _along(result: StreamResult) -> str:
    """What the horizontal axis shows."""
    if result.decided_at is None or not len(result.decided_at):
        return "Decision"
    first, last = (str(moment)[:16].replace("T", " ") for moment in result.decided_at[[0, -1]])
    return f"Time, UTC, from {first} to {last}"


def _positions(result: StreamResult) -> FloatArray:
    """(n,) where each decision stands on the axis: its number, or its time in days."""
    if result.decided_at is None:
        return np.arange(1.0, len(result.spend) + 1)
    return (result.decided_at - np.datetime64(0, "us")) / np.timedelta64(1, "D")


def _scale_along(ax: "Axes", result: StreamResult, x: FloatArray) -> None:
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    if result.decided_at is None or len(x) < 2 or x[0] == x[-1]:
        ax.set_xlim(x[0] if len(x) else 1, x[-1] if len(x) > 1 and x[-1] > x[0] else (x[0] if len(x) else 1) + 1)
        ax.xaxis.set_major_locator(MaxNLocator(7, integer=True))
        ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: "" if result.decided_at is not None else f"{value:,.0f}"))
        return
    ax.set_xlim(x[0], x[-1])
    locator = AutoDateLocator(minticks=3, maxticks=8)  # type: ignore[no-untyped-call]  # matplotlib types it not
    ax.xaxis.set_major_locator(locator)
    ax.xaxis.set_major_formatter(ConciseDateFormatter(locator, show_offset=False))  # type: ignore[no-untyped-call]  # nor it


def _scale_from_zero(ax: "Axes", values: Sequence[float], n_ticks: int) -> None:
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    top = max([*values, 0.0])
    ax.set_ylim(0, 1.2 * top if top > 0 else 1.0)
    if top == 0:
        ax.set_yticks([0], ["0"])
        return
    ax.yaxis.set_major_locator(MaxNLocator(n_ticks))
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: plain(value)))


def _phases(upper: "Axes", lower: "Axes", result: StreamResult, x: FloatArray) -> None:
    """Shade every other phase and name those that have room for their name."""
    found = phases(result)
    left, right = upper.get_xlim()
    for rank, phase in enumerate(found[:60]):
        start, stop = float(x[phase.start]), float(x[min(phase.stop, len(x) - 1)])
        for ax in (upper, lower):
            if rank % 2 == 0 and len(found) > 1:
                ax.axvspan(start, stop, color=theme.SHADE, linewidth=0, zorder=0)
        name = clipped(phase.name, 30)
        if 7.5 * len(name) < (stop - start) / (right - left) * 770 or len(found) == 1:
            theme.write(upper, name, (start, 0), offset=(6, 6), color=theme.MUTED, size=theme.SMALL)


def _running_spend(ax: "Axes", seen: Sequence[Moment], result: StreamResult, x: FloatArray) -> None:
    """Draw the average spend so far; what its first decisions throw it to may leave the picture, and is then said."""
    means = [moment.mean_spend for moment in seen]
    recent = [moment.recent_spend for moment in seen]
    settled = [max(moment.mean_spend, moment.recent_spend) for moment in seen if moment.decision > 0.05 * len(result.spend)]
    top = max([2 * result.budget, *settled])
    _scale_from_zero(ax, [min(mean, top) for mean in [*means, *recent, result.budget]], 5)
    cut = f" · the first decisions reach {plain(max(means))}" if max(means, default=0.0) > ax.get_ylim()[1] else ""
    theme.name_y(ax, f"Mean spend so far, {result.unit}{cut}")
    ax.axhline(result.budget, color=theme.INK, linewidth=0.9, zorder=2)
    at = [float(x[moment.decision - 1]) for moment in seen]
    ax.plot(at, recent, color=theme.POLICY, linewidth=1.0, alpha=0.55, zorder=2)
    ax.plot(at, means, color=theme.POLICY, linewidth=2.6, zorder=3)
    ax.plot(at[-1:], means[-1:], marker="o", markersize=7, color=theme.POLICY, zorder=4, clip_on=False)
    if not seen:
        return
    drawn = list(zip(at, means, strict=True))
    level = [(float(each), result.budget) for each in np.linspace(*ax.get_xlim(), 200)]
    end = Label(f"spent {plain(means[-1])}", tuple(drawn[:-60:-6]), theme.POLICY, "bold")
    budget = Label(f"budget {plain(result.budget)}", tuple(level[::-8]), size=theme.SMALL)
    place(ax, [end, budget], [*drawn, *level, *zip(at, recent, strict=True)])
