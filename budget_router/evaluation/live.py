"""A canary against the policy beside it, while both serve: who decides is drawn at random, so nothing else sets them apart.

One looks every few minutes and acts on what one sees, so every bound holds at all looks at once (`sequence_half_width`). What is
independent are the threads, each decided by one of the two; their decisions are not.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from budget_router.allocation import FloatArray, IntArray
from budget_router.evaluation.bounds import clustered_error
from budget_router.evaluation.confidence_sequence import sequence_half_width
from budget_router.evaluation.estimate import Estimate
from budget_router.evaluation.overlap import graded_share_doubt

MIN_CLUSTERS = 30
"""Threads of each policy, below which a standard error is not known well enough to conclude from."""
MAX_MISMATCH = 4.0
"""Standard errors by which the share that the canary decided may miss the share it was given."""
CONFIDENCE = 0.95


class Live(NamedTuple):
    """Decisions in order of arrival, (n,) each."""

    is_canary: NDArray[np.bool_]
    score: FloatArray
    """In [0, 1]; NaN where nobody graded."""
    cost: FloatArray
    """In the budget's unit; NaN where unknown."""
    cluster: IntArray
    """What was given to one policy as a whole, numbered."""


@dataclass(frozen=True)
class LiveComparison:
    """What a look tells; an interval is not a number while too little is known, and `doubt` says why."""

    n_canary: int
    n_rest: int
    gain: Estimate
    """In accuracy, of the canary over the rest."""
    spend: Estimate
    """Of the canary, per task in the budget's unit."""
    spend_of_rest: Estimate
    doubt: str
    """Why nothing is concluded of the gain."""


def compared(live: Live, *, share: float, confidence: float = CONFIDENCE) -> LiveComparison:
    """Compare what a canary decided with what it did not.

    The gain is the mean of `(1[canary] / s - 1[rest] / (1 - s)) · (y - m)` with m the mean of the scores that came before: it is
    known before the draw, so the terms stay unbiased, and without it they would scatter by the level of the scores.

    Args:
        live: settled decisions that were drawn between the two.
        share: s, of the canary, in (0, 1).
        confidence: of each interval, at all looks together.

    Reference: Waudby-Smith et al. (2024) as in `confidence_sequence`; Robins, Rotnitzky and Zhao (1994), Estimation of regression
    coefficients when some regressors are not always observed, JASA 89(427), for terms of this form.
    """
    is_canary = live.is_canary
    graded = ~np.isnan(live.score)
    cluster, fewest = live.cluster[graded], _fewest(is_canary[graded], live.cluster[graded])
    terms = _gain_terms(is_canary[graded], live.score[graded], share)
    gain = means(terms, cluster, degrees_of_freedom=max(fewest - 1.0, 1.0), confidence=confidence)
    doubt = _thin(fewest) or _mismatch(live, share) or _uneven(is_canary, graded)
    return LiveComparison(
        n_canary=int(is_canary.sum()),
        n_rest=int((~is_canary).sum()),
        gain=Estimate(gain.value, math.nan, math.nan) if doubt else gain,
        spend=_spend(live, is_canary, confidence),
        spend_of_rest=_spend(live, ~is_canary, confidence),
        doubt=doubt,
    )


def means(
    terms: FloatArray, cluster: IntArray, *, degrees_of_freedom: float | None = None, confidence: float = CONFIDENCE
) -> Estimate:
    """The mean of terms with an interval that holds at all looks; without limits below `MIN_CLUSTERS` clusters.

    Args:
        terms: (n,).
        cluster: (n,) numbers.
        degrees_of_freedom: of the standard error; one less than the clusters when not given.
        confidence: of both sides together.
    """
    if not len(terms):
        return Estimate(math.nan, -math.inf, math.inf)
    value, number = float(terms.mean()), np.unique(cluster, return_inverse=True)[1]
    n_clusters = int(number.max()) + 1
    if n_clusters < MIN_CLUSTERS:
        return Estimate(value, -math.inf, math.inf)
    half = float(
        sequence_half_width(
            clustered_error(terms, number),
            n_clusters=float(n_clusters),
            degrees_of_freedom=n_clusters - 1.0 if degrees_of_freedom is None else degrees_of_freedom,
            confidence=confidence,
        )
    )
    return Estimate(value, value - half, value + half)


def _gain_terms(is_canary: NDArray[np.bool_], score: FloatArray, share: float) -> FloatArray:
    before = np.cumsum(score) - score
    baseline = (before + 0.5) / (np.arange(len(score)) + 1.0)  # half a point stands for the first
    return np.asarray(np.where(is_canary, 1 / share, -1 / (1 - share)) * (score - baseline))


def _spend(live: Live, of: NDArray[np.bool_], confidence: float) -> Estimate:
    known = of & ~np.isnan(live.cost)
    return means(live.cost[known], live.cluster[known], confidence=confidence)


def _fewest(is_canary: NDArray[np.bool_], cluster: IntArray) -> int:
    return min(len(np.unique(cluster[is_canary])), len(np.unique(cluster[~is_canary])))


def _thin(fewest: int) -> str:
    if fewest >= MIN_CLUSTERS:
        return ""
    return f"{fewest} graded threads or tasks of one policy, {MIN_CLUSTERS} are needed: wait, or grade more"


def _mismatch(live: Live, share: float) -> str:
    if not len(live.cluster):
        return ""
    first = np.unique(live.cluster, return_index=True)[1]
    n, found = len(first), float(live.is_canary[first].mean())
    if abs(found - share) <= MAX_MISMATCH * math.sqrt(share * (1 - share) / n):
        return ""
    return (
        f"the canary decided {100 * found:.1f} % of threads and tasks, its share is {100 * share:.1f} %: see in the workers' "
        "logs which of them do not serve it"
    )


def _uneven(is_canary: NDArray[np.bool_], graded: NDArray[np.bool_]) -> str:
    seen = np.array([graded[~is_canary].sum(), graded[is_canary].sum()])
    return graded_share_doubt(seen, np.array([(~is_canary).sum(), is_canary.sum()]), ("the active policy", "the canary"))
