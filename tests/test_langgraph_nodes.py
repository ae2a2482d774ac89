import asyncio
import json
import operator
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pytest
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import RunnableLambda
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver
from langgraph.graph import END, START, MessagesState, StateGraph
from langgraph.types import Command, RetryPolicy, interrupt
from pydantic import BaseModel
from typing_extensions import TypedDict

from budget_router import Budget, BudgetRouter, MemoryLedger, Menu, SelfConsistency, SingleShot, Spend, Task
from budget_router.errors import CapReached, InvalidInput, InvalidTask, NoAnswer
from budget_router.ledger import Ledger
from budget_router.policies.cold_start import ColdStart
from budget_router.policies.contract import Choice, Prediction
from budget_router.records import LoggedDecision
from budget_router_langchain import meter
from budget_router_langgraph import (
    BudgetNode,
    BudgetState,
    SettleNode,
    ask_by_interrupt,
    budgeted_reasoner,
    route_by_strategy,
    task_from,
)
from budget_router_sql import SqlLedger
from tests.scripted import ScriptedModel, StreamingModel, billed, booked

VOTE = SelfConsistency(k=3)
ASK = {"messages": [("user", "2 + 2?")]}
ROUTES = {"single_shot": "quick", "self_consistency_3": "vote"}
STRICT = JsonPlusSerializer(allowed_msgpack_modules=None)


@pytest.fixture(params=["memory", "sql"])
def ledger(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Ledger]:
    if request.param == "memory":
        yield MemoryLedger()
    else:
        with SqlLedger(f"sqlite:///{tmp_path}/spend.db") as opened:
            yield opened


@pytest.fixture
def router(ledger: Ledger) -> BudgetRouter:
    return BudgetRouter(Menu([VOTE]), Budget(per_task=1e6), ledger=ledger)


@pytest.fixture(autouse=True)
def _memory_stays_flat() -> Iterator[None]:
    before = meter.n_live()
    yield
    assert meter.n_live() == before


class Question(TypedDict, total=False):
    question: str
    answer: str
    budget: BudgetState


class PydanticQuestion(BaseModel):
    question: str
    answer: str = ""
    budget: BudgetState | None = None


@dataclass
class DataQuestion:
    question: str
    answer: str = ""
    budget: BudgetState = field(default_factory=BudgetState)


def alone(schema: Any, node: Any, **settings: Any) -> Any:
    """A graph of one node."""
    graph = StateGraph(schema)
    graph.add_node("reason", node, **settings)
    graph.add_edge(START, "reason")
    return graph


def branching(router: BudgetRouter, model: ScriptedModel, schema: Any = MessagesState, **nodes: Any) -> Any:
    """A graph that decides, goes to the user's own nodes, and settles."""

    def quick(state: Any) -> Any:
        return {"messages": [model.invoke(state["messages"])]}

    def vote(state: Any) -> Any:
        return {"messages": [model.batch([state["messages"]] * 3)[0]]}

    graph = StateGraph(schema)
    graph.add_node("budget", BudgetNode(router))
    graph.add_node("quick", nodes.get("quick", quick))
    graph.add_node("vote", nodes.get("vote", vote))
    graph.add_node("settle", SettleNode(router))
    graph.add_edge(START, "budget")
    graph.add_conditional_edges("budget", route_by_strategy(ROUTES))
    graph.add_edge("quick", "settle")
    graph.add_edge("vote", "settle")
    return graph


def entries(router: BudgetRouter) -> list[LoggedDecision]:
    return list(router.ledger.read())


def only(router: BudgetRouter) -> LoggedDecision:
    (entry,) = entries(router)
    return entry


# budgeted_reasoner


def test_a_reasoner_answers_in_the_messages_and_settles(call: Callable[..., Any], router: BudgetRouter) -> None:
    model = ScriptedModel(["Answer: 4", "Answer: 5", "Answer: 4"])
    result = call(alone(MessagesState, budgeted_reasoner(router, model)).compile(), ASK)

    entry = only(router)
    reply = result["messages"][-1]
    assert reply.text == "Answer: 4"
    assert reply.response_metadata["budget_router"]["decision_id"] == entry.decision.id
    assert reply.response_metadata["budget_router"]["strategy"] == "self_consistency_3"
    assert set(result) == {"messages"}
    assert booked(entry.calls) == billed(model)
    assert entry.settlement is not None
    assert entry.settlement.agreement == pytest.approx(2 / 3)
    assert entry.task_text == "2 + 2?"


@pytest.mark.parametrize("schema", [Question, PydanticQuestion, DataQuestion])
def test_a_state_without_messages_gets_the_answer_under_its_key(
    call: Callable[..., Any], router: BudgetRouter, schema: Any
) -> None:
    given = {"question": "2 + 2?"} if schema is not DataQuestion else DataQuestion("2 + 2?")
    result = call(alone(schema, budgeted_reasoner(router, ScriptedModel(["Answer: 4"]))).compile(), given)

    assert result["answer"] == "Answer: 4"
    assert result["budget"]["answer"] == "4"
    assert result["budget"]["spend"]["n_calls"] == 3
    assert json.loads(json.dumps(result["budget"])) == result["budget"]


def test_a_prompt_is_formatted_from_the_state(call: Callable[..., Any], router: BudgetRouter) -> None:
    class State(TypedDict, total=False):
        topic: str
        problem: str
        answer: str

    prompt = ChatPromptTemplate.from_messages([("system", "You know {topic}."), ("human", "{problem}")])
    model = ScriptedModel(["4"])
    node = budgeted_reasoner(router, model, prompt=prompt, task_from="problem")
    call(alone(State, node).compile(), {"topic": "sums", "problem": "2 + 2?"})

    assert [message.text for message in model.seen[0]] == ["You know sums.", "2 + 2?"]
    assert only(router).task_text == "2 + 2?"


def test_a_function_reads_the_task_from_the_users_own_state(call: Callable[..., Any], router: BudgetRouter) -> None:
    def problem(state: PydanticQuestion) -> Task:
        return Task(state.question.upper(), metadata={"length": len(state.question)})

    node = budgeted_reasoner(router, ScriptedModel(["4"]), task_from=problem, group="team", facts_from=None)
    call(alone(PydanticQuestion, node).compile(), {"question": "two plus two?"})

    entry = only(router)
    assert (entry.task_text, entry.metadata, entry.decision.group) == ("TWO PLUS TWO?", {"length": 13}, "team")


def test_a_conversation_decides_anew_in_each_turn_on_its_last_turn(call: Callable[..., Any], router: BudgetRouter) -> None:
    graph = alone(MessagesState, budgeted_reasoner(router, ScriptedModel(["Answer: 4"]))).compile(InMemorySaver(serde=STRICT))
    thread = {"configurable": {"thread_id": "t1"}}
    call(graph, ASK, thread)
    call(graph, {"messages": [("user", "And"), ("user", "3 + 3?")]}, thread)

    assert [entry.task_text for entry in entries(router)] == ["2 + 2?", "And\n\n3 + 3?"]
    assert {entry.decision.thread_id for entry in entries(router)} == {"t1"}
    router.grade(thread_id="t1", score=1.0)
    assert [entry.outcome is not None for entry in entries(router)] == [False, True]


def test_samples_do_not_leak_into_the_messages_stream(router: BudgetRouter) -> None:
    graph = alone(MessagesState, budgeted_reasoner(router, StreamingModel(["Answer: 4"]))).compile()
    streamed = [chunk.text for chunk, _ in graph.stream(ASK, stream_mode="messages")]

    assert streamed == ["Answer: 4"]


async def test_samples_do_not_leak_into_the_async_messages_stream(router: BudgetRouter) -> None:
    graph = alone(MessagesState, budgeted_reasoner(router, StreamingModel(["Answer: 4"]))).compile()
    streamed = [chunk.text async for chunk, _ in graph.astream(ASK, stream_mode="messages")]

    assert streamed == ["Answer: 4"]


def test_decision_and_settlement_are_streamed_as_custom_events(router: BudgetRouter) -> None:
    graph = alone(MessagesState, budgeted_reasoner(router, ScriptedModel(["4"]))).compile()
    first, *_, last = graph.stream(ASK, stream_mode="custom")

    assert first["budget_decision"]["strategy"] == "self_consistency_3"
    assert last["budget_settlement"]["spend"]["n_calls"] == 3


async def test_decision_and_settlement_show_among_the_events(router: BudgetRouter) -> None:
    graph = alone(MessagesState, budgeted_reasoner(router, ScriptedModel(["4"]))).compile()
    names = [event["name"] async for event in graph.astream_events(ASK, version="v2") if event["event"] == "on_custom_event"]

    assert (names[0], names[-1]) == ("budget_decision", "budget_settlement")


def test_a_failed_execution_is_settled_and_its_retry_is_a_decision_of_its_own(
    call: Callable[..., Any], router: BudgetRouter
) -> None:
    model = ScriptedModel([ValueError("overloaded")] * 3 + ["Answer: 4"] * 3)
    policy = RetryPolicy(initial_interval=0.0, jitter=False, retry_on=NoAnswer)
    result = call(alone(MessagesState, budgeted_reasoner(router, model), retry_policy=policy).compile(), ASK)

    failed, succeeded = entries(router)
    assert failed.settlement is not None
    assert succeeded.settlement is not None
    assert (failed.settlement.status, succeeded.settlement.status) == ("failed", "ok")
    assert succeeded.decision.id == f"{failed.decision.id}.2"
    assert booked([*failed.calls, *succeeded.calls]) == billed(model)
    assert result["messages"][-1].text == "Answer: 4"


def test_a_reasoner_that_crashed_resumes_under_checkpoints(call: Callable[..., Any], router: BudgetRouter) -> None:
    model = ScriptedModel([ValueError("overloaded")] * 3 + ["Answer: 4"] * 3)
    graph = alone(MessagesState, budgeted_reasoner(router, model)).compile(InMemorySaver(serde=STRICT))
    thread = {"configurable": {"thread_id": "t1"}}
    with pytest.raises(NoAnswer):
        call(graph, ASK, thread)
    result = call(graph, None, thread)

    assert result["messages"][-1].text == "Answer: 4"
    assert [entry.settlement and entry.settlement.status for entry in entries(router)] == ["failed", "ok"]


async def test_a_cancelled_graph_books_what_it_spent(router: BudgetRouter) -> None:
    hanging = asyncio.Event()

    async def hang() -> None:
        hanging.set()
        await asyncio.Event().wait()

    graph = alone(MessagesState, budgeted_reasoner(router, ScriptedModel(["4"], adelay=hang))).compile()
    task = asyncio.ensure_future(graph.ainvoke(ASK))
    await hanging.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    entry = only(router)
    assert entry.settlement is not None
    assert entry.settlement.status == "failed"
    assert {call.status for call in entry.calls} == {"error"}


def test_threads_that_run_side_by_side_keep_their_books_apart(router: BudgetRouter) -> None:
    model = ScriptedModel(lambda messages: f"Answer: {messages[0].text}")
    graph = alone(MessagesState, budgeted_reasoner(router, model)).compile(InMemorySaver())

    def ask(number: int) -> str:
        given = {"messages": [("user", str(number))]}
        return str(graph.invoke(given, {"configurable": {"thread_id": str(number)}})["messages"][-1].text)

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(ask, range(24)))

    assert answers == [f"Answer: {number}" for number in range(24)]
    assert {len(entry.calls) for entry in entries(router)} == {3}
    assert booked([one for entry in entries(router) for one in entry.calls]) == billed(model)


# BudgetNode, route_by_strategy, SettleNode


@pytest.mark.parametrize("saver", [None, InMemorySaver])
def test_the_users_own_nodes_are_metered(call: Callable[..., Any], router: BudgetRouter, saver: Any) -> None:
    model = ScriptedModel(["Answer: 4"])
    graph = branching(router, model).compile(saver and saver(serde=STRICT))
    result = call(graph, ASK, {"configurable": {"thread_id": "t1"}})

    entry = only(router)
    assert result["messages"][-1].text == "Answer: 4"
    assert len(entry.calls) == 3
    assert entry.settlement is not None
    assert (
        booked(entry.calls) == billed(model) == (entry.settlement.spend.prompt_tokens, entry.settlement.spend.completion_tokens)
    )
    assert entry.settlement.answer_key is not None
    assert entry.settlement.agreement is None


def test_the_way_follows_the_strategy(call: Callable[..., Any], ledger: Ledger) -> None:
    router = BudgetRouter(Menu([SingleShot()]), Budget(per_task=1e6), ledger=ledger)
    model = ScriptedModel(["Answer: 4"])
    call(branching(router, model).compile(), ASK)

    assert len(only(router).calls) == len(model.invoice) == 1


def test_the_settled_decision_stands_in_a_state_that_declares_it(call: Callable[..., Any], router: BudgetRouter) -> None:
    class State(MessagesState):
        budget: BudgetState

    result = call(branching(router, ScriptedModel(["Answer: 4"]), State).compile(), ASK)

    assert result["budget"]["decision_id"] == only(router).decision.id
    assert (result["budget"]["answer"], result["budget"]["spend"]["n_calls"]) == ("4", 3)


def test_async_reasoning_nodes_are_metered(router: BudgetRouter) -> None:
    model = ScriptedModel(["Answer: 4"])

    async def vote(state: MessagesState) -> Any:
        replies = await asyncio.gather(*(model.ainvoke(state["messages"]) for _ in range(3)))
        return {"messages": [replies[0]]}

    asyncio.run(branching(router, model, vote=vote).compile().ainvoke(ASK))
    assert booked(only(router).calls) == billed(model)


def test_calls_after_the_settlement_are_none_of_the_decisions(call: Callable[..., Any], router: BudgetRouter) -> None:
    model = ScriptedModel(["Answer: 4"])
    graph = branching(router, model)
    graph.add_node("chat", lambda state: {"messages": [model.invoke(state["messages"])]})
    graph.add_edge("settle", "chat")
    call(graph.compile(), ASK)

    assert (len(model.invoice), len(only(router).calls)) == (4, 3)


def test_a_loop_makes_a_decision_in_each_round(call: Callable[..., Any], router: BudgetRouter) -> None:
    model = ScriptedModel(["Answer: 4"])
    graph = branching(router, model)
    graph.add_conditional_edges("settle", lambda state: "budget" if len(state["messages"]) < 4 else END, ["budget", END])
    call(graph.compile(), ASK)

    first, second, third = entries(router)
    assert [len(entry.calls) for entry in (first, second, third)] == [3, 3, 3]
    assert booked([one for entry in entries(router) for one in entry.calls]) == billed(model)


@pytest.mark.parametrize("saver", ["memory", "sqlite"])
def test_turns_of_a_thread_decide_anew_under_every_checkpointer(router: BudgetRouter, tmp_path: Path, saver: str) -> None:
    thread = {"configurable": {"thread_id": "t1"}}
    with ExitStack() as stack:
        keeper = (
            InMemorySaver(serde=STRICT)
            if saver == "memory"
            else stack.enter_context(SqliteSaver.from_conn_string(str(tmp_path / "checkpoints.db")))
        )
        graph = branching(router, ScriptedModel(["Answer: 4"])).compile(keeper)
        for _ in range(3):
            graph.invoke(ASK, thread)

    assert len({entry.decision.id for entry in entries(router)}) == 3
    assert all(entry.settlement for entry in entries(router))


async def test_turns_of_a_thread_decide_anew_under_an_async_checkpointer(router: BudgetRouter, tmp_path: Path) -> None:
    thread = {"configurable": {"thread_id": "t1"}}
    async with AsyncExitStack() as stack:
        keeper = await stack.enter_async_context(AsyncSqliteSaver.from_conn_string(str(tmp_path / "checkpoints.db")))
        graph = branching(router, ScriptedModel(["Answer: 4"])).compile(keeper)
        for _ in range(2):
            await graph.ainvoke(ASK, thread)
        kept = (await graph.aget_state(thread)).values

    assert kept["messages"][-1].text == "Answer: 4"
    assert [len(entry.calls) for entry in entries(router)] == [3, 3]


class Flaky:
    """A reasoning node that fails at its first visit, after it called a model."""

    def __init__(self, model: ScriptedModel) -> None:
        self.model = model
        self.visits = 0

    def __call__(self, state: MessagesState) -> Any:
        self.visits += 1
        reply = self.model.invoke(state["messages"])
        if self.visits == 1:
            raise ConnectionError("the tool was down")
        return {"messages": [reply]}


def test_a_reasoning_node_that_is_retried_in_place_spends_on_the_same_decision(
    call: Callable[..., Any], router: BudgetRouter
) -> None:
    model = ScriptedModel(["Answer: 4"])
    graph = StateGraph(MessagesState)
    graph.add_node("budget", BudgetNode(router))
    graph.add_node("vote", Flaky(model), retry_policy=RetryPolicy(initial_interval=0.0, jitter=False))
    graph.add_node("settle", SettleNode(router))
    graph.add_edge(START, "budget")
    graph.add_edge("budget", "vote")
    graph.add_edge("vote", "settle")
    call(graph.compile(), ASK)

    assert booked(only(router).calls) == billed(model)
    assert len(model.invoice) == 2


def test_a_failed_reasoning_node_that_is_resumed_spends_on_the_same_decision(
    call: Callable[..., Any], router: BudgetRouter
) -> None:
    model = ScriptedModel(["Answer: 4"])
    graph = branching(router, model, vote=Flaky(model)).compile(InMemorySaver(serde=STRICT))
    thread = {"configurable": {"thread_id": "t1"}}
    with pytest.raises(ConnectionError):
        call(graph, ASK, thread)
    assert only(router).settlement is None
    call(graph, None, thread)

    entry = only(router)
    assert len(entry.calls) == len(model.invoice) == 2
    assert entry.settlement is not None
    assert (entry.settlement.spend.prompt_tokens, entry.settlement.spend.completion_tokens) == billed(model)


def test_a_thread_that_another_process_resumes_spends_on_the_same_decision(tmp_path: Path) -> None:
    model = ScriptedModel(["Answer: 4"])
    node, thread = Flaky(model), {"configurable": {"thread_id": "t1"}}

    def serve(given: Any) -> LoggedDecision:
        """Everything that a process has of its own: the ledger's and the checkpointer's connection, the router, the graph."""
        with SqlLedger(f"sqlite:///{tmp_path}/spend.db") as ledger, SqliteSaver.from_conn_string(f"{tmp_path}/c.db") as saver:
            router = BudgetRouter(Menu([VOTE]), Budget(per_task=1e6), ledger=ledger)
            graph = branching(router, model, vote=node).compile(saver)
            if given is None:
                graph.invoke(None, thread)
            else:
                with pytest.raises(ConnectionError):
                    graph.invoke(given, thread)
            return only(router)

    before, after = serve(ASK), serve(None)

    assert after.decision == before.decision
    assert (len(before.calls), len(after.calls)) == (1, 2)
    assert booked(after.calls) == billed(model)
    assert after.settlement is not None


def test_a_reasoning_node_that_waits_for_a_human_goes_on_with_its_decision(
    call: Callable[..., Any], router: BudgetRouter
) -> None:
    model = ScriptedModel(["Answer: 4"])

    def vote(state: MessagesState) -> Any:
        draft = model.invoke(state["messages"])
        interrupt("may I?")
        return {"messages": [draft]}

    graph = branching(router, model, vote=vote).compile(InMemorySaver(serde=STRICT))
    thread = {"configurable": {"thread_id": "t1"}}
    call(graph, ASK, thread)
    call(graph, Command(resume="yes"), thread)

    assert booked(only(router).calls) == billed(model)
    assert len(model.invoice) == 2
    assert only(router).settlement is not None


class Dearest(ColdStart):
    """Takes the last strategy of the menu, always."""

    def choose(self, prediction: Prediction, budget: float, *, floor: float = 0.0) -> Choice:
        shape = prediction.cost.shape
        return Choice(np.broadcast_to(np.eye(shape[1])[-1], shape), 0.0, float(prediction.cost[:, -1].mean()))


def graph_that_asks(ledger: Ledger, kind: str) -> tuple[BudgetRouter, ScriptedModel, Any]:
    """A router whose cap is used up but for a single shot, and a graph on it that asks by an interrupt."""
    menu = Menu([SingleShot(max_tokens=50, typical_completion_tokens=9), SelfConsistency(k=3, max_tokens=50)])
    cap = Budget(per_task=1e6, hard_cap=500, window="day", on_shortage="ask")
    policy = Dearest(menu, unit="tokens")
    router = BudgetRouter(menu, cap, ledger=ledger, policy=policy, ask=ask_by_interrupt, exploration=0)
    router.decide(Task("?"), strategy="self_consistency_3", decision_id="other")
    model = ScriptedModel(["Answer: 4"], max_tokens=50)
    graph = branching(router, model) if kind == "nodes" else alone(MessagesState, budgeted_reasoner(router, model))
    return router, model, graph.compile(InMemorySaver(serde=STRICT))


@pytest.mark.parametrize("kind", ["nodes", "reasoner"])
def test_on_shortage_a_human_is_asked_by_an_interrupt(call: Callable[..., Any], ledger: Ledger, kind: str) -> None:
    router, model, graph = graph_that_asks(ledger, kind)
    thread = {"configurable": {"thread_id": "t1"}}

    (asked,) = call(graph, ASK, thread)["__interrupt__"]
    assert (asked.value["wanted"], asked.value["fitting"]) == ("self_consistency_3", ["single_shot"])
    assert model.invoice == []

    (again,) = call(graph, Command(resume="yes"), thread)["__interrupt__"]
    assert again.value["answers"] == ["cheapest", "wait", "refuse", "single_shot", "self_consistency_3"]

    call(graph, Command(resume={again.id: "single_shot"}), thread)
    (logged,) = [one for one in entries(router) if one.decision.id != "other"]
    assert (logged.decision.strategy.name, logged.decision.reason) == ("single_shot", "capped")
    assert booked(logged.calls) == billed(model)
    assert logged.settlement is not None


def test_a_human_may_refuse_and_what_has_room_again_is_decided_on(call: Callable[..., Any], ledger: Ledger) -> None:
    router, model, graph = graph_that_asks(ledger, "reasoner")
    thread = {"configurable": {"thread_id": "t1"}}
    call(graph, ASK, thread)
    with pytest.raises(CapReached):
        call(graph, Command(resume="refuse"), thread)
    assert model.invoice == []

    router.settle(router.ledger.decision("other").decision, Spend())
    call(graph, None, thread)
    assert len(model.invoice) == 3


def test_a_budget_node_that_is_retried_in_place_keeps_its_decision(call: Callable[..., Any], router: BudgetRouter) -> None:
    failures = iter([True, False])

    def problem(state: Any) -> str:
        return "2 + 2?"

    class Shaky(BudgetNode):
        def act(self, state: object, config: Any) -> BudgetState:
            budget = super().act(state, config)
            if next(failures):
                raise ConnectionError("right after the decision")
            return budget

    graph = StateGraph(Question)
    graph.add_node("budget", Shaky(router, task_from=problem), retry_policy=RetryPolicy(initial_interval=0.0, jitter=False))
    graph.add_edge(START, "budget")
    result = call(graph.compile(), {"question": "?"})

    assert result["budget"]["decision_id"] == only(router).decision.id


def test_a_subgraph_in_each_branch_keeps_the_books_of_parallel_decisions_apart(router: BudgetRouter) -> None:
    class Both(TypedDict):
        messages: list[Any]
        answers: Annotated[list[str], operator.add]

    model = ScriptedModel(["Answer: 4"])
    branch = branching(router, model).compile()
    graph = StateGraph(Both)
    for name in ("left", "right"):
        graph.add_node(name, lambda state: {"answers": [branch.invoke({"messages": state["messages"]})["messages"][-1].text]})
        graph.add_edge(START, name)
    graph.compile().invoke({"messages": [HumanMessage("2 + 2?")], "answers": []})

    assert [len(entry.calls) for entry in entries(router)] == [3, 3]


def test_the_drawing_shows_an_edge_to_each_route(router: BudgetRouter) -> None:
    drawn = branching(router, ScriptedModel(["4"])).compile().get_graph().draw_mermaid()

    assert "budget -.-> quick" in drawn
    assert "budget -.-> vote" in drawn


def test_a_budget_node_inside_the_users_own_wrapping_pays_for_the_same_graph(
    call: Callable[..., Any], router: BudgetRouter
) -> None:
    model = ScriptedModel(["Answer: 4"])
    decide = BudgetNode(router)
    graph = StateGraph(Question)
    graph.add_node("budget", RunnableLambda(lambda state: decide.invoke(state)))  # noqa: PLW0108  # a runnable would be unwrapped
    graph.add_node("think", lambda state: {"answer": model.invoke(state["question"]).text})
    graph.add_node("settle", SettleNode(router))
    graph.add_edge(START, "budget")
    graph.add_edge("budget", "think")
    graph.add_edge("think", "settle")
    result = call(graph.compile(), {"question": "2 + 2?"})

    assert booked(only(router).calls) == billed(model)
    assert (len(model.invoice), result["budget"]["answer"]) == (1, "4")


def test_a_path_map_names_the_routes_as_well(call: Callable[..., Any], router: BudgetRouter) -> None:
    graph = alone(Question, BudgetNode(router))
    graph.add_node("think", lambda state: {"answer": "4"})
    graph.add_conditional_edges("reason", route_by_strategy({}, default="deep"), {"deep": "think"})

    assert call(graph.compile(), {"question": "2 + 2?"})["answer"] == "4"


def test_an_unknown_strategy_has_no_route() -> None:
    route = route_by_strategy({"single_shot": "quick"})
    with pytest.raises(InvalidInput, match="no route for strategy 'vote'"):
        route({"budget": {"strategy": "vote"}})
    assert route_by_strategy({"single_shot": "quick"}, default="slow")({"budget": {"strategy": "vote"}}) == "slow"
    with pytest.raises(InvalidInput, match="no routes"):
        route_by_strategy({})


def test_a_route_without_a_decision_tells_the_mend() -> None:
    with pytest.raises(InvalidInput, match="let a BudgetNode run before"):
        route_by_strategy({"single_shot": "quick"})({})


def test_the_budget_key_is_plain_json_under_strict_checkpoints(call: Callable[..., Any], router: BudgetRouter) -> None:
    graph = alone(Question, BudgetNode(router, group="team")).compile(InMemorySaver(serde=STRICT))
    thread = {"configurable": {"thread_id": "t1"}}
    call(graph, {"question": "2 + 2?"}, thread)

    budget = graph.get_state(thread).values["budget"]
    assert {type(value) for value in budget.values()} <= {str, float}
    assert budget["group"] == "team"


def test_outside_a_graph_the_node_decides_all_the_same(router: BudgetRouter) -> None:
    update = BudgetNode(router).invoke({"question": "2 + 2?"})
    assert update["budget"]["decision_id"] == only(router).decision.id


@pytest.mark.parametrize(
    ("package", "missing", "extra"),
    [("budget_router_langchain", "langchain_core", "langchain"), ("budget_router_langgraph", "langgraph", "langgraph")],
)
def test_a_missing_framework_is_told_with_its_extra(package: str, missing: str, extra: str) -> None:
    probe = f"import sys; sys.modules[{missing!r}] = None; import {package}"
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=False)

    assert f"pip install 'budget-router[{extra}]'" in done.stderr


# task_from


@pytest.mark.parametrize(
    ("state", "text"),
    [
        ({"task": "a", "question": "b"}, "a"),
        ({"task": " ", "question": "b"}, "b"),
        ({"input": "c", "messages": [("user", "d")]}, "c"),
        ({"input": [("user", "d")]}, "d"),
        ({"input": HumanMessage("d")}, "d"),
        ({"messages": [("user", "a"), ("ai", "b"), ("user", "c"), ("user", "d")]}, "c\n\nd"),
        ({"messages": [{"role": "user", "content": "a"}]}, "a"),
        ({"messages": [HumanMessage("a"), AIMessage("b"), ToolMessage("c", tool_call_id="1")]}, "a"),
        (PydanticQuestion(question="q"), "q"),
        (DataQuestion(question="q"), "q"),
    ],
)
def test_the_task_is_found_where_states_keep_it(state: object, text: str) -> None:
    assert task_from(state).text == text


@pytest.mark.parametrize("state", [{}, {"messages": []}, {"messages": [("ai", "hello")]}, {"question": None}, object()])
def test_a_state_without_a_task_tells_the_mend(state: object) -> None:
    with pytest.raises(InvalidTask, match="task_from="):
        task_from(state)


@pytest.mark.parametrize("state", [{"question": {"text": "?"}}, {"messages": [1, 2]}])
def test_a_task_that_cannot_be_read_is_refused(state: object) -> None:
    with pytest.raises(InvalidTask):
        task_from(state)


def test_a_graph_without_a_task_refuses_before_anything_is_decided(call: Callable[..., Any], router: BudgetRouter) -> None:
    with pytest.raises(InvalidTask, match="no task in the state"):
        call(branching(router, ScriptedModel(["4"])).compile(), {"messages": []})
    assert entries(router) == []


def test_the_group_of_a_node_yields_to_the_tasks_own() -> None:
    assert task_from({"task": "a"}, group="team").group == "team"
    assert task_from({}, lambda _: Task("a", group="own"), group="team").group == "own"
    assert task_from({}, lambda _: Task("a"), group="team").group == "team"
