"""Pacing: laws that hold for whatever is billed, in whatever order, by however many workers."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from world import MENU

from budget_router import Budget, BudgetRouter, Spend, Task
from budget_router.errors import InvalidInput
from budget_router.lending import borrowers
from budget_router.pacing import Pacer
from budget_router.policies import Mixture, Uniform
from budget_router.sums import FIRST_DECISIONS, MAX_CATCH_UP, MAX_EXCESS, Sums

BUDGET = Budget(per_task=100)
MIXTURE = Mixture([0.2, 0.5, 0.9], [20, 60, 200])
costs = st.integers(0, 5000)
bills = st.lists(st.tuples(costs, costs), max_size=60)
"""What was expected of each decision, and what it billed."""


def after(pairs, *, horizon=10, order=None, budget=BUDGET):
    """A pacer after decisions that settled, in the order of their making or in another one."""
    pacer = Pacer(budget, horizon=horizon)
    for index, (expected, _) in enumerate(pairs):
        pacer.decided(str(index), expected, promised=budget.per_task)
    for index in range(len(pairs)) if order is None else order:
        pacer.settled(str(index), pairs[index][1])
    return pacer


# --- one group


@given(bills)
def test_the_target_stays_within_its_bounds(pairs):
    pacer = after(pairs)
    assert 0 <= pacer.target() * pacer.sums.drift <= MAX_CATCH_UP * BUDGET.per_task * (1 + 1e-12)


@given(st.lists(costs, max_size=60))
def test_a_bill_as_expected_changes_nothing(expected):
    pacer = Pacer(BUDGET)
    for index, cost in enumerate(expected):
        pacer.decided(str(index), cost)
        before, target = pacer.sums.spent, pacer.target()
        pacer.settled(str(index), cost)
        assert (pacer.sums.spent, pacer.target()) == (before, target)


@given(bills, st.randoms())
def test_the_order_of_settlements_does_not_change_what_was_spent(pairs, random):
    order = list(range(len(pairs)))
    random.shuffle(order)
    shuffled, straight = after(pairs, order=order).sums, after(pairs).sums
    assert shuffled.spent == pytest.approx(straight.spent, abs=1e-6) == sum(bill for _, bill in pairs)
    assert (shuffled.n_tasks, shuffled.allowed) == (straight.n_tasks, straight.allowed)


@given(bills, bills, bills)
def test_pasts_add_up_however_they_are_grouped(one, other, third):
    first, second, last = (after(pairs).sums for pairs in (one, other, third))
    assert first.then(second).then(last) == pytest.approx(first.then(second.then(last)))
    assert first.then(Sums()) == first == Sums().then(first)


@given(bills, bills)
def test_the_pasts_of_two_workers_add_up_in_either_order(one, other):
    first, second = after(one).sums, after(other).sums
    together = first.then(second)
    assert together.totals == second.then(first).totals
    assert together.n_tasks == len(one) + len(other)
    assert together.spent == pytest.approx(sum(bill for _, bill in [*one, *other]), abs=1e-6)
    lower, upper = sorted([first.bill_drift, second.bill_drift])
    assert lower * (1 - 1e-9) <= together.bill_drift <= upper * (1 + 1e-9)


@given(bills, st.integers(1, 1000))
def test_scaling_budget_and_bills_scales_the_target(pairs, scale):
    scaled = after([(expected * scale, bill * scale) for expected, bill in pairs], budget=Budget(per_task=100 * scale))
    assert scaled.target() == pytest.approx(scale * after(pairs).target(), abs=1e-6 * scale)


@given(bills, st.integers(0, 59), st.integers(1, 5000))
def test_a_dearer_past_never_allows_more(pairs, which, more):
    if not pairs:
        return
    dearer = list(pairs)
    dearer[which % len(pairs)] = pairs[which % len(pairs)][0], pairs[which % len(pairs)][1] + more
    assert after(dearer).target() <= after(pairs).target() + 1e-9


@given(st.lists(st.tuples(st.floats(0, 1), st.integers(0, 20)), min_size=1, max_size=400), st.integers(1, 200))
def test_the_excess_is_bounded_for_any_bills(steps, horizon):
    dearest, excess = 5000.0, 0.0
    pacer = Pacer(BUDGET, horizon=horizon)
    for index, (share, surprise) in enumerate(steps):
        # whoever bills may be as mean as can be: only when nothing may be spent is the budget the limit
        cost = share * (dearest if pacer.target() > 0 else BUDGET.per_task)
        pacer.decided(str(index), cost / (1 + surprise))
        pacer.settled(str(index), cost)
        excess = pacer.sums.spent - pacer.sums.allowed
        assert excess <= MAX_EXCESS * max(index + 1, FIRST_DECISIONS) * BUDGET.per_task + dearest


def test_a_late_bill_counts_in_full():
    pacer = after([(100, 100)] * 50, order=[])
    before = pacer.sums.spent
    pacer.settled("3", 4100)
    assert pacer.sums.spent == pytest.approx(before + 4000)


def test_a_failed_decision_counts_what_it_billed_and_tells_nothing_of_the_others():
    pacer = after([(100, 100)] * 50, order=[])
    for index in range(50):
        pacer.settled(str(index), 0, is_typical=False)
    assert pacer.sums.spent == 0
    assert pacer.sums.drift == 1


def test_one_enormous_bill_is_spent_but_does_not_pass_for_a_new_tariff():
    pacer = after([(100, 100)] * 99 + [(100, 1_000_000)])
    assert pacer.sums.spent == pytest.approx(1_009_900)
    assert pacer.sums.bill_drift < 1.2


@pytest.mark.parametrize("factor", [0.1, 3])
def test_bills_off_the_table_are_compensated(factor):
    pacer, billed = Pacer(BUDGET), []
    for index in range(1500):
        cost = min(pacer.target(), 2000)
        pacer.decided(str(index), cost, promised=cost)
        billed.append(cost * (factor if index >= 500 else 1))
        pacer.settled(str(index), billed[-1])
    assert pacer.sums.drift == pytest.approx(factor, rel=0.02)
    assert np.mean(billed) == pytest.approx(100, rel=0.005)


def test_traffic_off_the_table_is_compensated_before_anything_settles():
    pacer = Pacer(BUDGET)
    for index in range(400):
        target = pacer.target()
        pacer.decided(str(index), 1.5 * target, promised=target)
    assert pacer.sums.drift == pytest.approx(1.5, rel=0.01)
    assert pacer.target() == pytest.approx(100 / 1.5, rel=0.05)


def test_a_pacer_whose_policy_cannot_spend_more_does_not_wind_up():
    pacer = Pacer(BUDGET)
    for index in range(2000):
        pacer.decided(str(index), 50, promised=50)
        pacer.settled(str(index), 50)
    assert pacer.sums.drift == pytest.approx(1)
    assert pacer.target() == pytest.approx(MAX_CATCH_UP * 100)


def test_another_policy_starts_with_a_trusted_table_and_the_same_past():
    pacer = after([(100, 300)] * 50)
    spent, drift = pacer.sums.spent, pacer.sums.drift
    pacer.calibrated("another")
    assert drift > 1.5
    assert (pacer.sums.spent, pacer.sums.allowed, pacer.sums.drift) == (spent, 5000, 1)


# --- groups that lend


TEAMS = [Budget(per_task=100, group="easy"), Budget(per_task=300, group="hard")]


def spend(pacers, n_tasks, wanted, *, share=(0.5, 0.5)):
    """Teams that spend a multiple of what the shared table promises; mean spend of each."""
    rng = np.random.default_rng(0)
    billed = {group: [] for group in pacers}
    for index in range(n_tasks):
        group = list(pacers)[int(rng.random() < share[1])]
        target = pacers[group].target()
        cost = wanted[group] * target
        pacers[group].decided(str(index), cost, promised=target)
        pacers[group].settled(str(index), cost)
        billed[group].append(cost)
    return billed


def test_lending_groups_share_a_price_and_keep_the_joint_average():
    pacers = borrowers(TEAMS, lend=0.5)
    billed = spend(pacers, 3000, {"easy": 0.5, "hard": 1.5})
    allowed = sum(one.per_task * len(billed[one.group]) for one in TEAMS)
    assert sum(map(sum, billed.values())) == pytest.approx(allowed, rel=0.01)
    assert pacers["easy"].target() == pytest.approx(pacers["hard"].target())


@settings(deadline=None, max_examples=25)
@given(st.floats(0.05, 5), st.floats(0.05, 5), st.sampled_from([0.1, 0.3]))
def test_no_group_borrows_or_lends_more_than_its_share(easy, hard, lend):
    billed = spend(borrowers(TEAMS, lend=lend), 600, {"easy": easy, "hard": hard})
    for one in TEAMS:
        mean = np.mean(billed[one.group])
        assert (1 - lend - 0.15) * one.per_task <= mean <= (1 + lend + 0.15) * one.per_task  # what the horizon still owes


def test_an_unequal_mix_of_groups_still_keeps_the_joint_average():
    pacers = borrowers(TEAMS, lend=0.5)
    billed = spend(pacers, 1500, {"easy": 1.0, "hard": 1.0}, share=(0.1, 0.9))
    allowed = sum(one.per_task * len(billed[one.group]) for one in TEAMS)
    assert sum(map(sum, billed.values())) == pytest.approx(allowed, rel=0.01)


# --- at the router


def test_a_router_lends_between_its_groups():
    teams = [Budget(per_task=one, unit="completion_tokens", group=name) for name, one in (("a", 50), ("b", 90))]
    rng = np.random.default_rng(1)
    for lend, is_shared in ((0.0, False), (0.5, True)):
        router = BudgetRouter(MENU, budgets=teams, lend=lend, policy=MIXTURE, exploration=0.0, seed=1)
        prices = {}
        for index in range(200):
            decision = router.decide(Task(f"What is {index} + 41?", group="ab"[rng.integers(2)]))
            router.settle(decision, Spend(completion_tokens=round(decision.expected_cost), n_calls=1))
            prices[decision.group] = decision.propensities
        assert (prices["a"] == pytest.approx(prices["b"], abs=0.1)) is is_shared


@pytest.mark.parametrize("lend", [-0.1, 1.1, float("nan")])
def test_a_share_to_lend_outside_its_range_is_refused(lend):
    with pytest.raises(InvalidInput, match="lend is"):
        BudgetRouter(MENU, BUDGET, lend=lend)


def test_an_outage_does_not_teach_that_answers_are_free():
    router = BudgetRouter(MENU, Budget(per_task=100, unit="completion_tokens"), policy=MIXTURE, seed=1)
    for index in range(100):
        router.settle(router.decide(Task(f"task {index}")), Spend(), status="failed")
    assert router._averages.of(None).sums.bill_drift == 1
    assert router._averages.of(None).sums.spent == 0


def test_policies_promise_what_they_spend():
    prediction = MIXTURE.predict([Task("a")])
    for budget, promised in ((10, 20), (110, 110), (1000, 200)):
        choice = MIXTURE.choose(prediction, budget)
        assert choice.spend == pytest.approx(promised)
        assert choice.spend == pytest.approx(float(choice.probabilities[0] @ prediction.cost[0]))
    uniform = Uniform([20, 60, 100])
    assert uniform.choose(uniform.predict([Task("a")]), 5).spend == pytest.approx(60)
