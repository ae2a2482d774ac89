"""Why a task got its strategy, told from the record and by asking the policy again."""

import numpy as np
import pytest
from world import MENU, serve, tasks

from budget_router import Budget, BudgetRouter, MemoryLedger, Spend, Task, explain
from budget_router.errors import UnknownDecision
from budget_router.outcomes import OutcomeTable
from budget_router.policies import ValuePolicy
from budget_router.policies.artifact import record_of
from budget_router.testing import example_decision, recorded

BUDGET = Budget(per_task=70, unit="completion_tokens")
PROOF = Task("Prove that every graph of order 8 has a cycle of length 3 .", id="proof", metadata={"kind": "proof"})


@pytest.fixture(scope="module")
def served():
    """A ledger, a router whose learned policy serves from it without exploring, and that policy."""
    ledger = MemoryLedger()
    serve(BudgetRouter(MENU, BUDGET, ledger=ledger, seed=1), tasks(150, seed=1), seed=1)
    policy = ValuePolicy().fit(
        OutcomeTable.from_evidence(ledger.evidence(), MENU, unit=BUDGET.unit), rng=np.random.default_rng(0)
    )
    ledger.registry.save(record_of(policy, evidence={}))
    ledger.registry.promote(policy.version)
    return ledger, BudgetRouter(MENU, BUDGET, ledger=ledger, seed=2), policy


def test_a_decision_is_weighed_again_as_it_was(served):
    ledger, router, policy = served
    decision = router.decide(PROOF)

    told = explain(ledger, decision.id)

    chosen = next(one for one in told.strategies if one.is_executed)
    assert (told.doubt, chosen.strategy) == ("", decision.strategy.name)
    assert chosen.cost == pytest.approx(decision.expected_cost)
    assert chosen.accuracy == pytest.approx(decision.expected_accuracy)
    assert [one.value for one in told.strategies] == pytest.approx(
        (policy.predict([PROOF]).score - decision.shadow_price * policy.predict([PROOF]).cost)[0].tolist()
    )
    assert f"Policy {policy.version} weighed them at a shadow price of" in told.sentences[1]


def test_past_the_price_that_is_named_another_strategy_is_picked(served):
    ledger, router, policy = served
    told = explain(ledger, router.decide(PROOF).id)
    prediction = policy.predict([PROOF])

    def picked(lam):
        return MENU.names[int((prediction.score[0] - lam * prediction.cost[0]).argmax())]

    assert picked(told.cheaper.shadow_price * 0.999) == told.picked
    assert picked(told.cheaper.shadow_price * 1.001) == told.cheaper.strategy
    assert policy.choose(prediction, told.cheaper.budget).lam == pytest.approx(told.cheaper.shadow_price, rel=0.05)
    assert any(told.cheaper.strategy in sentence and "rises" in sentence for sentence in told.sentences)


def test_without_a_text_it_says_what_it_cannot_know(served):
    ledger, router, _ = served
    decision = router.decide(Task(PROOF.text, id="secret", metadata=PROOF.metadata))
    ledger.forget("secret")

    told = explain(ledger, decision.id)

    assert "text was not kept, or was erased" in told.doubt
    assert f"the record says {decision.expected_cost:.4g}" in told.doubt


def test_a_policy_that_is_gone_leaves_what_the_record_holds():
    ledger = MemoryLedger()
    recorded(ledger, example_decision(policy_version="gone"))

    told = explain(ledger)

    assert "policy 'gone' cannot be asked again" in told.doubt
    assert [one.propensity for one in told.strategies] == [0.6, 0.3, 0.1]
    assert [one.cost for one in told.strategies] == [None, 1520.5, None]
    assert (told.picked, told.cheaper, told.dearer) == (None, None, None)
    assert told.sentences == [
        "Task 't1' of group 'support' got self_consistency_5 on 2026-03-01 at 12:00:00 UTC, "
        "under a budget of 800 tokens per task.",
        "Policy gone decided at a shadow price of 0.0333 accuracy per token.",
        "The draw explored: self_consistency_5 had a probability of 30 %, single_shot one of 60 %; "
        "evaluation lives on such draws.",
        "It is not settled yet.",
        "It has not been graded.",
    ]


def test_a_cold_start_is_told_as_one_and_what_came_of_it():
    ledger = MemoryLedger()
    router = BudgetRouter(MENU, BUDGET, ledger=ledger, seed=1)
    decision = router.decide(Task("What is 1 + 1?", id="sum"))
    router.settle(decision, Spend(completion_tokens=21, n_calls=1))
    router.grade(decision.id, score=0.5)

    sentences = explain(ledger, "latest").sentences

    assert sentences[1].startswith("No policy had been learned yet: the cold start tries every strategy")
    assert sentences[-2].startswith("It billed 21 completion tokens in 1 call, ")
    assert sentences[-1] == "It was graded 0.5 by 'user'."


@pytest.mark.parametrize(
    ("reason", "said"),
    [("forced", "The caller named"), ("capped", "did not fit under the hard cap"), ("reconsidered", "It is a second decision")],
)
def test_each_reason_has_its_words(reason, said):
    ledger = MemoryLedger()
    recorded(ledger, example_decision(reason=reason, propensities={"self_consistency_5": 1.0}))
    assert said in " ".join(explain(ledger).sentences)


def test_a_decision_that_nobody_made_is_no_decision(served):
    with pytest.raises(UnknownDecision):
        explain(served[0], "nothing")


def test_a_frame_has_a_row_for_each_strategy(served):
    frame = explain(served[0], served[1].decide(PROOF).id).frame()
    assert list(frame.strategy) == list(MENU.names)
    assert frame.propensity.sum() == pytest.approx(1)


def test_a_picture_shows_how_likely_each_strategy_was_and_what_each_was_worth_at_the_price(served):
    told = explain(served[0], served[1].decide(PROOF).id)
    draw, price = told.plot().axes

    chances = [f"{100 * one.propensity:.3g} %" for one in told.strategies]
    assert [text.get_text() for text in draw.texts] == [*chances, *MENU.names]
    (line, *dots) = price.lines
    rise = np.diff(line.get_ydata())[0] / np.diff(line.get_xdata())[0]
    assert rise == pytest.approx(told.decision.shadow_price)
    assert [(dot.get_xdata()[0], dot.get_ydata()[0]) for dot in dots] == [(one.cost, one.score) for one in told.strategies]
    assert price.xaxis.label.get_text() == "Expected cost, completion tokens"


def test_without_scores_the_picture_shows_the_draw_alone():
    ledger = MemoryLedger()
    decision = BudgetRouter(MENU, BUDGET, ledger=ledger, seed=1).decide(PROOF)
    (draw,) = explain(ledger, decision.id).plot().axes
    assert draw.xaxis.label.get_text() == "Probability of being drawn, per cent"
