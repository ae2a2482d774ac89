"""Decided once, billed once, booked once: whatever LangGraph does to an execution of a node."""

import itertools
import logging
import operator
from collections.abc import Callable
from typing import Annotated, Any

import pytest
from langgraph.cache.memory import InMemoryCache
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.func import entrypoint, task
from langgraph.graph import END, START, StateGraph
from langgraph.types import CachePolicy, Command, RetryPolicy, Send, interrupt
from typing_extensions import TypedDict

from budget_router import Budget, BudgetRouter, Menu, SelfConsistency, SingleShot
from budget_router.errors import NoAnswer
from budget_router.records import LoggedDecision
from budget_router_langgraph import BudgetChannel, BudgetNode, BudgetState, SettleNode, budgeted_reasoner
from budget_router_sql import SqlLedger, audit
from tests.scripted import ScriptedModel

VOTE = SelfConsistency(k=3)
QUESTION = {"question": "2 + 2?"}
THREAD: Any = {"configurable": {"thread_id": "executed once"}}
AT_ONCE = RetryPolicy(initial_interval=0.0, jitter=False, retry_on=Exception)


class Question(TypedDict, total=False):
    question: str
    answer: str


class Many(TypedDict, total=False):
    question: str
    questions: list[str]
    answers: Annotated[list[str], operator.add]
    budget: Annotated[BudgetState, BudgetChannel]


@pytest.fixture
def router(tmp_path):
    with SqlLedger(f"sqlite:///{tmp_path}/spend.db") as ledger:
        yield BudgetRouter(Menu([VOTE]), Budget(per_task=1e6), ledger=ledger)


@pytest.fixture(params=["nodes", "reasoner"])
def building(request: pytest.FixtureRequest) -> Callable[..., Any]:
    """A graph that decides, asks a model as often as decided, and settles: in three nodes or in one."""

    def build(router: BudgetRouter, model: Any, *, before: Callable[[], object] = lambda: None, **settings: Any) -> Any:
        graph = StateGraph(Question)
        if request.param == "nodes":

            def think(state: Any) -> Any:
                before()
                return {"answer": model.batch([state["question"]] * 3)[0].text}

            graph.add_node("budget", BudgetNode(router))
            graph.add_node("think", think, **settings)
            graph.add_node("settle", SettleNode(router))
            graph.add_edge(START, "budget")
            graph.add_edge("budget", "think")
            graph.add_edge("think", "settle")
        else:
            reasoner = budgeted_reasoner(router, model)

            class Node(type(reasoner)):  # type: ignore[misc]
                def invoke(self, *given: Any, **named: Any) -> Any:
                    before()
                    return super().invoke(*given, **named)

                async def ainvoke(self, *given: Any, **named: Any) -> Any:
                    before()
                    return await super().ainvoke(*given, **named)

            reasoner.__class__ = Node
            graph.add_node("think", reasoner, **settings)
            graph.add_edge(START, "think")
        return graph

    return build


def around(router: BudgetRouter, think: Any, **settings: Any) -> Any:
    """A graph that decides, runs the user's own node, and settles; `settings` are the decision's."""
    graph = StateGraph(Question)
    graph.add_node("budget", BudgetNode(router), **settings)
    graph.add_node("think", think)
    graph.add_node("settle", SettleNode(router))
    graph.add_edge(START, "budget")
    graph.add_edge("budget", "think")
    graph.add_edge("think", "settle")
    return graph


def entries(router: BudgetRouter) -> list[LoggedDecision]:
    return list(router.ledger.read())


def is_booked(router: BudgetRouter, model: ScriptedModel) -> bool:
    """Whether the ledger has each line of the provider's invoice once, every decision is settled, and the books prove."""
    calls = [call for entry in entries(router) for call in entry.calls]
    invoiced = sorted((line["prompt"], line["completion"]) for line in model.invoice)
    return (
        sorted((call.prompt_tokens, call.completion_tokens) for call in calls if call.status == "ok") == invoiced
        and all(entry.settlement is not None for entry in entries(router))
        and audit(router.ledger).holds
    )


def once(error: Exception) -> Callable[[], None]:
    """Raise at the first call alone."""
    place = itertools.count()

    def shake() -> None:
        if next(place) == 0:
            raise error

    return shake


# --- one execution, whatever befalls it


def test_a_node_that_is_retried_in_place_decides_once(call: Any, router: BudgetRouter, building: Any) -> None:
    model = ScriptedModel(["Answer: 4"])
    graph = building(router, model, before=once(RuntimeError("shaken")), retry_policy=AT_ONCE).compile()
    call(graph, QUESTION)
    assert len(entries(router)) == 1
    assert is_booked(router, model)


def test_a_run_that_crashed_and_is_resumed_decides_once(call: Any, router: BudgetRouter, building: Any) -> None:
    model = ScriptedModel(["Answer: 4"])
    graph = building(router, model, before=once(RuntimeError("crash"))).compile(checkpointer=InMemorySaver())
    with pytest.raises(RuntimeError, match="crash"):
        call(graph, QUESTION, THREAD)
    call(graph, None, THREAD)
    assert len(entries(router)) == 1
    assert is_booked(router, model)


def test_a_run_that_crashed_amid_its_calls_books_all_that_was_billed(call: Any, router: BudgetRouter, building: Any) -> None:
    model = ScriptedModel(["Answer: 4", RuntimeError("down"), "Answer: 4"])
    graph = building(router, model).compile(checkpointer=InMemorySaver())
    outcomes = []
    for given in (QUESTION, None, None, None):
        try:
            outcomes.append(call(graph, given, THREAD)["answer"])
            break
        except RuntimeError:
            model.script = ["Answer: 4"]
    assert outcomes == ["Answer: 4"]
    assert is_booked(router, model)


def test_an_interrupt_inside_a_node_decides_once_and_books_both_times(call: Any, router: BudgetRouter) -> None:
    model = ScriptedModel(["Answer: 4"])

    def think(state: Any) -> Any:
        drafted = model.invoke(state["question"]).text
        return {"answer": drafted if interrupt({"draft": drafted}) == "fine" else "none"}

    app = around(router, think).compile(checkpointer=InMemorySaver())
    assert "__interrupt__" in call(app, QUESTION, THREAD)
    assert call(app, Command(resume="fine"), THREAD)["answer"] == "Answer: 4"
    assert [len(entry.calls) for entry in entries(router)] == [2]  # the node ran twice, and so did the model
    assert is_booked(router, model)


# --- another execution is another decision


def before_node(graph: Any, name: str) -> Any:
    """The checkpoint of the thread at which a node is next."""
    return next(state.config for state in graph.get_state_history(THREAD) if state.next == (name,))


def test_a_replay_and_a_fork_are_decisions_of_their_own(call: Any, router: BudgetRouter, building: Any) -> None:
    model = ScriptedModel(["Answer: 4"])
    graph = building(router, model).compile(checkpointer=InMemorySaver())
    call(graph, QUESTION, THREAD)
    (first,) = entries(router)
    begun = before_node(graph, "budget" if "budget" in graph.nodes else "think")
    call(graph, None, begun)
    assert len(entries(router)) == 2
    call(graph, None, graph.update_state(begun, {"question": "3 + 3?"}, as_node="__start__"))
    logged = entries(router)
    assert [entry.task_text for entry in logged] == ["2 + 2?", "2 + 2?", "3 + 3?"]
    assert logged[0] == first
    assert is_booked(router, model)


def test_a_replay_that_begins_after_a_decision_is_booked_to_it_as_late(
    call: Any, router: BudgetRouter, caplog: pytest.LogCaptureFixture
) -> None:
    model = ScriptedModel(["Answer: 4"])
    app = around(router, lambda state: {"answer": model.invoke(state["question"]).text}).compile(checkpointer=InMemorySaver())
    call(app, QUESTION, THREAD)
    call(app, None, before_node(app, "think"))
    (entry,) = entries(router)
    assert (len(entry.calls), entry.settlement and entry.settlement.spend.n_calls) == (2, 1)
    proof = audit(router.ledger)
    assert proof.holds
    assert {one.kind: one.n for one in proof.findings}["late_calls"] == 1
    assert "cache_policy" not in caplog.text


def test_each_round_of_a_loop_and_each_turn_is_a_decision(call: Any, router: BudgetRouter) -> None:
    class Round(Question, total=False):
        n_rounds: Annotated[int, operator.add]

    model = ScriptedModel(["Answer: 4"])
    graph = StateGraph(Round)
    graph.add_node("reason", budgeted_reasoner(router, model))
    graph.add_node("count", lambda _: {"n_rounds": 1})
    graph.add_edge(START, "reason")
    graph.add_edge("reason", "count")
    graph.add_conditional_edges("count", lambda state: END if state["n_rounds"] % 3 == 0 else "reason", ["reason", END])
    app = graph.compile(checkpointer=InMemorySaver())
    for _ in range(2):
        call(app, QUESTION, THREAD)
    assert len(entries(router)) == 6
    assert is_booked(router, model)


def test_without_a_checkpointer_each_run_is_a_decision(call: Any, router: BudgetRouter, building: Any) -> None:
    model = ScriptedModel(["Answer: 4"])
    graph = building(router, model).compile()
    for _ in range(2):
        call(graph, QUESTION)
    assert len(entries(router)) == 2
    assert is_booked(router, model)


# --- side by side


def mapped(router: BudgetRouter, model: Any, schema: Any = Many) -> Any:
    """A graph that maps questions to branches and reduces their answers."""
    graph = StateGraph(schema)
    graph.add_node("solve", budgeted_reasoner(router, model, writes=lambda receipt: {"answers": [receipt.answer]}))
    graph.add_conditional_edges(START, lambda state: [Send("solve", {"question": one}) for one in state["questions"]], ["solve"])
    return graph.compile(checkpointer=InMemorySaver())


@pytest.mark.parametrize("schema", ["ours", "theirs"])
def test_each_branch_of_a_map_is_a_decision_and_all_are_added_up(call: Any, router: BudgetRouter, schema: str) -> None:
    class Plain(TypedDict, total=False):
        questions: list[str]
        answers: Annotated[list[str], operator.add]

    model = ScriptedModel(["Answer: 4"])
    graph = mapped(router, model, Many if schema == "theirs" else Plain)
    questions = [f"{number} + 2?" for number in range(8)]
    assert call(graph, {"questions": questions}, THREAD)["answers"] == ["4"] * 8
    call(graph, {"questions": questions[:2]}, THREAD)
    logged = entries(router)
    assert sorted(entry.task_text or "" for entry in logged) == sorted([*questions, *questions[:2]])
    assert len({entry.decision.id for entry in logged}) == 10
    budget = graph.get_state(THREAD).values.get("budget")
    if schema == "theirs":  # a private channel is not shown
        spent = sum(entry.settlement.spend.counted("tokens") or 0 for entry in logged if entry.settlement)
        assert (budget["n_settled"], budget["so_far"]["prompt_tokens"] + budget["so_far"]["completion_tokens"]) == (10, spent)
    assert is_booked(router, model)


def test_a_branch_that_crashed_is_resumed_and_each_branch_is_one_execution(call: Any, router: BudgetRouter) -> None:
    def reply(messages: Any) -> Any:
        return RuntimeError("down") if "3 + 2" in str(messages[-1].text) and is_down else "Answer: 4"

    is_down = True
    model = ScriptedModel(script=reply)
    graph = mapped(router, model)
    with pytest.raises(NoAnswer, match="all 3 samples"):
        call(graph, {"questions": [f"{number} + 2?" for number in range(5)]}, THREAD)
    is_down = False
    finished = {entry.task_text for entry in entries(router) if entry.settlement and entry.settlement.status == "ok"}
    assert call(graph, None, THREAD)["answers"] == ["4"] * 5
    executions = {entry.decision.id.partition(".")[0] for entry in entries(router)}
    assert len(executions) == 5  # a sibling that was cancelled as it ended has a second decision, under the first one's id
    assert finished < {entry.task_text for entry in entries(router)}
    assert is_booked(router, model)


# --- caches


def test_a_reasoner_out_of_a_cache_decides_and_bills_nothing(call: Any, router: BudgetRouter) -> None:
    model = ScriptedModel(["Answer: 4"])
    graph = StateGraph(Question)
    graph.add_node("reason", budgeted_reasoner(router, model), cache_policy=CachePolicy())
    graph.add_edge(START, "reason")
    app = graph.compile(cache=InMemoryCache())
    assert [call(app, QUESTION)["answer"] for _ in range(3)] == ["Answer: 4"] * 3
    assert len(entries(router)) == 1
    assert is_booked(router, model)


def test_a_decision_out_of_a_cache_is_told_to_book_nothing(
    call: Any, router: BudgetRouter, caplog: pytest.LogCaptureFixture
) -> None:
    model = ScriptedModel(["Answer: 4"])
    app = around(router, lambda state: {"answer": model.invoke(state["question"]).text}, cache_policy=CachePolicy()).compile(
        cache=InMemoryCache()
    )
    call(app, QUESTION)
    assert "cache_policy" not in caplog.text
    with caplog.at_level(logging.WARNING, "budget_router"):
        call(app, QUESTION)
    assert "take it off" in caplog.text


# --- the functional API


def test_tasks_and_entrypoints_decide_once_and_share_their_books(call: Any, router: BudgetRouter) -> None:
    model = ScriptedModel(["Answer: 4"])
    reason = budgeted_reasoner(router, model)
    shaken = once(RuntimeError("crash"))

    @task
    def solve(question: str) -> str:
        return str(reason.invoke({"question": question})["answer"])

    @task
    def check(_: str) -> str:
        shaken()
        return "checked"

    @entrypoint(checkpointer=InMemorySaver())
    def work(questions: list[str]) -> list[str]:
        solved = [one.result() for one in [solve(question) for question in questions]]
        return [f"{one} {check(one).result()}" for one in solved]

    with pytest.raises(RuntimeError, match="crash"):
        call(work, ["1 + 3?", "2 + 2?"], THREAD)
    assert call(work, None, THREAD) == ["Answer: 4 checked"] * 2
    assert sorted(entry.task_text or "" for entry in entries(router)) == ["1 + 3?", "2 + 2?"]
    assert is_booked(router, model)


def test_several_nodes_share_one_budget(call: Any, tmp_path) -> None:
    menu = Menu([SingleShot(), SelfConsistency(k=4)])
    with SqlLedger(f"sqlite:///{tmp_path}/spend.db") as ledger:
        router = BudgetRouter(menu, Budget(per_task=900), ledger=ledger, seed=2)
        model = ScriptedModel(["Answer: 4"])
        graph = StateGraph(Question)
        names = ["plan", "work", "criticise"]
        for before, name in zip([START, *names], names, strict=False):
            graph.add_node(name, budgeted_reasoner(router, model))
            graph.add_edge(before, name)
        app = graph.compile()
        for _ in range(20):
            call(app, QUESTION)
        assert len(entries(router)) == 60
        assert ledger.paces.sums(router._averages.of(None)._account._key).n_tasks == 60
        assert is_booked(router, model)
