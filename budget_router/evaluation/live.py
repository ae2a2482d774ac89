"""A canary against the policy beside it, while both serve: who decides is drawn at random, so nothing else sets them apart.

One looks every few minutes and acts on what one sees, so every bound holds at all looks at once. What is independent are the
threads, each decided by one of the two; their decisions are not.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from budget_router.allocation import FloatArray, IntArray
from budget_router.evaluation.bounds import clustered_error
from budget_router.evaluation.confidence_sequence import canary_gain, sequence_half_width
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

    The gain is of the threads' mean scores, in order of their first decisions, by `canary_gain`: right from the first thread on,
    also where hardly any fails, which would make a standard error look surer than it is. The spend's bound is asymptotic.

    Args:
        live: settled decisions that were drawn between the two.
        share: s, of the canary, in (0, 1).
        confidence: of each interval, at all looks together.
    """
    is_canary = live.is_canary
    graded = ~np.isnan(live.score)
    fewest = _fewest(is_canary[graded], live.cluster[graded])
    doubt = _thin(fewest) or _mismatch(live, share) or _uneven(is_canary, graded)
    return LiveComparison(
        n_canary=int(is_canary.sum()),
        n_rest=int((~is_canary).sum()),
        gain=Estimate(math.nan, math.nan, math.nan) if doubt else _gain(live, graded, share, confidence),
        spend=_spend(live, is_canary, confidence),
        spend_of_rest=_spend(live, ~is_canary, confidence),
        doubt=doubt,
    )


def means(terms: FloatArray, cluster: IntArray, *, confidence: float = CONFIDENCE) -> Estimate:
    """The mean of terms with an interval that holds at all looks; without limits below `MIN_CLUSTERS` clusters.

    Args:
        terms: (n,).
        cluster: (n,) numbers.
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
            degrees_of_freedom=n_clusters - 1.0,
            confidence=confidence,
        )
    )
    return Estimate(value, value - half, value + half)


def _gain(live: Live, graded: NDArray[np.bool_], share: float, confidence: float) -> Estimate:
    """By one mean score for each thread, whose policy one draw decided."""
    _, first, thread, n_decisions = np.unique(live.cluster[graded], return_index=True, return_inverse=True, return_counts=True)
    score = np.bincount(thread, weights=live.score[graded]) / n_decisions
    order = np.argsort(first)
    return canary_gain(score[order], live.is_canary[graded][first][order], share=share, confidence=confidence).last


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
