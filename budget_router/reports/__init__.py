"""Pictures and pages, drawn from results alone; matplotlib is loaded by the first drawing."""

from budget_router.reports.allocation import AllocationResult, draw_allocation
from budget_router.reports.calibration import CalibrationResult, draw_calibration
from budget_router.reports.comparison import ComparisonResult, Part
from budget_router.reports.estimates import Estimated, EstimatesResult
from budget_router.reports.frontier import FrontierResult, Point, draw_frontier
from budget_router.reports.gains import GainsResult
from budget_router.reports.gate import GateResult, GateRow
from budget_router.reports.importance import ImportanceResult
from budget_router.reports.page import write_report
from budget_router.reports.regret import RegretPoint, RegretResult
from budget_router.reports.report import Report
from budget_router.reports.spending import Spender, SpendingResult
from budget_router.reports.stream import StreamResult, draw_stream
from budget_router.reports.svg import to_svg

__all__ = [
    "AllocationResult",
    "CalibrationResult",
    "ComparisonResult",
    "Estimated",
    "EstimatesResult",
    "FrontierResult",
    "GainsResult",
    "GateResult",
    "GateRow",
    "ImportanceResult",
    "Part",
    "Point",
    "RegretPoint",
    "RegretResult",
    "Report",
    "Spender",
    "SpendingResult",
    "StreamResult",
    "draw_allocation",
    "draw_calibration",
    "draw_frontier",
    "draw_stream",
    "to_svg",
    "write_report",
]
