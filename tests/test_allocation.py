"""The laws of the solve, on whole numbers where the arithmetic is exact and on floats where it is not."""

from fractions import Fraction
from itertools import combinations_with_replacement, pairwise, product

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.optimize import linprog

from budget_router.allocation import cheapest_argmax, frontier, oracle_actions, solve, trace
from budget_router.allocation.upgrades import upgrades
from budget_router.errors import InfeasibleBudget, InvalidTable

law = settings(derandomize=True, deadline=None)
few = settings(derandomize=True, deadline=None, max_examples=40)

EIGHTHS = 8
"""Whole accuracies in eighths and whole costs: sums, differences and products with a whole λ are exact in float64."""


def tables(max_tasks=6, max_strategies=5):
    shapes = st.tuples(st.integers(1, max_tasks), st.integers(1, max_strategies))
    return shapes.flatmap(
        lambda shape: st.tuples(
            arrays(np.int64, shape, elements=st.integers(0, EIGHTHS)).map(lambda whole: whole / EIGHTHS),
            arrays(np.int64, shape, elements=st.integers(0, 8)).map(lambda whole: whole.astype(float)),
        )
    )


float_tables = st.tuples(st.integers(1, 8), st.integers(1, 5)).flatmap(
    lambda shape: st.tuples(arrays(float, shape, elements=st.floats(0, 1)), arrays(float, shape, elements=st.floats(0, 1e6)))
)
lams = st.integers(0, 8).map(float)
shares = st.fractions(0, 1)


def mean_spend(accuracy, cost, lam):
    actions = oracle_actions(accuracy, cost, lam)
    return cost[np.arange(len(cost)), actions].mean()


def budget_between(cost, share, reach=1.2):
    """From the cheapest assignment to somewhat above the dearest one."""
    low, high = cost.min(axis=1).sum(), cost.max(axis=1).sum()
    return float(low + float(share) * reach * (high - low)) / len(cost)


def best_mixture(accuracy, cost, budget):
    """Optimum of the linear relaxation: the best mixture of two whole assignments, by trying all, in exact arithmetic."""
    n_tasks, n_strategies = accuracy.shape
    points = {}
    for actions in product(range(n_strategies), repeat=n_tasks):
        spend = sum(Fraction(cost[row, action]) for row, action in enumerate(actions)) / n_tasks
        reached = sum(Fraction(accuracy[row, action]) for row, action in enumerate(actions)) / n_tasks
        points[spend] = max(reached, points.get(spend, reached))
    best = Fraction(-1)
    for (low, worse), (high, better) in combinations_with_replacement(sorted(points.items()), 2):
        if high <= budget:
            best = max(best, worse, better)
        elif low <= budget:
            best = max(best, worse + (better - worse) * (budget - low) / (high - low))
    return best


# --- the price


@law
@given(tables(), lams, st.integers(1, 8))
def test_spend_never_rises_with_the_shadow_price(table, lam, step):
    assert mean_spend(*table, lam + step) <= mean_spend(*table, lam)


@law
@given(tables(), lams)
def test_ties_go_to_the_lowest_cost_then_to_the_lowest_column(table, lam):
    accuracy, cost = table
    actions = oracle_actions(accuracy, cost, lam)
    for row, action in enumerate(actions):
        value = accuracy[row] - lam * cost[row]
        assert action == min(np.flatnonzero(value == value.max()), key=lambda column: (cost[row, column], column))


def test_of_strategies_that_are_equal_in_all_the_first_is_taken():
    assert cheapest_argmax(np.ones((2, 3)), np.ones((2, 3))).tolist() == [0, 0]


# --- the solve


@law
@given(tables(), shares)
def test_a_solution_is_feasible_and_its_price_is_not_negative(table, share):
    accuracy, cost = table
    budget = budget_between(cost, share)
    allocation = solve(accuracy, cost, budget)
    rows = np.arange(len(cost))
    assert cost[rows, allocation.actions].sum() <= len(cost) * budget * (1 + 1e-12)
    assert allocation.spend == pytest.approx(cost[rows, allocation.actions].mean(), abs=1e-12)
    assert allocation.accuracy == accuracy[rows, allocation.actions].sum() / len(cost)
    assert allocation.spend <= budget
    assert allocation.lam >= 0


@law
@given(tables() | float_tables, shares)
def test_price_times_what_is_left_equals_the_duality_gap(table, share):
    accuracy, cost = table
    budget = budget_between(cost, share)
    allocation = solve(accuracy, cost, budget)
    assert allocation.lam * (budget - allocation.spend) == pytest.approx(allocation.duality_gap, abs=1e-12)
    assert allocation.duality_gap >= 0
    assert allocation.dual_bound - allocation.accuracy == pytest.approx(allocation.duality_gap, abs=1e-12)


@law
@given(tables(), shares, lams)
def test_no_feasible_assignment_beats_the_dual_bound_of_any_price(table, share, lam):
    accuracy, cost = table
    budget = budget_between(cost, share)
    dual = (accuracy - lam * cost).max(axis=1).mean() + lam * budget
    assert solve(accuracy, cost, budget).accuracy <= dual + 1e-12
    assert solve(accuracy, cost, budget).dual_bound <= dual + 1e-12


@few
@given(tables(max_tasks=4, max_strategies=3), shares)
def test_the_dual_bound_is_the_exact_optimum_of_the_linear_relaxation(table, share):
    accuracy, cost = table
    low, high = (Fraction(total) for total in (cost.min(axis=1).sum(), cost.max(axis=1).sum()))
    budget = (low + share * (high - low)) / len(cost)
    assert solve(accuracy, cost, float(budget)).dual_bound == pytest.approx(
        float(best_mixture(accuracy, cost, budget)), abs=1e-12
    )


@pytest.mark.parametrize("seed", range(15))
def test_the_dual_bound_is_what_a_linear_program_finds(seed):
    rng = np.random.default_rng(seed)
    n_tasks, n_strategies = int(rng.integers(1, 60)), int(rng.integers(1, 7))
    accuracy = rng.random((n_tasks, n_strategies))
    cost = rng.lognormal(3, 1.5, (n_tasks, n_strategies))
    budget = budget_between(cost, rng.random())
    one_each = np.kron(np.eye(n_tasks), np.ones(n_strategies))
    program = linprog(
        -accuracy.ravel() / n_tasks,
        A_ub=cost.reshape(1, -1) / n_tasks,
        b_ub=[budget],
        A_eq=one_each,
        b_eq=np.ones(n_tasks),
        method="highs",
        options={"dual_feasibility_tolerance": 1e-10, "primal_feasibility_tolerance": 1e-10},
    )
    assert solve(accuracy, cost, budget).dual_bound == pytest.approx(-program.fun, abs=1e-9)


@law
@given(tables(), shares)
def test_mixing_the_split_task_meets_the_budget_and_the_bound(table, share):
    accuracy, cost = table
    budget = budget_between(cost, share)
    allocation = solve(accuracy, cost, budget)
    if allocation.split is None:
        assert allocation.duality_gap == pytest.approx(0, abs=1e-12)
        return
    task, dearer, part = allocation.split.task, allocation.split.action, allocation.split.share
    plainer = allocation.actions[task]
    assert 0 < part <= 1
    assert allocation.status == "binding"
    spend = allocation.spend + part * (cost[task, dearer] - cost[task, plainer]) / len(cost)
    reached = allocation.accuracy + part * (accuracy[task, dearer] - accuracy[task, plainer]) / len(cost)
    assert spend == pytest.approx(budget, abs=1e-12)
    assert reached == pytest.approx(allocation.dual_bound, abs=1e-12)


@law
@given(tables(), shares)
def test_the_gap_is_at_most_the_split_tasks_upgrade_over_the_number_of_tasks(table, share):
    accuracy, cost = table
    allocation = solve(accuracy, cost, budget_between(cost, share))
    if allocation.split is not None:
        task = allocation.split.task
        upgrade = accuracy[task, allocation.split.action] - accuracy[task, allocation.actions[task]]
        assert allocation.duality_gap <= upgrade / len(cost) + 1e-12


@law
@given(tables(), shares, st.sampled_from([0.25, 0.5, 2.0, 1024.0]))
def test_scaling_all_costs_divides_the_price_by_the_scale(table, share, scale):
    accuracy, cost = table
    budget = budget_between(cost, share)
    plain, scaled = solve(accuracy, cost, budget), solve(accuracy, scale * cost, scale * budget)
    assert scaled.lam == plain.lam / scale
    assert scaled.actions.tolist() == plain.actions.tolist()
    assert (scaled.dual_bound, scaled.status) == (plain.dual_bound, plain.status)


@law
@given(tables(), shares, st.randoms(use_true_random=False))
def test_shuffling_tasks_changes_nothing(table, share, random):
    accuracy, cost = table
    budget = budget_between(cost, share)
    order = random.sample(range(len(cost)), len(cost))
    plain, shuffled = solve(accuracy, cost, budget), solve(accuracy[order], cost[order], budget)
    assert shuffled.lam == plain.lam
    assert shuffled.dual_bound == pytest.approx(plain.dual_bound, abs=1e-12)
    assert shuffled.status == plain.status


def test_a_task_of_another_place_gets_the_same_strategy():
    rng = np.random.default_rng(5)
    accuracy, cost = rng.random((200, 4)), rng.random((200, 4))
    order = rng.permutation(200)
    plain, shuffled = solve(accuracy, cost, 0.3), solve(accuracy[order], cost[order], 0.3)
    assert shuffled.actions.tolist() == plain.actions[order].tolist()


@law
@given(tables())
def test_the_budget_of_the_cheapest_assignment_buys_it_at_its_best(table):
    accuracy, cost = table
    allocation = solve(accuracy, cost, cost.min(axis=1).mean())
    for row, action in enumerate(allocation.actions):
        assert cost[row, action] == cost[row].min()
        assert accuracy[row, action] == accuracy[row, cost[row] == cost[row].min()].max()


@law
@given(float_tables)
def test_a_budget_computed_as_the_mean_of_an_assignment_is_feasible(table):
    accuracy, cost = table
    assert solve(accuracy, cost, cost.min(axis=1).mean()).spend <= cost.min(axis=1).mean()
    assert solve(accuracy, cost, np.float64(cost.max(axis=1).mean())).status == "slack"


@law
@given(tables())
def test_a_budget_below_the_cheapest_assignment_is_infeasible(table):
    accuracy, cost = table
    cheapest = cost.min(axis=1).mean()
    with pytest.raises(InfeasibleBudget, match=f"below the cheapest assignment, {cheapest:g} per task: raise the budget"):
        solve(accuracy, cost, cheapest - 0.001)


@law
@given(tables())
def test_a_budget_that_buys_everything_has_no_price(table):
    accuracy, cost = table
    allocation = solve(accuracy, cost, cost.max() + 1)
    assert (allocation.lam, allocation.duality_gap, allocation.status, allocation.split) == (0, 0, "slack", None)
    assert allocation.accuracy == accuracy.max(axis=1).mean()
    assert allocation.actions.tolist() == oracle_actions(accuracy, cost, 0.0).tolist()


@law
@given(tables(), shares)
def test_all_but_the_split_task_take_an_oracle_action_at_the_price(table, share):
    accuracy, cost = table
    allocation = solve(accuracy, cost, budget_between(cost, share))
    value = accuracy - allocation.lam * cost
    taken = value[np.arange(len(value)), allocation.actions]
    assert taken == pytest.approx(value.max(axis=1), abs=1e-12)


@pytest.mark.parametrize(
    ("accuracy", "cost", "budget", "actions", "lam"),
    [
        ([[0.5]], [[2.0]], 2.0, [0], 0.0),  # one task, one strategy
        ([[0.5, 0.5]], [[1.0, 2.0]], 9.0, [0], 0.0),  # no gain: the cheaper one
        ([[0.9, 0.5]], [[1.0, 2.0]], 9.0, [0], 0.0),  # a negative gain
        ([[0.5, 0.9]], [[2.0, 2.0]], 2.0, [1], 0.0),  # equal costs: the better one
        ([[0.5, 0.5, 0.5]], [[2.0, 2.0, 2.0]], 2.0, [0], 0.0),  # equal in all: the first
        ([[0.1, 0.9]], [[0.0, 0.0]], 0.0, [1], 0.0),  # both free: the better one, on no budget
        ([[0.1, 0.9]], [[0.0, 4.0]], 0.0, [0], 0.2),  # a free one on no budget
        ([[0.2, 0.1, 0.8]], [[1.0, 2.0, 3.0]], 3.0, [2], 0.0),  # the second is dominated
        ([[0.0, 0.1, 1.0]], [[0.0, 1.0, 2.0]], 1.0, [0], 0.5),  # the second lies below the hull
        ([[0.9, 0.1]], [[5.0, 1.0]], 3.0, [1], 0.2),  # dear to cheap: the order of columns does not matter
    ],
)
def test_odd_menus_are_solved_as_told(accuracy, cost, budget, actions, lam):
    allocation = solve(accuracy, cost, budget)
    assert allocation.actions.tolist() == actions
    assert allocation.lam == pytest.approx(lam, rel=1e-12)


def test_one_cost_per_strategy_stands_for_every_task():
    accuracy = [[0.1, 0.9], [0.5, 0.6], [0.4, 0.8]]
    assert solve(accuracy, [1, 3], 2).actions.tolist() == solve(accuracy, [[1, 3]] * 3, 2).actions.tolist() == [1, 0, 0]


def test_next_to_free_upgrades_have_a_price_that_is_a_number():
    allocation = solve([[0.0, 1.0]], [[0.0, 5e-324]], 0.0)
    assert np.isfinite([allocation.lam, allocation.dual_bound, allocation.duality_gap]).all()
    assert allocation.actions.tolist() == [0]


def test_a_step_too_cheap_to_be_seen_beside_the_sum_is_no_corner():
    curve = frontier([[0.2, 0.9, 0.95], [0.5, 0.5, 0.5]], [[0.0, 1e-20, 1.0], [1e6, 1e6, 1e6]])
    assert (np.diff(curve.spend) > 0).all()
    assert curve.accuracy[0] == pytest.approx(0.7)


def test_inputs_are_not_changed():
    accuracy, cost = np.array([[0.1, 0.9], [0.2, 0.3]]), np.array([[1.0, 2.0], [1.0, 2.0]])
    before = accuracy.copy(), cost.copy()
    solve(accuracy, cost, 1.5)
    frontier(accuracy, cost)
    assert (accuracy == before[0]).all()
    assert (cost == before[1]).all()


# --- the frontier


@law
@given(tables() | float_tables)
def test_the_frontier_rises_and_is_concave(table):
    curve = frontier(*table)
    assert (np.diff(curve.spend) > 0).all()
    assert (np.diff(curve.accuracy) >= 0).all()
    assert (curve.shadow_price > 0).all()
    assert all(steeper >= flatter for steeper, flatter in pairwise(curve.shadow_price))
    assert len(curve.shadow_price) == len(curve.spend) - 1


@law
@given(tables(), shares)
def test_at_any_budget_the_frontier_is_the_mixed_optimum(table, share):
    accuracy, cost = table
    budget = budget_between(cost, share)
    allocation, point = solve(accuracy, cost, budget), frontier(accuracy, cost).at(budget)
    assert point.accuracy == pytest.approx(allocation.dual_bound, abs=1e-12)
    assert point.spend <= budget


@law
@given(tables(), shares)
def test_what_an_accuracy_costs_buys_that_accuracy(table, share):
    curve = frontier(*table)
    accuracy = curve.accuracy[0] + float(share) * (curve.accuracy[-1] - curve.accuracy[0])
    assume(accuracy <= curve.accuracy[-1])
    assert curve.at(curve.budget_for(accuracy)).accuracy == pytest.approx(accuracy, abs=1e-12)


@law
@given(tables(), shares)
def test_the_frontiers_price_with_its_ties_split_spends_the_budget(table, share):
    accuracy, cost = table
    curve = frontier(accuracy, cost)
    budget = curve.spend[0] + float(share) * (curve.spend[-1] - curve.spend[0])
    lam, tie_share = curve.price(budget)
    value = accuracy - lam * cost
    tied = value >= value.max(axis=1, keepdims=True) - 1e-9
    cheap, dear = np.where(tied, cost, np.inf).min(axis=1), np.where(tied, cost, -np.inf).max(axis=1)
    if lam > 0:
        assert (cheap * (1 - tie_share) + dear * tie_share).mean() == pytest.approx(budget, abs=1e-9)


def test_where_compute_is_free_a_dearer_strategy_that_gains_nothing_is_not_taken():
    assert frontier([[0.5, 0.9, 0.9]], [[1.0, 2.0, 3.0]]).price(10) == (0.0, 0.0)


def test_a_curve_of_one_point_has_a_price_at_every_budget():
    curve = frontier([[0.5]], [[2.0]])
    assert curve.price(1) == curve.price(2) == curve.price(3) == (0.0, 0.0)
    assert curve.at(2) == (2.0, 0.5, 0.0)


def test_below_the_cheapest_corner_the_price_is_the_first_slope():
    assert frontier([[0.5, 0.9]], [[1.0, 5.0]]).price(0.5) == pytest.approx((0.1, 0.0))


def test_what_lies_outside_the_frontier_is_refused():
    curve = frontier([[0.5, 0.9]], [[1.0, 5.0]])
    for budget in (0.9, float("nan")):
        with pytest.raises(InfeasibleBudget, match="below the cheapest assignment, 1 per task"):
            curve.at(budget)
    for accuracy in (0.91, float("nan")):
        with pytest.raises(InfeasibleBudget, match=r"above the best within reach, 0\.9: add a stronger strategy"):
            curve.budget_for(accuracy)
    assert curve.at(100) == (5.0, 0.9, 0.0)
    assert curve.budget_for(0.1) == 1.0


def test_the_frontier_of_scores_need_not_lie_between_zero_and_one():
    curve = trace(np.array([[-7.0, 3.0]]), np.array([[1.0, 2.0]]))
    assert (curve.accuracy.tolist(), curve.shadow_price.tolist()) == ([-7.0, 3.0], [10.0])


@law
@given(float_tables)
def test_upgrades_of_a_task_come_in_the_order_they_build_on_each_other(table):
    steps = upgrades(*table)
    corner = steps.start.copy()
    for task, action, gain in zip(steps.task, steps.action, steps.accuracy, strict=True):
        assert table[0][task, action] - table[0][task, corner[task]] == gain
        corner[task] = action


# --- the border


@pytest.mark.parametrize(
    ("accuracy", "cost", "fault"),
    [
        ([[0.5, np.nan]], [[1, 2]], r"accuracy\[0, 1\] is nan \(1 such cells\): it must be finite"),
        ([[0.5, np.inf]], [[1, 2]], r"accuracy\[0, 1\] is inf"),
        ([[0.5, 1.1]], [[1, 2]], r"accuracy\[0, 1\] is 1.1 .* must lie in \[0, 1\]"),
        ([[-0.1, 0.5]], [[1, 2]], r"accuracy\[0, 0\] is -0.1"),
        ([[0.5, 0.5], [0.5, 0.5]], [[1, 2], [1, -2]], r"cost\[1, 1\] is -2 .* must not be negative"),
        ([[0.5, 0.5]], [1, np.nan], r"cost\[1\] is nan"),
        ([[0.5, 0.5]], [[1, 2, 3]], r"cost has shape \(1, 3\), accuracy \(1, 2\): they must be equal"),
        ([0.5, 0.5], [1, 2], r"accuracy has shape \(2,\): it must be \(n_tasks, n_strategies\)"),
        ([], [], "accuracy has shape"),
        ([[]], [[]], "both at least 1"),
        ([["good"]], [[1]], "accuracy is not a table of numbers"),
        ([[0.5], [0.5, 0.5]], [[1, 2]], "accuracy is not a table of numbers"),
        ([[0.5]], [[None]], r"cost(\[0, 0\] is nan| is not a table)"),
    ],
)
def test_a_table_that_cannot_be_solved_is_refused_by_its_cell(accuracy, cost, fault):
    with pytest.raises(InvalidTable, match=fault):
        solve(accuracy, cost, 1)
    with pytest.raises(InvalidTable, match=fault):
        frontier(accuracy, cost)


@pytest.mark.parametrize("budget", [np.nan, np.inf, -np.inf])
def test_a_budget_that_is_no_number_is_refused(budget):
    with pytest.raises(InvalidTable, match="give a finite mean cost per task"):
        solve([[0.5]], [[1]], budget)


def test_a_frontier_shows_itself_as_a_frame_and_as_a_figure():
    curve = frontier([[0.5, 0.9], [0.8, 0.9]], [[1.0, 5.0], [1.0, 5.0]])

    frame, figure = curve.frame(), curve.plot()

    assert frame.iloc[:, 0].tolist() == curve.spend.tolist()
    assert figure.axes[0].lines


def test_an_allocation_shows_what_share_of_the_tasks_got_which_strategy():
    allocation = solve([[0.5, 0.9], [0.8, 0.9]], [[1.0, 5.0], [1.0, 5.0]], budget=3.0)

    frame, figure = allocation.frame(), allocation.plot(strategies=["quick", "long"])

    assert frame.to_dict("list") == {"action": [0, 1], "n_tasks": [1, 1], "share": [0.5, 0.5]}
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["quick", "long"]
