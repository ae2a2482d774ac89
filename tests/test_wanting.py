"""What is asked for with a decision: by the node, by the state, by one run; and what a run or a thread may spend in all."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, MessagesState, StateGraph
from typing_extensions import TypedDict

from budget_router import Budget, BudgetRouter, Menu, SelfConsistency, SingleShot, Task
from budget_router.errors import CapReached, InfeasibleBudget, InvalidInput
from budget_router.records import LoggedDecision, Spend
from budget_router_langgraph import BudgetNode, BudgetState, budgeted_reasoner
from tests.scripted import ScriptedModel

MENU = Menu(
    [SingleShot(max_tokens=50, typical_completion_tokens=50), SelfConsistency(k=5, max_tokens=50, typical_completion_tokens=50)]
)
TEAMS = [Budget(per_task=500), Budget(per_task=500, group="north"), Budget(per_task=500, group="south")]


class Ticket(TypedDict, total=False):
    question: str
    team: str
    priority: str
    answer: str
    budget: BudgetState


@dataclass
class Context:
    budget_router: dict[str, Any] | None = None


@pytest.fixture
def router() -> BudgetRouter:
    return BudgetRouter(MENU, budgets=TEAMS, seed=1)


@pytest.fixture(params=["node", "reasoner"])
def graph_of(request: pytest.FixtureRequest) -> Callable[..., Any]:
    """A graph of a node that decides."""

    def build(router: BudgetRouter, **told: Any) -> Any:
        if request.param == "node":
            node: Any = BudgetNode(router, **told)
        else:
            node = budgeted_reasoner(router, ScriptedModel(["Answer: 4"]), **told)
        graph = StateGraph(Ticket, context_schema=Context)
        graph.add_node("reason", node)
        graph.add_edge(START, "reason")
        return graph.compile()

    return build


def last(router: BudgetRouter) -> LoggedDecision:
    return router.ledger.latest()


# --- who says


def test_a_function_of_the_state_says_group_average_and_strategy(
    call: Callable[..., Any], router: BudgetRouter, graph_of: Any
) -> None:
    graph = graph_of(
        router,
        group=lambda state: state["team"],
        per_task=lambda state: 2000.0 if state["priority"] == "high" else None,
        strategy=lambda state: "single_shot" if state["priority"] == "low" else None,
    )

    call(graph, {"question": "2 + 2?", "team": "north", "priority": "high"})
    decision = last(router).decision
    assert (decision.group, decision.budget.per_task, decision.reason) == ("north", 2000, "policy")

    call(graph, {"question": "2 + 2?", "team": "south", "priority": "low"})
    decision = last(router).decision
    assert (decision.group, decision.budget.per_task, decision.reason) == ("south", 500, "forced")
    assert decision.strategy.name == "single_shot"


def test_a_run_says_otherwise_by_its_config_or_its_context(call: Callable[..., Any], router: BudgetRouter, graph_of: Any) -> None:
    graph = graph_of(router, group="north", strategy="single_shot")
    asked = {"group": "south", "per_task": 900.0, "strategy": "self_consistency_5"}

    for said in (
        {"config": {"configurable": {"budget_router": asked}}},
        {"context": Context(asked)},
        {"config": {"configurable": {"budget_router": {**asked, "group": "north"}}}, "context": Context({"group": "south"})},
    ):
        call(graph, {"question": "2 + 2?"}, **said)
        decision = last(router).decision
        assert (decision.group, decision.budget.per_task, decision.strategy.name) == ("south", 900, "self_consistency_5")

    call(graph, {"question": "2 + 2?"}, context=Context())
    assert (last(router).decision.group, last(router).decision.strategy.name) == ("north", "single_shot")


def test_a_run_comes_before_what_the_task_says_itself(router: BudgetRouter) -> None:
    graph = StateGraph(Ticket)
    graph.add_node("budget", BudgetNode(router, task_from=lambda state: Task(state["question"], group="north"), group="south"))
    graph.add_edge(START, "budget")
    app = graph.compile()

    app.invoke({"question": "2 + 2?"})
    assert last(router).decision.group == "north"
    app.invoke({"question": "2 + 2?"}, {"configurable": {"budget_router": {"group": "south"}}})
    assert last(router).decision.group == "south"


@pytest.mark.parametrize(
    ("told", "said", "mend"),
    [
        ({"override": False}, {"group": "south"}, r"override=False: leave it out"),
        ({}, {"budget": 3}, r"any of group, per_task, strategy: found 'budget'"),
        ({}, "cheap", r"dict with any of .*found 'cheap'"),
        ({}, {"strategy": "guess"}, r"no strategy 'guess' on the menu: it has single_shot"),
        ({}, {"per_task": -1}, r"per_task.*greater than 0"),
        ({}, {"per_task": "many"}, r"per_task.*valid number"),
    ],
)
def test_what_a_run_may_not_ask_for_is_refused_before_anything_is_decided(
    call: Callable[..., Any], router: BudgetRouter, graph_of: Any, told: Any, said: Any, mend: str
) -> None:
    with pytest.raises(InvalidInput, match=mend):
        call(graph_of(router, **told), {"question": "2 + 2?"}, config={"configurable": {"budget_router": said}})
    assert list(router.ledger.read()) == []


def test_an_average_that_no_strategy_fits_is_refused(router: BudgetRouter, graph_of: Any) -> None:
    with pytest.raises(InfeasibleBudget, match="below the cheapest"):
        graph_of(router, per_task=10).invoke({"question": "2 + 2?"})


def test_a_group_that_has_no_budget_is_refused(graph_of: Any) -> None:
    router = BudgetRouter(MENU, budgets=TEAMS[1:])
    with pytest.raises(InvalidInput, match=r"no budget for group 'east': there are 'north', 'south'"):
        graph_of(router, group=lambda _: "east").invoke({"question": "2 + 2?"})


# --- tasks that are worth more


def test_the_average_is_kept_against_the_sum_of_what_tasks_were_allowed() -> None:
    router = BudgetRouter(MENU, Budget(per_task=100), seed=3)
    rng = np.random.default_rng(3)
    allowed, spent = [], []
    for _ in range(600):
        per_task = float(rng.choice([80.0, 160.0]))
        decision = router.decide(Task("What is 2 + 2?"), per_task=per_task)
        cost = 60 * decision.strategy.n_samples
        router.settle(decision, Spend(completion_tokens=cost, n_calls=1))
        allowed.append(per_task)
        spent.append(cost)
    assert np.mean(spent) == pytest.approx(np.mean(allowed), rel=0.02)
    dear = np.array(allowed) > 100
    assert np.array(spent)[dear].mean() > 1.4 * np.array(spent)[~dear].mean()


# --- what a run may spend


def capped(window: Any, **budget: Any) -> BudgetRouter:
    """A cap of two whole votes' bounds, about."""
    return BudgetRouter(MENU, Budget(per_task=500, hard_cap=700, window=window, **budget), seed=1, exploration=0)


def loop_of(router: BudgetRouter, n_steps: int) -> Any:
    """A graph of several budgeted steps, and a thread that it can go on in."""
    graph = StateGraph(Ticket)
    names = [f"step {number}" for number in range(n_steps)]
    for before, name in zip([START, *names], names, strict=False):
        graph.add_node(name, budgeted_reasoner(router, ScriptedModel(["Answer: 4"]), strategy="self_consistency_5"))
        graph.add_edge(before, name)
    return graph.compile(checkpointer=InMemorySaver())


def in_thread(name: str) -> Any:
    return {"configurable": {"thread_id": name}}


ASK = {"messages": [("user", "2 + 2?")]}
QUESTION = {"question": "2 + 2?"}


def test_a_cap_per_run_is_new_in_each_run_and_one_per_thread_is_not(call: Callable[..., Any]) -> None:
    per_run, per_thread = capped("run", on_shortage="refuse"), capped("thread", on_shortage="refuse")
    runs, threads = loop_of(per_run, 2), loop_of(per_thread, 2)
    for _ in range(8):
        call(runs, QUESTION, in_thread("a"))

    def go_on(n_runs: int) -> None:
        for _ in range(n_runs):
            call(threads, QUESTION, in_thread("a"))

    go_on(2)
    with pytest.raises(CapReached, match="per thread"):
        go_on(10)
    call(threads, QUESTION, in_thread("b"))


def test_all_graphs_within_a_run_share_its_cap(call: Callable[..., Any]) -> None:
    router = capped("run", on_shortage="refuse")
    inner = StateGraph(MessagesState)
    inner.add_node(
        "reason", budgeted_reasoner(router, ScriptedModel(["Answer: 4 " + "word " * 30]), strategy="self_consistency_5")
    )
    inner.add_edge(START, "reason")
    outer = StateGraph(MessagesState)
    names = [f"team {number}" for number in range(5)]
    for before, name in zip([START, *names], names, strict=False):
        outer.add_node(name, inner.compile())
        outer.add_edge(before, name)
    with pytest.raises(CapReached, match="per run"):
        call(outer.compile(), ASK)
    (run_id,) = {entry.decision.run_id for entry in router.ledger.read()}
    assert run_id is not None
    assert sum(entry.settlement.spend.counted("tokens") for entry in router.ledger.read() if entry.settlement) <= 700


def test_what_is_left_of_the_cap_is_a_fact_and_a_run_degrades(call: Callable[..., Any]) -> None:
    router = capped("run", on_shortage="cheapest")
    graph = StateGraph(Ticket)
    names = [f"step {number}" for number in range(6)]
    for before, name in zip([START, *names], names, strict=False):
        graph.add_node(name, budgeted_reasoner(router, ScriptedModel(["word " * 40 + "Answer: 4"]), per_task=1e6))
        graph.add_edge(before, name)
    call(graph.compile(), QUESTION)
    logged = list(router.ledger.read())
    left = [entry.metadata["agent.cap_left"] for entry in logged]
    assert left == sorted(left, reverse=True)
    assert (left[0], left[-1] < 0.5) == (1.0, True)
    assert logged[0].decision.reason == "policy"
    assert {entry.decision.reason for entry in logged} == {"policy", "capped"}


def test_without_a_cap_there_is_no_such_fact(router: BudgetRouter, graph_of: Any) -> None:
    graph_of(router).invoke({"question": "2 + 2?"})
    assert "agent.cap_left" not in last(router).metadata
    assert router.cap_left() is None


def test_what_a_thread_has_spent_is_known_to_its_next_decision(call: Callable[..., Any]) -> None:
    router = BudgetRouter(MENU, Budget(per_task=500), seed=1)
    app = loop_of(router, 2)
    for _ in range(2):
        call(app, QUESTION, in_thread("a"))
    call(app, QUESTION, in_thread("b"))
    logged = list(router.ledger.read())
    told = [(entry.metadata.get("agent.n_settled"), entry.metadata.get("agent.n_tokens")) for entry in logged]
    spent = np.cumsum([entry.settlement.spend.counted("tokens") for entry in logged if entry.settlement]).tolist()
    assert told[:4] == [(None, None), (1, spent[0]), (2, spent[1]), (3, spent[2])]
    assert told[4] == (None, None)
