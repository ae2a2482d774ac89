"""Bounds on a mean that hold at every moment at once: one may look as often as one likes, and stop when one likes what one sees.

A fixed interval errs with its stated risk at one look; who looks twenty times and acts on the first good one errs several times
as often. A confidence sequence spends its risk over all looks, past and future, for a width that is larger by some two thirds.
"""

import math
from typing import TypeVar

import numpy as np

from budget_router.allocation import FloatArray

CONFIDENCE = 0.95
SHARPEST_AT = 1000.0
"""Clusters at which a sequence is narrowest next to a fixed interval; flat around it: 2.8 standard errors one-sided at 95 %, at
250 and at 10,000 clusters 3.0."""

_Number = TypeVar("_Number", float, FloatArray)


def sequence_half_width(
    standard_error: _Number,
    *,
    n_clusters: _Number,
    degrees_of_freedom: _Number,
    confidence: float = CONFIDENCE,
    sharpest_at: float = SHARPEST_AT,
) -> _Number:
    """Half width of an asymptotic confidence sequence, by Robbins' normal mixture.

    `se · √(2 (tρ² + 1) / (tρ²) · ln(1 + √(tρ² + 1) / (2α)))` with t clusters, the one-sided bound on both sides, each with half
    the risk, `α = (1 - confidence) / 2`. ρ makes it narrowest at `sharpest_at` clusters: `ρ² = (L + ln L + 1) / sharpest_at` with
    `L = -2 ln 2α`. The number of standard errors is then taken from Student's t in place of the normal, as a fixed interval's is:
    early on the standard error itself is not known.

    Holds at all t at once in the limit of a late first look, whatever the terms' distribution; looks at a handful of effective
    terms are not covered. Also where the mean drifts: it then bounds the running mean.

    Args:
        standard_error: of the mean so far.
        n_clusters: independent clusters so far, t ≥ 1.
        degrees_of_freedom: of the standard error, > 0.
        confidence: in (0, 1), of both sides together.
        sharpest_at: clusters at which it is to be narrowest; to be chosen before the first look.

    Reference: Waudby-Smith, Arbour, Sinha, Kennedy and Ramdas (2024), Time-uniform central limit theory and asymptotic confidence
    sequences, The Annals of Statistics 52(6), theorem 2.2 and its one-sided form in the appendix.
    """
    from scipy.special import ndtr, stdtrit

    risk = (1 - confidence) / 2
    level = -2 * math.log(2 * risk)
    time = n_clusters * (level + math.log(level) + 1) / sharpest_at
    n_errors = np.sqrt(2 * (time + 1) / time * np.log1p(np.sqrt(time + 1) / (2 * risk)))
    width: _Number = -stdtrit(degrees_of_freedom, ndtr(-n_errors)) * standard_error
    return width
