"""How strange a task may be before it counts as unlike those that trained: a limit that chance rarely passes.

A measure gives each task a score, the stranger the higher, that more training never raises. Each trained task is scored as if the
part of the log that it stands in had not been there, and the limit is the score that a share of `LEVEL` of them reach. So a task
that could as well have been among the n that trained lies beyond the limit with a probability of at most max(LEVEL, 1 / (n + 1)):
beside all of training it is no stranger than beside a part of it, and among n + 1 tasks that are alike each rank is as likely.
Where `least` of the n may lie beyond in any case, it is max(LEVEL, (1 + least) / (n + 1)).

Reference: Barber, Candès, Ramdas and Tibshirani (2021), Predictive inference with the jackknife+, Annals of Statistics 49(1),
whose jackknife-minmax this is.
"""

import math

import numpy as np
from numpy.typing import NDArray

from budget_router.allocation import FloatArray

LEVEL = 0.005
"""Share of tasks like those that trained that may lie beyond a limit."""
N_PARTS = 20
"""Of a log, each left out in turn: a limit is set beside 95 % of what trained."""

BoolArray = NDArray[np.bool_]
Strange = dict[str, BoolArray]
"""(n_tasks,) for each way in which a task can be strange, whether it is."""


def n_beyond(n_tasks: int, *, least: int = 0) -> int:
    """How many of the tasks that trained lie beyond a limit, and no fewer than `least`: of up to 398 none."""
    return max(math.floor(LEVEL * (n_tasks + 1)) - 1, least)


def limit_of(score: FloatArray, *, least: int = 0) -> float:
    """The score, of the (n_tasks,) that trained, that only `n_beyond` of them pass."""
    place = max(len(score) - 1 - n_beyond(len(score), least=least), 0)
    return float(np.partition(score, place)[place])
