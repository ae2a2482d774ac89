"""Confidence bounds on the mean of per-decision terms, where terms of one task may be alike.

Decisions are clustered by task: the totals of C clusters are what is independent. Both bounds speak of the mean over the tasks
that might have come, not only over those that came.
"""

import math
from typing import NamedTuple, Self

import numpy as np

from budget_router.allocation import FloatArray, IntArray


class ClusteredMean(NamedTuple):
    """The mean of terms, and how the totals of clusters scatter about it; `+` is that of two sets that share no cluster.

    With the number n_c and the total T_c of each cluster's terms, r_c = T_c - n_c · mean: a mean that lies d higher makes of each
    r_c an r_c - n_c · d. So sets are added without a look at their terms (Chan, Golub and LeVeque 1983, The American
    Statistician 37(3)).
    """

    n: int
    mean: float
    """NaN without a term."""
    n_clusters: int
    square: float
    """Σ r_c²."""
    cross: float
    """Σ n_c r_c."""
    size: float
    """Σ n_c²."""

    @classmethod
    def of(cls, terms: FloatArray, cluster: IntArray) -> Self:
        """Take terms.

        Args:
            terms: (n,).
            cluster: (n,) numbers from 0 without a gap.
        """
        if not len(terms):
            return cls(0, math.nan, 0, 0.0, 0.0, 0.0)
        mean = terms.mean()
        rest, size = np.bincount(cluster, weights=terms - mean), np.bincount(cluster).astype(np.float64)
        return cls(len(terms), float(mean), len(rest), float((rest**2).sum()), float(size @ rest), float(size @ size))

    def __add__(self, other: "ClusteredMean", /) -> "ClusteredMean":  # type: ignore[override]  # of sums, not of tuples
        if not (self.n and other.n):
            return self if self.n else other
        n = self.n + other.n
        mean = (self.n * self.mean + other.n * other.mean) / n
        one, two = self._about(mean), other._about(mean)
        parts = (first + second for first, second in zip(one, two, strict=True))
        return ClusteredMean(n, mean, self.n_clusters + other.n_clusters, *parts)

    def _about(self, mean: float) -> tuple[float, float, float]:
        d = mean - self.mean
        return self.square - 2 * d * self.cross + d * d * self.size, self.cross - d * self.size, self.size

    @property
    def standard_error(self) -> float:
        """Of the mean: `√(Σ_c r_c² · C / (C - 1)) / n`; NaN with one cluster.

        Reference: Liang and Zeger (1986), Longitudinal data analysis using generalized linear models, Biometrika 73(1).
        """
        if self.n_clusters < 2:
            return math.nan
        return math.sqrt(max(self.square, 0.0) * self.n_clusters / (self.n_clusters - 1)) / self.n


def clustered_error(terms: FloatArray, cluster: IntArray) -> float:
    """Standard error of the mean of (n,) terms in (n,) clusters: see `ClusteredMean`."""
    return ClusteredMean.of(terms, cluster).standard_error


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
