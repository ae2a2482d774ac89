"""A policy beside the oracle: what its errors cost, and what they can cost at most."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from budget_router.allocation import oracle_actions, solve
from budget_router.errors import InvalidInput, InvalidTable
from budget_router.evaluation import imitation_regret

law = settings(derandomize=True, deadline=None)

ACCURACY = np.array([[0.5, 0.9, 1.0], [0.8, 0.9, 0.9]])
COST = np.array([[1.0, 2.0, 4.0], [1.0, 2.0, 4.0]])
"""At a price of 0.25 values are .25 .4 0 and .55 .4 -.1: the oracle takes columns 1 and 0."""


def whole(n_tasks, n_strategies, most):
    return arrays(np.int64, (n_tasks, n_strategies), elements=st.integers(0, most))


problems = st.tuples(st.integers(1, 12), st.integers(1, 4)).flatmap(
    lambda shape: st.tuples(
        whole(*shape, 8).map(lambda cells: cells / 8),
        whole(*shape, 8).map(lambda cells: cells.astype(float)),
        whole(*shape, 9).map(lambda cells: (cells + 1e-3) / (cells + 1e-3).sum(axis=1, keepdims=True)),
    )
)


# --- laws


@law
@given(problems, st.integers(0, 4))
def test_regret_is_at_most_the_imitation_error_times_the_widest_gap(problem, lam):
    accuracy, cost, chosen = problem
    compared = imitation_regret(chosen, accuracy, cost, lam=lam, budget=1.0)
    assert (compared.regret_terms >= -1e-12).all()
    assert compared.regret <= compared.regret_bound + 1e-12
    assert (compared.regret_terms <= compared.gap_terms + 1e-12).all()
    assert -1e-12 <= compared.value_weighted_accuracy <= 1 + 1e-12


@law
@given(problems, st.floats(0, 1))
def test_spend_stays_within_theorem_3_where_the_oracle_meets_its_budget(problem, share):
    accuracy, cost, chosen = problem
    cheapest, dearest = cost.min(axis=1).mean(), cost.max(axis=1).mean()
    budget = float(cheapest + share * (dearest - cheapest)) or 1.0
    allocation = solve(accuracy, cost, budget)
    compared = imitation_regret(chosen, accuracy, cost, lam=allocation.lam, budget=budget, oracle=allocation.actions)
    assert compared.oracle_spend <= budget * (1 + 1e-9)
    assert compared.spend <= compared.spend_bound * (1 + 1e-9)


@law
@given(problems, st.integers(0, 4))
def test_the_oracle_has_no_regret(problem, lam):
    accuracy, cost, _ = problem
    compared = imitation_regret(oracle_actions(accuracy, cost, lam), accuracy, cost, lam=lam, budget=1.0)
    assert compared.imitation_accuracy == compared.value_weighted_accuracy == 1
    assert compared.regret == compared.regret_bound == 0
    assert compared.spend == compared.oracle_spend


@law
@given(problems, st.integers(0, 4))
def test_scaling_all_costs_changes_no_regret_where_the_price_shrinks_with_them(problem, lam):
    accuracy, cost, chosen = problem
    one = imitation_regret(chosen, accuracy, cost, lam=lam, budget=1.0)
    other = imitation_regret(chosen, accuracy, cost * 4, lam=lam / 4, budget=4.0)
    assert other.regret_terms.tolist() == one.regret_terms.tolist()
    assert other.spend_bound == pytest.approx(4 * one.spend_bound)


@law
@given(problems, st.integers(0, 4))
def test_probabilities_are_worth_the_mean_of_the_actions_they_are_drawn_from(problem, lam):
    accuracy, cost, chosen = problem
    n_tasks, n_strategies = cost.shape
    always = [imitation_regret(np.full(n_tasks, k), accuracy, cost, lam=lam, budget=1.0) for k in range(n_strategies)]
    drawn = imitation_regret(chosen, accuracy, cost, lam=lam, budget=1.0)
    terms = np.column_stack([one.regret_terms for one in always])
    assert drawn.regret_terms == pytest.approx((chosen * terms).sum(axis=1), abs=1e-9)


# --- by hand


def test_errors_are_counted_and_weighed_by_what_they_lose():
    compared = imitation_regret([2, 0], ACCURACY, COST, lam=0.25, budget=2.0)
    assert compared.imitation_accuracy == 0.5
    assert compared.regret_terms == pytest.approx([0.4, 0.0])
    assert compared.gap_terms == pytest.approx([0.4, 0.65])
    assert compared.regret == pytest.approx(0.2)
    assert compared.regret_bound == pytest.approx(0.5 * 0.65)
    assert compared.value_weighted_accuracy == pytest.approx(1 - 0.4 / 1.05)
    assert (compared.spend, compared.oracle_spend) == (2.5, 1.5)
    assert compared.spend_bound == 2.0 + 0.5 * 3.0


def test_a_dominant_action_imitates_well_and_is_worth_little():
    accuracy = np.array([[0.9, 0.9]] * 9 + [[0.0, 1.0]])
    compared = imitation_regret(np.zeros(10, dtype=int), accuracy, [1.0, 1.0 + 1e-6], lam=1.0, budget=1.0)
    assert compared.imitation_accuracy == pytest.approx(0.9)
    assert compared.value_weighted_accuracy == pytest.approx(0, abs=1e-4)


def test_where_no_action_matters_all_are_right_by_value():
    compared = imitation_regret([1, 1], np.full((2, 2), 0.5), np.zeros(2), lam=1.0, budget=1.0)
    assert compared.imitation_accuracy == 0
    assert compared.value_weighted_accuracy == 1


def test_ties_go_to_the_cheaper_action_unless_the_oracle_is_given():
    tied = np.array([[0.5, 0.75], [0.5, 0.75]]), np.array([1.0, 2.0])
    assert imitation_regret([0, 1], *tied, lam=0.25, budget=1.5).imitation_accuracy == 0.5
    assert imitation_regret([0, 1], *tied, lam=0.25, budget=1.5, oracle=[0, 1]).imitation_accuracy == 1


# --- at the border


@pytest.mark.parametrize(
    ("chosen", "told"),
    [
        ([0], "one for each of 2 tasks"),
        ([0.0, 1.0], "whole numbers"),
        ([0, 3], "0 to 3: an action is a column of the table, 0 to 2"),
        ([-1, 0], "-1 to 0"),
        ([[0.5, 0.5]], "must be .n_tasks, n_strategies. = .2, 3."),
        ([[1, 0, 0], [0.5, 0.2, 0.2]], r"chosen\[1\] .* sum to 1"),
        ([[1.5, -0.5, 0], [1, 0, 0]], r"chosen\[0\]"),
        ([[1, 0, 0], [np.nan, 0, 1]], r"chosen\[1\]"),
    ],
)
def test_what_is_no_choice_is_refused(chosen, told):
    with pytest.raises(InvalidInput, match=told):
        imitation_regret(chosen, ACCURACY, COST, lam=0.25, budget=2.0)


@pytest.mark.parametrize("wrong", [{"lam": -1.0}, {"lam": np.inf}, {"budget": 0.0}, {"budget": np.nan}, {"oracle": [0, 7]}])
def test_a_price_a_budget_and_an_oracle_out_of_range_are_refused(wrong):
    with pytest.raises(InvalidInput, match=next(iter(wrong))):
        imitation_regret([0, 0], ACCURACY, COST, **{"lam": 0.25, "budget": 2.0, **wrong})


def test_a_table_with_a_hole_is_refused():
    with pytest.raises(InvalidTable, match="finite"):
        imitation_regret([0, 0], np.where(ACCURACY == 1, np.nan, ACCURACY), COST, lam=0.25, budget=2.0)
