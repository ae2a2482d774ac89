"""The allocation as it is shown: kinds in order of what they buy, the cheapest takers first."""

from typing import NamedTuple

import numpy as np

from budget_router.reports.results import AllocationResult


class Row(NamedTuple):
    """Tasks of one kind, and the share of them that each strategy got."""

    kind: str
    n_tasks: int
    share: tuple[float, ...]

    @property
    def favourite(self) -> int:
        """Column of the strategy that most of them got."""
        return int(np.argmax(self.share))


def rows(result: AllocationResult) -> list[Row]:
    """The kinds by their mean column: as a menu runs from cheap to dear, so do they."""
    found = [Row(*row) for row in zip(result.kinds, result.n_tasks, result.share, strict=True)]
    return sorted(found, key=lambda row: float(np.dot(row.share, range(len(row.share)))))


def all_tasks(result: AllocationResult) -> Row:
    """Every kind together."""
    share = np.average(result.share, axis=0, weights=np.maximum(result.n_tasks, 1e-12))
    return Row("all tasks", sum(result.n_tasks), tuple(float(each) for each in share))
