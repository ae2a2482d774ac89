"""A verdict in the state becomes the grade of the decision that led to it, once, however often the node runs."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any
from uuid import uuid4

import pytest
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from langgraph.graph import END, START, MessagesState, StateGraph
from langgraph.types import Command, RetryPolicy, Send, interrupt
from pydantic import BaseModel
from typing_extensions import TypedDict

from budget_router import Budget, BudgetRouter, MemoryLedger, Menu, SelfConsistency, SingleShot, Task
from budget_router.errors import InvalidInput
from budget_router.ledger import Ledger
from budget_router.records import Outcome, hash_text
from budget_router_langchain import meter
from budget_router_langgraph import BudgetChannel, BudgetNode, BudgetState, GradeNode, budgeted_reasoner
from budget_router_sql import SqlLedger
from tests.scripted import ScriptedModel

STRICT = JsonPlusSerializer(allowed_msgpack_modules=None)
THREAD = {"configurable": {"thread_id": "t1"}}
ASK = {"question": "2 + 2?"}


class CountingLedger(MemoryLedger):
    """Tells how many grades it keeps of a decision."""

    def outcomes(self, decision_id: str) -> list[Outcome]:
        return self._outcomes[decision_id]


@pytest.fixture
def ledger() -> CountingLedger:
    return CountingLedger()


@pytest.fixture
def router(ledger: CountingLedger) -> BudgetRouter:
    return BudgetRouter(Menu([SelfConsistency(k=3)]), Budget(per_task=1e6), ledger=ledger)


@pytest.fixture(autouse=True)
def _memory_stays_flat() -> Iterator[None]:
    before = meter.n_live()
    yield
    assert meter.n_live() == before


class Question(TypedDict, total=False):
    question: str
    answer: str
    score: Any


def gathered(so_far: list[str], more: list[str] | str) -> list[str]:
    return so_far + ([more] if isinstance(more, str) else more)


class Sides(TypedDict, total=False):
    question: str
    answer: Annotated[list[str], gathered]
    score: float


class PydanticQuestion(BaseModel):
    question: str
    answer: str = ""
    score: float | None = None


@dataclass
class DataQuestion:
    question: str
    answer: str = ""
    score: float | None = None
    budget: BudgetState = field(default_factory=BudgetState)


class Judged(BaseModel):
    """As a verifier with structured output says it."""

    score: bool
    reason: str = ""


@dataclass
class Scored:
    score: float


def graph_of(
    router: BudgetRouter, verdict: Any, *, schema: Any = Question, grade: GradeNode | None = None, **settings: Any
) -> Any:
    """Reason, verify, grade; `verdict` is what the verifier writes to `score`, or a node that does."""
    graph = StateGraph(schema)
    graph.add_node("reason", budgeted_reasoner(router, ScriptedModel(["Answer: 4"])))
    graph.add_node("verify", verdict if callable(verdict) else lambda state: {"score": verdict})
    graph.add_node("grade", grade or GradeNode(router), **settings)
    graph.add_edge(START, "reason")
    graph.add_edge("reason", "verify")
    graph.add_edge("verify", "grade")
    return graph


def scores(ledger: Ledger) -> list[float | None]:
    """The score of each decision, oldest first."""
    return [logged.outcome and logged.outcome.score for logged in ledger.read()]


@pytest.mark.parametrize("schema", [Question, PydanticQuestion, DataQuestion])
def test_a_verdict_in_the_state_grades_the_decision(
    call: Callable[..., Any], router: BudgetRouter, ledger: CountingLedger, schema: Any
) -> None:
    given = DataQuestion("2 + 2?") if schema is DataQuestion else ASK
    call(graph_of(router, 0.75, schema=schema).compile(), given)

    (entry,) = ledger.read()
    assert entry.outcome is not None
    assert (entry.outcome.score, entry.outcome.source) == (0.75, "verifier")


@pytest.mark.parametrize(
    ("verdict", "score"),
    [
        (1, 1.0),
        (True, 1.0),
        (False, 0.0),
        ({"score": 0.25, "comment": "close"}, 0.25),
        ({"score": True}, 1.0),
        (Judged(score=False), 0.0),
        (Scored(0.5), 0.5),
    ],
)
def test_a_verdict_has_many_forms(router: BudgetRouter, ledger: CountingLedger, verdict: Any, score: float) -> None:
    graph_of(router, verdict).compile().invoke(ASK)
    assert scores(ledger) == [score]


@pytest.mark.parametrize("verdict", [None, {"score": None}])
def test_without_a_verdict_nothing_is_graded_and_nobody_told(
    call: Callable[..., Any], router: BudgetRouter, ledger: CountingLedger, verdict: Any
) -> None:
    graph = graph_of(router, verdict).compile()
    call(graph, ASK)
    assert scores(ledger) == [None]
    assert "budget_grade" not in {name for event in graph.stream(ASK, stream_mode="custom") for name in event}


def test_a_verdict_that_is_needed_and_missing_is_told(router: BudgetRouter, ledger: CountingLedger) -> None:
    with pytest.raises(InvalidInput, match=r"no verdict in state\['score'\]: let a verifier run before"):
        graph_of(router, None, grade=GradeNode(router, needs_verdict=True)).compile().invoke(ASK)
    with pytest.raises(InvalidInput, match="no verdict in what score_from= returns"):
        GradeNode(router, lambda state: None, needs_verdict=True).invoke({})
    assert scores(ledger) == [None]


@pytest.mark.parametrize(
    ("verdict", "fault"),
    [(1.5, "score"), (-1, "score"), ("good", "is a str"), ({"verdict": 1}, "is a dict"), ({"score": "good"}, "score is 'good'")],
)
def test_what_is_no_verdict_is_refused(router: BudgetRouter, ledger: CountingLedger, verdict: Any, fault: str) -> None:
    with pytest.raises(InvalidInput, match=fault):
        graph_of(router, verdict).compile().invoke(ASK)
    assert scores(ledger) == [None]


def test_a_verdict_on_several_answers_scores_each(router: BudgetRouter, ledger: CountingLedger) -> None:
    graph_of(router, {"score": 1.0, "answer_scores": {"4": 1.0, "5": 0.0}}).compile().invoke(ASK)

    (entry,) = ledger.read()
    assert entry.outcome is not None
    assert entry.settlement is not None
    assert entry.outcome.answer_scores == {hash_text(answer, salt=ledger.salt): float(answer == "4") for answer in "45"}
    assert entry.outcome.answer_scores[entry.settlement.answer_key or ""] == 1.0


def test_a_verdict_stands_under_any_key(call: Callable[..., Any], router: BudgetRouter, ledger: CountingLedger) -> None:
    class State(MessagesState):
        passed: bool

    graph = graph_of(router, lambda state: {"passed": True}, schema=State, grade=GradeNode(router, "passed", source="tests"))
    call(graph.compile(), {"messages": [("user", "2 + 2?")]})
    (entry,) = ledger.read()
    assert entry.outcome is not None
    assert (entry.outcome.score, entry.outcome.source) == (1.0, "tests")


@pytest.mark.parametrize("has_budget", [True, False])
def test_a_function_reads_the_verdict_from_the_users_own_state(
    call: Callable[..., Any], router: BudgetRouter, ledger: CountingLedger, has_budget: bool
) -> None:
    schema = DataQuestion if has_budget else PydanticQuestion
    grade = GradeNode(router, lambda state: state.answer == "Answer: 4")
    call(graph_of(router, lambda state: {}, schema=schema, grade=grade).compile(), schema(question="2 + 2?"))
    assert scores(ledger) == [1.0]


def test_a_function_that_is_not_shown_which_decision_it_judges_guesses_none(router: BudgetRouter, ledger: CountingLedger) -> None:
    graph = graph_of(
        router,
        budgeted_reasoner(router, ScriptedModel(["Answer: 5"])),
        schema=PydanticQuestion,
        grade=GradeNode(router, lambda state: True),
    )
    with pytest.raises(InvalidInput, match=r"2 decisions in this run.*add `budget` to its schema"):
        graph.compile().invoke(ASK)
    assert scores(ledger) == [None, None]


def test_a_function_that_judges_the_run_need_not_be_shown_a_decision(
    call: Callable[..., Any], router: BudgetRouter, ledger: CountingLedger
) -> None:
    second = budgeted_reasoner(router, ScriptedModel(["Answer: 5"]))
    grade = GradeNode(router, lambda state: state.answer == "Answer: 5", of="run")
    call(graph_of(router, second, schema=PydanticQuestion, grade=grade).compile(), ASK)
    assert scores(ledger) == [1.0, 1.0]


def test_a_verdict_without_a_decision_tells_the_mend(router: BudgetRouter) -> None:
    for source in ("score", lambda state: state["score"]):
        with pytest.raises(InvalidInput, match="let a BudgetNode run before"):
            GradeNode(router, source).invoke({"score": 1.0})
    with pytest.raises(InvalidInput, match="'decision' or on a 'run'"):
        GradeNode(router, of="thread")  # type: ignore[arg-type]


# --- what is graded


def two_steps(router: BudgetRouter, of: Any) -> Any:
    """Plan and work, each with a budget, then verify and grade."""
    graph = StateGraph(Question)
    for name in ("plan", "work"):
        graph.add_node(name, budgeted_reasoner(router, ScriptedModel(["Answer: 4"])))
    graph.add_node("verify", lambda state: {"score": 1.0})
    graph.add_node("grade", GradeNode(router, of=of))
    for one, other in ((START, "plan"), ("plan", "work"), ("work", "verify"), ("verify", "grade")):
        graph.add_edge(one, other)
    return graph.compile()


@pytest.mark.parametrize(("of", "expected"), [("decision", [None, 1.0]), ("run", [1.0, 1.0])])
def test_a_verdict_is_on_the_last_decision_or_on_all_of_the_run(
    call: Callable[..., Any], router: BudgetRouter, ledger: CountingLedger, of: str, expected: list[float | None]
) -> None:
    router.decide(Task("of another run"), run_id="another")
    call(two_steps(router, of), ASK)
    assert scores(ledger) == [None, *expected]


def test_a_verdict_on_the_run_reaches_what_the_same_verdict_on_a_decision_did_not(
    call: Callable[..., Any], router: BudgetRouter, ledger: CountingLedger
) -> None:
    graph = two_steps(router, "decision").builder
    graph.add_node("all", GradeNode(router, of="run"))
    graph.add_edge("grade", "all")
    call(graph.compile(), ASK)
    assert scores(ledger) == [1.0, 1.0]


def test_a_run_is_graded_by_the_id_that_it_was_invoked_with(
    call: Callable[..., Any], router: BudgetRouter, ledger: CountingLedger
) -> None:
    """Subgraphs and all."""
    team = StateGraph(Question)
    team.add_node("inner", two_steps(router, "decision"))
    team.add_node("wrapped", lambda state: {"answer": graph_of(router, 1.0).compile().invoke(ASK)["answer"]})
    team.add_edge(START, "inner")
    team.add_edge("inner", "wrapped")
    run_id = uuid4()
    call(team.compile(), ASK, {"run_id": run_id})

    assert {entry.decision.run_id for entry in ledger.read()} == {str(run_id)}
    assert len(router.grade(run_id=str(run_id), score=0.5)) == 3
    assert scores(ledger) == [0.5, 0.5, 0.5]


def test_outside_of_a_graph_a_verdict_on_the_run_is_one_on_the_decision(router: BudgetRouter, ledger: CountingLedger) -> None:
    budget = BudgetNode(router).invoke(ASK)["budget"]
    update = GradeNode(router, of="run").invoke({"budget": budget, "score": 1.0})
    assert update["budget"] == {**budget, "score": 1.0}
    assert scores(ledger) == [1.0]


def side_by_side(router: BudgetRouter, of: Any, *, sends: bool) -> Any:
    """Two decisions in one step, each settled by its own node."""
    graph = StateGraph(Sides)
    names = ["left"] if sends else ["left", "right"]
    for name in names:
        graph.add_node(name, budgeted_reasoner(router, ScriptedModel(["Answer: 4"])))
        graph.add_edge(name, "verify")
    if sends:
        graph.add_conditional_edges(START, lambda state: [Send("left", {"question": text}) for text in "ab"], ["left"])
    else:
        graph.set_conditional_entry_point(lambda state: names, names)
    graph.add_node("verify", lambda state: {"score": 1.0})
    graph.add_node("grade", GradeNode(router, of=of))
    graph.add_edge("verify", "grade")
    return graph.compile(InMemorySaver(serde=STRICT))


@pytest.mark.parametrize("sends", [True, False])
def test_decisions_that_were_made_side_by_side_are_graded_together(
    call: Callable[..., Any], router: BudgetRouter, ledger: CountingLedger, sends: bool
) -> None:
    result = call(side_by_side(router, "run", sends=sends), ASK, THREAD)
    assert result["answer"] == ["Answer: 4", "Answer: 4"]
    assert scores(ledger) == [1.0, 1.0]
    assert [len(entry.calls) for entry in ledger.read()] == [3, 3]


def test_of_decisions_that_were_made_side_by_side_none_is_guessed(
    call: Callable[..., Any], router: BudgetRouter, ledger: CountingLedger
) -> None:
    with pytest.raises(InvalidInput, match="2 decisions were made side by side"):
        call(side_by_side(router, "decision", sends=True), ASK, THREAD)
    assert scores(ledger) == [None, None]


def test_a_decision_that_is_graded_beside_the_next_one_is_not_counted_twice(
    call: Callable[..., Any], router: BudgetRouter
) -> None:
    class State(Question, total=False):
        budget: Annotated[BudgetState, BudgetChannel]

    model = ScriptedModel(["Answer: 4"])
    graph = graph_of(router, 1.0, schema=State)
    graph.add_node("next", budgeted_reasoner(router, model))
    graph.add_edge("verify", "next")
    budget = call(graph.compile(), ASK)["budget"]
    assert (budget["n_settled"], budget["so_far"]["n_calls"]) == (2, 6)
    assert "n_abreast" not in budget


# --- what it tells


def test_a_grade_is_streamed_and_stands_in_the_state(router: BudgetRouter) -> None:
    graph = graph_of(router, 1.0).compile(InMemorySaver(serde=STRICT))
    *_, last = graph.stream(ASK, THREAD, stream_mode="custom")
    assert last["budget_grade"]["score"] == 1.0
    assert last["budget_grade"]["decision_id"]


async def test_a_grade_shows_among_the_events(router: BudgetRouter) -> None:
    events = graph_of(router, 1.0).compile().astream_events(ASK, version="v2")
    names = [event["name"] async for event in events if event["event"] == "on_custom_event"]
    assert names[-1] == "budget_grade"


# --- once


class Shaky(GradeNode):
    """Fails right after it graded, the first time."""

    visits = 0

    def act(self, state: object, config: Any) -> BudgetState | None:
        budget = super().act(state, config)
        self.visits += 1
        if self.visits == 1:
            raise ConnectionError("right after the grade")
        return budget


def the_grades(ledger: CountingLedger) -> list[float]:
    """All that were given to the only decision."""
    (entry,) = ledger.read()
    return [outcome.score for outcome in ledger.outcomes(entry.decision.id)]


def test_a_node_that_is_retried_grades_once(call: Callable[..., Any], router: BudgetRouter, ledger: CountingLedger) -> None:
    policy = RetryPolicy(initial_interval=0.0, jitter=False, retry_on=ConnectionError)
    grade = Shaky(router)
    call(graph_of(router, 1.0, grade=grade, retry_policy=policy).compile(), ASK)
    assert (grade.visits, the_grades(ledger)) == (2, [1.0])


def test_a_node_that_is_resumed_grades_once(call: Callable[..., Any], router: BudgetRouter, ledger: CountingLedger) -> None:
    grade = Shaky(router)
    graph = graph_of(router, 1.0, grade=grade).compile(InMemorySaver(serde=STRICT))
    with pytest.raises(ConnectionError):
        call(graph, ASK, THREAD)
    call(graph, None, THREAD)
    assert (grade.visits, the_grades(ledger)) == (2, [1.0])


def test_a_replay_grades_once_and_leaves_a_humans_word_standing(
    call: Callable[..., Any], router: BudgetRouter, ledger: CountingLedger
) -> None:
    graph = graph_of(router, 1.0).compile(InMemorySaver(serde=STRICT))
    call(graph, ASK, THREAD)
    router.grade(thread_id="t1", score=0.0)
    before = next(state for state in graph.get_state_history(THREAD) if state.next == ("grade",))
    call(graph, None, before.config)
    assert the_grades(ledger) == [1.0, 0.0]
    assert scores(ledger) == [0.0]


def test_a_replay_that_judges_otherwise_corrects(call: Callable[..., Any], router: BudgetRouter, ledger: CountingLedger) -> None:
    verdicts = iter([1.0, 0.0])
    graph = graph_of(router, lambda state: {"score": next(verdicts)}).compile(InMemorySaver(serde=STRICT))
    call(graph, ASK, THREAD)
    before = next(state for state in graph.get_state_history(THREAD) if state.next == ("verify",))
    call(graph, None, before.config)
    assert the_grades(ledger) == [1.0, 0.0]
    assert scores(ledger) == [0.0]


def test_a_human_whose_answer_is_the_verdict_grades_the_decision_of_the_run_before(
    call: Callable[..., Any], router: BudgetRouter, ledger: CountingLedger
) -> None:
    graph = graph_of(router, lambda state: {"score": interrupt("is it right?")}, grade=GradeNode(router, of="run"))
    agent = graph.compile(InMemorySaver(serde=STRICT))
    call(agent, ASK, THREAD)
    assert scores(ledger) == [None]
    call(agent, Command(resume=True), THREAD)
    assert the_grades(ledger) == [1.0]


def test_in_a_loop_the_last_verdict_counts(call: Callable[..., Any], router: BudgetRouter, ledger: CountingLedger) -> None:
    verdicts = iter([0.0, 1.0, 0.0])

    def again(state: Question) -> str:
        return "verify" if state["answer"].count("!") < 3 else END

    graph = graph_of(router, lambda state: {"score": next(verdicts), "answer": state["answer"] + "!"})
    graph.add_conditional_edges("grade", again)
    call(graph.compile(), ASK)
    assert the_grades(ledger) == [0.0, 1.0, 0.0]
    assert scores(ledger) == [0.0]


def test_under_sqlite_a_grade_given_twice_is_one_row(tmp_path: Path) -> None:
    with SqlLedger(f"sqlite:///{tmp_path}/spend.db") as ledger:
        router = BudgetRouter(Menu([SingleShot()]), Budget(per_task=1e6), ledger=ledger)
        graph = graph_of(router, 1.0, grade=Shaky(router)).compile(InMemorySaver(serde=STRICT))
        with pytest.raises(ConnectionError):
            graph.invoke(ASK, THREAD)
        graph.invoke(None, THREAD)
        with ledger.database.read() as connection:
            assert connection.exec_driver_sql("SELECT count(*) FROM outcomes").scalar() == 1
        assert scores(ledger) == [1.0]
