"""One page: what it says on top, what it draws, and how to make it again."""

from dataclasses import dataclass, field

from budget_router.reports.allocation import AllocationResult
from budget_router.reports.calibration import CalibrationResult
from budget_router.reports.comparison import ComparisonResult
from budget_router.reports.estimates import EstimatesResult
from budget_router.reports.frontier import FrontierResult
from budget_router.reports.gate import GateResult
from budget_router.reports.importance import ImportanceResult
from budget_router.reports.regret import RegretResult
from budget_router.reports.spending import SpendingResult
from budget_router.reports.stream import StreamResult


@dataclass(frozen=True)
class Report:
    """One page: a verdict, four figures, the pictures, and how to make it again. What is `None` is left out."""

    title: str
    verdict: str
    """One sentence with figures and interval."""
    figures: tuple[tuple[str, str, str], ...]
    """(name, value, small print) of the four figures in a row."""
    frontier: FrontierResult | None = None
    comparison: ComparisonResult | None = None
    allocation: AllocationResult | None = None
    """By kind of task, or by how hard tasks are."""
    by_group: AllocationResult | None = None
    stream: StreamResult | None = None
    calibration: CalibrationResult | None = None
    regret: RegretResult | None = None
    importance: ImportanceResult | None = None
    estimates: EstimatesResult | None = None
    gate: GateResult | None = None
    spending: SpendingResult | None = None
    spenders: tuple[tuple[str, str, str, float, str], ...] = ()
    """(task text, kind, strategy, spend, answer) of the dearest decisions; text is shown as text, whatever it holds."""
    provenance: tuple[tuple[str, str], ...] = field(default=())
    """(what, value): command, seed, data window and hash, policy version, versions of packages."""
    notes: tuple[tuple[str, str], ...] = ()
    """(heading, sentence) to be said beside a picture: what it was made from."""
    missing: tuple[tuple[str, str], ...] = ()
    """(heading, reason) of pictures that could not be drawn: what is missing, and how to get it."""
    unit: str = ""
    """Of the dearest decisions' spend; that of the stream when not given."""
