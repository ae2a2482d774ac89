"""No estimate without its uncertainty."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from budget_router.allocation import FloatArray, IntArray
from budget_router.evaluation.bounds import clustered_error

Z_95 = 1.959963984540054
"""Half width of a 95 % normal interval, in standard errors."""


class Estimate(NamedTuple):
    """A value and its 95 % interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"


def clustered_mean(terms: FloatArray, cluster: Sequence[str]) -> Estimate:
    """Mean of `terms` with a normal interval that lets terms of one cluster be alike.

    With one cluster the interval is not a number, and without any term the mean is none either.

    Args:
        terms: (n,) per-decision terms.
        cluster: (n,) what terms share, e.g. their task's id.
    """
    if not len(terms):
        return Estimate(float("nan"), float("nan"), float("nan"))
    mean = float(terms.mean())
    error = clustered_error(terms, np.unique(np.asarray(cluster), return_inverse=True)[1])
    return Estimate(mean, mean - Z_95 * error, mean + Z_95 * error)


def paired_bootstrap(
    difference: Callable[[IntArray], float], n_tasks: int, *, rng: np.random.Generator, n_draws: int = 1000
) -> Estimate:
    """Percentile bootstrap over tasks of any difference between two ways to treat the same tasks.

    Args:
        difference: takes the rows of a resample, (n_tasks,), and gives the difference on them; whatever is fitted to tasks, such
            as the hull of a static mix, is fitted inside.
        n_tasks: rows to resample.
        rng: of the resamples.
        n_draws: resamples.
    """
    draws = [difference(rng.integers(0, n_tasks, n_tasks)) for _ in range(n_draws)]
    low, high = np.percentile(draws, [2.5, 97.5])
    return Estimate(difference(np.arange(n_tasks)), float(low), float(high))
