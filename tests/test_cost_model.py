from dataclasses import replace

import numpy as np
import pytest

from budget_router import EarlyStop, Escalate, Menu, SelfConsistency, SingleShot
from budget_router.outcomes import OutcomeTable
from budget_router.policies.cost_model import CostModel

DIRECT, THINKING = SingleShot(name="direct"), SingleShot(name="thinking", instruction="Think.")
MENU = Menu(
    [
        DIRECT,
        THINKING,
        SelfConsistency(name="stop", k=8, early_stop=EarlyStop(threshold=0.9)),
        Escalate(name="escalate", first=SelfConsistency(k=3), then=THINKING, agreement=1.0),
        Escalate(name="escalate far", first=SelfConsistency(k=3), then=SelfConsistency(k=5, instruction="Think."), agreement=1.0),
    ]
)


def world(n_tasks, *, seed):
    """One feature that makes tasks long, and one that makes votes doubt; what every strategy costs on each task on average."""
    features = np.random.default_rng(seed).uniform(0, 1, (n_tasks, 2))
    direct, thinking = 10 * np.exp(features[:, 0]), 200 * np.exp(features[:, 0])
    doubts = 0.1 + 0.6 * features[:, 1]
    cost = np.column_stack(
        [direct, thinking, (2 + 6 * doubts) * direct, 3 * direct + doubts * thinking, 3 * direct + 5 * doubts * thinking]
    )
    return features, doubts, cost


def table(billed, unit="completion_tokens", menu=MENU):
    n_tasks = len(billed)
    return OutcomeTable(
        menu=menu,
        unit=unit,
        texts=("?",) * n_tasks,
        structure=np.zeros((n_tasks, 1)),
        task_ids=tuple(map(str, range(n_tasks))),
        accuracy=np.where(np.isnan(billed), np.nan, 0.5),
        standard_error=np.where(np.isnan(billed), np.nan, 0.5),
        observed_prob=np.full(billed.shape, 0.2),
        cost=billed,
        is_forced=np.zeros(n_tasks, dtype=bool),
    )


def log(n_tasks, *, seed, n_escalated):
    """A log of one strategy per task; the far escalation was tried `n_escalated` times, and bills all or nothing of `then`."""
    rng = np.random.default_rng(seed)
    features, doubts, cost = world(n_tasks, seed=seed)
    tried = rng.integers(0, 4, n_tasks)
    tried[:n_escalated] = 4
    billed = np.full(cost.shape, np.nan)
    rows = np.arange(n_tasks)
    billed[rows, tried] = cost[rows, tried]
    is_escalated = rng.random(n_tasks) < doubts
    for column, n_thinking in ((3, 1), (4, 5)):
        of = tried == column
        billed[of, column] = (3 * cost[:, 0] + is_escalated * n_thinking * cost[:, 1])[of]
    return features, billed


def test_known_whole_the_costs_of_adaptive_strategies_are_found_on_fresh_tasks():
    features, _, cost = world(400, seed=0)
    fresh, _, true = world(200, seed=1)
    predicted = CostModel().fit(features, table(cost)).predict(fresh)
    assert np.abs(predicted / true - 1).mean(axis=0).max() < 0.05  # the least doubting tenth is taken for one


@pytest.mark.parametrize("n_escalated", [0, 8])
def test_hardly_ever_tried_an_escalation_is_priced_by_its_stages_and_by_those_that_doubt_alike(n_escalated):
    features, billed = log(500, seed=2, n_escalated=n_escalated)
    fresh, doubts, true = world(300, seed=3)
    predicted = CostModel().fit(features, table(billed)).predict(fresh)
    assert predicted[:, 4].mean() == pytest.approx(true[:, 4].mean(), rel=0.2)
    assert np.corrcoef(predicted[:, 4] / predicted[:, 1], doubts)[0, 1] > 0.8


def test_no_doubt_ever_billed_means_that_all_samples_are_expected():
    features, _, cost = world(100, seed=4)
    cost[:, 2:] = np.nan
    predicted = CostModel().fit(features, table(cost)).predict(features)
    assert predicted[:, 2] == pytest.approx(8 * predicted[:, 0], rel=0.05)
    assert predicted[:, 4] == pytest.approx(3 * predicted[:, 0] + 5 * predicted[:, 1], rel=0.05)


def test_a_stage_never_served_alone_leaves_a_line_for_the_whole():
    features, _, cost = world(300, seed=5)
    cost[:, 1] = np.nan
    predicted = CostModel().fit(features, table(cost)).predict(features)
    assert predicted[:, 3].sum() == pytest.approx(cost[:, 3].sum(), rel=0.05)


def test_in_seconds_an_adaptive_strategy_is_learned_whole():
    features, _, cost = world(300, seed=6)
    cost = cost / 100
    predicted = CostModel().fit(features, table(cost, unit="seconds")).predict(features)
    assert predicted.sum(axis=0) == pytest.approx(cost.sum(axis=0), rel=0.05)


def test_first_votes_tell_of_doubt_before_one_escalation_was_billed():
    features, doubts, cost = world(500, seed=7)
    cost[:, 2:] = np.nan
    seen = np.full(cost.shape, np.nan)
    of_some = np.arange(500) % 2 == 0
    seen[of_some, 3:] = (np.random.default_rng(7).random(250) < doubts[of_some])[:, None]
    fresh, doubts, true = world(300, seed=8)
    predicted = CostModel().fit(features, replace(table(cost), doubt=seen)).predict(fresh)
    assert predicted[:, 4].mean() == pytest.approx(true[:, 4].mean(), rel=0.1)
    assert np.corrcoef(predicted[:, 4] / predicted[:, 1], doubts)[0, 1] > 0.9


@pytest.mark.parametrize("in_common", [True, False])
def test_samples_that_have_a_prompt_in_common_are_not_priced_as_if_each_had_its_own(in_common):
    menu = Menu([SingleShot(), SelfConsistency(k=5), SelfConsistency(k=6)])
    features = np.random.default_rng(5).uniform(0, 1, (200, 1))
    prompt, each = 100 * np.exp(features[:, 0]), 5 * np.exp(features[:, 0])
    n_prompts = np.array([1, 1] if in_common else [1, 5])
    billed = np.column_stack([prompt[:, None] * n_prompts + each[:, None] * [1, 5], np.full(200, np.nan)])
    predicted = CostModel().fit(features, table(billed, "tokens", menu)).predict(features)
    assert predicted[:, :2] == pytest.approx(billed[:, :2], rel=0.02)
    assert predicted[:, 2] == pytest.approx(billed[:, 1] * 6 / 5, rel=0.02)  # never tried: by the sample of its neighbour
