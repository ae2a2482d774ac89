"""The benchmark of the solve: its judges are right, and it measures what it says."""

import json
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest

from benchmarks import exactness, mapped
from benchmarks import solve as benchmark
from benchmarks.linear_program import relaxed, whole
from budget_router.allocation import solve

TABLE = np.array([[0.0, 0.5, 1.0], [0.25, 0.25, 0.5]]), np.array([[0.0, 1.0, 4.0], [1.0, 1.0, 2.0]])


def test_the_rational_bound_is_the_optimum_by_hand():
    assert exactness.rational_bound(*TABLE, 1.0) == Fraction(3, 8)  # half a point for one unit of cost, two units in all
    assert exactness.rational_bound(*TABLE, 1.5) == Fraction(1, 2)  # and a quarter for the next


@pytest.mark.parametrize("kind", exactness.KINDS)
def test_solves_are_exact_on_every_kind_of_whole_problem(kind):
    rng = np.random.default_rng(7)
    for _ in range(5):
        problem = exactness.whole_problem(kind, rng)
        assert exactness.rational_value(problem, solve(*problem)) == exactness.rational_bound(*problem)


def test_an_allocation_that_is_not_the_best_is_not_called_exact():
    problem = (*TABLE, 1.0)
    allocation = solve(*problem)
    worse, dearer = (replace(allocation, actions=np.array(actions), split=None) for actions in ([0, 0], [2, 0]))
    assert exactness.rational_value(problem, worse) < exactness.rational_bound(*problem)
    assert exactness.rational_value(problem, dearer) is None


def test_the_integer_program_reaches_no_more_than_its_relaxation():
    accuracy, cost = TABLE
    budgets = np.array([1.0])
    assert whole(accuracy, cost[None], budgets, time_limit=5) <= relaxed(accuracy, cost[None], budgets) == pytest.approx(0.375)
    assert relaxed(accuracy, cost[None], np.array([0.1])) is None


def test_a_mapped_table_is_solved_in_a_process_of_its_own():
    found = mapped.measured(3_000)
    assert found["spend"] <= mapped.BUDGET
    assert 0 < found["peak_anonymous_mb"] < 1_000


def test_the_benchmark_prints_every_method_and_draws_those_that_ended(capsys, monkeypatch, tmp_path):
    monkeypatch.setattr(benchmark, "SIZES", (200, 400))
    arguments = ["--json", "--problems", "10", "--limit", "1e-9", "--picture", str(tmp_path / "solve.svg")]
    monkeypatch.setattr("sys.argv", ["solve", *arguments])
    benchmark.main()
    found = json.loads(capsys.readouterr().out)
    assert found["exact"]["n_exact"] == 10
    assert {(row["method"], row["n_tasks"]) for row in found["rivals"] if row["note"]} >= {("HiGHS LP", 400), ("HiGHS MILP", 400)}
    assert found["several"]["from_highs"] < 1e-9
    assert found["several"]["n_over_budget"] == 0
    drawn = (tmp_path / "solve.svg").read_text()
    assert all(name in drawn for name in ("solve", "bisection", "HiGHS LP"))
