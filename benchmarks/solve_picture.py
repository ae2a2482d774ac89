"""Time against size, one line per method: drawn from the rows that `benchmarks.solve` measured."""

from collections.abc import Sequence
from typing import Protocol

from budget_router.reports import to_svg
from budget_router.reports.theme import MIX, POLICY, Margins, axes, name_x, name_y, plain, sheet, write

_STYLE: dict[str, tuple[str, str, str]] = {
    "solve": (POLICY, "-", "o"),
    "bisection": (MIX, "-", "s"),
    "HiGHS LP": ("#007a5a", "--", "^"),
    "HiGHS MILP": ("#a8487f", ":", "D"),
}
"""Colour, dash and marker: peers' own, a shade darker so that their names can be read."""
_MARGINS = Margins(left=64, right=110, top=44, bottom=50)


class Timed(Protocol):
    """What the picture needs to know of a row."""

    @property
    def method(self) -> str:
        """A key of the styles."""
        ...

    @property
    def n_tasks(self) -> int:
        """Rows of the table."""
        ...

    @property
    def seconds(self) -> float | None:
        """None: not measured."""
        ...


def picture(rows: Sequence[Timed]) -> str:
    """A file of SVG, on white."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    figure = sheet(400)
    ax = axes(figure, _MARGINS)
    ax.set(xscale="log", yscale="log")
    for method, (color, dash, marker) in _STYLE.items():
        timed = [(row.n_tasks, row.seconds) for row in rows if row.method == method and row.seconds is not None]
        if not timed:
            continue
        width = 2.6 if method == "solve" else 1.5
        ax.plot(*zip(*timed, strict=True), color=color, linestyle=dash, marker=marker, markersize=6, linewidth=width)
        write(ax, method, timed[-1], offset=(10, -4), color=color, weight="bold" if method == "solve" else "normal")
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_locator(LogLocator())
        axis.set_minor_locator(NullLocator())
        axis.set_major_formatter(FuncFormatter(lambda value, _: plain(value)))
    name_x(ax, "Tasks, five strategies each, log scale")
    name_y(ax, "Seconds, median, log scale")
    svg = to_svg(figure, prefix="solve", title=_finding(rows))
    alone = 'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
    return svg.replace("<svg ", f"<svg {alone}", 1).replace('style="', 'style="background: #fff; ', 1) + "\n"


def _finding(rows: Sequence[Timed]) -> str:
    seconds = {(row.method, row.n_tasks): row.seconds for row in rows if row.seconds is not None}
    largest = max(n_tasks for method, n_tasks in seconds if method == "HiGHS LP")
    ratio = seconds["HiGHS LP", largest] / seconds["solve", largest]
    return f"At {largest:,} tasks the exact solve takes 1/{ratio:,.0f} of the time of HiGHS' interior point"
