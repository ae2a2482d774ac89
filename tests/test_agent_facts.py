"""What policies are told of an agent's state: how far it is, by default; nothing, or what the user says, if asked."""

import math
from collections.abc import Callable
from typing import Any

import pytest
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, MessagesState, StateGraph
from typing_extensions import TypedDict

from budget_router import Budget, BudgetRouter, Menu, SelfConsistency, Task
from budget_router.errors import InvalidInput
from budget_router_langgraph import BudgetNode, SettleNode, agent_facts, budgeted_reasoner
from tests.scripted import ScriptedModel

ASK = {"messages": [("user", "2 + 2?")]}


class Ticket(TypedDict, total=False):
    question: str
    priority: int
    answer: str


@pytest.fixture
def router() -> BudgetRouter:
    return BudgetRouter(Menu([SelfConsistency(k=3)]), Budget(per_task=1e6))


def reasoning(router: BudgetRouter, schema: Any = MessagesState, **options: Any) -> Any:
    """A graph of one node that does all of it."""
    graph = StateGraph(schema)
    graph.add_node("reason", budgeted_reasoner(router, ScriptedModel(["Answer: 4"]), **options))
    return graph.add_edge(START, "reason")


def deciding(router: BudgetRouter, schema: Any = MessagesState, **options: Any) -> Any:
    """A graph that decides in one node and settles in another."""
    graph = StateGraph(schema)
    graph.add_sequence([("budget", BudgetNode(router, **options)), ("settle", SettleNode(router))])
    return graph.add_edge(START, "budget")


both = pytest.mark.parametrize("building", [reasoning, deciding])


def told(router: BudgetRouter) -> list[dict[str, Any]]:
    return [entry.metadata for entry in router.ledger.read()]


@both
def test_each_turn_tells_how_far_the_agent_is(call: Callable[..., Any], router: BudgetRouter, building: Any) -> None:
    graph = building(router).compile(InMemorySaver())
    thread = {"configurable": {"thread_id": "t1"}}
    call(graph, ASK, thread)
    call(graph, {"messages": [("ai", "5"), ("user", "Sure?")]}, thread)

    first, second = told(router)
    assert (first["agent.n_turns"], first["agent.context_characters"]) == (1, 0)
    assert second["agent.n_turns"] == 2
    assert second["agent.context_characters"] >= len("2 + 2?") + len("5")
    assert second["agent.step"] > first["agent.step"] >= 0


def test_tools_and_what_came_of_them_are_counted() -> None:
    calls = [{"name": "search", "args": {}, "id": name} for name in ("a", "b")]
    messages = [
        SystemMessage("Be brief."),
        HumanMessage("2 + 2?"),
        AIMessage("", tool_calls=calls),
        ToolMessage("five", tool_call_id="a"),
        ToolMessage("no such tool", tool_call_id="b", status="error"),
    ]
    assert agent_facts({"messages": messages}) == {
        "agent.n_messages": 5,
        "agent.n_turns": 1,
        "agent.n_replies": 1,
        "agent.n_tool_calls": 2,
        "agent.n_failed_tool_calls": 1,
        "agent.context_characters": len("Be brief.fiveno such tool"),
        "agent.last_message": "tool",
    }


@pytest.mark.parametrize("state", [{}, {"messages": []}, {"messages": [1, 2]}, {"messages": None}, object()])
def test_a_state_without_messages_outside_of_a_graph_tells_nothing(state: object) -> None:
    assert agent_facts(state) == {}


@both
def test_of_a_state_without_messages_the_step_is_known(call: Callable[..., Any], router: BudgetRouter, building: Any) -> None:
    call(building(router, Ticket).compile(), {"question": "2 + 2?"})
    assert told(router) == [{"agent.step": 1}]


@both
def test_asked_for_nothing_it_tells_nothing(call: Callable[..., Any], router: BudgetRouter, building: Any) -> None:
    call(building(router, facts_from=None).compile(), ASK)
    assert told(router) == [{}]


@both
def test_a_users_own_function_reads_the_users_own_state(call: Callable[..., Any], router: BudgetRouter, building: Any) -> None:
    graph = building(router, Ticket, facts_from=lambda state: {"priority": state["priority"]})
    call(graph.compile(), {"question": "2 + 2?", "priority": 3})
    assert told(router) == [{"priority": 3}]


@both
def test_what_the_task_says_itself_stands(call: Callable[..., Any], router: BudgetRouter, building: Any) -> None:
    def task(state: Ticket) -> Task:
        return Task(state["question"], id="t", group="team", metadata={"agent.step": -1, "team": "north"})

    call(building(router, Ticket, task_from=task).compile(), {"question": "2 + 2?"})
    (entry,) = router.ledger.read()
    assert entry.metadata == {"agent.step": -1, "team": "north"}
    assert (entry.task_text, entry.decision.task_id, entry.decision.group) == ("2 + 2?", "t", "team")


@both
@pytest.mark.parametrize("fact", [math.nan, [1], None])
def test_a_fact_that_cannot_be_kept_is_refused_before_anything_is_decided(router: BudgetRouter, building: Any, fact: Any) -> None:
    with pytest.raises(InvalidInput, match="metadata"):
        building(router, facts_from=lambda _: {"share": fact}).compile().invoke(ASK)
    assert told(router) == []
