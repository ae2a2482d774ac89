"""Bounds that hold at every moment at once: wider than a fixed interval, right however often one looks."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad

from budget_router.errors import InvalidInput
from budget_router.evaluation import canary_gain, confidence_sequence, sequence_half_width
from budget_router.evaluation.bounds import student_half_width

law = settings(derandomize=True, deadline=None, max_examples=25)


def three_errors_above(risk, n):
    """A count of risk · n, and three standard errors."""
    return risk * n + 3 * math.sqrt(risk * (1 - risk) * n)


def ever(found, truth):
    """Whether a sequence ever missed the truth."""
    return bool(((found.low > truth) | (found.high < truth)).any())


# --- from a standard error


@law
@given(st.integers(2, 10**7), st.floats(1, 10**6), st.floats(0.01, 0.999), st.floats(1, 10**6))
def test_it_is_wider_than_the_interval_for_one_look(n, degrees, confidence, sharpest_at):
    fixed = student_half_width(1.0, degrees_of_freedom=degrees, confidence=confidence)
    named = {"degrees_of_freedom": degrees, "confidence": confidence, "sharpest_at": sharpest_at}
    assert sequence_half_width(1.0, n_clusters=float(n), **named) > fixed


@law
@given(st.integers(2, 10**6), st.floats(0.001, 1000.0))
def test_it_scales_with_the_standard_error(n, scale):
    named = {"n_clusters": float(n), "degrees_of_freedom": float(n)}
    assert sequence_half_width(scale, **named) == pytest.approx(scale * sequence_half_width(1.0, **named))


def test_it_costs_two_thirds_more_than_one_look_and_least_where_it_was_asked_to():
    n = np.array([50.0, 250.0, 1000.0, 4000.0, 20000.0])
    widths = sequence_half_width(np.ones(5), n_clusters=n, degrees_of_freedom=np.full(5, 1e9), confidence=0.9)
    assert widths.argmin() == 2
    assert widths[2] / 1.645 == pytest.approx(1.69, abs=0.01)


def test_looking_after_every_term_errs_no_more_often_than_it_says_where_a_fixed_interval_does():
    rng, n_logs = np.random.default_rng(0), 300
    n = np.arange(50.0, 2001.0)
    terms = rng.standard_normal((n_logs, 2000))
    mean = np.cumsum(terms, axis=1)[:, 49:] / n
    named = {"n_clusters": n, "degrees_of_freedom": n - 1, "confidence": 0.9}
    missed = (np.abs(mean) > sequence_half_width(1 / np.sqrt(n), **named)).any(axis=1).sum()
    naive = (np.abs(mean) > 1.645 / np.sqrt(n)).any(axis=1).sum()
    assert missed <= three_errors_above(0.1, n_logs)
    assert naive > three_errors_above(0.3, n_logs)


# --- from bounded terms


def test_rare_heavy_terms_are_covered_at_every_moment_from_the_first():
    rng, n_logs = np.random.default_rng(1), 100
    n_missed = 0
    for _ in range(n_logs):
        terms = 50.0 * (rng.random(400) < 0.02)
        n_missed += ever(confidence_sequence(terms, term_range=(0.0, 50.0), confidence=0.9), 1.0)
    assert n_missed <= three_errors_above(0.1, n_logs)


def test_the_boundary_is_where_the_mixture_says():
    """By integrating over λ what the code has in closed form."""
    terms, c, risk, best = np.array([0.9, 0.2, 0.7, 0.4, 0.8, 0.1]), 0.75, 0.025, 2.0
    found = confidence_sequence(terms, term_range=(0.0, 1.0), guess=0.25, sharpest_at=best)
    variance, total = float(((terms - 0.25) ** 2).sum()), float((found.high[-1] - found.value[-1]) * len(terms))
    level = 2 * math.log(1 / risk)
    prior = best / (level + math.log(1 + level))

    def law_of(u):
        return u ** (prior / c**2 - 1) * math.exp(-u * prior / c**2)

    def grown(u):
        lam = (1 - u) / c
        return law_of(u) * math.exp(lam * total - (-math.log(u) - c * lam) / c**2 * variance)

    assert quad(grown, 0, 1)[0] / quad(law_of, 0, 1)[0] == pytest.approx(1 / risk, rel=1e-4)


@law
@given(st.integers(0, 10**6), st.floats(0.01, 100.0), st.floats(-10, 10))
def test_it_moves_and_scales_with_its_terms(seed, scale, shift):
    terms = np.random.default_rng(seed).random(50)
    before = confidence_sequence(terms, term_range=(0.0, 1.0))
    after = confidence_sequence(terms * scale + shift, term_range=(shift - 1e-9, scale + shift + 1e-9))
    assert after.low == pytest.approx(before.low * scale + shift, abs=1e-5 * scale)
    assert after.high == pytest.approx(before.high * scale + shift, abs=1e-5 * scale)


@law
@given(st.integers(0, 10**6))
def test_it_knows_nothing_of_what_comes_later(seed):
    terms = np.random.default_rng(seed).random(80)
    whole, part = (confidence_sequence(one, term_range=(0.0, 1.0)) for one in (terms, terms[:30]))
    assert whole.high[:30] == pytest.approx(part.high)
    assert part.last == (part.value[-1], part.low[-1], part.high[-1])


def test_it_narrows_and_stays_wider_than_a_fixed_interval():
    terms = np.random.default_rng(3).random(5000)
    found = confidence_sequence(terms, term_range=(0.0, 1.0))
    half = (found.high - found.low) / 2
    fixed = 1.96 * terms.std() / math.sqrt(5000)
    assert fixed < half[-1] < 2.5 * fixed
    assert half[499] > half[-1]


def test_terms_out_of_range_and_no_terms_are_refused():
    for terms in ([], [0.5, 1.5], [math.nan]):
        with pytest.raises(InvalidInput, match="not all in"):
            confidence_sequence(np.array(terms), term_range=(0.0, 1.0))
    with pytest.raises(InvalidInput, match="guess is 1"):
        confidence_sequence(np.array([0.5]), term_range=(0.0, 1.0), guess=1.0)


# --- a canary


def served(rng, n, *, share, active, canary):
    is_canary = rng.random(n) < share
    return (rng.random(n) < np.where(is_canary, canary, active)).astype(float), is_canary


@pytest.mark.parametrize("expected", [None, 0.9, 0.5])
def test_a_canary_as_good_as_the_rest_is_hardly_ever_called_worse(expected):
    rng, n_logs = np.random.default_rng(4), 40
    n_called = 0
    for _ in range(n_logs):
        score, is_canary = served(rng, 600, share=0.05, active=0.9, canary=0.9)
        n_called += bool((canary_gain(score, is_canary, share=0.05, expected=expected).high < 0).any())
    assert n_called <= three_errors_above(0.025, n_logs)


def test_a_canary_that_is_much_worse_is_found_sooner_if_one_knows_what_to_expect():
    score, is_canary = served(np.random.default_rng(5), 4000, share=0.1, active=0.9, canary=0.7)
    knowing, not_knowing = (canary_gain(score, is_canary, share=0.1, expected=level).high for level in (0.9, None))
    assert 0 < (knowing < 0).argmax() < (not_knowing < 0).argmax()


def test_without_a_decision_of_the_canary_nothing_is_said_of_it():
    found = canary_gain(np.ones(20), np.zeros(20, dtype=bool), share=0.05)
    assert found.low.max() < -0.5
    assert found.high.min() > 0.5


@pytest.mark.parametrize("share", [0.0, 1.0, math.nan])
def test_a_share_that_leaves_nothing_to_compare_is_refused(share):
    with pytest.raises(InvalidInput, match="share"):
        canary_gain(np.ones(3), np.ones(3, dtype=bool), share=share)


def test_scores_out_of_range_are_refused():
    with pytest.raises(InvalidInput, match="scores"):
        canary_gain(np.array([0.5, 2.0]), np.ones(2, dtype=bool), share=0.5)
    with pytest.raises(InvalidInput, match="expected is 90"):
        canary_gain(np.ones(3), np.ones(3, dtype=bool), share=0.5, expected=90)
