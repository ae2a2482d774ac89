"""The theory, as laws: of whole numbers exactly, of floats to rounding."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from benchmarks.exactness import rational_bound, rational_value
from budget_router.allocation import oracle_actions, solve
from budget_router.errors import InfeasibleBudget
from budget_router.evaluation import imitation_regret

law = settings(derandomize=True, deadline=None, max_examples=50)
shares = st.integers(0, 40).map(lambda eighths: eighths / 32)
"""Of the way from the cheapest assignment to the dearest, and somewhat beyond."""


def whole(shapes):
    """Accuracies in eighths and whole costs, of 1, 2, 4 or 8 tasks: means of them are exact in float64."""
    return shapes.flatmap(
        lambda shape: st.tuples(
            arrays(np.int64, shape, elements=st.integers(0, 8)).map(lambda cells: cells / 8),
            arrays(np.int64, shape, elements=st.integers(0, 8)).map(lambda cells: cells.astype(float)),
        )
    )


shapes = st.tuples(st.sampled_from([1, 2, 4, 8]), st.integers(1, 5))
tables = whole(shapes)
prices = st.just(0.0) | st.floats(1e-6, 1e3)  # the mean of the least numbers that float64 has is 0
floats = shapes.flatmap(
    lambda shape: st.tuples(arrays(float, shape, elements=st.floats(0, 1)), arrays(float, shape, elements=prices))
)


def budget_at(cost, share):
    low, high = cost.min(axis=1).sum(), cost.max(axis=1).sum()
    return float((low + share * (high - low)) / len(cost))


def at(matrix, actions):
    return matrix[np.arange(len(matrix)), actions]


def outcome(allocation):
    return {**vars(allocation), "actions": allocation.actions.tolist()}


# --- exactness and duality


@law
@given(tables, shares)
def test_the_mixed_allocation_is_the_optimum_in_rational_arithmetic(table, share):
    problem = *table, budget_at(table[1], share)
    assert rational_value(problem, solve(*problem)) == rational_bound(*problem)


@law
@given(floats, st.floats(0, 8), st.floats(0, 8))
def test_of_floats_too_spend_never_rises_with_the_shadow_price(table, lam, step):
    accuracy, cost = table
    dear, cheap = (at(cost, oracle_actions(accuracy, cost, price)).mean() for price in (lam, lam + step))
    assert step * (dear - cheap) >= -1e-12 * (1 + (lam + step) * cost.max())  # what rounding can gain at a tie


@law
@given(floats, shares, st.floats(0, 8))
def test_of_floats_too_no_assignment_beats_the_dual_value_of_any_price(table, share, lam):
    accuracy, cost = table
    budget = budget_at(cost, share)
    dual = (accuracy - lam * cost).max(axis=1).mean() + lam * budget
    assert solve(accuracy, cost, budget).dual_bound <= dual + 1e-12 * (1 + lam * cost.max())


@law
@given(floats, shares)
def test_of_floats_too_the_gap_is_at_most_the_split_tasks_upgrade_over_the_number_of_tasks(table, share):
    accuracy, cost = table
    allocation = solve(accuracy, cost, budget_at(cost, share))
    if allocation.split is None:
        assert allocation.duality_gap <= 1e-12
    else:
        task, dearer = allocation.split.task, allocation.split.action
        upgrade = accuracy[task, dearer] - accuracy[task, allocation.actions[task]]
        assert allocation.duality_gap <= upgrade / len(cost) + 1e-12


@law
@given(tables | floats, shares)
def test_a_budget_with_a_price_is_met_by_the_mixture_and_one_that_is_not_met_has_none(table, share):
    accuracy, cost = table
    budget = budget_at(cost, share)
    allocation = solve(accuracy, cost, budget)
    spend = allocation.spend
    if allocation.split is not None:
        task, dearer, part = allocation.split.task, allocation.split.action, allocation.split.share
        spend += part * (cost[task, dearer] - cost[task, allocation.actions[task]]) / len(cost)
    assert min(allocation.lam, 1) * (budget - spend) == pytest.approx(0, abs=1e-9)


# --- what a policy loses that imitates the oracle


@law
@given(floats, shares, st.randoms(use_true_random=False))
def test_of_floats_too_regret_and_spend_stay_within_what_the_imitation_error_allows(table, share, random):
    accuracy, cost = table
    budget = budget_at(cost, share) or 1.0
    allocation = solve(accuracy, cost, budget)
    chosen = [random.randrange(cost.shape[1]) for _ in range(len(cost))]
    settings = {"lam": allocation.lam, "budget": budget, "oracle": allocation.actions}
    compared = imitation_regret(chosen, accuracy, cost, **settings)
    rounding = 1e-12 * (1 + allocation.lam * cost.max())
    assert compared.regret <= compared.regret_bound + rounding
    assert at(cost, np.array(chosen)).mean() <= budget + compared.imitation_error * np.ptp(cost, axis=1).max() + 1e-9


# --- odd menus


@law
@given(tables, shares, st.data())
def test_a_dominated_strategy_changes_nothing(table, share, data):
    accuracy, cost = table
    better = data.draw(arrays(np.intp, len(cost), elements=st.integers(0, cost.shape[1] - 1)))
    worse, dearer = data.draw(arrays(np.int64, (2, len(cost)), elements=st.integers(0, 8)))
    column = np.maximum(at(accuracy, better) - worse / 8, 0), at(cost, better) + dearer
    wider = (np.column_stack([matrix, added]) for matrix, added in zip(table, column, strict=True))
    budget = budget_at(cost, share)
    assert outcome(solve(*wider, budget)) == outcome(solve(accuracy, cost, budget))


@law
@given(tables)
def test_where_all_is_free_no_budget_buys_the_best(table):
    accuracy, _ = table
    allocation = solve(accuracy, np.zeros_like(accuracy), 0.0)
    assert (allocation.lam, allocation.spend, allocation.status) == (0, 0, "slack")
    assert allocation.actions.tolist() == accuracy.argmax(axis=1).tolist()


@law
@given(tables, st.integers(0, 8))
def test_where_all_costs_the_same_the_budget_buys_the_best_or_nothing(table, price):
    accuracy, _ = table
    cost = np.full_like(accuracy, price)
    assert solve(accuracy, cost, price).actions.tolist() == accuracy.argmax(axis=1).tolist()
    with pytest.raises(InfeasibleBudget):
        solve(accuracy, cost, price - 0.125)


@law
@given(whole(st.tuples(st.sampled_from([1, 2, 4, 8]), st.just(1))))
def test_one_strategy_leaves_no_choice(table):
    accuracy, cost = table
    allocation = solve(accuracy, cost, cost.mean())
    assert (allocation.lam, allocation.accuracy, allocation.spend) == (0, accuracy.mean(), cost.mean())


@law
@given(whole(st.tuples(st.just(1), st.integers(1, 6))), shares)
def test_one_task_mixes_two_corners_of_its_hull(table, share):
    problem = *table, budget_at(table[1], share)
    assert solve(*problem).dual_bound == pytest.approx(float(rational_bound(*problem)), abs=1e-15)


@law
@given(tables, shares, st.data())
def test_the_order_of_strategies_changes_no_figure(table, share, data):
    accuracy, cost = table
    order = data.draw(st.permutations(range(cost.shape[1])))
    budget = budget_at(cost, share)
    plain, turned = solve(accuracy, cost, budget), solve(accuracy[:, order], cost[:, order], budget)
    assert (turned.lam, turned.spend, turned.accuracy, turned.dual_bound) == (
        plain.lam,
        plain.spend,
        plain.accuracy,
        plain.dual_bound,
    )


# --- mapped from a file


@pytest.mark.parametrize("is_whole", [True, False])
@pytest.mark.parametrize("share", [0.1, 0.6])
def test_a_mapped_table_gives_the_same_answer_to_the_last_bit(tmp_path, is_whole, share):
    rng = np.random.default_rng(1)
    shape = 12_000, 4
    table = (
        (rng.integers(0, 9, shape) / 8, rng.integers(0, 9, shape).astype(float))
        if is_whole
        else (rng.random(shape), rng.lognormal(3, 1.5, shape))
    )
    for name, values in zip(("accuracy", "cost"), table, strict=True):
        values.tofile(tmp_path / name)
    mapped = [np.memmap(tmp_path / name, np.float64, "r", shape=shape) for name in ("accuracy", "cost")]
    budget = budget_at(table[1], share)
    assert outcome(solve(*mapped, budget)) == outcome(solve(*table, budget))
