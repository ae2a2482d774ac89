"""The manners every picture shares: colours with one meaning each, thin axes, few ticks, numbers one can read."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, NamedTuple

from budget_router.reports.escaping import visible

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.text import Annotation

INK = "#1b1f24"
MUTED = "#57606a"
GRID = "#e3e6ea"
SHADE = "#f4f5f7"
PAPER = "#ffffff"
POLICY = "#0072b2"
MIX = "#666666"
ORACLE = "#d55e00"
ORACLE_INK = "#a84a00"
"""The oracle's colour for words: its own has 3.9 : 1 against paper, words need 4.5 : 1."""
PEER = "#009e73"
"""Whoever else is compared."""
PEER_INK = "#00745a"
"""The same for words."""
HEAT = "#0072b3"
"""The policy's colour as a ground for words; one step off, so that a dark page can keep it dark."""

VARIABLE = {
    INK: "--ink",
    MUTED: "--muted",
    GRID: "--grid",
    SHADE: "--shade",
    PAPER: "--paper",
    POLICY: "--policy",
    MIX: "--mix",
    ORACLE: "--oracle",
    ORACLE_INK: "--oracle-ink",
    PEER: "--peer",
    PEER_INK: "--peer-ink",
    HEAT: "--heat",
}
"""The CSS variable that stands for each colour on a page."""

BAND = 0.15
"""Opacity of an interval."""
WORDS, SMALL = 13.0, 12.0
"""Sizes of text, in the picture's pixels."""
WIDTH = 860
"""Width of a picture, in pixels: figures are drawn at 72 dots per inch, so that points are pixels."""

_DPI = 72
_GUTTER = 52
"""Width that the numbers of a vertical axis take, in pixels."""


class Margins(NamedTuple):
    """What stands around the axes, in pixels."""

    left: float
    right: float
    top: float
    bottom: float


def sheet(height: float) -> "Figure":
    """An empty figure, `WIDTH` wide.

    Raises:
        ImportError: matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError("pictures need matplotlib: pip install 'budget-router[plots]'") from error
    return Figure(figsize=(WIDTH / _DPI, height / _DPI), dpi=_DPI, facecolor=PAPER)


def axes(figure: "Figure", margins: Margins) -> "Axes":
    """Axes without a box, with a light horizontal grid."""
    width, height = figure.get_size_inches() * _DPI
    box = (
        margins.left / width,
        margins.bottom / height,
        (width - margins.left - margins.right) / width,
        (height - margins.top - margins.bottom) / height,
    )
    ax = figure.add_axes(box, facecolor="none")
    for side in ("top", "left", "right"):
        ax.spines[side].set_visible(False)
    ax.spines["bottom"].set(color=MUTED, linewidth=0.8)
    ax.grid(axis="y", color=GRID, linewidth=0.8)
    ax.set_axisbelow(True)
    ax.tick_params(axis="y", length=0, pad=6, labelsize=SMALL, labelcolor=MUTED)
    ax.tick_params(axis="x", length=4, width=0.8, color=MUTED, labelsize=SMALL, labelcolor=MUTED)
    return ax


def write(
    ax: "Axes",
    text: str,
    at: tuple[float, float],
    *,
    offset: tuple[float, float] = (0, 0),
    color: str = INK,
    size: float = WORDS,
    weight: str = "normal",
    ha: Literal["left", "center", "right"] = "left",
    va: Literal["baseline", "bottom", "center", "top"] = "baseline",
) -> "Annotation":
    """Write text at a place in data, moved by pixels; whatever it holds, it is text and no formula."""
    return ax.annotate(
        visible(text),
        at,
        xytext=offset,
        textcoords="offset points",
        color=color,
        fontsize=size,
        fontweight=weight,
        ha=ha,
        va=va,
        parse_math=False,
        annotation_clip=False,
    )


def name_y(ax: "Axes", name: str) -> None:
    """Write the name and unit of what rises, above the axes and flush with its numbers."""
    ax.annotate(
        visible(name),
        (max(ax.bbox.x0 - _GUTTER, 0), ax.bbox.y1 + 12),
        xycoords="figure points",  # at whatever resolution it is saved
        fontsize=SMALL,
        color=MUTED,
        parse_math=False,
    )


def name_x(ax: "Axes", name: str) -> None:
    """Write the name and unit of the horizontal axis."""
    ax.set_xlabel(visible(name), fontsize=SMALL, color=MUTED, labelpad=7, parse_math=False)


def plain(value: float) -> str:
    """A number of three significant digits, thousands set apart.

    >>> plain(21.637), plain(12345.6), plain(0.00412), plain(200.0)
    ('21.6', '12,346', '0.00412', '200')
    """
    if not math.isfinite(value):
        return "unknown"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def per_cent(share: float, digits: int = 0) -> str:
    """A share in per cent, without its sign.

    >>> per_cent(0.675), per_cent(0.675, 1)
    ('68', '67.5')
    """
    return f"{100 * share:.{digits}f}" if math.isfinite(share) else "unknown"


def spans_a_decade(values: Sequence[float]) -> bool:
    """Whether a log axis serves these values: all above zero, the largest over ten times the least."""
    return min(values) > 0 and max(values) / min(values) > 10


def scale_spend(ax: "Axes", values: Sequence[float], which: str = "x") -> bool:
    """Set limits and few round ticks for spend; log, and True, where the values span more than a decade."""
    from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

    axis = ax.xaxis if which == "x" else ax.yaxis
    is_log = spans_a_decade(values)
    if is_log:
        low, high = min(values) / 1.25, max(values) * 1.25
        ax.set(**{f"{which}scale": "log"})
        axis.set_major_locator(FixedLocator(_round_numbers(low, high)))
        axis.set_minor_locator(NullLocator())
    else:
        low, high = 0.0, max(max(values) * 1.1, 1e-9)
        axis.set_major_locator(MaxNLocator(6))
    ax.set(**{f"{which}lim": (low, high)})
    axis.set_major_formatter(FuncFormatter(lambda value, _: plain(value)))
    return is_log


def _round_numbers(low: float, high: float) -> list[float]:
    """1, 2 and 5 times powers of ten between two bounds; powers alone where these would be many."""
    powers = [10.0**power for power in range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)]
    steps = (1, 2, 5) if len(powers) <= 4 else (1,)
    return [step * power for power in powers for step in steps if low <= step * power <= high]


def scale_accuracy(ax: "Axes", values: Sequence[float]) -> None:
    """Set per-cent limits around the values and name the axis; a start above zero is marked and said."""
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    low = math.floor((min(values) - 0.01) * 20) / 20
    high = math.ceil((max(values) + 0.01) * 20) / 20
    low, high = (0.0 if low <= 0.15 else low), min(high, 1.0)
    ax.set_ylim(low, high + 0.02 * (high - low))
    ax.yaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: per_cent(value)))
    if low > 0:
        zigzag = ([0, 0.006, -0.006, 0.006, -0.006, 0], [0, 0.014, 0.028, 0.042, 0.056, 0.07])
        ax.plot(*zigzag, transform=ax.transAxes, color=MUTED, linewidth=0.9, clip_on=False)
    name_y(ax, f"Accuracy, per cent{f' · axis starts at {per_cent(low)}' if low > 0 else ''}")
