"""What a policy is worth: estimates that are right on average and say how sure they are."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from budget_router import Menu, SelfConsistency, SingleShot
from budget_router.allocation import frontier, oracle_actions, solve
from budget_router.evaluation import (
    Estimate,
    clustered_mean,
    doubly_robust,
    honest_oracle,
    mix_at_spend,
    mixes_at_spend,
    paired_bootstrap,
)
from budget_router.outcomes import OutcomeTable

law = settings(derandomize=True, deadline=None)

MENU = Menu([SingleShot(), SelfConsistency(k=3), SingleShot(name="warm", temperature=1.0)])


def log_of(truth, propensity, *, rng, noisy=True):
    """A log of one decision per task: a strategy drawn by its propensity; a vote reveals the single shot too."""
    n_tasks, n_strategies = truth.shape
    drawn = np.array([rng.choice(n_strategies, p=row) for row in propensity])
    seen = np.zeros(truth.shape, dtype=bool)
    observed_prob = np.zeros(truth.shape)
    for action, strategy in enumerate(MENU):
        revealed = MENU.priced_by(strategy)
        seen[np.ix_(drawn == action, revealed)] = True
        observed_prob[:, revealed] += propensity[:, [action]]
    score = (rng.random(truth.shape) < truth).astype(float) if noisy else truth
    return OutcomeTable(
        menu=MENU,
        unit="tokens",
        texts=None,
        structure=np.zeros((n_tasks, 1)),
        task_ids=tuple(map(str, range(n_tasks))),
        accuracy=np.where(seen, score, np.nan),
        standard_error=np.where(seen, 0.4, np.nan),
        observed_prob=observed_prob,
        cost=np.where(seen, 1.0, np.nan),
        is_forced=np.zeros(n_tasks, dtype=bool),
    )


def distributions(n_tasks, *, rng, least=0.1):
    weights = rng.random((n_tasks, len(MENU)))
    return least + (1 - least * len(MENU)) * weights / weights.sum(axis=1, keepdims=True)


# --- off-policy


@pytest.mark.parametrize("model", ["wrong", "zero", "right"])
def test_doubly_robust_is_unbiased_when_the_propensities_are_right_however_wrong_the_model(model):
    rng = np.random.default_rng(7)
    truth, propensity, target = rng.random((200, 3)), distributions(200, rng=rng), distributions(200, rng=rng, least=0.0)
    predicted = {"wrong": 1 - truth, "zero": np.zeros_like(truth), "right": truth}[model]
    value = (target * truth).sum(axis=1).mean()
    estimates = np.array([doubly_robust(log_of(truth, propensity, rng=rng), predicted, target).mean() for _ in range(100)])
    standard_error = estimates.std(ddof=1) / math.sqrt(len(estimates))
    assert abs(estimates.mean() - value) < 4 * standard_error


def test_a_better_model_makes_the_estimate_surer():
    rng = np.random.default_rng(8)
    truth, propensity, target = rng.random((500, 3)), distributions(500, rng=rng), distributions(500, rng=rng, least=0.0)
    log = log_of(truth, propensity, rng=rng)
    assert doubly_robust(log, truth, target).std() < doubly_robust(log, 1 - truth, target).std()


@law
@given(st.integers(0, 10**6))
def test_doubly_robust_is_exact_with_a_perfect_model_and_noiseless_scores(seed):
    rng = np.random.default_rng(seed)
    truth, target = rng.random((10, 3)), distributions(10, rng=rng, least=0.0)
    log = log_of(truth, distributions(10, rng=rng), rng=rng, noisy=False)
    assert doubly_robust(log, truth, target) == pytest.approx((target * truth).sum(axis=1), abs=1e-12)


def test_without_a_model_the_logging_policy_is_worth_its_mean_score():
    rng = np.random.default_rng(9)
    one_each = Menu([SingleShot(name=name, temperature=heat) for heat, name in enumerate(("a", "b", "c"))])
    drawn = rng.integers(0, 3, 50)
    seen = np.eye(3, dtype=bool)[drawn]
    score = rng.random((50, 3))
    propensity = distributions(50, rng=rng)
    log = OutcomeTable(
        one_each,
        "tokens",
        None,
        np.zeros((50, 1)),
        tuple(map(str, range(50))),
        np.where(seen, score, np.nan),
        np.where(seen, 0.4, np.nan),
        propensity,
        np.ones((50, 3)),
        np.zeros(50, dtype=bool),
    )
    assert doubly_robust(log, np.zeros((50, 3)), propensity) == pytest.approx(score[seen])


# --- intervals


@pytest.mark.parametrize("n_visits", [1, 4])
def test_the_interval_covers_the_truth_as_often_as_it_says(n_visits):
    rng = np.random.default_rng(3)
    n_repeats, n_clusters = 400, 80
    cluster = [str(index // n_visits) for index in range(n_clusters * n_visits)]
    covered = 0
    for _ in range(n_repeats):
        shared = np.repeat(rng.normal(0, 1, n_clusters), n_visits)
        estimate = clustered_mean(0.5 + shared + rng.normal(0, 0.5, len(cluster)), cluster)
        covered += estimate.low <= 0.5 <= estimate.high
    # a normal interval over 80 clusters covers 94.6 %
    assert abs(covered / n_repeats - 0.946) < 4 * math.sqrt(0.95 * 0.05 / n_repeats)


def test_terms_of_one_task_that_are_alike_count_once():
    terms = np.random.default_rng(4).random(50)
    once = clustered_mean(terms, [str(index) for index in range(50)])
    thrice = clustered_mean(np.repeat(terms, 3), [str(index // 3) for index in range(150)])
    assert thrice == pytest.approx(once)


def test_terms_of_their_own_have_the_textbook_standard_error():
    terms = np.random.default_rng(5).random(40)
    estimate = clustered_mean(terms, [str(index) for index in range(40)])
    assert (estimate.high - estimate.low) / 2 == pytest.approx(1.96 * terms.std(ddof=1) / math.sqrt(40), rel=1e-4)
    assert estimate.value == terms.mean()


def test_one_cluster_has_a_mean_and_no_interval():
    value, low, high = clustered_mean(np.array([0.0, 1.0]), ["a", "a"])
    assert value == 0.5
    assert math.isnan(low)
    assert math.isnan(high)


def test_nothing_has_no_mean():
    assert all(map(math.isnan, clustered_mean(np.array([]), [])))


def test_a_bootstrap_agrees_with_the_normal_interval_where_that_holds():
    terms = np.random.default_rng(6).normal(0.1, 1, 400)
    drawn = paired_bootstrap(lambda rows: float(terms[rows].mean()), 400, rng=np.random.default_rng(0), n_draws=2000)
    normal = clustered_mean(terms, [str(index) for index in range(400)])
    standard_error = terms.std() / 20
    percentile_error = standard_error * math.sqrt(0.025 * 0.975 / 2000) / 0.0584  # density of the normal at its 2.5 % point
    assert drawn.value == terms.mean()
    assert drawn.low == pytest.approx(normal.low, abs=4 * percentile_error)
    assert drawn.high == pytest.approx(normal.high, abs=4 * percentile_error)


def test_a_bootstrap_is_the_same_under_the_same_seed():
    terms = np.arange(20.0)
    one, other = (
        paired_bootstrap(lambda rows: float(terms[rows].mean()), 20, rng=np.random.default_rng(1), n_draws=50) for _ in "ab"
    )
    assert one == other


def test_an_estimate_reads_with_its_interval():
    assert str(Estimate(0.0312, 0.011, 0.0515)) == "0.031 [0.011, 0.051]"


# --- at matched spend


@pytest.mark.parametrize(
    ("spend", "accuracy"),
    [(1.0, 0.4), (2.0, 0.5), (3.0, 0.6), (5.0, 0.8), (99.0, 0.8), (0.1, 0.4)],
)
def test_the_static_mix_is_read_off_the_hull_of_the_means(spend, accuracy):
    cells = np.array([[0.3, 0.1, 0.7], [0.5, 0.1, 0.9]]), np.array([[1.0, 2.0, 5.0], [1.0, 2.0, 5.0]])
    assert mix_at_spend(*cells, spend) == pytest.approx(accuracy)


def test_many_mixes_at_once_are_those_of_each_alone():
    rng = np.random.default_rng(0)
    accuracy, cost = rng.random((200, 5)), rng.integers(0, 9, (200, 5)).astype(float)  # whole numbers, so that costs tie
    spend = rng.integers(0, 12, 200).astype(float)
    alone = [mix_at_spend(accuracy[[one]], cost[[one]], spend[one]) for one in range(200)]
    assert mixes_at_spend(accuracy, cost, spend) == pytest.approx(alone)


def test_an_oracle_flatters_itself_on_noise_and_the_honest_one_does_not():
    rng = np.random.default_rng(11)
    n_tasks = 2000
    halves = [(rng.binomial(4, 0.5, (n_tasks, 3)) / 4, np.tile([1.0, 2.0, 3.0], (n_tasks, 1))) for _ in range(2)]
    flattered = solve(*halves[0], 2.0).accuracy
    honest = honest_oracle(*halves, 2.0)
    standard_error = math.sqrt(0.25 / 4 / n_tasks)
    assert abs(honest.accuracy - 0.5) < 4 * standard_error
    assert honest.in_sample_accuracy == flattered
    assert honest.optimism > 0.1


def test_with_nothing_hidden_the_honest_oracle_is_the_oracle():
    rng = np.random.default_rng(12)
    table = rng.random((300, 3)), rng.random((300, 3)) * 10
    allocation = solve(*table, 3.0)
    honest = honest_oracle(table, table, 3.0)
    assert (honest.spend, honest.accuracy) == pytest.approx((allocation.spend, allocation.accuracy))
    assert honest.optimism == pytest.approx(0, abs=1e-12)


def test_the_honest_oracle_spends_its_budget_where_many_tasks_are_alike():
    right = np.tile([[0.0, 1.0]], (100, 1)), np.tile([[1.0, 3.0]], (100, 1))
    honest = honest_oracle(right, right, 2.0)
    assert (honest.spend, honest.accuracy) == (2.0, 0.5)


# --- the paper's bound


@law
@given(
    st.integers(1, 12).flatmap(
        lambda n_tasks: st.tuples(
            arrays(np.int64, (n_tasks, 3), elements=st.integers(0, 8)).map(lambda whole: whole / 8),
            arrays(np.int64, (n_tasks, 3), elements=st.integers(0, 8)).map(lambda whole: whole.astype(float)),
            arrays(np.intp, n_tasks, elements=st.integers(0, 2)),
        )
    ),
    st.integers(0, 4),
)
def test_regret_is_at_most_the_imitation_error_times_the_worst_gap(problem, lam):
    accuracy, cost, imitated = problem
    value, rows = accuracy - lam * cost, np.arange(len(cost))
    oracle = oracle_actions(accuracy, cost, float(lam))
    regret = (value[rows, oracle] - value[rows, imitated]).mean()
    worst_gap = (value.max(axis=1) - value.min(axis=1)).max()
    assert 0 <= regret <= (imitated != oracle).mean() * worst_gap + 1e-12


@law
@given(st.integers(0, 10**6), st.floats(0, 1))
def test_no_static_mix_beats_the_oracle(seed, share):
    rng = np.random.default_rng(seed)
    table = rng.random((20, 3)), rng.random((20, 3))
    curve = frontier(*table)
    lowest = table[1].mean(axis=0).min()
    spend = float(lowest + share * (curve.spend[-1] - lowest))
    assert mix_at_spend(*table, spend) <= curve.at(spend).accuracy + 1e-12
