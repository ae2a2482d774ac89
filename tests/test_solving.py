"""What a log says that budgets can buy: solved on a completed table, with what a policy reaches told beside it."""

import numpy as np
import pytest
from world import EXPECTED, MENU, serve, tasks

from budget_router import Budget, BudgetRouter, MemoryLedger, frontier, solve
from budget_router.errors import NotEnoughEvidence

BUDGET = Budget(per_task=70, unit="completion_tokens")
N_TASKS = 150


@pytest.fixture(scope="module")
def ledger():
    ledger = MemoryLedger()
    serve(BudgetRouter(MENU, BUDGET, ledger=ledger, seed=1), tasks(N_TASKS, seed=1), seed=1)
    return ledger


@pytest.fixture(scope="module")
def traced(ledger):
    return frontier(ledger, menu=MENU, unit="completion_tokens")


def test_a_solve_spends_the_budget_within_one_task_and_proves_it(ledger, traced):
    solved = solve(ledger, menu=MENU, budget=BUDGET)

    allocation = solved.allocation
    assert 0 <= BUDGET.per_task - allocation.spend <= 300 / N_TASKS  # no bill is dearer, so no upgrade is
    assert allocation.duality_gap == pytest.approx(allocation.lam * (BUDGET.per_task - allocation.spend))
    assert sum(solved.shares.values()) == pytest.approx(1)
    assert traced.frontier.at(BUDGET.per_task).accuracy == pytest.approx(allocation.dual_bound)


def test_points_run_from_the_cheapest_to_the_dearest_and_buy_ever_more(traced):
    spend, accuracy, lam = (
        np.array([getattr(one, name) for one in traced.points]) for name in ("spend", "accuracy", "shadow_price")
    )
    assert len(traced.points) == 9
    assert (np.diff(spend) > 0).all()
    assert (np.diff(accuracy) >= 0).all()
    assert (np.diff(lam) <= 0).all()


def test_strategies_that_every_task_gets_stand_beside_the_frontier_and_not_above_it(traced):
    for one, right in zip(traced.ground.fixed, np.mean(list(EXPECTED.values()), axis=0), strict=True):
        assert one.accuracy <= traced.frontier.at(one.cost).accuracy + 1e-9
        assert abs(one.accuracy - right) < 4 * 0.5 / np.sqrt(one.n_graded)
    assert (traced.ground.n_decisions, traced.ground.n_tasks) == (N_TASKS, N_TASKS)


def test_what_a_policy_reaches_held_out_carries_its_interval(traced):
    middle = traced.points[4]
    assert middle.held_out.low < middle.held_out.value < middle.held_out.high
    frame = traced.frame()
    assert frame.held_out_low[4] == middle.held_out.low
    assert frame.strategy.dropna().tolist() == list(MENU.names)


def test_a_log_without_grades_is_refused():
    with pytest.raises(NotEnoughEvidence):
        frontier(MemoryLedger(), menu=MENU, unit="tokens")
