"""Confidence bounds on the mean of per-decision terms, where terms of one task may be alike.

Decisions are clustered by task: the totals of C clusters are what is independent. Both bounds speak of the mean over the tasks
that might have come, not only over those that came.
"""

import math

import numpy as np

from budget_router.allocation import FloatArray, IntArray


def clustered_error(terms: FloatArray, cluster: IntArray) -> float:
    """Standard error of the mean of `terms`: `√(Σ_c (Σ_{i∈c} (t_i - mean))² · C / (C - 1)) / n`; NaN with one cluster.

    Args:
        terms: (n,), n ≥ 1.
        cluster: (n,) numbers from 0 without a gap.

    Reference: Liang and Zeger (1986), Longitudinal data analysis using generalized linear models, Biometrika 73(1).
    """
    total = np.bincount(cluster, weights=terms - terms.mean())
    if len(total) < 2:
        return math.nan
    return math.sqrt(float((total**2).sum()) * len(total) / (len(total) - 1)) / len(terms)


def student_half_width(standard_error: float, *, degrees_of_freedom: float, confidence: float) -> float:
    """Half width of a two-sided Student-t interval.

    Right for normal terms, and for many terms whatever they are. Importance-weighted terms are far from normal: a few heavy ones
    carry the sum, so their number, not that of all terms, gives the degrees of freedom.

    Args:
        standard_error: of the mean.
        degrees_of_freedom: > 0, need not be whole.
        confidence: in (0, 1).
    """
    from scipy.special import stdtrit

    return float(stdtrit(degrees_of_freedom, (1 + confidence) / 2)) * standard_error


def bernstein_half_width(terms: FloatArray, cluster: IntArray, *, term_range: float, confidence: float) -> float:
    """Half width of the two-sided empirical Bernstein interval, `√(2 V L / C) + 7 R L / (3 (C - 1))`.

    V and R are variance and range of the C cluster totals, scaled so that their mean is that of the terms, and
    `L = ln(4 / (1 - confidence))`: the one-sided bound on both sides, each with half the risk. It holds at any sample
    size for independent clusters of bounded terms, skewed or not; the price is a width that shrinks no faster than R / C, so a
    propensity of 0.02 in the log makes it wide.

    Args:
        terms: (n,).
        cluster: (n,) numbers from 0 without a gap; at least two of them.
        term_range: highest minus lowest value that a term can take, known beforehand.
        confidence: in (0, 1).

    Reference: Maurer and Pontil (2009), Empirical Bernstein Bounds and Sample Variance Penalization, COLT, theorem 4.
    """
    n_clusters = int(cluster.max()) + 1
    scale = n_clusters / len(terms)
    total = np.bincount(cluster, weights=terms) * scale
    widest = term_range * int(np.bincount(cluster).max()) * scale
    log_term = math.log(4 / (1 - confidence))
    return math.sqrt(2 * float(total.var(ddof=1)) * log_term / n_clusters) + 7 * widest * log_term / (3 * (n_clusters - 1))
