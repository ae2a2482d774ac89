"""A saved policy is judged by decisions that it was not trained on, and is never flattered unseen."""

import math
from copy import copy
from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest
from world import EXPECTED, LENGTH, MENU, serve, tasks

from budget_router import Budget, BudgetRouter, MemoryLedger, refresh
from budget_router.errors import ArtifactError, InvalidInput, NotEnoughEvidence
from budget_router.evaluating import evaluate
from budget_router.policies.artifact import record_of
from budget_router.records import now

BUDGET = Budget(per_task=110, unit="completion_tokens")
TIGHT = Budget(per_task=70, unit="completion_tokens")
LATER = tasks(300, seed=3)
COST = {strategy.name: strategy.n_samples * LENGTH[strategy.kind == "extended_cot"] for strategy in MENU}


@pytest.fixture(scope="module")
def log():
    """A ledger of two weeks, so to say, and the policy that the first of them trained."""
    ledger = MemoryLedger()
    serve(BudgetRouter(MENU, BUDGET, ledger=ledger, seed=1), tasks(200, seed=1), seed=1)
    candidate = refresh(ledger, menu=MENU, budget=BUDGET)
    serve(BudgetRouter(MENU, BUDGET, ledger=ledger, seed=2), LATER, seed=4)
    return ledger, candidate


@pytest.fixture(scope="module")
def evaluation(log):
    return evaluate(log[0], log[1].version, menu=MENU, budget=TIGHT)


def test_each_estimate_is_near_what_the_policy_truly_reaches_on_later_tasks(log, evaluation):
    policy = log[1].policy
    chosen = policy.choose(policy.predict(LATER), TIGHT.per_task).probabilities
    right = np.array([EXPECTED[task.metadata["kind"]] for task in LATER])
    accuracy, spend = (chosen * right).sum(axis=1).mean(), (chosen @ list(COST.values())).mean()

    for estimate in evaluation.policy.accuracy:
        assert abs(estimate.value - accuracy) < 4 * estimate.standard_error
    for estimate in evaluation.policy.spend:
        assert abs(estimate.value - spend) < 4 * estimate.standard_error
    assert evaluation.gain.low > 0


def test_only_what_was_decided_after_training_counts(log, evaluation):
    assert evaluation.n_decisions == evaluation.n_tasks == evaluation.n_graded == len(LATER)
    assert (evaluation.against, evaluation.is_in_sample) == ("mix", False)


def test_a_window_that_trained_the_policy_is_refused_unless_it_is_asked_for(log):
    ledger, candidate = log
    with pytest.raises(InvalidInput, match=r"trained on decisions up to .* in-sample"):
        evaluate(ledger, candidate.version, menu=MENU, budget=TIGHT, since=now() - timedelta(days=1))

    told = evaluate(ledger, candidate.version, menu=MENU, budget=TIGHT, in_sample=True)

    assert (told.is_in_sample, told.n_decisions) == (True, 200 + len(LATER))


def test_what_trained_a_policy_is_told_by_its_evidence(log):
    ledger, candidate = log
    record = ledger.registry.load(candidate.version)
    last = max(entry.decision.decided_at for entry in ledger.read(until=record.created_at))
    noted = MemoryLedger()
    noted.registry.save(replace_evidence(record, last_decided_at=last.isoformat()))
    for entry in ledger.read():
        noted.record_decision(entry.decision, LATER[0], MENU)
        noted.record_settlement(entry.settlement)
        noted.record_outcome(entry.outcome)

    told = evaluate(noted, record.version, menu=MENU, budget=TIGHT)

    assert told.trained_until == last
    assert told.n_decisions == len(LATER)


def dearer(policy):
    """The same policy, but that it takes all to be half as dear."""
    other = copy(policy)
    other.curve_ = policy.curve_._replace(spend=policy.curve_.spend / 2)
    return record_of(other, evidence={})


def replace_evidence(record, **evidence):
    return record.model_copy(update={"evidence": {**record.evidence, **evidence}})


def test_against_another_policy_neither_may_know_the_window(log):
    ledger, candidate = log
    between = now()
    rival = dearer(candidate.policy)
    ledger.registry.save(rival)

    with pytest.raises(InvalidInput, match=rival.version):
        evaluate(ledger, candidate.version, menu=MENU, budget=TIGHT, against=rival.version, since=between)
    with pytest.raises(NotEnoughEvidence, match="no settled decision of this menu stands in the window since"):
        evaluate(ledger, candidate.version, menu=MENU, budget=TIGHT, against=rival.version)

    told = evaluate(ledger, candidate.version, menu=MENU, budget=TIGHT, against=rival.version, in_sample=True)
    assert told.gain.value < 0
    assert told.rival.spend.dr.low > told.policy.spend.dr.high
    assert told.gain.value == pytest.approx(told.policy.accuracy.dr.value - told.rival.accuracy.dr.value)


def test_the_active_policy_is_meant_where_none_is_named():
    with pytest.raises(ArtifactError, match="no policy serves this menu yet"):
        evaluate(MemoryLedger(), menu=MENU, budget=TIGHT)


def test_texts_that_were_not_kept_say_nothing_and_are_no_hindrance(log):
    policy = log[1].policy
    silent = policy.predict_table(replace(policy.table_, texts=None))
    assert np.isfinite(silent.score).all()
    assert not np.array_equal(silent.score, policy.predict_table(policy.table_).score)


def test_a_frame_has_a_row_for_each_estimate(evaluation):
    frame = evaluation.frame()
    assert list(frame.measure.unique()) == ["accuracy", "spend", "gain"]
    row = frame[(frame.policy == "mix") & (frame.measure == "spend") & (frame.estimator == "dr")].iloc[0]
    assert row.value == evaluation.rival.spend.dr.value
    assert not math.isnan(row.low)


def test_an_evaluation_draws_both_policies_by_every_estimator(evaluation):
    words = {text.get_text() for text in evaluation.plot().axes[0].texts}
    assert {f"{evaluation.version} · DR", "mix · IPS", "mix · SNIPS"} <= words
