"""Pictures and pages, drawn from results alone; matplotlib is loaded by the first drawing."""

from budget_router.reports.page import write_report
from budget_router.reports.pictures import draw_allocation, draw_calibration, draw_frontier, draw_stream
from budget_router.reports.results import AllocationResult, CalibrationResult, FrontierResult, Point, Report, StreamResult
from budget_router.reports.svg import to_svg

__all__ = [
    "AllocationResult",
    "CalibrationResult",
    "FrontierResult",
    "Point",
    "Report",
    "StreamResult",
    "draw_allocation",
    "draw_calibration",
    "draw_frontier",
    "draw_stream",
    "to_svg",
    "write_report",
]
