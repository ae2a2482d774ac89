"""Two policies side by side: what each reaches and spends, and where they part."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from budget_router.evaluation import Estimate, OffPolicyEstimate
from budget_router.frames import frame
from budget_router.reports import theme
from budget_router.reports.escaping import clipped
from budget_router.reports.theme import Margins, per_cent, plain
from budget_router.reports.whiskers import ROW, Whisker, draw_whiskers, name_rows

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from pandas import DataFrame

_NAMES, _PANEL = 158, 248
"""Widths of the rows' names and of a panel, in pixels."""
MOST_ROWS = 12
"""Strategies and groups drawn; the others stand in the table alone."""


class Part(NamedTuple):
    """A strategy, or a group, under both policies."""

    of: str
    """`share` of tasks that a strategy gets, or mean predicted `spend` of a group."""
    name: str
    first: float
    second: float
    n_tasks: int


@dataclass(frozen=True)
class ComparisonResult:
    """Two policies on the same tasks at the same budget."""

    unit: str
    """As in FrontierResult."""
    names: tuple[str, str]
    accuracy: tuple[OffPolicyEstimate, OffPolicyEstimate] | None
    """Of each, doubly robust; None where the log holds too little that neither learned from."""
    spend: tuple[OffPolicyEstimate, OffPolicyEstimate] | None
    gain: OffPolicyEstimate | None
    """Accuracy of the first over the second, paired, on the same terms."""
    reason: str
    """Why there is no estimate; empty where there is one."""
    differs: float
    """Probability that they choose otherwise on a task, mean over tasks: half the distance between their probabilities."""
    parts: tuple[Part, ...]

    def frame(self) -> "DataFrame":
        """One row per quantity: accuracy, spend, the share of each strategy and the predicted spend of each group."""
        told = [
            (what, "", *(one.value for one in pair))
            for what, pair in (("accuracy", self.accuracy), ("spend", self.spend))
            if pair
        ]
        told += [(f"{part.of} of", part.name, part.first, part.second) for part in self.parts]
        first, second = (
            name if self.names[0] != self.names[1] else f"{name} ({side})" for side, name in enumerate(self.names, 1)
        )
        return frame({name: [row[place] for row in told] for place, name in enumerate(("of", "name", first, second))})

    def plot(self) -> "Figure":
        """Draw it: see `draw_comparison`."""
        return draw_comparison(self)


def draw_comparison(result: ComparisonResult) -> "Figure":
    """Draw, for both policies, the share of tasks that each strategy gets, and what each group spends."""
    shares, spends = ([part for part in result.parts if part.of == of][:MOST_ROWS] for of in ("share", "spend"))
    n_rows = max(len(shares), len(spends), 1)
    figure = theme.sheet(64 + 46 + ROW * n_rows)
    below = 46 + ROW * (n_rows - max(len(shares), 1))
    left = theme.axes(figure, Margins(_NAMES, theme.WIDTH - _NAMES - _PANEL, 64, below))
    _dumbbells(left, shares, per_cent)
    theme.name_x(left, "Share of tasks, per cent")
    if spends:
        below = 46 + ROW * (n_rows - len(spends))
        right = theme.axes(figure, Margins(theme.WIDTH - 24 - _PANEL, 24, 64, below))
        _dumbbells(right, spends, plain)
        theme.name_x(right, f"Predicted spend, {clipped(result.unit, 30)}")
    top = left.get_ylim()[1]
    for name, color, mark, x in ((result.names[0], theme.POLICY, "●", 0), (result.names[1], theme.PEER_INK, "■", 280)):
        theme.write(
            left, f"{mark} {clipped(name, 30)}", (left.get_xlim()[0], top), offset=(x - _NAMES, 34), color=color, weight="bold"
        )
    return figure


def _dumbbells(ax: "Axes", parts: Sequence[Part], shown: Callable[[float], str]) -> None:
    unknown = float("nan")
    rows = [
        [
            Whisker(Estimate(unknown, *sorted((part.first, part.second))), theme.MIX),
            Whisker(Estimate(part.second, unknown, unknown), theme.PEER, marker="s"),
            Whisker(Estimate(part.first, unknown, unknown), theme.POLICY),
        ]
        for part in parts
    ]
    draw_whiskers(ax, rows, shown=shown, must_show=(0.0,))
    name_rows(ax, [part.name for part in parts], left=_NAMES, length=19)
