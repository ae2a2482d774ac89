"""Off-policy estimates: right on average, honest about how sure they are, silent where the log says too little."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.coverage import probabilities, simulate
from budget_router import Menu, SelfConsistency, SingleShot
from budget_router.errors import InvalidInput
from budget_router.evaluation import Revealed, cross_fitted, dr, graded_share_doubt, ips, snips
from budget_router.evaluation.bounds import bernstein_half_width, clustered_error, student_half_width
from budget_router.evaluation.off_policy import Weighed
from budget_router.evaluation.overlap import effective_sample_size
from budget_router.outcomes import OutcomeTable

law = settings(derandomize=True, deadline=None, max_examples=50)

NAMES = ("cheap", "middle", "dear")


def log_of(truth, prob, *, rng, noisy=True, task_ids=None, n_settled=None):
    """A log that reveals one strategy per decision."""
    drawn = (rng.random((len(prob), 1)) > prob.cumsum(axis=1)).sum(axis=1)
    score = (rng.random(truth.shape) < truth).astype(float) if noisy else truth
    value = np.where(np.arange(truth.shape[1]) == drawn[:, None], score, np.nan)
    return Revealed(value, prob, task_ids or tuple(map(str, range(len(prob)))), NAMES, n_settled)


def distributions(n, *, rng, least=0.1):
    weights = rng.random((n, 3))
    return least + (1 - 3 * least) * weights / weights.sum(axis=1, keepdims=True)


def world(seed=0, n=400):
    rng = np.random.default_rng(seed)
    truth, prob, target = rng.random((n, 3)), distributions(n, rng=rng), distributions(n, rng=rng, least=0.0)
    return truth, prob, target, rng


# --- laws


@law
@given(st.integers(0, 10**6))
def test_the_logging_policy_is_worth_its_mean_reward(seed):
    truth, prob, _, rng = world(seed, 50)
    log = log_of(truth, prob, rng=rng)
    mean = np.nansum(log.value) / 50
    assert ips(log, target_prob=prob).value == pytest.approx(mean)
    assert snips(log, target_prob=prob).value == pytest.approx(mean)
    assert ips(log, target_prob=prob).effective_sample_size == pytest.approx(50)


@law
@given(st.integers(0, 10**6))
def test_with_a_perfect_model_and_noiseless_rewards_doubly_robust_is_exact(seed):
    truth, prob, target, rng = world(seed, 50)
    log = log_of(truth, prob, rng=rng, noisy=False)
    assert dr(log, target_prob=target, predicted=truth).value == pytest.approx((target * truth).sum(axis=1).mean(), abs=1e-12)


@law
@given(st.integers(0, 10**6), st.floats(-5, 5))
def test_a_shift_of_all_rewards_shifts_the_self_normalised_estimate_by_as_much(seed, shift):
    truth, prob, target, rng = world(seed, 60)
    log = log_of(truth, prob, rng=rng)
    moved = Revealed(log.value + shift, log.prob, log.task_ids, log.strategies)
    before, after = snips(log, target_prob=target), snips(moved, target_prob=target)
    assert after.value == pytest.approx(before.value + shift)
    assert after.standard_error == pytest.approx(before.standard_error)


@law
@given(st.integers(0, 10**6))
def test_self_normalised_estimates_stay_within_what_was_observed(seed):
    truth, prob, target, rng = world(seed, 30)
    log = log_of(truth, prob, rng=rng, noisy=False)
    assert np.nanmin(log.value) - 1e-12 <= snips(log, target_prob=target).value <= np.nanmax(log.value) + 1e-12


@law
@given(st.integers(0, 10**6))
def test_a_gain_is_the_difference_of_two_values_on_the_same_terms(seed):
    truth, prob, target, rng = world(seed, 60)
    other, predicted = distributions(60, rng=rng, least=0.0), rng.random((60, 3))
    log = log_of(truth, prob, rng=rng)
    gain = dr(log, target_prob=target, predicted=predicted, against=other).value
    values = [dr(log, target_prob=policy, predicted=predicted).value for policy in (target, other)]
    assert gain == pytest.approx(values[0] - values[1])


@law
@given(st.integers(0, 10**6), st.integers(0, 60))
def test_what_parts_of_a_log_add_up_to_is_what_the_whole_log_tells(seed, n_first):
    truth, prob, target, rng = world(seed, 60)
    log = log_of(truth, prob, rng=rng, task_ids=tuple(f"{row // 2:02}" for row in range(60)), n_settled=np.array([60, 60, 60]))
    predicted = rng.random(truth.shape)
    rows = np.split(np.arange(60), [n_first - n_first % 2])  # tasks stay whole
    parts = [replace(log.part(some), n_settled=np.full(3, len(some))) for some in rows]
    first, second = (
        Weighed.of(part, target_prob=target[some], predicted=predicted[some], against=prob[some])
        for part, some in zip(parts, rows, strict=True)
    )
    found, whole = (first + second).estimate(), dr(log, target_prob=target, predicted=predicted, against=prob)
    assert (found.n, found.n_tasks, found.reason) == (whole.n, whole.n_tasks, whole.reason)
    for name in ("value", "standard_error", "low", "high", "effective_sample_size"):
        assert getattr(found, name) == pytest.approx(getattr(whole, name), rel=1e-9, abs=1e-12, nan_ok=True)


def test_no_policy_gains_on_itself():
    truth, prob, target, rng = world()
    gain = dr(log_of(truth, prob, rng=rng), target_prob=target, predicted=truth, against=target)
    assert gain.interval == (0.0, 0.0, 0.0)


@law
@given(st.integers(0, 10**6))
def test_the_order_of_decisions_changes_nothing(seed):
    truth, prob, target, rng = world(seed, 60)
    log = log_of(truth, prob, rng=rng, task_ids=tuple(str(row // 2) for row in range(60)))
    order = rng.permutation(60)
    shuffled = Revealed(log.value[order], prob[order], tuple(log.task_ids[row] for row in order), NAMES)
    before = dr(log, target_prob=target, predicted=truth)
    after = dr(shuffled, target_prob=target[order], predicted=truth[order])
    assert [after.value, after.standard_error, after.low] == pytest.approx([before.value, before.standard_error, before.low])


@pytest.mark.parametrize("estimate", ["ips", "dr", "dr wrong"])
def test_unbiased_when_the_propensities_are_right(estimate):
    truth, prob, target, rng = world(7, 200)
    value = (target * truth).sum(axis=1).mean()

    def once():
        log = log_of(truth, prob, rng=rng)
        if estimate == "ips":
            return ips(log, target_prob=target).value
        return dr(log, target_prob=target, predicted=truth if estimate == "dr" else 1 - truth).value

    values = np.array([once() for _ in range(300)])
    assert abs(values.mean() - value) < 4 * values.std(ddof=1) / math.sqrt(len(values))


# --- weights


def test_a_clip_is_a_choice_and_tells_how_many_decisions_it_touched():
    truth, prob, target, rng = world()
    log = log_of(truth, prob, rng=rng)
    weights = log.importance_weights(target).sum(axis=1)
    clipped = ips(log, target_prob=target, max_importance_weight=1.5)
    assert clipped.n_clipped == (weights > 1.5).sum() > 0
    assert clipped.value < ips(log, target_prob=target).value
    assert ips(log, target_prob=target).n_clipped == 0


def test_decisions_weighted_alike_all_count():
    assert effective_sample_size(np.full(20, 3.0)) == pytest.approx(20)
    assert effective_sample_size(np.array([1.0, 0.0, 0.0])) == 1.0
    assert effective_sample_size(np.zeros(3)) == 0.0


def test_a_bundle_reveals_several_cells_and_each_is_weighed_by_its_own_probability():
    prob = np.tile([0.9, 0.4, 0.4], (300, 1))
    rng = np.random.default_rng(3)
    is_bundle = rng.random(300) < 0.4
    value = np.where(is_bundle[:, None], [0.2, 0.5, 0.9], np.where(rng.random((300, 1)) < 5 / 6, [0.2, np.nan, np.nan], np.nan))
    value = value[~np.isnan(value).all(axis=1)]
    log = Revealed(value, prob[: len(value)], tuple(map(str, range(len(value)))), NAMES)
    target = np.tile([0.0, 0.3, 0.7], (len(value), 1))
    assert snips(log, target_prob=target).value == pytest.approx(0.3 * 0.5 + 0.7 * 0.9)


# --- refusals


def refused(estimate, words):
    assert not estimate.is_conclusive
    assert math.isnan(estimate.low)
    assert math.isnan(estimate.high)
    assert words in estimate.reason
    assert ":" in estimate.reason  # the mend stands after it
    assert words in str(estimate)


def every(log, target):
    return [
        ips(log, target_prob=target),
        snips(log, target_prob=target),
        dr(log, target_prob=target, predicted=np.full(target.shape, 0.5)),
        dr(log, target_prob=target, predicted=np.full(target.shape, 0.5), bound="bernstein"),
    ]


def test_what_the_log_could_never_show_is_not_guessed():
    truth, _, target, rng = world()
    prob = np.tile([0.5, 0.5, 0.0], (400, 1))
    for estimate in every(log_of(truth, prob, rng=rng), target):
        refused(estimate, "probability 0 in the log (most of them dear)")


def test_a_handful_of_effective_decisions_is_not_enough():
    truth, _, _, rng = world(n=100)
    prob, target = probabilities3(100, 0, 0.02), probabilities3(100, 2, 0.0)
    for estimate in every(log_of(truth, prob, rng=rng), target):
        refused(estimate, "effective sample size is")
        assert estimate.effective_sample_size < 10


def test_a_strategy_that_was_hardly_seen_may_not_carry_the_target():
    truth, _, _, rng = world()
    prob = np.tile([0.498, 0.5, 0.002], (400, 1))
    for estimate in every(log_of(truth, prob, rng=rng), np.tile([0.4, 0.4, 0.2], (400, 1))):
        refused(
            estimate, "20 % of the target's choices fall on strategies with fewer than 5 observations there (most of them dear"
        )


def test_one_task_is_no_sample_of_tasks():
    truth, prob, target, rng = world()
    for estimate in every(log_of(truth, prob, rng=rng, task_ids=("same",) * 400), target):
        refused(estimate, "1 task(s) in the log")


def test_no_decision_is_refused_not_raised():
    nothing = np.empty((0, 3))
    for estimate in every(Revealed(nothing, nothing, (), NAMES), nothing):
        refused(estimate, "0 task(s) in the log")
        assert math.isnan(estimate.value)


def test_a_strategy_that_is_graded_less_often_makes_all_grades_doubtful():
    truth, prob, target, rng = world()
    log = log_of(truth, prob, rng=rng)
    n_seen = log.is_observed.sum(axis=0)
    alike = Revealed(log.value, log.prob, log.task_ids, NAMES, n_seen * 2)
    uneven = Revealed(log.value, log.prob, log.task_ids, NAMES, n_seen * np.array([1, 2, 2]))
    assert dr(alike, target_prob=target, predicted=truth).is_conclusive
    for estimate in every(uneven, target):
        refused(estimate, "graded share runs from 50 % (middle) to 100 % (cheap)")


def test_graded_shares_may_differ_by_ten_points():
    assert not graded_share_doubt([90, 80, 0], [100, 100, 0], NAMES)
    assert graded_share_doubt([90, 79, 0], [100, 100, 0], NAMES)
    assert not graded_share_doubt([0], [0], ["never served"])


def probabilities3(n, action, floor):
    return probabilities(np.full(n, action), floor)[:, :3] + np.eye(3)[action] * 2 * floor


# --- what goes in


def test_a_target_that_is_no_distribution_is_refused_at_the_border():
    truth, prob, target, rng = world()
    log = log_of(truth, prob, rng=rng)
    with pytest.raises(InvalidInput, match="must be probabilities"):
        ips(log, target_prob=2 * target)
    with pytest.raises(InvalidInput, match="one row per decision"):
        snips(log, target_prob=target[:3])


def test_an_observed_cell_without_a_probability_is_refused_at_the_border():
    with pytest.raises(InvalidInput, match="probability 0"):
        Revealed(np.ones((1, 1)), np.zeros((1, 1)), ("a",), ("one",))
    with pytest.raises(InvalidInput, match=r"must lie in \[0, 1\]"):
        Revealed(np.ones((1, 1)), np.full((1, 1), 1.5), ("a",), ("one",))
    with pytest.raises(InvalidInput, match="must both be"):
        Revealed(np.ones((1, 2)), np.ones((1, 1)), ("a",), ("one",))


def test_scores_leave_forced_and_ungraded_decisions_out_and_spends_only_the_forced_ones():
    menu = Menu([SingleShot(), SelfConsistency(k=3)])
    score = np.array([[1.0, np.nan], [0.5, 1.0], [np.nan, np.nan], [1.0, 1.0]])
    cost = np.array([[10.0, np.nan], [10.0, 30.0], [12.0, np.nan], [10.0, 30.0]])
    table = OutcomeTable(
        menu=menu,
        unit="tokens",
        texts=None,
        structure=np.zeros((4, 1)),
        task_ids=("a", "b", "c", "d"),
        accuracy=score,
        standard_error=np.where(np.isnan(score), np.nan, 0.4),
        observed_prob=np.tile([1.0, 0.5], (4, 1)),
        cost=cost,
        is_forced=np.array([False, False, False, True]),
    )
    scores, spends = Revealed.scores(table), Revealed.spends(table)
    assert scores.task_ids == ("a", "b")
    assert scores.n_settled.tolist() == [3, 1]
    assert spends.task_ids == ("a", "b", "c")
    assert np.nansum(spends.value) == 62.0
    assert spends.n_settled is None


# --- bounds


def test_the_t_interval_has_the_textbook_width():
    # Student 1908: the 97.5 % point with 9 degrees of freedom is 2.262
    assert student_half_width(2.0, degrees_of_freedom=9, confidence=0.95) == pytest.approx(2 * 2.262157, rel=1e-6)


def test_the_bernstein_interval_has_the_width_of_its_theorem():
    terms = np.array([0.0, 1.0] * 50)
    log_term = math.log(4 / 0.05)
    width = math.sqrt(2 * terms.var(ddof=1) * log_term / 100) + 7 * log_term / (3 * 99)
    assert bernstein_half_width(terms, np.arange(100), term_range=1.0, confidence=0.95) == pytest.approx(width)


def test_terms_of_one_task_count_once_in_both_bounds():
    terms = np.random.default_rng(0).random(50)
    twice, task = np.repeat(terms, 2), np.repeat(np.arange(50), 2)
    assert clustered_error(twice, task) == pytest.approx(clustered_error(terms, np.arange(50)))
    once = bernstein_half_width(terms, np.arange(50), term_range=1.0, confidence=0.9)
    assert bernstein_half_width(twice, task, term_range=1.0, confidence=0.9) == pytest.approx(once)


def test_bernstein_holds_where_few_rare_weights_carry_the_sum():
    rng = np.random.default_rng(1)
    for _ in range(50):
        drawn = rng.random(300) < 0.02
        terms = np.where(drawn, 50.0, 0.0)
        assert abs(terms.mean() - 1.0) <= bernstein_half_width(terms, np.arange(300), term_range=50.0, confidence=0.95)


def test_the_bernstein_interval_is_the_wider_one():
    truth, prob, target, rng = world()
    log = log_of(truth, prob, rng=rng)
    for estimate in (ips, lambda *args, **named: dr(*args, predicted=truth, **named)):
        normal, safe = estimate(log, target_prob=target), estimate(log, target_prob=target, bound="bernstein")
        assert normal.value == safe.value
        assert safe.low < normal.low < normal.high < safe.high


def test_a_log_that_happened_never_to_fail_does_not_look_surer_than_its_design_allows():
    prob, target = np.tile([0.9, 0.05, 0.05], (1000, 1)), np.tile([0.0, 0.0, 1.0], (1000, 1))
    drawn = np.resize([0] * 18 + [1, 2], 1000)
    score = np.where(drawn == 2, 1.0, np.resize([0.0, 1.0, 1.0], 1000))  # the dear strategy was right 50 times out of 50
    log = Revealed(np.where(np.arange(3) == drawn[:, None], score[:, None], np.nan), prob, tuple(map(str, range(1000))), NAMES)
    predicted = np.tile([2 / 3, 2 / 3, 1.0], (1000, 1))
    estimate = dr(log, target_prob=target, predicted=predicted)
    assert estimate.value == 1.0
    assert estimate.low < 1.0


# --- the reward model


def test_no_row_is_predicted_by_its_own_task():
    rng = np.random.default_rng(2)
    truth, prob = rng.random((100, 3)), distributions(100, rng=rng)
    features, ids = rng.normal(size=(100, 2)), tuple(str(row // 2) for row in range(100))
    log = log_of(truth, prob, rng=rng, task_ids=ids)
    changed = log.value.copy()
    changed[:2] = 1 - changed[:2]
    other = Revealed(changed, prob, ids, NAMES)
    before, after = cross_fitted(features, log), cross_fitted(features, other)
    assert np.array_equal(before[:2], after[:2])
    assert not np.array_equal(before, after)


def test_the_reward_model_learns_a_line_and_keeps_to_what_was_seen():
    rng = np.random.default_rng(4)
    features = rng.normal(size=(3000, 2))
    truth = np.clip(0.5 + 0.1 * features[:, :1] + np.array([-0.1, 0.0, 0.1]), 0, 1)
    log = log_of(truth, distributions(3000, rng=rng), rng=rng, noisy=False)
    predicted = cross_fitted(features, log)
    assert np.abs(predicted - truth).mean() < 0.01
    assert np.nanmin(log.value) <= predicted.min() <= predicted.max() <= np.nanmax(log.value)


def test_a_strategy_without_a_row_is_predicted_at_the_mean_of_all():
    value = np.full((40, 3), np.nan)
    value[:, 0] = np.resize([0.0, 1.0], 40)
    predicted = cross_fitted(
        np.zeros((40, 1)), Revealed(value, np.tile([0.8, 0.1, 0.1], (40, 1)), tuple(map(str, range(40))), NAMES)
    )
    assert predicted[:, 1:] == pytest.approx(0.5, abs=0.1)


# --- coverage


def test_the_gates_interval_covers_the_truth_as_often_as_it_says():
    n_logs = 150
    by_name = {row.estimator: row for row in simulate(n_logs, floor=0.1, n=500, seed=1)}
    gate = by_name["dr"]
    n_concluding = n_logs * (1 - gate.declined)
    assert gate.coverage >= 0.95 - 3 * math.sqrt(0.95 * 0.05 / n_concluding)
    assert gate.mean_width < by_name["ips"].mean_width < by_name["dr, bernstein"].mean_width
    assert by_name["dr, bernstein"].coverage == 1.0


def test_five_thousand_decisions_are_enough_to_conclude():
    gate = next(row for row in simulate(20, floor=0.02, n=5000, seed=2) if row.estimator == "dr")
    assert gate.declined <= 0.1
