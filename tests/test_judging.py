"""What a candidate is judged on: decisions that trained neither it nor its price, beside the policy that serves."""

from copy import copy
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from world import MENU, serve, tasks

from budget_router import Budget, BudgetRouter, Gate, MemoryLedger, refresh
from budget_router.errors import InvalidInput, NotEnoughEvidence
from budget_router.judging import Trial, judged, parted, serving
from budget_router.memory import MemoryRegistry
from budget_router.outcomes import OutcomeTable
from budget_router.policies import ValuePolicy

BUDGET = Budget(per_task=70, unit="completion_tokens")


@pytest.fixture(scope="module")
def ledger():
    ledger = MemoryLedger()
    serve(BudgetRouter(MENU, BUDGET, ledger=ledger, seed=1), tasks(500, seed=1), seed=1)
    return ledger


@pytest.fixture(scope="module")
def table(ledger):
    return OutcomeTable.from_evidence(ledger.evidence(), MENU, unit="completion_tokens")


@pytest.fixture(scope="module")
def policy(table):
    return ValuePolicy().fit(table, rng=np.random.default_rng(0))


@pytest.fixture(scope="module")
def learned(ledger):
    return refresh(ledger, menu=MENU, budget=BUDGET)


# --- held out


def test_what_a_task_billed_does_not_move_the_price_that_it_is_judged_at(policy, table):
    pooled, struck = policy.table_, 17
    billed = pooled.cost.copy()
    billed[struck] *= 1000
    moved = SimpleNamespace(table_=replace(pooled, cost=billed), held_out_=policy.held_out_, featuriser_=policy.featuriser_)

    before, after = (Trial.cross_fitted(one, table, 70.0, rng=np.random.default_rng(3)) for one in (policy, moved))

    row = np.flatnonzero(table.pool == struck)
    assert (before.chosen[row] == after.chosen[row]).all()
    assert (before.chosen != after.chosen).any()  # the others' price did move


def test_the_latest_decisions_judge_and_the_others_train(table):
    earlier, later = parted(table, 0.3)

    assert (len(earlier.task_ids), len(later.task_ids)) == (350, 150)
    assert earlier.decided_at.max() <= later.decided_at.min()


def test_a_task_that_trained_does_not_judge(table):
    ids = list(table.task_ids)
    ids[480] = ids[10]  # asked again, when time has gone on
    again = replace(table, task_ids=tuple(ids), cluster_ids=None)

    _, later = parted(again, 0.3)

    assert len(later.task_ids) == 149
    assert ids[10] not in later.task_ids


def test_a_log_of_one_task_has_none_to_judge_by(table):
    same = replace(table, task_ids=("t",) * 500, cluster_ids=None)
    with pytest.raises(NotEnoughEvidence, match="0 of them about new tasks"):
        parted(same, 0.3)


def test_a_task_beyond_what_trained_is_out_of_range(policy, table):
    far = replace(table, structure=table.structure * np.where(np.arange(500) == 7, 50.0, 1.0)[:, None])
    found = Trial.later(policy, far, 70.0).out_of_range
    assert found.share == 1 / 500
    assert [name.split()[0] for name in found.by] == ["structure"]


def test_a_candidate_whose_later_tasks_are_unlike_those_that_trained_is_kept_and_it_is_said_in_what(policy, table):
    unlike = np.arange(500) % 4 == 0
    texts = [f"Wieviel ergibt das, lieber Rechner {row}?" if unlike[row] else text for row, text in enumerate(table.texts)]
    facts = [{"kind": "riddle"} if unlike[row] else known for row, known in enumerate(table.metadata)]
    other = replace(table, texts=tuple(texts), metadata=tuple(facts))

    as_it_is, changed = (
        next(
            condition
            for condition in Gate().judge(judged(Trial.later(policy, later, 70.0), BUDGET, incumbent=None)).conditions
            if condition.name == "range"
        )
        for later in (table, other)
    )

    assert as_it_is.is_met
    assert changed.found == pytest.approx(0.25, abs=0.01)
    assert changed.sentence.startswith("out of range 25.0 % > 5.0 % (metadata 'kind' (a new value) 25.0 %, words 25.0 %")


# --- beside the policy that serves


def test_a_policy_gains_nothing_over_itself(policy, table):
    trial = Trial.later(policy, table, 70.0)
    gain = judged(trial, BUDGET, incumbent=policy).gain
    assert (gain.value, gain.standard_error) == (0.0, 0.0)


@pytest.fixture
def promoted(ledger, learned):
    """The same log, with the policy that was learned from it serving."""
    promoted = copy(ledger)
    promoted.registry = MemoryRegistry()
    promoted.registry.save(ledger.registry.load(learned.version))
    promoted.registry.promote(learned.version)
    return promoted


def test_the_policy_that_serves_is_the_one_to_beat(promoted, learned):
    assert learned.judgement.incumbent == "the best static mix"
    again = refresh(promoted, menu=MENU, budget=BUDGET, seed=5, later_share=0.4)
    assert again.judgement.incumbent == learned.version
    assert again.judgement.gain.value < learned.judgement.gain.value
    assert again.judgement.gain_over_mix.low > 0
    assert not again.verdict.is_passed


def test_an_active_policy_that_cannot_serve_is_no_incumbent(promoted, caplog):
    assert serving(promoted.registry, MENU, unit="usd") is None
    assert "best static mix" in caplog.text


# --- and the gate


def test_a_candidate_that_gains_passes_and_one_that_must_gain_more_does_not(ledger, learned):
    assert learned.verdict.is_passed
    strict = refresh(ledger, menu=MENU, budget=BUDGET, gate=Gate(margin=0.9))
    assert [condition.name for condition in strict.verdict.failed] == ["gain"]
    assert strict.version in ledger.registry.versions(MENU.hash)


def test_what_judges_later_trains_nothing(ledger):
    candidate = refresh(ledger, menu=MENU, budget=BUDGET, later_share=0.3)
    assert candidate.judgement.held_out == "later"
    assert candidate.judgement.n_judged == 150
    assert len(candidate.policy.table_.task_ids) == 350
    entries = list(ledger.read())
    evidence = ledger.registry.load(candidate.version).evidence
    assert evidence["last_decided_at"] == entries[349].decision.decided_at.isoformat()


@pytest.mark.parametrize("share", [0.0, 1.0, -1.0, float("nan")])
def test_a_share_that_leaves_one_side_empty_is_refused(ledger, share):
    with pytest.raises(InvalidInput, match="later_share"):
        refresh(ledger, menu=MENU, budget=BUDGET, later_share=share)


def test_it_is_told_how_far_a_refresh_is(ledger):
    told = []
    refresh(ledger, menu=MENU, budget=BUDGET, progress=lambda *one: told.append(one))
    assert told == [("reading", 500, 500), ("learning", 0, 1), ("learning", 1, 1), ("judging", 0, 1), ("judging", 1, 1)]


def test_gains_stand_in_a_frame_and_a_picture_over_each_rival(promoted):
    result = refresh(promoted, menu=MENU, budget=BUDGET, seed=5)
    told = result.frame()
    assert told.gain.tolist() == [f"over {result.judgement.incumbent}", "over the best static mix"]
    assert told.value.tolist() == [result.gain.value, result.judgement.gain_over_mix.value]
    assert "Gain in accuracy, points" in {text.get_text() for text in result.plot().findobj() if hasattr(text, "get_text")}
