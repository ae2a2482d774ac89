"""Put names beside what they name, where they cover nothing."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import ArrayLike

from budget_router.allocation import FloatArray
from budget_router.reports import theme
from budget_router.reports.theme import INK, WORDS

if TYPE_CHECKING:
    from matplotlib.axes import Axes

NAME = "name"
"""What the drawing calls these labels, for a page to give them a halo."""

_GLYPH = 0.6
"""Width of a letter, in sizes: that of wide fonts, as the reader's is not known."""
_LINE = 1.25
"""Height of a line, in sizes."""
_GAPS = (8.0, 14.0, 24.0)
"""Distances from what is named, in pixels, the nearest first."""
_SIDES = ((1, 0), (-1, 0), (0, 1), (0, -1), (1, 1), (-1, 1), (1, -1), (-1, -1))
"""Right, left, above, below, and between."""
_ACROSS: dict[int, Literal["left", "center", "right"]] = {1: "left", 0: "center", -1: "right"}
_UPWARD: dict[int, Literal["bottom", "center", "top"]] = {1: "bottom", 0: "center", -1: "top"}
_OFF_THE_SHEET, _ON_A_NAME, _ON_A_LINE, _FARTHER, _LATER_SIDE = 1000.0, 100.0, 3.0, 1.0, 0.1
"""What each fault of a place costs."""


@dataclass(frozen=True)
class Label:
    """A name and the places, in data, that it may stand beside, the best first."""

    text: str
    anchors: tuple[tuple[float, float], ...]
    color: str = INK
    weight: str = "normal"
    size: float = WORDS


@dataclass(frozen=True)
class _Place:
    anchor: tuple[float, float]
    side: tuple[int, int]
    gap: float
    box: tuple[float, float, float, float]
    """Left, bottom, right, top, in pixels."""


def place(ax: "Axes", labels: Sequence[Label], drawn: ArrayLike) -> None:
    """Write each label, in turn, at the place where it costs least.

    Args:
        ax: its limits and scales are final.
        labels: the first has the first choice.
        drawn: (n, 2) points of lines and markers, in data, that names should not cover.
    """
    ink = ax.transData.transform(np.asarray(drawn, dtype=np.float64).reshape(-1, 2))
    taken: list[_Place] = []
    for label in labels:
        costs = [(_cost(ax, spot, ink, taken) + _LATER_SIDE * rank, spot) for rank, spot in enumerate(_places(ax, label))]
        _, best = min(costs, key=lambda priced: priced[0])
        taken.append(best)
        written = theme.write(
            ax,
            label.text,
            best.anchor,
            offset=_offset(best.side, best.gap),
            color=label.color,
            size=label.size,
            weight=label.weight,
            ha=_ACROSS[best.side[0]],
            va=_UPWARD[best.side[1]],
        )
        written.set_gid(NAME)


def _places(ax: "Axes", label: Label) -> list[_Place]:
    width, height = _GLYPH * label.size * len(label.text), _LINE * label.size
    found = []
    for gap in _GAPS:
        for anchor in label.anchors:
            x, y = ax.transData.transform(anchor)
            for side in _SIDES:
                dx, dy = _offset(side, gap)
                left = x + dx - {1: 0.0, -1: width, 0: width / 2}[side[0]]
                bottom = y + dy - {1: 0.0, -1: height, 0: height / 2}[side[1]]
                found.append(_Place(anchor, side, gap, (left, bottom, left + width, bottom + height)))
    return found


def _offset(side: tuple[int, int], gap: float) -> tuple[float, float]:
    shrink = 0.6 if all(side) else 1.0
    return side[0] * gap * shrink, side[1] * gap * shrink


def _cost(ax: "Axes", spot: _Place, ink: FloatArray, taken: Sequence[_Place]) -> float:
    left, bottom, right, top = spot.box
    x, y = ink[:, 0], ink[:, 1]
    n_covered = int(((x > left - 3) & (x < right + 3) & (y > bottom - 1) & (y < top + 1)).sum())
    n_names = sum(
        left < other.box[2] + 4 and right > other.box[0] - 4 and bottom < other.box[3] and top > other.box[1] for other in taken
    )
    sheet = ax.bbox
    is_off = left < sheet.x0 or right > sheet.x1 + 4 or bottom < sheet.y0 + 2 or top > sheet.y1 + 4
    faults = _OFF_THE_SHEET * is_off + _ON_A_NAME * n_names + _ON_A_LINE * n_covered
    return float(faults) + _FARTHER * _GAPS.index(spot.gap)
