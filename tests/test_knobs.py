"""Numeric knobs: settings that no log holds are told by those that were tried, and serve budgets between."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from budget_router import (
    Budget,
    BudgetRouter,
    EarlyStop,
    Escalate,
    ExtendedCoT,
    Menu,
    SelfConsistency,
    SingleShot,
    Spend,
    Task,
    load_policy,
    refresh,
    save_policy,
)
from budget_router.policies.knobs import interpolated, untried
from budget_router.strategies import Draw, Result

law = settings(derandomize=True, deadline=None, max_examples=80)

THINKING = Menu([ExtendedCoT(max_thinking_tokens=limit) for limit in (1000, 4000, 16000)])
LOW, BETWEEN, HIGH = range(3)
NARROW = Menu([THINKING.root[LOW], THINKING.root[HIGH]])


def test_a_knob_is_what_strategies_differ_in_alone():
    menu = Menu(
        [
            SingleShot(),
            SelfConsistency(k=5),
            SelfConsistency(name="warm", k=5, temperature=1.0),
            SelfConsistency(k=5, early_stop=EarlyStop(threshold=0.9)),
            ExtendedCoT(effort="high"),
            *THINKING,
            ExtendedCoT(name="other", model="other", max_thinking_tokens=1000),
            Escalate(first=SelfConsistency(k=3), then=THINKING.root[HIGH], agreement=1.0),
        ]
    )
    knobs = [strategy.knob for strategy in menu]
    assert knobs[0].of == knobs[1].of
    assert (knobs[0].setting, knobs[1].setting) == (1, 5)
    assert knobs[4] is None
    assert knobs[-1] is None
    assert len({knob.of for knob in knobs[5:8]}) == 1
    assert len({knob.of for knob in knobs if knob is not None}) == 5


@law
@given(
    st.lists(st.integers(1, 1000), min_size=1, max_size=5, unique=True),
    st.integers(0, 4),
    st.sampled_from(["votes", "early", "limits"]),
)
def test_a_refined_menu_holds_the_old_one_and_settings_between(levels, n_between, kind):
    def strategy(level):
        if kind == "limits":
            return ExtendedCoT(max_thinking_tokens=level)
        return SelfConsistency(k=level, early_stop=EarlyStop(threshold=0.9) if kind == "early" else None)

    menu = Menu([strategy(level) for level in levels])
    refined = menu.refined(n_between)
    assert [one for one in refined if one.name in menu.names] == list(menu)
    assert len({strategy.knob.of for strategy in refined}) == 1
    found = [strategy.knob.setting for strategy in refined]
    assert len(set(found)) == len(found)
    assert min(found) == min(levels)
    assert max(found) == max(levels)
    room = np.diff(sorted(levels)).astype(int) - 1
    assert len(found) - len(levels) <= np.minimum(room, n_between).sum()
    assert (len(found) > len(levels)) == bool(n_between and (room > 0).any())


def test_refining_keeps_names_apart_and_settings_in_place():
    menu = Menu([SelfConsistency(name="few", k=2, temperature=1.0), SelfConsistency(name="many", k=8, temperature=1.0)])
    both = Menu([*menu, SelfConsistency(k=4)])
    refined = both.refined()
    assert refined.names == ("few", "many at 4", "many", "self_consistency_4")
    assert refined["many at 4"].temperature == 1.0


@law
@given(
    st.lists(st.floats(0, 1), min_size=3, max_size=3),
    st.lists(st.floats(1, 1e6), min_size=3, max_size=3),
    st.integers(1001, 15999).filter(lambda limit: limit != 4000),
)
def test_what_is_told_lies_on_the_upper_concave_curve(accuracy, cost, limit):
    menu = Menu([*THINKING, ExtendedCoT(max_thinking_tokens=limit)])
    accuracy, cost = np.array([[*accuracy, 0.0]]), np.array([[*sorted(cost), 0.0]])
    (between,) = untried(menu, np.array([True, True, True, False]))
    told, price = interpolated(accuracy, cost, [between])
    place = np.log([1000, 4000, 16000])
    neighbours = (0, 1) if limit < 4000 else (1, 2)
    chord = np.interp(np.log(limit), place, accuracy[0, :3])
    over = np.interp(np.log(limit), place[[0, 2]], accuracy[0, [0, 2]])
    assert told[0, 3] == pytest.approx(max(chord, over))
    assert np.log(price[0, 3]) == pytest.approx(np.interp(np.log(limit), place, np.log(cost[0, :3])))
    assert cost[0, neighbours[0]] * (1 - 1e-9) <= price[0, 3] <= cost[0, neighbours[1]] * (1 + 1e-9)
    assert np.array_equal(told[:, :3], accuracy[:, :3])


def test_nothing_is_told_beyond_what_was_tried_nor_of_what_was():
    assert untried(THINKING, np.array([True, True, False])) == []
    assert untried(THINKING, np.array([True, True, True])) == []
    assert untried(Menu([SingleShot(), ExtendedCoT(effort="high")]), np.array([True, False])) == []
    (between,) = untried(THINKING, np.array([True, False, True]))
    assert between.share == pytest.approx([0.5])


# --- from a log of two settings to a policy that serves a third

RIGHT = {1000: 0.3, 4000: 0.6, 16000: 0.9}


def settled(router, n_tasks, *, seed):
    rng = np.random.default_rng(seed)
    for index in range(n_tasks):
        decision = router.decide(Task(f"Prove that {rng.integers(10, 1000)} has a factor.", id=f"{seed}-{index}"))
        limit = decision.strategy.max_thinking_tokens
        is_right = rng.random() < RIGHT[limit]
        spend = Spend(completion_tokens=int(rng.poisson(limit / 2)), n_calls=1)
        draw = Draw(0, None, "yes", "yes")
        router.settle(decision, spend, result=Result("yes", "yes", 1.0, (draw,)))
        router.grade(decision.id, score=float(is_right))


@pytest.fixture(scope="module")
def ledger():
    router = BudgetRouter(NARROW, Budget(per_task=4500, unit="completion_tokens"), seed=0)
    settled(router, 400, seed=0)
    return router.ledger


@pytest.mark.parametrize("learner", ["value", "imitator"])
def test_a_budget_between_two_settings_is_met_by_a_setting_between(ledger, learner, tmp_path):
    menu = NARROW.refined()
    assert menu.names == THINKING.names
    budget = Budget(per_task=2000, unit="completion_tokens")
    policy = refresh(ledger, menu=menu, budget=budget, learner=learner).policy
    tasks = [Task(f"Prove that {number} has a factor.") for number in range(10, 1000, 45)]
    prediction = policy.predict(tasks)
    assert prediction.cost[:, BETWEEN].mean() == pytest.approx(2000, rel=0.1)
    assert prediction.accuracy[:, BETWEEN].mean() == pytest.approx(
        0.6, abs=0.08
    )  # that of 200 answers is known to .02 at each end
    probabilities = policy.choose(prediction, budget.per_task).probabilities.mean(axis=0)
    assert probabilities.argmax() == BETWEEN
    save_policy(policy, tmp_path / "policy")
    again = load_policy(tmp_path / "policy").predict(tasks)
    assert np.array_equal(again.score, prediction.score)
    assert np.array_equal(again.cost, prediction.cost)


def test_once_tried_a_setting_speaks_for_itself(ledger, monkeypatch):
    router = BudgetRouter(NARROW.refined(), Budget(per_task=4500, unit="completion_tokens"), ledger=ledger, seed=1)
    monkeypatch.setitem(RIGHT, 4000, 0.1)
    settled(router, 300, seed=1)
    policy = refresh(ledger, menu=NARROW.refined(), budget=Budget(per_task=2000, unit="completion_tokens")).policy
    assert policy.between_ == []
    assert policy.predict([Task("Prove that 91 has a factor.")]).accuracy[0, BETWEEN] < 0.45
