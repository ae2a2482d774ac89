"""How far a policy falls short of the oracle, and how far its imitation error lets it fall, at several budgets."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from budget_router.frames import frame
from budget_router.reports import theme
from budget_router.reports.labels import Label, place
from budget_router.reports.theme import Margins, plain

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from pandas import DataFrame


class RegretPoint(NamedTuple):
    """One budget."""

    budget: float
    regret: float
    """The oracle's Lagrangian value minus the policy's, mean per task, in accuracy."""
    bound: float
    """Imitation error × the widest gap of a task: regret never exceeds it."""
    imitation_accuracy: float
    """Mean probability of the oracle's action."""
    value_weighted_accuracy: float
    """The same, each error weighed by what it costs."""


@dataclass(frozen=True)
class RegretResult:
    """A policy beside the oracle of the same table; both as far as the log tells the table."""

    unit: str
    """As in FrontierResult."""
    budget: float
    """That the policy serves."""
    points: tuple[RegretPoint, ...]
    """By rising budget."""

    @property
    def here(self) -> RegretPoint:
        """The point nearest to the budget."""
        return min(self.points, key=lambda point: abs(point.budget - self.budget))

    def frame(self) -> "DataFrame":
        """One row per budget: regret, its bound, and how well the oracle is imitated; all but the budget in accuracy."""
        return frame({name: [getattr(point, name) for point in self.points] for name in RegretPoint._fields})

    def plot(self) -> "Figure":
        """Draw it: see `draw_regret`."""
        return draw_regret(self)


def draw_regret(result: RegretResult) -> "Figure":
    """Draw regret and its bound over budgets."""
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    figure = theme.sheet(340)
    ax = theme.axes(figure, Margins(36, 24, 34, 46))
    x = [point.budget for point in result.points]
    is_log = theme.scale_spend(ax, [*x, result.budget])
    regret, bound = [point.regret for point in result.points], [point.bound for point in result.points]
    ax.set_ylim(0, 1.15 * max([*bound, *regret, 1e-3]))
    ax.yaxis.set_major_locator(MaxNLocator(5))
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:.3g}"))
    theme.name_y(ax, "Accuracy given away per task, points")
    theme.name_x(ax, f"Budget, {result.unit}{', log scale' if is_log else ''}")
    ax.axvline(result.budget, color=theme.INK, linewidth=0.9, zorder=1)
    ax.plot(x, bound, color=theme.MIX, linewidth=1.6, linestyle=(0, (5, 3)), marker="o", markersize=4, zorder=2)
    ax.plot(x, regret, color=theme.POLICY, linewidth=3.0, marker="o", markersize=6, zorder=3, clip_on=False)
    lines = [(px, py) for y in (regret, bound) for px, py in _along(x, y)]
    upright = [(result.budget, float(y)) for y in np.linspace(*ax.get_ylim(), 60)]
    labels = [
        Label("regret", tuple(_along(x, regret)[::-1]), theme.POLICY, "bold"),
        Label("bound: imitation error × widest gap", tuple(_along(x, bound)[::-1]), theme.MIX, size=theme.SMALL),
        Label(f"budget {plain(result.budget)}", ((result.budget, ax.get_ylim()[1]),), size=theme.SMALL),
    ]
    place(ax, labels, [*lines, *upright])
    return figure


def _along(x: list[float], y: list[float]) -> list[tuple[float, float]]:
    """The points, and some between them."""
    between = np.interp(np.linspace(0, len(x) - 1, 8 * len(x)), range(len(x)), x)
    return list(zip(between.tolist(), np.interp(between, x, y).tolist(), strict=True))
