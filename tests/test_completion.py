"""The completed table: what was seen is believed by how sure it is, what was not is predicted without the log's own slant."""

from dataclasses import replace

import numpy as np
import pytest

from budget_router import ExtendedCoT, Menu, SingleShot
from budget_router.outcomes import OutcomeTable
from budget_router.policies.completion import completed

MENU = Menu([SingleShot(), ExtendedCoT(effort="high")])
N_TASKS = 4000


def slanted(*, seed=0):
    """A log whose policy knew, better than any feature tells, where thinking helps, and thought there; and the truth."""
    rng = np.random.default_rng(seed)
    helps = rng.random(N_TASKS) < 0.5
    truth = np.column_stack([np.full(N_TASKS, 0.5), np.where(helps, 0.9, 0.3)])
    prob = np.column_stack([np.where(helps, 0.1, 0.9), np.where(helps, 0.9, 0.1)])
    thought = (rng.random(N_TASKS) < prob[:, 1]).astype(int)
    seen = np.eye(2, dtype=bool)[thought]
    table = OutcomeTable(
        menu=MENU,
        unit="tokens",
        texts=None,
        structure=np.zeros((N_TASKS, 1)),
        task_ids=tuple(map(str, range(N_TASKS))),
        accuracy=np.where(seen, (rng.random(truth.shape) < truth).astype(float), np.nan),
        standard_error=np.where(seen, 0.5, np.nan),
        observed_prob=prob,
        cost=np.where(seen, [10.0, 100.0], np.nan),
        is_forced=np.zeros(N_TASKS, dtype=bool),
    )
    return table, truth


def test_a_slanted_log_does_not_slant_the_table():
    table, truth = slanted()
    naive = np.broadcast_to(np.nanmean(table.accuracy, axis=0), truth.shape)  # what a model without the right feature predicts
    assert naive[0, 1] == pytest.approx(0.84, abs=0.03)
    accuracy, cost = completed(table, naive, np.full(truth.shape, 50.0))
    assert accuracy.mean(axis=0)[1] == pytest.approx(truth.mean(axis=0)[1], abs=0.1)
    unseen = np.isnan(table.accuracy[:, 1])
    assert accuracy[unseen, 1] == pytest.approx(truth.mean(axis=0)[1], abs=0.04)
    assert np.array_equal(cost[unseen, 1], np.full(unseen.sum(), 50.0))
    assert np.array_equal(cost[~unseen, 1], np.full((~unseen).sum(), 100.0))


def test_right_predictions_stay_where_they_are_and_sure_cells_are_believed():
    table, truth = slanted(seed=1)
    accuracy, _ = completed(table, truth, np.ones(truth.shape))
    assert np.abs(accuracy - truth).mean() < 0.03
    sure = replace(table, standard_error=np.where(table.is_observed, 1e-6, np.nan))
    accuracy, _ = completed(sure, truth, np.ones(truth.shape))
    assert accuracy[table.is_observed] == pytest.approx(table.accuracy[table.is_observed], abs=1e-3)


def test_a_handful_of_cells_moves_a_strategy_little_and_forced_ones_not_at_all():
    table, truth = slanted(seed=2)
    few = np.where(np.arange(N_TASKS) < 3, 1.0, np.nan)
    table = replace(table, accuracy=np.column_stack([table.accuracy[:, 0], few]), observed_prob=np.full(truth.shape, 0.5))
    predicted = np.full(truth.shape, 0.2)
    moved = completed(table, predicted, np.ones(truth.shape))[0][10, 1] - 0.2
    assert 0 < moved < 0.8 * 3 / 20
    forced = replace(table, is_forced=np.ones(N_TASKS, dtype=bool))
    assert completed(forced, predicted, np.ones(truth.shape))[0][10, 1] == pytest.approx(0.2)
