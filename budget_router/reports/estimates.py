"""What other policies would have reached on what was logged, by several estimators."""

from dataclasses import dataclass
from math import isfinite, nan
from typing import TYPE_CHECKING

from budget_router.evaluation import Estimate, OffPolicyEstimate
from budget_router.frames import frame
from budget_router.reports import theme
from budget_router.reports.escaping import clipped
from budget_router.reports.theme import Margins, per_cent, plain
from budget_router.reports.whiskers import ROW, Whisker, draw_whiskers, name_rows

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from pandas import DataFrame


@dataclass(frozen=True)
class Estimated:
    """One policy by one estimator."""

    policy: str
    estimator: str
    """`DR`, `IPS`, `SNIPS`; `mean` of what was served."""
    accuracy: OffPolicyEstimate
    spend: OffPolicyEstimate | None = None
    is_ours: bool = False


@dataclass(frozen=True)
class EstimatesResult:
    """Accuracy and spend of policies, estimated off what was logged."""

    unit: str
    """As in FrontierResult."""
    rows: tuple[Estimated, ...]

    def frame(self) -> "DataFrame":
        """One row per policy, estimator and quantity: the estimate with all that it carries."""
        facts = ("value", "low", "high", "standard_error", "effective_sample_size", "n", "n_tasks", "n_clipped", "reason")
        told = [
            (row.policy, row.estimator, what, *(getattr(estimate, fact) for fact in facts))
            for row in self.rows
            for what, estimate in (("accuracy", row.accuracy), ("spend", row.spend))
            if estimate is not None
        ]
        names = ("policy", "estimator", "of", *facts)
        return frame({name: [row[place] for row in told] for place, name in enumerate(names)})

    def plot(self) -> "Figure":
        """Draw it: see `draw_estimates`."""
        return draw_estimates(self)


def draw_estimates(result: EstimatesResult) -> "Figure":
    """Draw each policy's accuracy and spend with its intervals; hollow is what the log tells too little of."""
    figure = theme.sheet(12 + 46 + ROW * max(len(result.rows), 1))
    left = theme.axes(figure, Margins(220, theme.WIDTH - 220 - 330, 12, 46))
    right = theme.axes(figure, Margins(220 + 330 + 40, 24, 12, 46))
    draw_whiskers(left, [[_whisker(row, row.accuracy)] for row in result.rows], shown=per_cent)
    draw_whiskers(right, [[_whisker(row, row.spend)] for row in result.rows], shown=plain, must_show=(0.0,))
    ours = [place for place, row in enumerate(result.rows) if row.is_ours]
    name_rows(left, [f"{clipped(row.policy, 21)} · {row.estimator}" for row in result.rows], left=220, bold=ours)
    theme.name_x(left, "Accuracy, per cent")
    theme.name_x(right, f"Spend, {clipped(result.unit, 36)}")
    return figure


def _whisker(row: Estimated, estimate: OffPolicyEstimate | None) -> Whisker:
    color = theme.POLICY if row.is_ours else theme.INK
    if estimate is None:
        return Whisker(Estimate(nan, nan, nan), color)
    return Whisker(estimate.interval, color, is_hollow=not isfinite(estimate.low))
