"""The gate's verdict on a candidate, condition by condition."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from budget_router.frames import frame

if TYPE_CHECKING:
    from pandas import DataFrame


class GateRow(NamedTuple):
    """One condition."""

    name: str
    found: str
    limit: str
    is_met: bool
    sentence: str


@dataclass(frozen=True)
class GateResult:
    """Whether a candidate may serve, and why."""

    version: str
    sentence: str
    rows: tuple[GateRow, ...]

    def frame(self) -> "DataFrame":
        """One row per condition."""
        return frame({name: [getattr(row, name) for row in self.rows] for name in GateRow._fields})
