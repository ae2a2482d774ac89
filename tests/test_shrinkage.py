"""Estimates are shrunk so that a solve buys accuracy and not luck."""

import numpy as np
import pytest

from benchmarks.uncertainty import RULES, graded, run
from benchmarks.world import drawn
from budget_router.allocation import shrink
from budget_router.errors import InvalidTable


def estimates(seed=0, n_tasks=400, n_samples=4):
    rng = np.random.default_rng(seed)
    truth, _ = drawn(rng, n_tasks, 4)
    return truth, *graded(truth, n_samples, rng)


def test_cells_that_are_known_are_not_moved():
    _, estimate, error = estimates()
    assert shrink(estimate, np.zeros_like(error)) == pytest.approx(estimate, abs=1e-5)


def test_cells_that_tell_nothing_become_their_strategys_mean():
    _, estimate, error = estimates()
    told = shrink(estimate, np.full_like(error, 1e3))
    assert told == pytest.approx(np.tile(estimate.mean(axis=0), (len(estimate), 1)), abs=1e-3)


def test_shrinking_comes_closer_to_the_truth():
    truth, estimate, error = estimates()
    assert np.square(shrink(estimate, error) - truth).mean() < 0.6 * np.square(estimate - truth).mean()


def test_what_one_strategy_tells_of_a_task_informs_its_other_cells():
    _, estimate, error = estimates()
    error[0], estimate[0] = [1e-3, 10, 10, 10], [1.0, 0.5, 0.5, 0.5]
    told = shrink(estimate, error)
    assert (told[0, 1:] > estimate.mean(axis=0)[1:] + 0.05).all()


def test_the_order_of_tasks_and_strategies_does_not_matter():
    _, estimate, error = estimates()
    rows, columns = np.random.default_rng(1).permutation(len(estimate)), [2, 0, 3, 1]
    mixed = shrink(estimate[rows][:, columns], error[rows][:, columns])
    assert mixed == pytest.approx(shrink(estimate, error)[rows][:, columns], abs=1e-9)


def test_one_task_and_tasks_that_are_all_alike_stay_as_they_are():
    assert shrink([[0.25, 0.5]], [[0.1, 0.1]]) == pytest.approx(np.array([[0.25, 0.5]]))
    assert shrink(np.full((9, 2), 0.5), np.full((9, 2), 0.1)) == pytest.approx(np.full((9, 2), 0.5))


def test_solving_shrunk_estimates_buys_the_most_and_keeps_its_promise():
    rows = [row for row in run(n_tasks=500, n_worlds=8) if row.n_samples == 4]
    ours = next(row for row in rows if row.rule == "shrunk together")
    assert ours.gain > 4 * ours.gain_error
    assert ours.accuracy == max(row.accuracy for row in rows)
    assert {row.rule for row in rows} == set(RULES)
    plain = next(row for row in rows if row.rule == "as they are")
    assert abs(ours.promise - ours.accuracy) < 0.2 * (plain.promise - plain.accuracy)


@pytest.mark.parametrize(
    ("accuracy", "standard_error", "fault"),
    [
        ([[0.5, 1.5]], [[0.1, 0.1]], r"accuracy\[0, 1\] is 1.5"),
        ([[0.5, 0.5]], [[0.1, np.nan]], r"standard_error\[0, 1\] is nan: it must be finite"),
        ([[0.5, 0.5]], [[-0.1, 0.1]], r"standard_error\[0, 0\] is -0.1: .* not negative"),
        ([[0.5, 0.5]], [0.1, 0.1], r"standard_error has shape \(2,\), accuracy \(1, 2\): they must be equal"),
    ],
)
def test_estimates_without_errors_are_refused(accuracy, standard_error, fault):
    with pytest.raises(InvalidTable, match=fault):
        shrink(accuracy, standard_error)
