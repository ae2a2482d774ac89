"""One answer, however a table is kept: cut into chunks, mapped from a file, in float32, weighted, or on many workers."""

from dataclasses import replace
from fractions import Fraction
from functools import reduce
from operator import add

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from budget_router.allocation import ArrayTable, Chunk, frontier, solve, solve_table
from budget_router.errors import InfeasibleBudget, InvalidTable

law = settings(derandomize=True, deadline=None, max_examples=40)


class CutTable(ArrayTable):
    """Chunks of given lengths, handed out and added up in any order."""

    def __init__(self, accuracy, cost, weights=None, *, cuts, rng):
        super().__init__(accuracy, cost, weights)
        self.edges = [0, *sorted({cut for cut in cuts if 0 < cut < self.n_tasks}), self.n_tasks]
        self.rng = rng

    def map_sum(self, function):
        whole = Chunk(0, self.accuracy, self.cost, self.weights)
        chunks = [whole.rows(slice(low, high)) for low, high in zip(self.edges, self.edges[1:], strict=False)]
        self.rng.shuffle(chunks)
        return reduce(add, map(function, chunks))


def whole_numbers(rng, n_tasks, n_strategies=5, *, levels=9, most=9):
    """Accuracies in eighths and whole costs; few levels of both make many ties."""
    levels = min(levels, 9)
    return rng.integers(0, levels, (n_tasks, n_strategies)) / 8, rng.integers(0, most, (n_tasks, n_strategies)).astype(float)


def reals(rng, n_tasks, n_strategies=6):
    return rng.random((n_tasks, n_strategies)), rng.lognormal(3, 1.5, (n_tasks, n_strategies))


def budget_at(cost, share):
    return float((1 - share) * cost.min(axis=1).mean() + share * cost.max(axis=1).mean())


def everything(allocation):
    return {**vars(allocation), "actions": allocation.actions.tolist(), "n_passes": None}


def mixed(allocation, accuracy, cost, budget, weights=None):
    """Exact accuracy of the mixed allocation: whole actions, and the split task's upgrade by what the budget leaves."""
    weights = np.ones(len(cost)) if weights is None else weights
    rows = np.arange(len(cost))
    total = Fraction(weights.sum())
    spend = Fraction((weights * cost[rows, allocation.actions]).sum())
    reached = Fraction((weights * accuracy[rows, allocation.actions]).sum())
    if allocation.split is not None:
        task, action, old = allocation.split.task, allocation.split.action, allocation.actions[allocation.split.task]
        share = (budget * total - spend) / (Fraction(weights[task]) * (Fraction(cost[task, action]) - Fraction(cost[task, old])))
        assert 0 <= share <= 1
        reached += share * Fraction(weights[task]) * (Fraction(accuracy[task, action]) - Fraction(accuracy[task, old]))
    return reached / total


# --- the bracket


@pytest.mark.parametrize("share", [0.0, 0.003, 0.2, 0.5, 0.77, 0.999, 1.0, 1.2])
@pytest.mark.parametrize(
    "kind", ["reals", "whole", "right or wrong", "one price", "heavy", "sorted", "all alike", "one strategy"]
)
def test_a_solve_with_a_bracket_is_the_mixed_optimum_of_the_full_sort(kind, share):
    rng = np.random.default_rng(3)
    n_tasks = 9_000
    accuracy, cost = {
        "reals": lambda: reals(rng, n_tasks),
        "whole": lambda: whole_numbers(rng, n_tasks),
        "right or wrong": lambda: (rng.integers(0, 2, (n_tasks, 4)).astype(float), np.tile([1.0, 2.0, 4.0, 8.0], (n_tasks, 1))),
        "one price": lambda: (np.tile([0.0, 0.5, 1.0], (n_tasks, 1)), np.tile([1.0, 3.0, 5.0], (n_tasks, 1))),
        "heavy": lambda: (rng.random((n_tasks, 4)), rng.pareto(0.7, (n_tasks, 4)) + 1),
        "sorted": lambda: (np.sort(rng.random((n_tasks, 4)), axis=0), np.sort(rng.random((n_tasks, 4)), axis=0)),
        "all alike": lambda: (np.full((n_tasks, 3), 0.5), np.full((n_tasks, 3), 2.0)),
        "one strategy": lambda: (rng.random((n_tasks, 1)), rng.integers(0, 9, (n_tasks, 1)).astype(float)),
    }[kind]()
    budget = budget_at(cost, share)
    allocation = solve(accuracy, cost, budget)
    rows = np.arange(n_tasks)
    assert allocation.dual_bound == pytest.approx(frontier(accuracy, cost).at(budget).accuracy, abs=1e-12)
    assert allocation.spend <= budget
    assert allocation.spend == pytest.approx(cost[rows, allocation.actions].mean(), rel=1e-12)
    assert allocation.accuracy == pytest.approx(accuracy[rows, allocation.actions].mean(), abs=1e-12)
    if allocation.split is not None:
        task, dearer = allocation.split.task, allocation.split.action
        assert allocation.duality_gap <= (accuracy[task, dearer] - accuracy[task, allocation.actions[task]]) / n_tasks + 1e-15


def test_tasks_of_one_kind_that_a_sample_hardly_sees_cost_another_pass_and_no_exactness():
    rng = np.random.default_rng(4)
    accuracy, cost = reals(rng, 20_000, 4)
    cost[:3] *= 1e7
    budget = budget_at(cost, 0.4)
    allocation = solve(accuracy, cost, budget)
    assert allocation.dual_bound == pytest.approx(frontier(accuracy, cost).at(budget).accuracy, abs=1e-12)
    assert allocation.n_passes <= 7


def test_most_tables_are_read_once():
    rng = np.random.default_rng(5)
    solved = [solve(*table, budget_at(table[1], share)) for share in (0.1, 0.3, 0.7) for table in [reals(rng, 20_000)]]
    assert [allocation.n_passes for allocation in solved] == [1, 1, 1]


def test_what_every_strategy_of_a_task_costs_alike_blurs_no_difference():
    rng = np.random.default_rng(6)
    accuracy, cost = whole_numbers(rng, 6_000)
    budget = budget_at(cost, 0.3)
    far = solve(accuracy, cost + 2.0**40, budget + 2.0**40)
    assert far.actions.tolist() != oracle_far(accuracy, cost + 2.0**40, far.lam)
    assert far.lam == solve(accuracy, cost, budget).lam


def oracle_far(accuracy, cost, lam):
    """What a naive argmax makes of such costs."""
    return (accuracy - lam * cost).argmax(axis=1).tolist()


# --- chunks


@law
@given(st.integers(0, 10_000), st.floats(0, 1.1), st.lists(st.integers(1, 5_999), max_size=12), st.booleans())
def test_whole_numbers_give_the_same_answer_to_the_last_bit_however_they_are_cut(seed, share, cuts, is_weighted):
    rng = np.random.default_rng(seed)
    accuracy, cost = whole_numbers(rng, 6_000, levels=int(rng.integers(2, 10)), most=int(rng.integers(2, 10)))
    weights = rng.integers(0, 4, 6_000).astype(float) if is_weighted else None
    budget = float(budget_at(cost, share)) + 1.0
    plain = solve(accuracy, cost, budget, weights=weights)
    cut = solve_table(CutTable(accuracy, cost, weights, cuts=cuts, rng=rng), budget)
    assert everything(cut) == everything(plain)


@law
@given(st.integers(0, 10_000), st.floats(0, 1.1), st.lists(st.integers(1, 5_999), max_size=12))
def test_floats_give_the_same_answer_however_they_are_cut(seed, share, cuts):
    rng = np.random.default_rng(seed)
    accuracy, cost = reals(rng, 6_000)
    budget = budget_at(cost, share)
    plain = solve(accuracy, cost, budget)
    cut = solve_table(CutTable(accuracy, cost, cuts=cuts, rng=rng), budget)
    assert cut.actions.tolist() == plain.actions.tolist()
    assert cut.lam == plain.lam
    for field in ("spend", "accuracy", "dual_bound", "duality_gap"):
        assert getattr(cut, field) == pytest.approx(getattr(plain, field), rel=1e-12, abs=1e-12)


def test_a_table_mapped_from_float32_files_is_solved_as_the_same_numbers_in_memory(tmp_path):
    rng = np.random.default_rng(7)
    shape = 9_000, 5
    for name, values in zip(("accuracy", "cost"), reals(rng, *shape), strict=True):
        values.astype(np.float32).tofile(tmp_path / name)
    mapped = [np.memmap(tmp_path / name, np.float32, "r", shape=shape) for name in ("accuracy", "cost")]
    table = ArrayTable(*mapped)
    assert table.accuracy.dtype == table.cost.dtype == np.float32
    assert np.shares_memory(table.accuracy, mapped[0])
    wide = [matrix.astype(np.float64) for matrix in mapped]
    assert everything(solve(*mapped, 20.0)) == everything(solve(*wide, 20.0))


def test_a_fault_is_named_by_its_row_in_the_whole_table():
    rng = np.random.default_rng(8)
    accuracy, cost = reals(rng, 20_000)
    cost[17_001, 2] = -1
    with pytest.raises(InvalidTable, match=r"cost\[17001, 2\] is -1"):
        solve(accuracy, cost, 20.0)
    accuracy[:] = np.nan
    with pytest.raises(InvalidTable, match=r"accuracy\[0, 0\] is nan"):
        solve(accuracy, cost, 20.0)


def test_a_budget_below_the_cheapest_assignment_of_a_large_table_is_infeasible():
    accuracy, cost = reals(np.random.default_rng(9), 20_000)
    with pytest.raises(InfeasibleBudget, match="below the cheapest assignment"):
        solve(accuracy, cost, cost.min(axis=1).mean() * 0.99)


# --- weights


@law
@given(st.integers(0, 10_000), st.fractions(0, 1), st.sampled_from([3, 40, 4_000]))
def test_a_row_of_weight_w_is_w_rows(seed, share, n_tasks):
    rng = np.random.default_rng(seed)
    accuracy, cost = whole_numbers(rng, n_tasks)
    weights = rng.integers(1, 5, n_tasks)
    many = [np.repeat(matrix, weights, axis=0) for matrix in (accuracy, cost)]
    low, high = (Fraction(extreme.sum()) for extreme in (many[1].min(axis=1), many[1].max(axis=1)))
    budget = (low + share * (high - low)) / len(many[1])
    merged, apart = solve(accuracy, cost, float(budget), weights=weights), solve(*many, float(budget))
    assert merged.lam == apart.lam
    assert merged.status == apart.status
    assert merged.dual_bound == pytest.approx(apart.dual_bound, abs=1e-12)
    curve, long_curve = frontier(accuracy, cost, weights=weights), frontier(*many)
    assert curve.spend == pytest.approx(long_curve.spend, abs=1e-12)
    assert curve.accuracy == pytest.approx(long_curve.accuracy, abs=1e-12)
    if Fraction(float(budget)) == budget:
        assert mixed(merged, accuracy, cost, budget, weights) == mixed(apart, *many, budget)


def test_a_row_of_weight_nought_changes_nothing():
    accuracy, cost = whole_numbers(np.random.default_rng(10), 50)
    weights = np.append(np.ones(49), 0.0)
    kept, without = solve(accuracy, cost, 3.0, weights=weights), solve(accuracy[:49], cost[:49], 3.0)
    assert everything(replace(kept, actions=kept.actions[:49])) == everything(without)


@pytest.mark.parametrize(
    ("weights", "fault"),
    [
        ([1.0], r"weights has shape \(1,\): it must be \(2,\), one per task"),
        ([1.0, np.nan], r"weights\[1\] is nan"),
        ([1.0, -2.0], r"weights\[1\] is -2 .* must not be negative"),
        ([0.0, 0.0], "weights are all 0"),
    ],
)
def test_weights_that_weigh_nothing_are_refused(weights, fault):
    table = [[0.1, 0.9], [0.2, 0.8]], [1.0, 2.0]
    for run in (lambda: solve(*table, 2.0, weights=weights), lambda: frontier(*table, weights=weights)):
        with pytest.raises(InvalidTable, match=fault):
            run()


# --- many workers


@pytest.fixture(scope="module")
def client():
    distributed = pytest.importorskip("dask.distributed", reason="the dask extra is not installed")
    settings = {"n_workers": 2, "threads_per_worker": 1, "processes": False, "dashboard_address": ":0"}
    with distributed.LocalCluster(**settings) as cluster, distributed.Client(cluster) as client:
        yield client


@pytest.mark.parametrize("is_weighted", [False, True])
def test_workers_find_the_same_answer_to_the_last_bit(client, is_weighted):
    from dask import array as da

    from budget_router.allocation.on_dask import DaskTable

    rng = np.random.default_rng(11)
    accuracy, cost = whole_numbers(rng, 20_000)
    weights = rng.integers(1, 4, 20_000).astype(float) if is_weighted else None
    table = DaskTable(da.from_array(accuracy, chunks=(3_000, 2)), da.from_array(cost, chunks=(7_000, 5)), weights)
    assert everything(solve_table(table, 3.0)) == everything(solve(accuracy, cost, 3.0, weights=weights))


def test_workers_find_the_same_answer_on_floats(client):
    from dask import array as da

    from budget_router.allocation.on_dask import DaskTable

    accuracy, cost = reals(np.random.default_rng(12), 20_000)
    cut, plain = solve_table(DaskTable(da.from_array(accuracy, chunks=(999, 6)), cost), 20.0), solve(accuracy, cost, 20.0)
    assert cut.actions.tolist() == plain.actions.tolist()
    assert [cut.lam, cut.dual_bound, cut.spend] == pytest.approx([plain.lam, plain.dual_bound, plain.spend], rel=1e-12)


def test_a_fault_on_a_worker_is_named_by_its_row(client):
    from dask import array as da

    from budget_router.allocation.on_dask import DaskTable

    accuracy, cost = reals(np.random.default_rng(13), 4_000)
    accuracy[3_500, 1] = 1.5
    with pytest.raises(InvalidTable, match=r"accuracy\[3500, 1\] is 1.5"):
        solve_table(DaskTable(da.from_array(accuracy, chunks=(1_000, 6)), cost), 20.0)


@pytest.mark.parametrize(
    ("cost", "weights", "fault"),
    [(np.ones((3, 2)), None, "cost has shape"), (np.ones(2), np.ones(3), "weights has shape")],
)
def test_shapes_that_do_not_match_are_refused_before_any_work(cost, weights, fault):
    pytest.importorskip("dask.array", reason="the dask extra is not installed")
    from budget_router.allocation.on_dask import DaskTable

    with pytest.raises(InvalidTable, match=fault):
        DaskTable(np.ones((4, 2)), cost, weights)
