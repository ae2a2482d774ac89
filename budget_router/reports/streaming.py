"""The stream as it is shown: the average spend so far, thinned to what a picture can hold."""

from itertools import groupby
from typing import NamedTuple

import numpy as np

from budget_router.reports.results import StreamResult

_MOST = 400
"""Moments shown of a stream: more than a picture has room for, few enough for a page."""


class Moment(NamedTuple):
    """The stream after `decision` decisions."""

    decision: int
    phase: str
    mean_spend: float
    """Of all decisions so far."""
    shadow_price: float


class Phase(NamedTuple):
    """Decisions of one name that follow each other."""

    name: str
    start: int
    """Decisions before it."""
    stop: int
    mean_spend: float


def moments(result: StreamResult) -> list[Moment]:
    """The stream at evenly spaced decisions; the first, the last and the ends of phases are always among them."""
    n = len(result.spend)
    if n == 0:
        return []
    so_far = np.cumsum(result.spend) / np.arange(1, n + 1)
    ends = [row for phase in phases(result)[:_MOST] for row in (phase.start, phase.stop - 1)]
    rows = sorted({*np.linspace(0, n - 1, min(n, _MOST)).astype(int).tolist(), *ends, n - 1})
    return [Moment(row + 1, result.phase[row], float(so_far[row]), result.shadow_price[row]) for row in rows]


def phases(result: StreamResult) -> list[Phase]:
    """The stream's phases in turn; a name that comes back is a phase again."""
    found, start = [], 0
    for name, members in groupby(result.phase):
        stop = start + sum(1 for _ in members)
        found.append(Phase(name, start, stop, float(np.mean(result.spend[start:stop]))))
        start = stop
    return found
