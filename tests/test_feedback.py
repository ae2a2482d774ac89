"""LangSmith's feedback finds the decision that it is about, once, and says what it could not place."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import RunnableLambda
from langsmith.schemas import Feedback

from budget_router import Budget, BudgetRouter, Menu, SelfConsistency, SingleShot, Spend, Task
from budget_router.errors import InvalidInput
from budget_router.menu import Strategy
from budget_router.records import LoggedDecision
from budget_router_langchain import budget, grade_from_langsmith
from budget_router_sql import SqlLedger
from tests.scripted import ScriptedModel

LATER = datetime(2030, 1, 1, tzinfo=UTC)


def feedback(run_id: UUID | None, score: Any = 1.0, *, key: str = "correctness", **fields: Any) -> Feedback:
    facts = {"trace_id": run_id, "created_at": LATER, "modified_at": LATER} | fields
    return Feedback(id=uuid4(), run_id=run_id, key=key, score=score, **facts)


class Client:
    """As much of LangSmith's client as is used."""

    def __init__(self, *kept: Feedback) -> None:
        self.kept = kept
        self.asked: list[Sequence[str]] = []

    def list_feedback(self, *, feedback_key: Sequence[str]) -> Iterator[Feedback]:
        self.asked.append(feedback_key)
        return (one for one in self.kept if one.key in feedback_key)


def routed(*strategies: Strategy, ledger: Any = None) -> BudgetRouter:
    return BudgetRouter(Menu(strategies or [SingleShot()]), Budget(per_task=1e6), ledger=ledger)


def answered(router: BudgetRouter, *replies: str) -> tuple[UUID, LoggedDecision]:
    """Run a chain of which one step is budgeted; its run and its decision."""
    run_id = uuid4()
    model = budget(ScriptedModel([*(replies or ["Answer: 4"])]), router=router)
    (ChatPromptTemplate.from_template("{question}") | model).invoke({"question": "2 + 2?"}, {"run_id": run_id})
    return run_id, router.ledger.latest()


def score(router: BudgetRouter, logged: LoggedDecision) -> float | None:
    outcome = router.ledger.decision(logged.decision.id).outcome
    return outcome and outcome.score


def test_feedback_on_an_invoked_run_grades_its_decision() -> None:
    router = routed()
    run_id, logged = answered(router)
    client = Client(feedback(run_id, 0.75), feedback(run_id, 0.0, key="style"))
    (outcome,), left_out = grade_from_langsmith(router, client, key="correctness")
    assert (outcome.decision_id, outcome.score) == (logged.decision.id, 0.75)
    assert (outcome.source, outcome.graded_at) == ("langsmith:correctness", LATER)
    assert left_out == ()
    assert client.asked == [["correctness"]]
    assert score(router, logged) == 0.75


def test_feedback_that_was_listed_already_is_taken_and_other_keys_are_passed_over() -> None:
    router = routed()
    run_id, logged = answered(router)
    listed = [feedback(run_id, True), feedback(run_id, 0.0, key="style")]
    outcomes, left_out = grade_from_langsmith(router, iter(listed), key="correctness")
    assert (len(outcomes), left_out, score(router, logged)) == (1, (), 1.0)


def test_feedback_on_a_models_run_grades_the_decision_that_the_call_was_made_for() -> None:
    router = routed()
    run_id, logged = answered(router)
    (called,) = logged.calls
    grade_from_langsmith(router, [feedback(UUID(called.id), 0.5, trace_id=run_id)], key="correctness")
    assert score(router, logged) == 0.5


def test_feedback_on_one_of_many_samples_counts_where_it_brought_the_answer() -> None:
    router = routed(SelfConsistency(k=3))
    run_id, logged = answered(router, "Answer: 4", "Answer: 5", "Answer: 4")
    assert logged.settlement is not None
    calls = {sample.call_id: sample.answer_key for sample in logged.settlement.samples}
    (outvoted,) = [call_id for call_id, key in calls.items() if key != logged.settlement.answer_key]
    said = [feedback(UUID(outvoted), 0.0, trace_id=run_id)]
    outcomes, (left_out,) = grade_from_langsmith(router, said, key="correctness")
    assert (outcomes, score(router, logged)) == ((), None)
    assert left_out.feedback == said[0]
    assert "was outvoted" in left_out.reason

    winner = next(call_id for call_id in calls if call_id != outvoted)
    grade_from_langsmith(router, [feedback(UUID(winner), 1.0, trace_id=run_id)], key="correctness")
    assert score(router, logged) == 1.0


def test_feedback_on_another_step_counts_where_its_trace_made_one_decision() -> None:
    router = routed()
    run_id, logged = answered(router)
    step = feedback(uuid4(), 0.5, trace_id=run_id)
    grade_from_langsmith(router, [step], key="correctness")
    assert score(router, logged) == 0.5

    other = router.decide(Task("another?"), run_id=str(run_id))
    _, (left_out,) = grade_from_langsmith(router, [feedback(uuid4(), 0.0, trace_id=run_id)], key="correctness")
    assert "a step of a trace with 2 decisions" in left_out.reason
    assert score(router, logged) == 0.5
    assert router.ledger.decision(other.id).outcome is None


def test_feedback_on_a_trace_alone_grades_all_its_decisions() -> None:
    router, trace_id = routed(), uuid4()
    for text in ("plan", "work"):
        router.decide(Task(text), run_id=str(trace_id))
    outcomes, _ = grade_from_langsmith(router, [feedback(None, 1.0, trace_id=trace_id)], key="correctness")
    assert len(outcomes) == 2
    assert all(score(router, logged) == 1.0 for logged in router.ledger.read())


def test_feedback_that_belongs_nowhere_is_named_with_the_reason() -> None:
    router, failed = routed(), uuid4()
    router.settle(router.decide(Task("?"), run_id=str(failed)), Spend(), status="failed")
    run_id, logged = answered(router)
    said = [feedback(uuid4()), feedback(None), feedback(failed), feedback(run_id, None, value="so so"), feedback(run_id, 1.0)]
    outcomes, left_out = grade_from_langsmith(router, said, key="correctness")
    assert [outcome.decision_id for outcome in outcomes] == [logged.decision.id]
    assert [one.feedback for one in left_out] == said[:4]
    for one, reason in zip(left_out, ["stands in this ledger", "stands in this", "none but failed", "no score"], strict=True):
        assert reason in one.reason


def test_feedback_given_again_is_one_grade_and_changed_feedback_corrects(tmp_path: Any) -> None:
    with SqlLedger(f"sqlite:///{tmp_path}/spend.db") as ledger:
        router = routed(ledger=ledger)
        run_id, logged = answered(router)
        first = feedback(run_id, 1.0)
        changed = first.model_copy(update={"score": 0.0, "modified_at": LATER + timedelta(hours=1)})
        for said in ([first], [first], [changed], [first, changed], [changed, first]):
            grade_from_langsmith(router, Client(*said), key="correctness")
        with ledger.database.read() as connection:
            assert connection.exec_driver_sql("SELECT count(*) FROM outcomes").scalar() == 2
        assert score(router, logged) == 0.0


def test_feedback_of_yesterday_does_not_undo_what_was_said_since() -> None:
    router = routed()
    run_id, logged = answered(router)
    router.grade(logged.decision.id, score=0.0)
    grade_from_langsmith(router, [feedback(run_id, modified_at=datetime(2026, 1, 1))], key="correctness")  # noqa: DTZ001  # as old servers tell it, in UTC
    assert score(router, logged) == 0.0


@pytest.mark.parametrize("wrong", [7, -0.5, float("nan")])
def test_a_score_beyond_its_bounds_is_refused_and_nothing_graded(wrong: float) -> None:
    router = routed()
    run_id, logged = answered(router)
    said = [feedback(run_id, 1.0), feedback(run_id, wrong)]
    with pytest.raises(InvalidInput, match=rf"feedback {said[1].id} .* scores .* map it, score_of="):
        grade_from_langsmith(router, said, key="correctness")
    assert score(router, logged) is None


def test_scores_of_another_kind_are_mapped() -> None:
    router = routed()
    run_id, logged = answered(router)
    stars = [feedback(run_id, 4, key="stars"), feedback(run_id, None, key="stars", value="no idea")]
    outcomes, (left_out,) = grade_from_langsmith(
        router, stars, key="stars", score_of=lambda one: None if one.score is None else one.score / 5
    )
    assert (len(outcomes), left_out.feedback, score(router, logged)) == (1, stars[1], 0.8)


def test_a_graph_or_chain_within_another_is_found_by_the_run_that_was_invoked() -> None:
    router = routed()
    run_id = uuid4()
    chain = budget(ScriptedModel(["Answer: 4"]), router=router)
    RunnableLambda(lambda text: chain.invoke(text)).invoke("2 + 2?", {"run_id": run_id})  # noqa: PLW0108  # a runnable would be unwrapped
    grade_from_langsmith(router, [feedback(run_id, 1.0)], key="correctness")
    assert score(router, router.ledger.latest()) == 1.0
