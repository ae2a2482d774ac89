"""A router's whole curve in one figure: against hand-worked areas, and by the laws that any such figure keeps."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from budget_router.allocation import frontier
from budget_router.errors import InvalidInput
from budget_router.evaluation import aiq, routing_curve, threshold_curve

law = settings(derandomize=True, deadline=None)

WEAK, STRONG = (1.0, 0.5), (5.0, 0.9)
shares = st.floats(0, 1)
points = st.lists(st.tuples(st.integers(0, 8), st.integers(0, 8)), min_size=1, max_size=8).map(
    lambda pairs: (np.array(pairs) / 8).T
)
"""Spends and accuracies."""
answers = st.integers(1, 30).flatmap(
    lambda n_tasks: st.tuples(
        arrays(np.int64, n_tasks, elements=st.integers(0, 5)).map(lambda cells: cells / 4),
        arrays(np.int64, (n_tasks, 2), elements=st.integers(0, 1)).map(lambda cells: cells.astype(float)),
    ).filter(lambda drawn: drawn[1][:, 1].sum() > drawn[1][:, 0].sum())
)
"""Scores, and what a weak and a better strong model got right."""


def between(inner):
    """A curve from the weak model to the strong one over some points, each a share of the way and of the gap."""
    spend = [1.0, *(1 + 4 * share for share, _ in inner), 5.0]
    accuracy = [0.5, *(0.5 + 0.4 * recovered for _, recovered in inner), 0.9]
    return routing_curve(spend, accuracy, weak=WEAK, strong=STRONG)


# --- between two models


@law
@given(st.lists(shares, max_size=6))
def test_the_straight_line_between_the_models_recovers_half(ways):
    curve = between([(way, way) for way in ways])
    assert curve.apgr == pytest.approx(0.5, abs=1e-12)
    for share in (0.0, 0.2, 0.5, 0.8, 1.0):
        assert curve.cpt(share) == pytest.approx(1 + 4 * share)


def test_area_and_spends_of_a_bent_line_by_hand():
    curve = between([(0.25, 0.5), (0.5, 0.75)])
    assert curve.recovered == pytest.approx([0, 0.5, 0.75, 1])
    assert curve.apgr == pytest.approx(0.25 * 0.25 + 0.25 * 0.625 + 0.5 * 0.875)
    assert [curve.cpt(share) for share in (0.2, 0.5, 0.8)] == pytest.approx([1.4, 2.0, 3.4])


def test_a_router_that_always_knows_recovers_all_at_once():
    curve = between([(0.0, 1.0)])
    assert curve.apgr == 1
    assert curve.cpt(0.8) == 1


def test_spends_beyond_the_models_are_cut_off_where_their_line_crosses():
    curve = routing_curve([0, 2, 6], [0.4, 0.6, 1.0], weak=WEAK, strong=STRONG)
    assert curve.spend.tolist() == [1, 2, 5]
    assert curve.accuracy == pytest.approx([0.5, 0.6, 0.9])


def test_a_dip_does_not_make_a_share_dearer_that_was_reached_before():
    curve = between([(0.25, 0.6), (0.5, 0.1), (0.75, 0.6)])
    assert curve.cpt(0.5) == pytest.approx(1 + 4 * 0.25 * 0.5 / 0.6)
    assert curve.cpt(0.6) == pytest.approx(2.0)
    assert curve.cpt(0.8) == pytest.approx(4.5)
    dips_last = between([(0.25, 0.6), (0.5, 0.1)])
    assert dips_last.cpt(0.8) == pytest.approx(4.0)  # half of the way from .6, at the dip's spend, to 1


def test_a_share_that_is_never_reached_costs_what_the_strong_model_does():
    curve = routing_curve([1, 5], [0.5, 0.7], weak=WEAK, strong=STRONG)
    assert curve.cpt(0.5) == pytest.approx(5)
    assert curve.cpt(0.8) == 5


@law
@given(st.lists(st.tuples(shares, st.floats(0, 1.5)), max_size=6))
def test_more_of_the_gap_never_costs_less(inner):
    curve = between(inner)
    spends = [curve.cpt(share) for share in np.linspace(0, 1, 21)]
    assert (np.diff(spends) >= -1e-12).all()
    assert 1 <= spends[0] <= spends[-1] <= 5


@law
@given(st.lists(st.tuples(st.integers(0, 8), st.integers(0, 12)), max_size=6), st.randoms())
def test_the_order_of_the_points_changes_nothing(eighths, random):
    inner = [(way / 8, recovered / 8) for way, recovered in eighths]
    one = between(inner)
    random.shuffle(inner)
    assert between(inner).apgr == one.apgr
    assert between(inner).cpt(0.5) == one.cpt(0.5)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"accuracy": [0.5, math.nan]}, r"point 1 is \(5, nan\)"),
        ({"accuracy": [0.5]}, "both must be .n_points,."),
        ({"spend": [], "accuracy": []}, "at least 1"),
        ({"spend": [2, 5]}, "points spend 2 to 5, the models 1 to 5: add points"),
        ({"spend": [1, 4]}, "points spend 1 to 4"),
        ({"strong": (5.0, 0.5)}, "0.5, is not above the weak model's, 0.5"),
        ({"strong": (1.0, 0.9)}, "strong model spends 1, the weak one 1: it must be dearer"),
        ({"weak": (-math.inf, 0.5)}, "must be finite"),
    ],
)
def test_what_is_no_curve_between_two_models_is_refused(change, told):
    given = {"spend": [1, 5], "accuracy": [0.5, 0.9], "weak": WEAK, "strong": STRONG, **change}
    with pytest.raises(InvalidInput, match=told):
        routing_curve(given["spend"], given["accuracy"], weak=given["weak"], strong=given["strong"])


@pytest.mark.parametrize("share", [-0.1, 1.1, math.nan])
def test_a_share_of_the_gap_lies_between_none_and_all(share):
    with pytest.raises(InvalidInput, match="share is"):
        between([]).cpt(share)


@law
@given(answers, st.sampled_from([0.25, 0.5]), st.sampled_from([0.0, 0.25]))
def test_another_scale_of_accuracy_changes_no_share_of_the_gap(drawn, slope, level):
    score, right = drawn
    one, other = threshold_curve(score, right), threshold_curve(score, level + slope * right)
    assert other.apgr == pytest.approx(one.apgr, abs=1e-12)
    assert other.cpt(0.5) == pytest.approx(one.cpt(0.5), abs=1e-12)


# --- by thresholds on a score


def test_calls_to_the_strong_model_are_counted_as_routellm_does():
    """Five tasks, quartile edges 1 to 5: strong where the score is > 5 (none), ≥ 4, ≥ 3, ≥ 2, ≥ 1 (all)."""
    right = np.array([[1, 1], [1, 0], [0, 1], [0, 1], [0, 1]])
    curve = threshold_curve([1, 2, 3, 4, 5], right, n_bins=4)
    assert curve.spend == pytest.approx([0, 0.4, 0.6, 0.8, 1])
    assert curve.accuracy == pytest.approx([0.4, 0.8, 1.0, 0.8, 0.8])
    assert curve.apgr == pytest.approx(0.4 * 0.5 + 0.2 * 1.25 + 0.2 * 1.25 + 0.2 * 1)
    assert [curve.cpt(share) for share in (0.2, 0.5, 0.8)] == pytest.approx([0.08, 0.2, 0.32])


@law
@given(answers)
def test_apgr_is_the_area_above_the_weak_model_over_that_of_the_strong_one(drawn):
    """RouteLLM's own way: areas under three lines over the curve's eleven points."""
    score, right = drawn
    edges = np.quantile(score, np.linspace(0, 1, 11))
    chosen = [score >= edge for edge in edges[:-1]] + [score > edges[-1]]
    x = [np.mean(one) for one in chosen][::-1]
    y = [np.where(one, right[:, 1], right[:, 0]).mean() for one in chosen][::-1]
    router, weak, strong = (
        sum((x[k + 1] - x[k]) * (line[k + 1] + line[k]) / 2 for k in range(10))
        for line in (y, [right[:, 0].mean()] * 11, [right[:, 1].mean()] * 11)
    )
    assert threshold_curve(score, right).apgr == pytest.approx((router - weak) / (strong - weak), abs=1e-9)


def test_a_score_that_knows_nothing_recovers_half_on_average():
    """Over all orders of five tasks."""
    right = np.array([[1, 1], [1, 0], [0, 1], [0, 1], [0, 0]])
    apgr = [threshold_curve(order, right).apgr for order in itertools.permutations(range(5))]
    assert np.mean(apgr) == pytest.approx(0.5)
    assert threshold_curve(np.zeros(5), right).apgr == 0.5


@law
@given(answers, st.integers(0, 10**6))
def test_no_score_beats_the_true_gain(drawn, seed):
    score, right = drawn
    gain = right[:, 1] - right[:, 0]
    n_bins = 2 * len(score)  # an edge between any two scores
    best = threshold_curve(gain, right, n_bins=n_bins)
    for other in (score, np.random.default_rng(seed).random(len(score)), -gain):
        assert threshold_curve(other, right, n_bins=n_bins).apgr <= best.apgr + 1e-12


@law
@given(answers, st.integers(1, 9))
def test_at_one_cost_per_call_the_unit_of_cost_is_a_matter_of_scale(drawn, dearer):
    calls, dollars = threshold_curve(*drawn), threshold_curve(*drawn, cost=(0.5, 0.5 + dearer))
    assert dollars.apgr == pytest.approx(calls.apgr, abs=1e-9)
    assert dollars.cpt(0.8) == pytest.approx(0.5 + dearer * calls.cpt(0.8))


def test_costs_of_each_task_make_the_same_calls_dearer_or_cheaper():
    right = np.array([[0, 1], [0, 1]])
    calls = threshold_curve([1, 0], right, n_bins=2)
    tokens = threshold_curve([1, 0], right, cost=[[1, 2], [1, 8]], n_bins=2)
    assert calls.spend.tolist() == [0, 0.5, 1]
    assert tokens.spend.tolist() == [1, 1.5, 5]
    assert (calls.apgr, tokens.apgr) == (0.5, pytest.approx((0.5 * 0.25 + 3.5 * 0.75) / 4))


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (([1, 2], [[0, 1]]), r"score has shape \(2,\), accuracy \(1, 2\)"),
        (([], np.empty((0, 2))), r"score has shape \(0,\)"),
        (([[1]], [[0, 1]]), r"score has shape \(1, 1\)"),
        (([1], [[0, 1, 1]]), r"accuracy \(1, 3\)"),
        (([1, math.nan], [[0, 1], [0, 1]]), "score is not finite 1 times"),
        (([1, 2], [[0, 1], [0, math.inf]]), "accuracy is not finite 1 times"),
        (([1, 2], [[1, 0], [0, 1]]), "no gap to recover"),
    ],
)
def test_what_is_no_pair_of_models_is_refused(given, told):
    with pytest.raises(InvalidInput, match=told):
        threshold_curve(*given)


def test_costs_and_bins_are_checked():
    with pytest.raises(InvalidInput, match="cost is not finite"):
        threshold_curve([1], [[0, 1]], cost=[[0, math.nan]])
    with pytest.raises(InvalidInput, match=r"cost \(3,\)"):
        threshold_curve([1], [[0, 1]], cost=[0, 1, 2])
    with pytest.raises(InvalidInput, match="n_bins is 0"):
        threshold_curve([1], [[0, 1]], n_bins=0)


# --- between two spends


def test_the_height_of_the_hull_by_hand():
    """The point at 2 lies below the chord from 1 to 3; beyond 5 the hull goes on level."""
    area = 2 * (0.4 + 0.6) / 2 + 2 * (0.6 + 0.7) / 2 + 1 * 0.7
    assert aiq([1, 2, 3, 5], [0.4, 0.45, 0.6, 0.7], c_min=1, c_max=6) == pytest.approx(area / 5)


def test_limits_inside_the_curve_cut_it():
    assert aiq([0, 4], [0.2, 0.6], c_min=1, c_max=3) == pytest.approx(0.4)
    assert aiq([0, 4], [0.2, 0.6], c_min=5, c_max=9) == pytest.approx(0.6)


def test_below_the_first_point_the_static_mix_stands_in():
    """From (1, .2) straight to the router's first point, and on to its second; the static corner at 5 is no cheaper."""
    static = frontier([[0.2, 0.6]], [[1.0, 5.0]])
    area = 2 * (0.2 + 0.6) / 2 + 2 * (0.6 + 0.8) / 2
    assert aiq([3, 5], [0.6, 0.8], c_min=1, c_max=5, static=static) == pytest.approx(area / 4)


def test_a_router_below_the_static_mix_is_not_lifted_to_it():
    static = frontier([[0.2, 0.6, 0.9]], [[1.0, 3.0, 5.0]])
    zero = aiq(static.spend, static.accuracy, c_min=1, c_max=5)
    assert aiq([2, 5], [0.3, 0.5], c_min=1, c_max=5, static=static) < zero
    assert aiq([1], [0.2], c_min=1, c_max=5, static=static) == pytest.approx(0.2)


@law
@given(points, st.integers(1, 8))
def test_the_hull_of_the_hull_is_the_hull(drawn, width):
    spend, accuracy = drawn
    low = spend.min()
    hull = frontier(accuracy[None], spend[None])
    limits = {"c_min": low, "c_max": low + width / 8}
    assert aiq(hull.spend, hull.accuracy, **limits) == pytest.approx(aiq(spend, accuracy, **limits), abs=1e-12)


@law
@given(points, st.integers(1, 8))
def test_the_height_lies_between_the_points_and_another_point_never_lowers_it(drawn, width):
    spend, accuracy = drawn
    limits = {"c_min": spend.min(), "c_max": spend.min() + width / 8}
    height = aiq(spend, accuracy, **limits)
    assert accuracy[spend.argmin()] - 1e-12 <= height <= accuracy.max() + 1e-12
    assert aiq(np.append(spend, spend[0]), np.append(accuracy, 1.0), **limits) >= height - 1e-12


@law
@given(points, st.integers(1, 8), st.integers(1, 4), st.integers(-2, 2))
def test_the_height_follows_the_scales_of_accuracy_and_of_spend(drawn, width, slope, level):
    spend, accuracy = drawn
    c_min, c_max = spend.min(), spend.min() + width / 8
    height = aiq(spend, accuracy, c_min=c_min, c_max=c_max)
    assert aiq(spend, level + slope * accuracy, c_min=c_min, c_max=c_max) == pytest.approx(level + slope * height)
    assert aiq(4 * spend, accuracy, c_min=4 * c_min, c_max=4 * c_max) == pytest.approx(height)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"c_min": 0.5}, "nothing is known as cheap as c_min = 0.5, the first point spends 1: raise c_min"),
        ({"c_max": 1.0}, "limits run from 1 to 1"),
        ({"c_max": math.inf}, "must be finite"),
        ({"accuracy": [0.5, math.nan]}, "point 1"),
        ({"accuracy": [0.5]}, "both must be"),
        ({"spend": [-1, 5]}, "lowest spend is -1"),
        ({"c_min": 0.5, "static": frontier([[0.3]], [[0.75]])}, "the first point spends 0.75"),
    ],
)
def test_limits_that_nothing_is_known_at_are_refused(change, told):
    given = {"spend": [1, 5], "accuracy": [0.5, 0.9], "c_min": 1.0, "c_max": 5.0, "static": None, **change}
    with pytest.raises(InvalidInput, match=told):
        aiq(given.pop("spend"), given.pop("accuracy"), **given)
