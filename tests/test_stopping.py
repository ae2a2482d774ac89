"""Votes that stop early and escalations, priced from graded samples: what is counted is what all orders give on average."""

import time
from itertools import combinations, permutations
from unittest import mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from budget_router import EarlyStop, Escalate, ExtendedCoT, Menu, SelfConsistency, SingleShot
from budget_router.errors import InvalidInput
from budget_router.outcomes import certainty, early_stop_value, escalation_value, is_decided, stopping, vote_accuracy
from budget_router.strategies import majority

law = settings(derandomize=True, deadline=None, max_examples=60)

answers = st.sampled_from(["4", "5", "6", "7", None])
pools = st.lists(answers, min_size=1, max_size=7)
scores = st.fixed_dictionaries({"4": st.floats(0, 1), "5": st.just(0.0), "6": st.sampled_from([0.0, 1.0]), "7": st.just(0.0)})
rules = st.builds(EarlyStop, threshold=st.sampled_from([0.6, 0.75, 0.875, 0.9, 1.0]), window=st.integers(1, 4))


def winner(given_answers):
    """The winning answer, by the vote that is really held."""
    vote = majority(given_answers)
    return None if vote.winner is None else given_answers[vote.winner]


def stopped(order, rule, cap):
    """How many of the answers in this order a vote draws, by the criterion's own words."""
    for n_drawn in range(1, cap + 1):
        seen = order[:n_drawn]
        if n_drawn == cap:
            return n_drawn
        if n_drawn % rule.window:
            continue
        first, second = sorted((seen.count(one) for one in {*seen, "none", "nobody"} - {None}), reverse=True)[:2]
        if rule.threshold < 1 and certainty(first, second) >= rule.threshold:
            return n_drawn
        present, n_left = winner(seen), cap - n_drawn
        rivals = {*seen, "never seen before"} - {None, present}
        if all(winner([*seen, *[rival] * n_left]) == present for rival in rivals):
            return n_drawn
    raise AssertionError


# --- when a vote is decided


@pytest.mark.parametrize(("leader", "runner_up"), [(0, 0), (1, 0), (2, 1), (3, 3), (10, 2), (40, 35), (600, 400)])
def test_the_certainty_of_a_leader_is_the_incomplete_beta_functions(leader, runner_up):
    from scipy.special import betainc

    assert certainty(leader, runner_up) == pytest.approx(1 - betainc(leader + 1, runner_up + 1, 0.5), abs=1e-12)


def test_the_certainty_of_every_vote_of_forty_is_what_quadrature_gives():
    from scipy.integrate import quad

    for leader in range(0, 41, 4):
        for runner_up in range(0, min(leader, 40 - leader) + 1, 3):
            share = [quad(lambda p, a=leader, b=runner_up: p**a * (1 - p) ** b, start, 1, epsabs=0)[0] for start in (0.5, 0)]
            assert certainty(leader, runner_up) == pytest.approx(share[0] / share[1], abs=1e-7)  # quad's relative error is 1.5e-8


@law
@given(st.integers(0, 500), st.integers(0, 500))
def test_a_vote_more_for_the_leader_makes_it_surer_and_one_for_the_runner_up_less(leader, runner_up):
    before = certainty(leader, runner_up)
    assert certainty(leader, runner_up + 1) <= before <= certainty(leader + 1, runner_up)
    assert before + certainty(runner_up, leader) == pytest.approx(1)


def test_a_look_at_a_vote_takes_microseconds():
    votes = [[leader, runner_up, 1] for leader in range(1, 30) for runner_up in range(1, min(leader, 40 - leader))]
    began = time.process_time()
    for _ in range(10):
        for one in votes:
            is_decided(one, 5, 0.95)
    assert (time.process_time() - began) / (10 * len(votes)) < 25e-6  # the bar is 5 µs; a busy machine is given five times that


def test_at_a_threshold_of_one_no_lead_is_large_enough_while_it_can_be_lost():
    assert not is_decided([400], 401, 1.0)
    assert is_decided([400], 400, 1.0)


def test_a_tie_that_the_leader_would_lose_keeps_the_vote_going():
    assert is_decided([4, 1], 3, 1.0)
    assert not is_decided([1, 4], 3, 1.0)


# --- a vote that may stop


@settings(law, max_examples=30)
@given(pools, scores, rules, st.integers(1, 7))
def test_a_stopped_vote_is_worth_what_all_orders_give_on_average(given_answers, given_scores, rule, cap):
    cap = min(cap, len(given_answers))
    orders = list(permutations(given_answers))
    drawn = [stopped(list(order), rule, cap) for order in orders]
    won = [winner(order[:n_drawn]) for order, n_drawn in zip(orders, drawn, strict=True)]
    value = early_stop_value(given_answers, given_scores, rule, cap)
    assert value.accuracy == pytest.approx(np.mean([0.0 if one is None else given_scores[one] for one in won]), abs=1e-12)
    assert value.mean_samples == pytest.approx(np.mean(drawn), abs=1e-12)


@law
@given(pools, scores, st.integers(1, 4), st.integers(1, 7))
def test_a_vote_that_stops_only_when_nothing_can_change_scores_as_the_whole_vote(given_answers, given_scores, window, cap):
    cap = min(cap, len(given_answers))
    value = early_stop_value(given_answers, given_scores, EarlyStop(threshold=1.0, window=window), cap)
    assert value.accuracy == pytest.approx(vote_accuracy(given_answers, given_scores, cap), abs=1e-9)
    assert value.mean_samples <= cap + 1e-9


@settings(law, max_examples=30)
@given(st.lists(answers, min_size=12, max_size=40), scores, st.integers(1, 3), st.integers(2, 10))
def test_a_higher_threshold_never_draws_less(given_answers, given_scores, window, cap):
    drawn = [
        early_stop_value(given_answers, given_scores, EarlyStop(threshold=one, window=window), cap).mean_samples
        for one in (0.6, 0.8, 0.95, 1.0)
    ]
    assert np.all(np.diff(drawn) >= -1e-9)


@law
@given(st.lists(answers, min_size=4, max_size=20), scores, rules, st.integers(2, 10))
def test_random_orders_come_to_what_counting_gives(given_answers, given_scores, rule, cap):
    cap = min(cap, len(given_answers))
    exact = early_stop_value(given_answers, given_scores, rule, cap)
    with mock.patch.object(stopping, "MAX_STATES", -1):
        drawn = early_stop_value(given_answers, given_scores, rule, cap)
        assert drawn == early_stop_value(given_answers, given_scores, rule, cap)
    assert abs(drawn.accuracy - exact.accuracy) < 4.5 * (0.25 / stopping.N_ORDERS) ** 0.5
    assert abs(drawn.mean_samples - exact.mean_samples) < 4.5 * (cap / 2) / stopping.N_ORDERS**0.5


def test_a_bundle_of_many_different_answers_is_priced_in_no_time():
    rng = np.random.default_rng(3)
    pool = [str(one) for one in rng.geometric(0.3, 40)]
    began = time.process_time()
    early_stop_value(pool, {one: float(one == "1") for one in set(pool)}, EarlyStop(threshold=0.95), 10)
    assert time.process_time() - began < 2


# --- a vote that may not be accepted


@law
@given(pools, scores, st.integers(1, 7), st.sampled_from([0.2, 0.5, 0.6, 2 / 3, 0.7, 1.0]))
def test_a_first_vote_is_accepted_as_often_as_in_all_orders(given_answers, given_scores, k, agreement):
    k = min(k, len(given_answers))
    votes = [(order[:k], majority(order[:k])) for order in permutations(given_answers)]
    accepted = [
        None if vote.winner is None or vote.agreement < agreement else given_scores[seen[vote.winner]] for seen, vote in votes
    ]
    value = escalation_value(given_answers, given_scores, k, agreement)
    assert value.accepted == pytest.approx(np.mean([one is not None for one in accepted]), abs=1e-12)
    assert value.accepted_right == pytest.approx(np.mean([one or 0.0 for one in accepted]), abs=1e-12)


@law
@given(pools, scores, st.integers(1, 7))
def test_a_first_vote_that_any_winner_settles_is_the_vote_itself(given_answers, given_scores, k):
    k = min(k, len(given_answers))
    value = escalation_value(given_answers, given_scores, k, 1e-9)
    assert value.accepted_right == pytest.approx(vote_accuracy(given_answers, given_scores, k), abs=1e-12)


# --- the strategies


def test_default_names_tell_the_rule():
    early = [EarlyStop(threshold=0.9), EarlyStop(threshold=0.95, window=2), EarlyStop(threshold=0.975), EarlyStop(threshold=1)]
    assert [SelfConsistency(k=10, early_stop=one).name for one in early] == [
        "self_consistency_10_stop_90",
        "self_consistency_10_stop_95_by_2",
        "self_consistency_10_stop_97_5",
        "self_consistency_10_stop_100",
    ]
    first = SelfConsistency(k=3, name="quick")
    assert Escalate(first=first, then=SingleShot(model="big"), agreement=2 / 3).name == "escalate_quick_single_shot_big_66_67"


@pytest.mark.parametrize("fault", [{"threshold": 0.5}, {"threshold": 1.1}, {"threshold": 0.9, "window": 0}, {}])
def test_a_rule_that_cannot_be_is_refused(fault):
    with pytest.raises(InvalidInput, match=r"EarlyStop: (threshold|window)"):
        EarlyStop(**fault)


@pytest.mark.parametrize(
    "fault",
    [
        {"first": SelfConsistency(k=1)},
        {"first": SelfConsistency(k=3, early_stop=EarlyStop(threshold=0.9))},
        {"first": SingleShot()},
        {"agreement": 0},
        {"model": "large"},
    ],
)
def test_an_escalation_that_cannot_be_is_refused(fault):
    with pytest.raises(InvalidInput, match=r"first|agreement|model"):
        Escalate(**{"first": SelfConsistency(k=3), "then": SingleShot(), "agreement": 1.0, **fault})


def test_what_is_guaranteed_is_what_is_always_drawn():
    first = SelfConsistency(k=3, temperature=0.7)
    early = SelfConsistency(k=10, early_stop=EarlyStop(threshold=0.9, window=4))
    escalation = Escalate(first=first, then=early, agreement=1.0)
    assert [(one.n_guaranteed, one.n_samples, one.is_adaptive) for one in (first, early, escalation)] == [
        (3, 3, False),
        (4, 10, True),
        (3, 13, True),
    ]
    assert escalation.sampling == first.sampling
    assert not SelfConsistency(k=3, early_stop=EarlyStop(threshold=0.9, window=3)).is_adaptive


def test_a_bundle_prices_what_its_guaranteed_samples_hold_and_itself():
    rule = EarlyStop(threshold=0.9, window=2)
    menu = Menu(
        [
            SingleShot(name="one"),
            SelfConsistency(name="three", k=3),
            SelfConsistency(name="five", k=5),
            SelfConsistency(name="early", k=5, early_stop=rule),
            SelfConsistency(name="long", k=9, early_stop=rule),
            ExtendedCoT(name="think", effort="high"),
            Escalate(name="doubt", first=SelfConsistency(k=3), then=ExtendedCoT(effort="high"), agreement=1.0),
        ]
    )
    assert {executed.name: [menu.names[column] for column in menu.priced_by(executed)] for executed in menu} == {
        "one": ["one"],
        "three": ["one", "three"],
        "five": ["one", "three", "five", "early"],
        "early": ["one", "early"],
        "long": ["one", "long"],
        "think": ["think"],
        "doubt": ["one", "three", "doubt"],
    }


def test_a_strategy_under_another_name_or_guess_is_still_itself():
    one = Escalate(first=SelfConsistency(k=3), then=SingleShot(model="big"), agreement=1.0)
    same = Escalate(
        name="same",
        first=SelfConsistency(name="quick", k=3, typical_completion_tokens=5),
        then=SingleShot(name="big", model="big", typical_completion_tokens=7),
        agreement=1.0,
    )
    assert Menu([one]).priced_by(same) == [0]
    assert all(a.settings_key != b.settings_key for a, b in combinations([one, one.first, one.then, SingleShot()], 2))
