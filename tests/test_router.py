"""The router: what it decides is what it logs, what it logs is what it drew from, and the average ends at the budget."""

import logging
import math
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import numpy as np
import pytest
from world import MENU, serve, tasks

from budget_router import (
    Budget,
    BudgetRouter,
    Call,
    MemoryLedger,
    Menu,
    SelfConsistency,
    SingleShot,
    Spend,
    Tariff,
    Tariffs,
    Task,
    refresh,
)
from budget_router.errors import InfeasibleBudget, InvalidInput, LedgerUnavailable, UnknownDecision, UnknownTariff
from budget_router.pacing import Pacer
from budget_router.policies import Mixture
from budget_router.policies.artifact import policy_from
from budget_router.records import PolicyRecord, hash_text
from budget_router.strategies import Draw, Result
from budget_router.sums import MAX_CATCH_UP

BUDGET = Budget(per_task=110, unit="completion_tokens")
TIGHT = Budget(per_task=60, unit="completion_tokens")
"""Below the mean of the menu: it has to tilt."""
TASK = Task("What is 27 + 41?", id="t")


def router(ledger=None, **options):
    return BudgetRouter(MENU, **({"budget": BUDGET, "ledger": ledger, "seed": 1} | options))


@pytest.fixture(scope="module")
def taught():
    """A ledger with a log to learn from, and two candidates in its registry."""
    ledger = MemoryLedger()
    serve(router(ledger), tasks(50, seed=1), seed=1)
    return ledger, [refresh(ledger, menu=MENU, budget=BUDGET, learner=learner).version for learner in ("value", "imitator")]


def shelf(taught):
    """A fresh ledger with the same two candidates, none of them promoted."""
    source, versions = taught
    ledger = MemoryLedger()
    for version in versions:
        ledger.registry.save(source.registry.load(version))
    return ledger, versions


# --- deciding


def test_a_decision_is_in_the_ledger_before_it_is_returned():
    ledger = MemoryLedger()
    decision = router(ledger).decide(TASK, run_id="run", thread_id="thread")
    logged = ledger.decision(decision.id)
    assert logged.decision == decision
    assert (logged.task_text, logged.menu) == (TASK.text, MENU)
    assert (decision.run_id, decision.thread_id, decision.task_id, decision.reason) == ("run", "thread", "t", "policy")
    assert (decision.menu_hash, decision.policy_version, decision.budget) == (MENU.hash, "cold-start", BUDGET)
    assert tuple(decision.propensities) == MENU.names


def test_a_task_without_an_id_is_known_by_its_text_alone():
    ledger = MemoryLedger()
    one, same, other = (router(ledger).decide(Task(text)) for text in ("a", "a", "b"))
    assert one.task_id == same.task_id == hash_text("a", salt=ledger.salt)
    assert one.task_id != other.task_id


def test_the_propensities_logged_are_those_that_were_drawn_from():
    deciding = router(budget=TIGHT, horizon=5)
    decisions, _ = serve(deciding, tasks(2000, seed=2), seed=2, grade=False)
    for name in MENU.names:
        expected = np.array([decision.propensities[name] for decision in decisions])
        drawn = np.array([decision.strategy.name == name for decision in decisions])
        deviation = (drawn - expected).sum()
        assert abs(deviation) < 4 * math.sqrt((expected * (1 - expected)).sum())
        # and where a propensity was high the strategy was drawn more often
        centred = expected - expected.mean()
        assert abs((centred * (drawn - expected)).sum()) < 4 * math.sqrt((centred**2 * expected * (1 - expected)).sum())


def test_every_strategy_keeps_the_least_probability():
    decision = router(exploration=0.05).decide(Task("What is 27 + 41?"))
    assert min(decision.propensities.values()) >= 0.05


@pytest.mark.parametrize("exploration", [0, 0.0, 1 / 3])
def test_the_bounds_of_exploration_are_served(exploration):
    decision = router(exploration=exploration, policy=Mixture([0.5, 0.6, 0.9], [20, 60, 200])).decide(TASK)
    assert sum(decision.propensities.values()) == pytest.approx(1)


def test_the_same_seed_decides_the_same():
    one, other = ([decision.strategy.name for decision in serve(router(), tasks(50, seed=3), seed=3)[0]] for _ in "ab")
    assert one == other


def test_a_forced_strategy_is_one_hot_and_marked():
    decision = router().decide(TASK, strategy="extended_cot_high")
    assert decision.strategy == MENU["extended_cot_high"]
    assert decision.propensities == {"single_shot": 0.0, "self_consistency_3": 0.0, "extended_cot_high": 1.0}
    assert (decision.reason, decision.propensity) == ("forced", 1.0)


def test_an_unknown_strategy_is_refused_and_nothing_is_recorded():
    ledger = MemoryLedger()
    with pytest.raises(InvalidInput, match="no strategy 'bribe' on the menu"):
        router(ledger).decide(TASK, strategy="bribe")
    assert list(ledger.read()) == []


def test_a_decision_that_stands_is_returned_as_it_stands():
    ledger = MemoryLedger()
    deciding = router(ledger)
    first = deciding.decide(TASK, decision_id="d")
    assert all(deciding.decide(TASK, decision_id="d") == first for _ in range(20))
    assert deciding.decide(TASK, decision_id="d", strategy="extended_cot_high") == first
    assert router(ledger, seed=99).decide(TASK, decision_id="d") == first  # another worker
    assert len(list(ledger.read())) == 1


def test_a_decision_that_could_not_be_recorded_is_not_made():
    class Down(MemoryLedger):
        def record_decision(self, decision, task, menu):
            raise LedgerUnavailable("the database did not answer: look at it")

    with pytest.raises(LedgerUnavailable):
        router(Down()).decide(TASK)


# --- budgets


def test_each_group_draws_on_its_own_budget():
    deciding = router(budgets=[Budget(per_task=25, unit="completion_tokens", group="support")])
    assert deciding.decide(TASK).budget == BUDGET
    support = deciding.decide(Task("a", group="support"))
    assert (support.group, support.budget.per_task) == ("support", 25)
    assert support.propensities["extended_cot_high"] < deciding.decide(TASK).propensities["extended_cot_high"]


def test_what_one_group_spends_is_not_taken_from_another():
    deciding = router(budgets=[Budget(per_task=110, unit="completion_tokens", group="other")], horizon=5)
    before = deciding.decide(Task("a", group="other")).propensities
    for _ in range(20):
        deciding.settle(deciding.decide(TASK, strategy="extended_cot_high"), Spend(completion_tokens=500, n_calls=0))
    after = deciding.decide(Task("a", group="other")).propensities
    assert deciding.decide(TASK).propensities["extended_cot_high"] < 0.1
    assert after["extended_cot_high"] == pytest.approx(before["extended_cot_high"], rel=0.2)


def test_a_group_without_a_budget_draws_on_the_common_one():
    assert router().decide(Task("a", group="newcomer")).budget == BUDGET


def test_without_a_common_budget_an_unknown_group_is_refused():
    deciding = BudgetRouter(MENU, budgets=[Budget(per_task=110, unit="completion_tokens", group="support")])
    with pytest.raises(
        InvalidInput, match="no budget for group 'sales': there are 'support'; add one, or a budget without a group"
    ):
        deciding.decide(Task("a", group="sales"))


@pytest.mark.parametrize(
    ("options", "error", "fault"),
    [
        ({"budget": None}, InvalidInput, "a router needs at least one"),
        (
            {"budgets": [Budget(per_task=1, unit="usd", group="a")]},
            InvalidInput,
            "budgets in completion_tokens, usd: .* all in one unit",
        ),
        ({"budgets": [Budget(per_task=200, unit="completion_tokens")]}, InvalidInput, "two budgets for group None"),
        ({"exploration": 0.34}, InvalidInput, r"exploration is 0.34: a floor for 3 strategies lies in \[0, 0.333333\]"),
        ({"exploration": -0.1}, InvalidInput, "exploration"),
        ({"exploration": math.nan}, InvalidInput, "exploration"),
        ({"horizon": 0}, InvalidInput, "horizon is 0: give at least one decision"),
        ({"budget": Budget(per_task=19, unit="completion_tokens")}, InfeasibleBudget, "cheapest strategy, 'single_shot' at 20"),
        ({"budget": Budget(per_task=1, unit="usd")}, UnknownTariff, "no model named"),
        ({"budget": Budget(per_task=1, unit="usd"), "model": "no-such-model"}, UnknownTariff, "'no-such-model'"),
    ],
)
def test_what_cannot_be_kept_is_refused_before_anything_is_paid(options, error, fault):
    with pytest.raises(error, match=fault):
        router(**options)


def test_a_budget_in_money_with_a_known_model_is_served():
    deciding = router(
        budget=Budget(per_task=0.001, unit="usd"), model="own", tariffs=Tariffs({"own": Tariff(prompt=1, completion=2)})
    )
    assert deciding.decide(TASK, strategy="single_shot").expected_cost == pytest.approx((8 * 1 + 20 * 2) * 1e-6)


def test_a_pinned_policy_of_another_unit_or_menu_is_refused(taught):
    ledger, (version, _) = taught
    policy = policy_from(ledger.registry.load(version), MENU, unit="completion_tokens")
    with pytest.raises(InvalidInput, match="trained in completion_tokens"):
        router(policy=policy, budget=Budget(per_task=500, unit="tokens"))
    with pytest.raises(InvalidInput, match="single_shot, self_consistency_3, extended_cot_high"):
        BudgetRouter(Menu([SingleShot()]), Budget(per_task=500, unit="completion_tokens"), policy=policy)


def test_an_empty_ledger_that_counts_as_false_is_kept():
    class Counted(MemoryLedger):
        def __len__(self):
            return len(self._entries)

    ledger = Counted()
    router(ledger).decide(TASK)
    assert len(ledger) == 1


# --- settling


def test_a_settlement_keeps_samples_answers_and_spend_without_their_text():
    ledger = MemoryLedger()
    settling = router(ledger)
    decision = settling.decide(TASK, strategy="self_consistency_3")
    draws = (Draw(0, "c0", "it is quince", "quince"), Draw(2, "c2", "hm", None))
    spend = Spend(prompt_tokens=30, completion_tokens=40, n_calls=3)
    settling.settle(decision, spend, result=Result("it is quince", "quince", 0.5, draws))
    settlement = ledger.decision(decision.id).settlement
    key = hash_text("quince", salt=ledger.salt)
    assert [(sample.index, sample.call_id, sample.answer_key) for sample in settlement.samples] == [
        (0, "c0", key),
        (2, "c2", None),
    ]
    assert (settlement.answer_key, settlement.agreement, settlement.spend) == (key, 0.5, spend)
    assert "quince" not in settlement.model_dump_json()


def test_an_unknown_decision_is_neither_settled_nor_graded():
    lost = router().decide(TASK)
    with pytest.raises(UnknownDecision):
        router().settle(lost, Spend())
    with pytest.raises(UnknownDecision):
        router().grade("nowhere", score=1.0)
    with pytest.raises(UnknownDecision):
        router().grade(thread_id="nowhere", score=1.0)


@pytest.mark.parametrize("place", [{}, {"decision_id": "d", "thread_id": "t"}, {"thread_id": "t", "run_id": "r"}])
def test_a_grade_is_for_a_decision_a_thread_or_a_run(place):
    with pytest.raises(InvalidInput, match="a decision_id, a thread_id or a run_id, and only one"):
        router().grade(**place, score=1.0)


@pytest.mark.parametrize("score", [-0.1, 1.1, math.nan, "good"])
def test_a_score_lies_between_zero_and_one(score):
    ledger = MemoryLedger()
    decision = router(ledger).decide(TASK)
    with pytest.raises(InvalidInput, match="score"):
        router(ledger).grade(decision.id, score=score)
    assert ledger.decision(decision.id).outcome is None


def test_a_thread_grades_its_latest_decision_and_a_later_grade_corrects():
    ledger = MemoryLedger()
    grading = router(ledger)
    grading.decide(TASK, thread_id="thread")
    latest = grading.decide(TASK, thread_id="thread")
    grading.grade(thread_id="thread", score=0.0, source="guess")
    grading.grade(latest.id, score=1.0, answer_scores={"68": 1.0})
    outcome = ledger.decision(latest.id).outcome
    assert (outcome.score, outcome.source) == (1.0, "user")
    assert outcome.answer_scores == {hash_text("68", salt=ledger.salt): 1.0}


def graded(ledger):
    """Scores by decision, of those that have one."""
    return {logged.decision.id: logged.outcome.score for logged in ledger.read() if logged.outcome}


def test_a_verdict_on_a_run_is_one_on_each_of_its_decisions():
    ledger = MemoryLedger()
    grading = router(ledger)
    for name in ("plan", "work"):
        grading.decide(TASK, decision_id=name, run_id="run", thread_id="thread")
    grading.decide(TASK, decision_id="other", run_id="run 2", thread_id="thread")
    outcomes = grading.grade(run_id="run", score=0.5, source="verifier")
    assert [(outcome.decision_id, outcome.source) for outcome in outcomes] == [("plan", "verifier"), ("work", "verifier")]
    assert graded(ledger) == {"plan": 0.5, "work": 0.5}


def test_a_verdict_on_a_run_leaves_out_what_led_nowhere():
    ledger = MemoryLedger()
    grading = router(ledger)
    for name in ("failed", "vote", "last"):
        grading.decide(TASK, decision_id=name, run_id="run")
    grading.settle(ledger.decision("failed").decision, Spend(), status="failed")
    vote = ledger.decision("vote").decision
    for of, again in (("vote", "vote.again"), ("last", "last.again")):
        retaken = vote.model_copy(update={"id": again, "reason": "reconsidered"})
        ledger.record_decision(retaken, TASK, MENU)
        if of == "last":  # the second look brought nothing, so the vote's own answer was served
            grading.settle(retaken, Spend(), status="failed")
    grading.grade(run_id="run", score=1.0)
    assert graded(ledger) == {"vote.again": 1.0, "last": 1.0}


def test_a_run_without_an_answer_has_nothing_to_grade():
    ledger = MemoryLedger()
    grading = router(ledger)
    with pytest.raises(UnknownDecision, match="no decision of run 'run'"):
        grading.grade(run_id="run", score=1.0)
    grading.settle(grading.decide(TASK, run_id="run"), Spend(), status="failed")
    with pytest.raises(UnknownDecision, match="none but failed decisions, 1 of them"):
        grading.grade(run_id="run", score=1.0)
    assert graded(ledger) == {}


def test_answers_are_scored_in_a_run_of_one_decision_alone():
    ledger = MemoryLedger()
    grading = router(ledger)
    grading.decide(TASK, run_id="run")
    (outcome,) = grading.grade(run_id="run", score=1.0, answer_scores={"68": 1.0})
    assert outcome.answer_scores == {hash_text("68", salt=ledger.salt): 1.0}
    grading.decide(TASK, run_id="run")
    with pytest.raises(InvalidInput, match="made 2 decisions: grade them by id"):
        grading.grade(run_id="run", score=0.0, answer_scores={"68": 1.0})
    assert list(graded(ledger).values()) == [1.0]


def test_a_grade_of_an_earlier_moment_does_not_undo_a_later_one():
    ledger = MemoryLedger()
    grading = router(ledger)
    decision = grading.decide(TASK, run_id="run")
    grading.grade(decision.id, score=1.0)
    grading.grade(decision.id, score=0.0, graded_at=decision.decided_at)
    assert graded(ledger) == {decision.id: 1.0}
    with pytest.raises(InvalidInput, match="graded_at"):
        grading.grade(decision.id, score=0.0, graded_at=decision.decided_at.replace(tzinfo=None))


def call(**fields):
    return Call(**{"id": "c", "decision_id": "d", "model": "own", "prompt_tokens": 10, "completion_tokens": 5} | fields)


@pytest.mark.parametrize(
    ("fields", "nano_usd", "tariff"),
    [
        ({}, 20_000, "own"),
        ({"model": "no-such-model"}, None, None),
        ({"cached_tokens": 11}, None, None),
        ({"model": "no-such-model", "source": "cache"}, 0, "cache"),
        ({"nano_usd": 7, "tariff": "invoice"}, 7, "invoice"),
    ],
)
def test_a_closed_call_is_priced_and_kept_whatever_it_says(fields, nano_usd, tariff, caplog):
    ledger = MemoryLedger()
    closing = router(ledger, tariffs=Tariffs({"own": Tariff(prompt=1, completion=2)}))
    closing.decide(TASK, decision_id="d")
    closing.open_call(call(status="open", **fields))
    closed = closing.close_call(call(**fields))
    assert (closed.nano_usd, closed.tariff) == (nano_usd, tariff)
    assert ledger.decision("d").calls == (closed,)
    assert ("without a price" in caplog.text) == (nano_usd is None)


# --- pacing


def test_the_next_decisions_make_up_for_the_past_ones():
    pacer = Pacer(Budget(per_task=100), horizon=10)
    assert pacer.target() == 100
    pacer.decided("a", 150)
    assert pacer.target() == 95
    pacer.settled("a", 50, is_typical=False)
    assert pacer.target() == 105


def test_a_past_is_made_up_for_within_limits():
    pacer = Pacer(Budget(per_task=100), horizon=1)
    pacer.decided("a", 1000)
    assert pacer.target() == 0
    for index in range(100):
        pacer.decided(f"free {index}", 0, promised=0)
    assert pacer.target() == MAX_CATCH_UP * 100


def test_a_retry_is_counted_once():
    pacer = Pacer(Budget(per_task=100), horizon=10)
    for _ in range(5):
        pacer.decided("a", 150)
    assert pacer.target() == 95
    assert pacer.settled("a", 50, is_typical=False)
    assert not pacer.settled("a", 5000)
    assert not pacer.settled("made elsewhere", 5000)
    assert pacer.target() == 105


def test_a_retried_decision_moves_the_next_one_no_more_than_a_single_one():
    def next_propensities(n_tries, n_settlements):
        deciding = router(budget=TIGHT, horizon=3)
        for _ in range(n_tries):
            decision = deciding.decide(TASK, decision_id="d")
        for _ in range(n_settlements):
            deciding.settle(decision, Spend(completion_tokens=500, n_calls=1))
        deciding.decide(TASK, decision_id="d")
        return deciding.decide(TASK).propensities

    assert next_propensities(5, 0) == next_propensities(1, 0)
    assert next_propensities(1, 4) == next_propensities(3, 1)


def test_pacing_does_not_slow_down_with_decisions_that_never_settle():
    pacer = Pacer(Budget(per_task=100))
    began = time.process_time()
    for index in range(40_000):
        pacer.decided(str(index), 100)
        assert pacer.target() == pytest.approx(100)
    assert time.process_time() - began < 10  # a sum over all that are pending would take minutes


def test_after_a_cost_shock_the_running_average_returns_to_the_budget():
    budget, horizon, shock = 100.0, 50, 1.5
    mixture = Mixture([0.2, 0.5, 0.9], [20, 60, 200])
    deciding = router(budget=Budget(per_task=budget, unit="completion_tokens"), policy=mixture, horizon=horizon)
    spends = []
    for index in range(3000):
        decision = deciding.decide(TASK)
        billed = decision.expected_cost * (shock if index >= 500 else 1.0)
        deciding.settle(decision, Spend(completion_tokens=round(billed), n_calls=1))
        spends.append(billed)
    standard_error = np.std(spends) * math.sqrt(horizon) / len(spends)  # decisions older than the horizon have been made up for
    assert abs(np.mean(spends) - budget) < 4 * standard_error
    assert np.mean(spends[-1000:]) == pytest.approx(budget, rel=0.05)


def test_an_unknown_price_counts_as_expected():
    tariffs = Tariffs({"own": Tariff(prompt=0, completion=1)})
    budget = Budget(per_task=60e-6, unit="usd")
    one, other = (router(budget=budget, tariffs=tariffs, model="own", horizon=3) for _ in "ab")
    for deciding, spend in ((one, Spend(n_calls=0)), (other, Spend(nano_usd=200_000))):
        deciding.settle(deciding.decide(TASK, strategy="extended_cot_high"), spend)
    assert one.decide(TASK).propensities == other.decide(TASK).propensities


def test_an_outage_does_not_make_answers_look_short():
    deciding = router()
    before = deciding.decide(TASK, strategy="extended_cot_high").expected_cost
    for _ in range(50):
        deciding.settle(deciding.decide(TASK, strategy="extended_cot_high"), Spend(n_calls=1), status="failed")
    assert deciding.decide(TASK, strategy="extended_cot_high").expected_cost == before


def test_a_settlement_without_samples_teaches_the_length_of_all_of_them():
    deciding = router()
    deciding.settle(deciding.decide(TASK, strategy="self_consistency_3"), Spend(completion_tokens=340, n_calls=3))
    assert deciding.decide(TASK, strategy="single_shot").expected_cost == (20 + 340) / 4


# --- policies


def test_a_promoted_policy_is_served_without_a_restart(taught):
    ledger, (first, second) = shelf(taught)
    serving = router(ledger, reload_seconds=0.0)
    assert serving.decide(TASK).policy_version == "cold-start"
    for version in (first, second, first):  # the last one is a rollback
        ledger.registry.promote(version)
        assert serving.decide(TASK).policy_version == version


def test_a_router_starts_with_the_policy_that_is_promoted(taught):
    ledger, (first, _) = shelf(taught)
    ledger.registry.promote(first)
    decision = router(ledger).decide(TASK)
    assert decision.policy_version == first
    assert decision.expected_accuracy is not None


def test_the_registry_is_not_asked_before_its_time(taught):
    ledger, (first, _) = shelf(taught)
    serving = router(ledger, reload_seconds=3600.0)
    ledger.registry.promote(first)
    assert serving.decide(TASK).policy_version == "cold-start"
    assert serving.reload()
    assert not serving.reload()
    assert serving.decide(TASK).policy_version == first


@pytest.mark.parametrize(
    ("manifest", "arrays"), [("{}", b""), ("null", b"PK"), ('{"format": 1}', b"\0" * 100), ("[" * 100_000, b"")]
)
def test_a_broken_policy_is_refused_and_the_old_one_goes_on_serving(taught, caplog, manifest, arrays):
    ledger, (first, _) = shelf(taught)
    ledger.registry.promote(first)
    serving = router(ledger, reload_seconds=0.0)
    ledger.registry.save(PolicyRecord(version="bad", menu_hash=MENU.hash, manifest=manifest, arrays=arrays))
    ledger.registry.promote("bad")
    with caplog.at_level(logging.WARNING, "budget_router"):
        decision = serving.decide(TASK)
    assert decision.policy_version == first
    assert f"policy {first} goes on serving" in caplog.text


def test_a_policy_in_another_unit_is_refused_and_the_old_one_goes_on_serving(taught, caplog):
    ledger, (first, _) = shelf(taught)
    ledger.registry.promote(first)
    serving = router(ledger, budget=Budget(per_task=500, unit="tokens"))
    assert serving.decide(TASK).policy_version == "cold-start"
    assert "counts completion_tokens, the budget tokens" in caplog.text


def test_a_registry_that_does_not_answer_leaves_the_policy_serving(taught, caplog):
    ledger, (first, _) = shelf(taught)
    ledger.registry.promote(first)
    serving = router(ledger, reload_seconds=0.0)

    def down(menu_hash):
        raise LedgerUnavailable("the database did not answer: look at it")

    ledger.registry.rollout = down
    assert serving.decide(TASK).policy_version == first
    assert "did not answer" in caplog.text


def test_a_pinned_policy_is_never_replaced(taught):
    ledger, (first, _) = shelf(taught)
    ledger.registry.promote(first)
    pinned = router(ledger, policy=Mixture([0.2, 0.5, 0.9], [20, 60, 200]), reload_seconds=0.0)
    assert pinned.decide(TASK).policy_version == "mixture"
    assert not pinned.reload()
    assert pinned.policy.version == "mixture"


def test_routers_of_another_menu_do_not_see_a_promotion(taught):
    ledger, (first, _) = shelf(taught)
    ledger.registry.promote(first)
    other = BudgetRouter(Menu([SingleShot(), SelfConsistency(k=9)]), Budget(per_task=5000), ledger=ledger)
    assert other.decide(TASK).policy_version == "cold-start"


# --- many at once


def test_threads_lose_no_decision_and_no_spend():
    n_threads, n_each, billed = 8, 200, 100
    ledger = MemoryLedger()
    deciding = router(ledger, budget=TIGHT, reload_seconds=0.0)
    start = threading.Barrier(n_threads)

    def work(thread):
        start.wait()
        for index in range(n_each):
            decision = deciding.decide(TASK, decision_id=f"{thread}-{index}")
            deciding.settle(decision, Spend(completion_tokens=billed, n_calls=1))

    with ThreadPoolExecutor(n_threads) as pool:
        list(pool.map(work, range(n_threads)))

    logged = list(ledger.read())
    assert {entry.decision.id for entry in logged} == {
        f"{thread}-{index}" for thread in range(n_threads) for index in range(n_each)
    }
    assert sum(entry.settlement.spend.completion_tokens for entry in logged) == n_threads * n_each * billed
    alone = router(budget=TIGHT)  # the same settlements, one after the other, leave the next decision the same chances
    for entry in logged:
        decision = alone.decide(TASK, strategy=entry.decision.strategy.name)
        alone.settle(decision, entry.settlement.spend)
    assert deciding.decide(TASK).propensities == pytest.approx(alone.decide(TASK).propensities)


# --- the house


@pytest.mark.parametrize(
    "probe",
    [
        "import budget_router",
        "from budget_router import *; BudgetRouter(Menu([SingleShot()]), Budget(per_task=800)).decide(Task('What is 27 + 41?'))",
    ],
    ids=["import", "cold start"],
)
def test_neither_importing_nor_a_cold_start_loads_a_framework(probe):
    script = f"{probe}\nimport sys\nprint(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.split()
    assert not {"langgraph", "langchain_core", "sqlalchemy", "sklearn", "scipy", "matplotlib", "pandas"} & set(loaded)


def test_a_simulation_s_clock_tells_when_it_decided_and_settled():
    moments = iter([datetime(2026, 3, 1, hour, tzinfo=UTC) for hour in (9, 10)])
    simulated = router(clock=lambda: next(moments))
    decision = simulated.decide(TASK)
    settlement = simulated.settle(decision, Spend(completion_tokens=20))
    assert (decision.decided_at.hour, settlement.settled_at.hour) == (9, 10)
