"""From the ledger to a better policy: read, learn, judge, save; serving it is a step of its own."""

import json
import math
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from world import EXPECTED, LENGTH, MENU, RIGHT, serve, tasks

from budget_router import (
    Budget,
    BudgetRouter,
    EarlyStop,
    Escalate,
    ExtendedCoT,
    MemoryLedger,
    Menu,
    SelfConsistency,
    SingleShot,
    Spend,
    Task,
    refresh,
)
from budget_router.errors import InvalidInput, NotEnoughEvidence
from budget_router.pacing import DEFAULT_HORIZON
from budget_router.policies.artifact import policy_from
from budget_router.refreshing import LEARNERS
from budget_router.strategies import Reply, plan, run

BUDGET = Budget(per_task=110, unit="completion_tokens")
"""As much as thinking about every proof costs."""
TIGHT = Budget(per_task=70, unit="completion_tokens")


def cold_router(ledger, *, menu=MENU, seed=1, **options):
    return BudgetRouter(menu, BUDGET, ledger=ledger, seed=seed, **options)


def a_log(n_tasks=300, *, seed=1, menu=MENU, **options):
    ledger = MemoryLedger()
    serve(cold_router(ledger, menu=menu), tasks(n_tasks, seed=seed), seed=seed, **options)
    return ledger


@pytest.fixture(scope="module")
def ledger():
    return a_log()


@pytest.fixture
def short():
    """Enough to learn from, too little to grow a forest on, which takes time."""
    return a_log(50)


@pytest.fixture(scope="module", params=LEARNERS)
def refreshed(request, ledger):
    return refresh(ledger, menu=MENU, budget=BUDGET, learner=request.param)


def expected_scores(decisions, stream):
    pairs = zip(decisions, stream, strict=True)
    return np.array([EXPECTED[task.metadata["kind"]][MENU.action(decision.strategy.name)] for decision, task in pairs])


# --- from a log to a policy that serves


@pytest.mark.parametrize("learner", LEARNERS)
def test_a_promoted_policy_serves_better_than_the_cold_start_at_the_same_budget(learner):
    ledger = a_log()
    serving = BudgetRouter(MENU, TIGHT, ledger=ledger, seed=2, reload_seconds=0.0)
    first, second = tasks(600, seed=77), tasks(600, seed=78)
    before, spent_before = serve(serving, first, seed=5, grade=False)
    assert {decision.policy_version for decision in before} == {"cold-start"}

    candidate = refresh(ledger, menu=MENU, budget=TIGHT, learner=learner)
    candidate.promote()
    after, spent_after = serve(serving, second, seed=6, grade=False)

    assert {decision.policy_version for decision in after} == {candidate.version}
    old, new = expected_scores(before, first), expected_scores(after, second)
    standard_error = math.hypot(old.std(), new.std()) / math.sqrt(len(first))
    assert new.mean() - old.mean() > 4 * standard_error
    spent = np.concatenate([spent_before, spent_after])
    standard_error = spent.std() * math.sqrt(DEFAULT_HORIZON) / len(spent)  # what is older has been made up for
    assert abs(spent.mean() - TIGHT.per_task) < 4 * standard_error


def test_a_candidate_is_kept_and_serves_nobody_until_it_is_promoted(short):
    candidate = refresh(short, menu=MENU, budget=BUDGET)
    assert candidate.version in short.registry.versions(MENU.hash)
    assert short.registry.active_version(MENU.hash) is None
    assert cold_router(short).policy.version == "cold-start"
    assert not cold_router(short).reload()


def test_the_saved_candidate_is_the_policy_that_was_learned(refreshed, ledger):
    record = ledger.registry.load(refreshed.version)
    again = policy_from(record, MENU, unit="completion_tokens")
    some = tasks(20, seed=9)
    assert again.predict(some).score.tobytes() == refreshed.policy.predict(some).score.tobytes()


def test_a_strategy_that_thinks_is_kept_for_what_needs_it(refreshed):
    some = tasks(300, seed=10)
    chosen = refreshed.policy.choose(refreshed.policy.predict(some), BUDGET.per_task).probabilities
    is_proof = np.array([task.metadata["kind"] == "proof" for task in some])
    assert chosen[is_proof, 2].mean() > 0.7
    assert chosen[~is_proof, 2].mean() < 0.2


def test_what_is_known_beside_the_text_is_learned_from_unless_it_is_left_out(ledger):
    told = [Task("Do as before.", metadata={"kind": kind}) for kind in ("sum", "proof")]
    thinking_gains = {}
    for columns in (None, ("kind",), ()):
        policy = refresh(ledger, menu=MENU, budget=BUDGET, columns=columns).policy
        accuracy = policy.predict(told).accuracy
        thinking_gains[columns] = (accuracy[:, 2] - accuracy[:, 0]).tolist()
    assert thinking_gains[None] == thinking_gains["kind",]
    on_sums, on_proofs = thinking_gains[None]
    assert on_proofs > on_sums + 0.1
    assert thinking_gains[()][0] == thinking_gains[()][1]


# --- what is said for it


def test_the_evidence_is_what_the_result_says_and_is_plain_json(refreshed, ledger):
    evidence = ledger.registry.load(refreshed.version).evidence
    assert json.loads(json.dumps(evidence, allow_nan=False)) == evidence
    assert evidence["budget"] == {"per_task": 110.0, "unit": "completion_tokens", "on_shortage": "cheapest"}
    assert evidence["judgement"] == refreshed.judgement.facts()
    assert evidence["verdict"] == refreshed.verdict.facts()
    last = max(entry.decision.decided_at for entry in ledger.read())
    assert (evidence["since"], evidence["until"], evidence["last_decided_at"]) == (None, None, last.isoformat())
    assert (evidence["n_decisions"], evidence["n_tasks"], evidence["seed"]) == (300, 300, 0)
    assert (refreshed.n_decisions, refreshed.n_tasks) == (300, 300)


def test_graded_tasks_are_told_by_strategy_the_smaller_votes_included(refreshed, ledger):
    drawn = [entry.decision.strategy.name for entry in ledger.read()]
    assert refreshed.n_graded["extended_cot_high"] == drawn.count("extended_cot_high")
    assert refreshed.n_graded["self_consistency_3"] == drawn.count("self_consistency_3")
    assert refreshed.n_graded["single_shot"] == drawn.count("single_shot") + drawn.count("self_consistency_3")


def test_the_expected_spend_keeps_the_budget(refreshed):
    assert refreshed.spend.low <= BUDGET.per_task <= refreshed.spend.high
    assert refreshed.allocation.spend <= BUDGET.per_task


@pytest.fixture(scope="module")
def logs():
    return [a_log(200, seed=seed) for seed in range(3)]


@pytest.mark.parametrize("learner", LEARNERS)
def test_estimates_of_candidates_hold_on_fresh_tasks(learner, logs):
    misses, variances = [], []
    for seed, log in enumerate(logs):
        candidate = refresh(log, menu=MENU, budget=BUDGET, learner=learner)
        fresh = tasks(1000, seed=1000 + seed)
        chosen = candidate.policy.choose(candidate.policy.predict(fresh), BUDGET.per_task).probabilities
        truth = (chosen * np.array([EXPECTED[task.metadata["kind"]] for task in fresh])).sum(axis=1).mean()
        misses.append(candidate.accuracy.value - truth)
        variances.append(candidate.accuracy.standard_error**2)
        assert candidate.gain.low > 0
    assert abs(np.mean(misses)) < 4 * math.sqrt(np.mean(variances) / len(misses))


# --- under a seed


def test_the_same_log_in_another_ledger_and_the_same_seed_give_the_same_candidate(refreshed, ledger):
    learner = ledger.registry.load(refreshed.version).evidence["learner"]
    again = refresh(a_log(), menu=MENU, budget=BUDGET, learner=learner)
    assert again.version == refreshed.version
    assert (again.accuracy, again.gain, again.spend) == (refreshed.accuracy, refreshed.gain, refreshed.spend)


# --- what is refused


@pytest.mark.parametrize("learner", LEARNERS)
def test_an_empty_log_is_too_thin(learner):
    with pytest.raises(NotEnoughEvidence, match="serve and settle some first"):
        refresh(MemoryLedger(), menu=MENU, budget=BUDGET, learner=learner)


def test_a_log_that_nobody_graded_is_too_thin():
    with pytest.raises(NotEnoughEvidence, match=r"none of the 20 settled decisions is graded: call router\.grade first"):
        refresh(a_log(20, grade=False), menu=MENU, budget=BUDGET)


def test_a_log_of_four_tasks_is_too_thin_and_leaves_no_candidate():
    ledger = a_log(4)
    with pytest.raises(NotEnoughEvidence, match="5 are needed"):
        refresh(ledger, menu=MENU, budget=BUDGET)
    assert ledger.registry.versions(MENU.hash) == []


def test_an_unknown_learner_is_refused_with_those_that_exist(ledger):
    with pytest.raises(InvalidInput, match="no learner 'oracle': there are value, imitator"):
        refresh(ledger, menu=MENU, budget=BUDGET, learner="oracle")


def test_a_log_without_known_prices_teaches_nothing_about_money(ledger):
    with pytest.raises(NotEnoughEvidence, match="cost is known in usd: give the price"):
        refresh(ledger, menu=MENU, budget=Budget(per_task=0.01, unit="usd"))


@pytest.mark.parametrize("learner", LEARNERS)
def test_a_budget_below_the_cheapest_still_gives_a_candidate_that_takes_the_cheapest(short, learner):
    candidate = refresh(short, menu=MENU, budget=Budget(per_task=1, unit="completion_tokens"), learner=learner)
    chosen = candidate.policy.choose(candidate.policy.predict(tasks(50, seed=3)), 1.0).probabilities
    assert chosen[:, 0].mean() > 0.95


# --- windows


def test_a_window_holds_its_start_and_not_its_end():
    ledger = a_log(60)
    moments = [entry.decision.decided_at for entry in ledger.read()]
    part = refresh(ledger, menu=MENU, budget=BUDGET, since=moments[10], until=moments[50])
    assert part.n_decisions == sum(moments[10] <= moment < moments[50] for moment in moments)
    with pytest.raises(NotEnoughEvidence):
        refresh(ledger, menu=MENU, budget=BUDGET, since=datetime.now(UTC) + timedelta(days=1))
    with pytest.raises(InvalidInput, match="has no time zone"):
        refresh(ledger, menu=MENU, budget=BUDGET, since=moments[0].replace(tzinfo=None))


# --- odd logs


@pytest.mark.parametrize("learner", LEARNERS)
def test_a_log_under_an_older_menu_teaches_what_still_draws_alike(learner):
    older = Menu(
        [
            SelfConsistency(k=5, typical_completion_tokens=20),
            SingleShot(name="retired", temperature=0.1, typical_completion_tokens=20),
            ExtendedCoT(effort="high", typical_completion_tokens=200),
        ]
    )
    ledger = a_log(50, menu=older)
    candidate = refresh(ledger, menu=MENU, budget=BUDGET, learner=learner)
    served = [entry.decision.strategy.name for entry in ledger.read()]
    assert candidate.n_graded["single_shot"] == candidate.n_graded["self_consistency_3"] == served.count("self_consistency_5")
    assert candidate.n_decisions == len(served) - served.count("retired")
    candidate.promote()
    assert ledger.registry.active_version(MENU.hash) == candidate.version
    assert ledger.registry.active_version(older.hash) is None


@pytest.mark.parametrize("learner", LEARNERS)
def test_a_log_of_forced_decisions_alone_teaches_but_proves_nothing(learner):
    ledger = MemoryLedger()
    for name in MENU.names:
        serve(cold_router(ledger), tasks(50, seed=4), seed=4, strategy=name)
    candidate = refresh(ledger, menu=MENU, budget=BUDGET, learner=learner)
    assert (candidate.n_decisions, candidate.n_tasks) == (150, 50)
    assert math.isnan(candidate.accuracy.value)
    assert math.isnan(candidate.gain.low)
    assert candidate.gain.reason.startswith("0 task(s) in the log")
    accuracy = ledger.registry.load(candidate.version).evidence["judgement"]["accuracy"]
    assert (accuracy["value"], accuracy["low"], accuracy["high"]) == (None, None, None)
    assert not candidate.verdict.is_passed


def test_forced_decisions_do_not_move_the_estimate():
    """Half of the log forces what is wrong for the task; the estimate is still of the policy, not of the whim."""
    ledger = a_log(200, seed=6)
    honest = refresh(ledger, menu=MENU, budget=BUDGET)
    serve(cold_router(ledger), tasks(200, seed=7), seed=7, strategy="single_shot")
    mixed = refresh(ledger, menu=MENU, budget=BUDGET)
    standard_error = honest.accuracy.standard_error
    assert abs(mixed.accuracy.value - honest.accuracy.value) < 2 * standard_error
    assert mixed.n_decisions == 400


@pytest.mark.parametrize("learner", LEARNERS)
def test_a_menu_of_one_strategy_is_learned_and_served(learner):
    menu = Menu([SingleShot(typical_completion_tokens=20)])
    ledger = a_log(30, menu=menu)
    refresh(ledger, menu=menu, budget=BUDGET, learner=learner).promote()
    serving = cold_router(ledger, menu=menu, horizon=1)
    for task in tasks(5, seed=8):
        decision = serving.decide(task)
        serving.settle(decision, Spend(completion_tokens=5000, n_calls=1))
        assert decision.propensities == {"single_shot": 1.0}


@pytest.mark.parametrize("learner", LEARNERS)
def test_an_overspent_past_sends_a_learned_policy_to_the_cheapest(short, learner):
    refresh(short, menu=MENU, budget=BUDGET, learner=learner).promote()
    serving = cold_router(short, horizon=10)
    serving.settle(serving.decide(tasks(1, seed=1)[0]), Spend(completion_tokens=100_000, n_calls=1))
    shares = [serving.decide(task).propensities["single_shot"] for task in tasks(50, seed=9)]
    assert np.mean(shares) > 0.95


def test_lengths_are_learned_as_they_were_billed(refreshed):
    cost = refreshed.policy.predict(tasks(300, seed=11)).cost.mean(axis=0)
    expected = [LENGTH[False], 3 * LENGTH[False], LENGTH[True]]
    assert cost == pytest.approx(expected, rel=0.05)


# --- strategies whose answers decide how many there are

ADAPTIVE = Menu(
    [
        MENU["single_shot"],
        SelfConsistency(name="early", k=6, early_stop=EarlyStop(threshold=0.85), typical_completion_tokens=20),
        MENU["extended_cot_high"],
        Escalate(
            name="doubt",
            first=SelfConsistency(k=2, typical_completion_tokens=20),
            then=MENU["extended_cot_high"],
            agreement=1.0,
        ),
    ]
)


def serve_by_plans(router, stream, *, seed):
    """Decide, run the strategy's own plan, settle and grade; the completion tokens billed and the score of each decision."""
    rng = np.random.default_rng(seed)
    served = []
    for task in stream:
        decision = router.decide(task)
        billed = []

        def complete(requests, kind=task.metadata["kind"], billed=billed):
            thinks = [request.sampling.effort is not None for request in requests]
            billed += [int(rng.poisson(LENGTH[one])) for one in thinks]
            return [Reply("right" if rng.random() < RIGHT[kind][one] else f"wrong {rng.integers(3)}") for one in thinks]

        result = run(plan(decision.strategy), complete)
        router.settle(decision, Spend(completion_tokens=sum(billed), n_calls=len(billed)), result=result)
        scores = {draw.answer: float(draw.answer == "right") for draw in result.draws}
        router.grade(decision.id, score=scores[result.answer], answer_scores=scores)
        served.append((sum(billed), scores[result.answer]))
    spends, won = zip(*served, strict=True)
    return np.array(spends), np.array(won)


@pytest.mark.parametrize("learner", LEARNERS)
def test_adaptive_strategies_are_learned_and_served_within_the_budget(learner):
    ledger = MemoryLedger()
    serve_by_plans(BudgetRouter(ADAPTIVE, BUDGET, ledger=ledger, seed=1), tasks(400, seed=1), seed=1)
    policy = refresh(ledger, menu=ADAPTIVE, budget=BUDGET, learner=learner).policy

    router = BudgetRouter(ADAPTIVE, BUDGET, policy=policy, seed=2)
    spends, scores = serve_by_plans(router, tasks(600, seed=2), seed=2)
    assert spends.mean() == pytest.approx(BUDGET.per_task, rel=0.15)
    assert scores.mean() > 0.85
    accepted = np.mean([right[False] ** 2 + (1 - right[False]) ** 2 / 3 for right in RIGHT.values()])
    expected = policy.predict(tasks(600, seed=2)).cost.mean(axis=0)[ADAPTIVE.action("doubt")]
    assert expected == pytest.approx(2 * LENGTH[False] + (1 - accepted) * LENGTH[True], rel=0.2)
