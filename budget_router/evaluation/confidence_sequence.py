"""Bounds on a mean that hold at every moment at once: one may look as often as one likes, and stop when one likes what one sees.

A fixed interval errs with its stated risk at one look; who looks twenty times and acts on the first good one errs several times
as often. A confidence sequence spends its risk over all looks, past and future, for a width that is larger by some two thirds.

- `sequence_half_width` turns any standard error into such a bound, right from some hundred effective decisions on: the gate's.
- `confidence_sequence` and `canary_gain` are right from the first term on: a canary is watched from its first hour, when one of
  its decisions weighs 1 / share and none may have come yet.
"""

import math
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from budget_router.allocation import FloatArray
from budget_router.errors import InvalidInput
from budget_router.evaluation.estimate import Estimate

CONFIDENCE = 0.95
SHARPEST_AT = 1000.0
"""Clusters at which a sequence is narrowest next to a fixed interval; flat around it: 2.8 standard errors one-sided at 95 %, at
250 and at 10,000 clusters 3.0."""
_USUAL_SCATTER = 0.1
"""Variance of a score that is right seven times out of eight."""
_LEVEL_GIVE = 0.1
"""How far the mean score may turn out to lie from the expected one and still be taken out of the scatter."""
_MOST_ERRORS = 30.0
"""Standard errors beyond which a normal tail cannot be told from none; no look is that early."""
_N_STEPS = 10
"""Of Newton's method, which doubles the right digits with each."""

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
    the risk, `α = (1 - confidence) / 2`. With `ρ² = (L + ln(1 + L)) / sharpest_at`, `L = -2 ln 2α`, it is narrowest at about
    `sharpest_at` clusters. The number of standard errors is then taken from Student's t in place of the normal, as a fixed
    interval's is: early on the standard error itself is not known.

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
    time = n_clusters * (level + math.log(1 + level)) / sharpest_at
    n_errors = np.sqrt(2 * (time + 1) / time * np.log1p(np.sqrt(time + 1) / (2 * risk)))
    tail = ndtr(-np.minimum(n_errors, _MOST_ERRORS))
    width: _Number = -stdtrit(degrees_of_freedom, tail) * standard_error
    return width


@dataclass(frozen=True)
class ConfidenceSequence:
    """The mean so far and its bounds after each term, (n,) each."""

    value: FloatArray
    low: FloatArray
    high: FloatArray

    @property
    def last(self) -> Estimate:
        """After all terms."""
        return Estimate(float(self.value[-1]), float(self.low[-1]), float(self.high[-1]))


def confidence_sequence(
    terms: FloatArray,
    *,
    term_range: tuple[float, float],
    guess: float | None = None,
    confidence: float = CONFIDENCE,
    sharpest_at: float | None = None,
) -> ConfidenceSequence:
    """Bounds on the mean of bounded terms, after each of them, that hold at every moment at once and at any sample size.

    Empirical Bernstein: with `V = Σ (t_i - guess_i)²`, the bounds lie where a mixture over λ of
    `exp(λ Σ (t_i - mean_i) - ψ(λ) V)` reaches 2 / (1 - confidence), `ψ(λ) = (-ln(1 - cλ) - cλ) / c²` and c how far a term may
    lie beyond its guess: above it for the upper bound, below it for the lower one. What is bounded is the mean of the terms'
    expectations, each given what came before it: these may drift. So terms of one task may follow each other where each was drawn
    anew; terms that one draw decides together are one term: sum them first.

    Args:
        terms: (n,) in order of arrival, n ≥ 1.
        term_range: lowest and highest value that a term can take, known beforehand.
        guess: of every term, known beforehand; the mean so far when not given. Any is right, a good one is sharper.
        confidence: in (0, 1), of both sides together.
        sharpest_at: the V at which it is to be narrowest, chosen before the first look; that of 1,000 terms which scatter by a
            quarter of their range when not given.

    Raises:
        InvalidInput: no term, one outside `term_range`, or a guess that is not inside it.

    Reference: Howard, Ramdas, McAuliffe and Sekhon (2021), Time-uniform, nonparametric, nonasymptotic confidence sequences, The
    Annals of Statistics 49(2), theorem 4 with the gamma-exponential mixture of proposition 9.
    """
    low, high = term_range
    if guess is not None and not low < guess < high:
        raise InvalidInput(f"guess is {guess:g}: give one between {low:g} and {high:g}, the range of the terms")
    values = np.asarray(terms, dtype=np.float64)
    if not len(values) or not ((values >= low) & (values <= high)).all():
        raise InvalidInput(f"{len(values)} terms, not all in [{low:g}, {high:g}]: give at least one, and the range of all")
    count = np.arange(1, len(values) + 1)
    mean = np.cumsum(values) / count
    guesses = np.concatenate([[(low + high) / 2], mean[:-1]]) if guess is None else np.full(len(values), guess)
    variance = np.cumsum((values - guesses) ** 2)
    above, below = (high - low, high - low) if guess is None else (high - guess, guess - low)
    best = SHARPEST_AT * ((high - low) / 4) ** 2 if sharpest_at is None else sharpest_at
    upper = _boundary(variance, c=above, risk=(1 - confidence) / 2, sharpest_at=best) / count
    lower = upper if below == above else _boundary(variance, c=below, risk=(1 - confidence) / 2, sharpest_at=best) / count
    return ConfidenceSequence(mean, mean - lower, mean + upper)


def canary_gain(
    score: FloatArray,
    is_canary: NDArray[np.bool_],
    *,
    share: float,
    expected: float | None = None,
    confidence: float = CONFIDENCE,
) -> ConfidenceSequence:
    """How much better decisions of a canary score than those of the active policy, after each decision, at every moment at once.

    The mean of `1[canary] / s · (y - m) - 1[active] / (1 - s) · (y - m)` with m the mean score so far, which changes no
    expectation and takes the level of the scores out of the scatter. Exact at any number of decisions, also before the first one
    of the canary, and where scores drift, for both policies meet the same traffic. Each decision is a draw of its own: where one
    draw decides for all of a task or thread, give one mean score for each.

    Args:
        score: (n,) in [0, 1], in order of arrival.
        is_canary: (n,) whether the canary decided.
        share: s, probability that it did, in (0, 1).
        expected: mean score, known beforehand, such as the active policy's estimate; m is kept within 10 points of it. Any is
            right. With s = 0.1 and one at the truth, a canary that is right in 80 % instead of 90 % shows after some 1,700
            decisions, without one after some 2,400.
        confidence: in (0, 1), of both sides together.

    Raises:
        InvalidInput: no score, one outside [0, 1], an expected score outside it, or a share outside (0, 1).
    """
    if not 0 < share < 1:
        raise InvalidInput(f"share is {share:g}: give the probability that the canary decides, between 0 and 1")
    if expected is not None and not 0 <= expected <= 1:
        raise InvalidInput(f"expected is {expected:g}: give the mean score that the active policy reaches, in [0, 1]")
    values = np.asarray(score, dtype=np.float64)
    if not len(values) or not ((values >= 0) & (values <= 1)).all():
        raise InvalidInput(f"{len(values)} scores, not all in [0, 1]: give at least one, in [0, 1]")
    least, most = (0.0, 1.0) if expected is None else (max(expected - _LEVEL_GIVE, 0.0), min(expected + _LEVEL_GIVE, 1.0))
    so_far = np.concatenate([[(least + most) / 2], np.cumsum(values)[:-1] / np.arange(1, len(values))])
    canary, active = 1 / share, 1 / (1 - share)
    terms = np.where(is_canary, canary, -active) * (values - np.clip(so_far, least, most))
    above = max(canary * (1 - least), active * most)
    below = max(canary * most, active * (1 - least))
    usual = SHARPEST_AT * _USUAL_SCATTER / (share * (1 - share))
    return confidence_sequence(terms, term_range=(-below, above), guess=0.0, confidence=confidence, sharpest_at=usual)


def _boundary(variance: FloatArray, *, c: float, risk: float, sharpest_at: float) -> FloatArray:
    """(n,) sums at which the gamma-exponential mixture reaches 1 / risk; c > 0.

    By Newton's method: the mixture's logarithm is convex and rises, so no step falls short of the boundary.
    """
    target = math.log(1 / risk)
    prior = sharpest_at / (2 * target + math.log(1 + 2 * target))
    grown = target + np.log1p(variance / prior) + 1
    total = np.sqrt(2 * (variance + prior) * grown) + c * grown
    for _ in range(_N_STEPS):
        reached, slope = _log_mixture(total, variance, c=c, prior=prior)
        total = total - (reached - target) / slope
    return np.asarray(total)


def _log_mixture(total: FloatArray, variance: FloatArray, *, c: float, prior: float) -> tuple[FloatArray, FloatArray]:
    """Logarithm of `∫ exp(λ total - ψ(λ) variance) dF(λ)` and its slope in `total`; 1 - cλ has a gamma law, cut to [0, 1].

    The law's shape and rate are r = prior / c². With a = (variance + prior) / c², b = a + total / c and P the regularised lower
    incomplete gamma function it is `r ln r - r - ln Γ(r) - ln P(r, r) + ln Γ(a) + ln P(a, b) - a ln b + b`.
    """
    from scipy.special import gammainc, gammaln

    r, a = prior / c**2, (variance + prior) / c**2
    b = a + total / c
    below, log_gamma = np.log(gammainc(a, b)), gammaln(a)
    law = r * math.log(r) - r - gammaln(r) - math.log(gammainc(r, r))
    slope = (1 - a / b + np.exp((a - 1) * np.log(b) - b - log_gamma - below)) / c
    return law + log_gamma + below - a * np.log(b) + b, slope
