"""What a user sees of a decision while it is executed: events in a graph's streams, and what traces are filtered by."""

import asyncio
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any
from uuid import UUID

import pytest
from langchain.agents import create_agent
from langchain_core.callbacks import AsyncCallbackHandler, BaseCallbackHandler
from langchain_core.messages import BaseMessage
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import RunnableConfig
from langchain_core.tracers import BaseTracer, Run
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from langgraph.graph import START, MessagesState, StateGraph

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
    Task,
)
from budget_router.answers import FreeText
from budget_router.errors import CapReached
from budget_router.records import LoggedDecision
from budget_router_agents import BudgetMiddleware
from budget_router_langchain import aexecute, budget, execute, meter
from budget_router_langgraph import BudgetNode, SettleNode, budgeted_reasoner, route_by_strategy
from budget_router_langgraph.deciding import ateller, teller
from tests.scripted import ScriptedModel, SeveralModel, StreamingModel, billed

ASK = {"messages": [("user", "2 + 2?")]}
STRICT = JsonPlusSerializer(allowed_msgpack_modules=None)
VOTE = SelfConsistency(k=3)
WHOLE_VOTE = ["budget_decision", *["budget_sample"] * 3, "budget_vote", "budget_settlement"]

Event = tuple[str, dict[str, Any]]
Listen = Callable[..., list[Event]]


def custom(streamed: Iterator[Any]) -> list[Event]:
    """Events of a custom stream, those of subgraphs too."""
    parts = [part[-1] if isinstance(part, tuple) else part for part in streamed]
    return [next(iter(part.items())) for part in parts]


def by_stream(graph: Any, *given: Any) -> list[Event]:
    return custom(graph.stream(*given, stream_mode="custom", subgraphs=True))


def by_astream(graph: Any, *given: Any) -> list[Event]:
    async def read() -> list[Any]:
        return [part async for part in graph.astream(*given, stream_mode="custom", subgraphs=True)]

    return custom(iter(asyncio.run(read())))


def by_astream_events(graph: Any, *given: Any) -> list[Event]:
    async def read() -> list[Event]:
        events = graph.astream_events(*given, version="v2")
        return [(event["name"], event["data"]) async for event in events if event["event"] == "on_custom_event"]

    return asyncio.run(read())


def by_handler(graph: Any, ask: Any, config: Any = None) -> list[Event]:
    ear = Ear()
    graph.invoke(ask, {**(config or {}), "callbacks": [ear]})
    return ear.heard


@pytest.fixture(params=[by_stream, by_astream, by_astream_events, by_handler])
def listen(request: pytest.FixtureRequest) -> Listen:
    """Each way to hear a graph's events."""
    return request.param


@pytest.fixture(autouse=True)
def _memory_stays_flat() -> Iterator[None]:
    before = meter.n_live()
    yield
    assert meter.n_live() == before


class Ear(BaseCallbackHandler):
    def __init__(self, then: Callable[[str], None] = lambda name: None) -> None:
        self.heard: list[Event] = []
        self.then = then

    def on_custom_event(self, name: str, data: Any, **_: Any) -> None:
        self.heard.append((name, data))
        self.then(name)


class Broken(BaseCallbackHandler):
    raise_error = True

    def on_custom_event(self, name: str, data: Any, **_: Any) -> None:
        raise ValueError(f"cannot bear {name}")


class BrokenAsync(AsyncCallbackHandler):
    raise_error = True

    async def on_custom_event(self, name: str, data: Any, **_: Any) -> None:
        raise ValueError(f"cannot bear {name}")


def router_of(*strategies: Any, **settings: Any) -> BudgetRouter:
    return BudgetRouter(Menu(strategies), Budget(per_task=1e6), ledger=MemoryLedger(), **settings)


def reasoning(router: BudgetRouter, model: ScriptedModel, *, inside: bool = False, **settings: Any) -> Any:
    """A graph of one reasoner, or one with that graph as a node."""
    graph = StateGraph(MessagesState)
    graph.add_node("reason", budgeted_reasoner(router, model, **settings))
    graph.add_edge(START, "reason")
    if not inside:
        return graph.compile(InMemorySaver(serde=STRICT))
    outer = StateGraph(MessagesState)
    outer.add_node("inner", graph.compile())
    outer.add_edge(START, "inner")
    return outer.compile(InMemorySaver(serde=STRICT))


def thread(name: str = "t1") -> dict[str, Any]:
    return {"configurable": {"thread_id": name}}


def only(router: BudgetRouter) -> LoggedDecision:
    (entry,) = router.ledger.read()
    return entry


def names(events: list[Event]) -> list[str]:
    return [name for name, _ in events]


def samples(events: list[Event]) -> list[dict[str, Any]]:
    return sorted((event for name, event in events if name == "budget_sample"), key=lambda event: event["sample"])


def the_vote(events: list[Event]) -> dict[str, Any]:
    (vote,) = (event for name, event in events if name == "budget_vote")
    return vote


# The events of a graph


@pytest.mark.parametrize("inside", [False, True], ids=["graph", "subgraph"])
def test_a_decision_is_told_then_its_samples_then_the_vote_then_the_settlement(listen: Listen, inside: bool) -> None:
    router, model = router_of(VOTE), ScriptedModel(["Answer: 4", "Answer: 5", "Answer: 4"])
    events = listen(reasoning(router, model, inside=inside), ASK, thread())

    decision = only(router).decision
    assert names(events) == WHOLE_VOTE
    assert {event["decision_id"] for _, event in events} == {decision.id}
    assert [sample["sample"] for sample in samples(events)] == [0, 1, 2]
    assert Counter(sample["answer"] for sample in samples(events)) == {"4": 2, "5": 1}
    vote = the_vote(events)
    assert (vote["answer"], vote["n_samples"], vote["n_failed"], vote["n_spared"]) == ("4", 3, 0, 0)
    assert vote["agreement"] == pytest.approx(2 / 3)
    assert samples(events)[vote["winner"]]["answer"] == "4"


def test_the_spend_of_the_samples_adds_up_to_the_settlements(listen: Listen) -> None:
    router, model = router_of(VOTE), ScriptedModel(["Answer: 4", "it is 4\nAnswer: 4"])
    events = listen(reasoning(router, model), ASK, thread())

    _, settled = events[-1]
    for unit in ("prompt_tokens", "completion_tokens", "n_calls"):
        assert sum(sample["spend"][unit] for sample in samples(events)) == settled["spend"][unit]
    assert (settled["spend"]["prompt_tokens"], settled["spend"]["completion_tokens"]) == billed(model)
    assert {sample["call_id"] for sample in samples(events)} == {one.id for one in only(router).calls}


def test_samples_of_one_request_share_its_call_and_tell_its_spend_once(listen: Listen) -> None:
    router, model = router_of(VOTE), SeveralModel(["Answer: 4"])
    events = listen(reasoning(router, model), ASK, thread())

    (booked,) = only(router).calls
    assert [sample["call_id"] for sample in samples(events)] == [booked.id] * 3
    assert [sample["spend"] is None for sample in samples(events)] == [False, True, True]
    assert names(events) == WHOLE_VOTE


def test_a_sample_that_fails_is_told_by_its_kind(listen: Listen) -> None:
    router, model = router_of(VOTE), ScriptedModel([ValueError("the key is hunter2"), "Answer: 4", "Answer: 4"])
    events = listen(reasoning(router, model), ASK, thread())

    assert Counter(sample["error"] for sample in samples(events)) == {None: 2, "ValueError": 1}
    assert (the_vote(events)["n_samples"], the_vote(events)["n_failed"], the_vote(events)["n_spared"]) == (2, 1, 0)
    assert all(sample["call_id"] for sample in samples(events))
    assert "hunter2" not in str(events)


def test_no_event_bears_the_text_of_a_prompt_or_a_reply(listen: Listen) -> None:
    model = ScriptedModel(["Between us, plutonium.\nAnswer: 4"])
    events = listen(reasoning(router_of(VOTE), model), {"messages": [("user", "A secret: 2 + 2?")]}, thread())

    assert names(events) == WHOLE_VOTE
    assert "plutonium" not in str(events)
    assert "secret" not in str(events)


def test_a_vote_that_stops_early_tells_how_many_it_spared(listen: Listen) -> None:
    early = SelfConsistency(k=6, early_stop=EarlyStop(threshold=0.8, window=2))
    model = ScriptedModel(["Answer: 4"])
    events = listen(reasoning(router_of(early), model), ASK, thread())

    n_drawn = len(model.invoice)
    assert n_drawn < 6
    assert (len(samples(events)), the_vote(events)["n_spared"]) == (n_drawn, 6 - n_drawn)


def test_an_escalation_tells_its_stages(listen: Listen) -> None:
    doubtful = Escalate(first=SelfConsistency(k=2), then=ExtendedCoT(instruction="Think."), agreement=1.0)
    model = ScriptedModel(lambda messages: "Answer: 7" if messages[0].text == "Think." else f"Answer: {len(model.invoice)}")
    events = listen(reasoning(router_of(doubtful), model, max_concurrency=1), ASK, thread())

    assert [(sample["stage"], sample["answer"]) for sample in samples(events)] == [(1, "0"), (1, "1"), (2, "7")]
    assert (the_vote(events)["answer"], the_vote(events)["winner"], the_vote(events)["n_spared"]) == ("7", 2, 0)


def test_an_escalation_that_is_not_needed_spares_its_second_stage(listen: Listen) -> None:
    doubtful = Escalate(first=SelfConsistency(k=2), then=ExtendedCoT(instruction="Think."), agreement=1.0)
    events = listen(reasoning(router_of(doubtful), ScriptedModel(["Answer: 4"])), ASK, thread())

    assert [sample["stage"] for sample in samples(events)] == [1, 1]
    assert the_vote(events)["n_spared"] == 1


def test_a_sample_is_told_while_the_others_are_still_drawn_in_their_threads() -> None:
    """All three are asked side by side; two of them answer only once the first one's event was heard."""
    told, side_by_side, one_goes_on = threading.Event(), threading.Barrier(3), threading.Semaphore(1)
    threads: set[int] = set()

    def wait() -> None:
        threads.add(threading.get_ident())
        side_by_side.wait(10)
        if not one_goes_on.acquire(blocking=False):
            assert told.wait(10)

    ear = Ear(lambda name: told.set() if name == "budget_sample" else None)
    router = router_of(VOTE)
    reasoning(router, ScriptedModel(["Answer: 4"], delay=wait)).invoke(ASK, {**thread(), "callbacks": [ear]})

    assert names(ear.heard) == WHOLE_VOTE
    assert len(threads) == 3
    assert [sample["error"] for sample in samples(ear.heard)] == [None] * 3


async def test_a_sample_is_told_while_the_others_are_still_drawn_in_the_event_loop() -> None:
    told, first = asyncio.Event(), iter([True])

    async def wait() -> None:
        if not next(first, False):
            await asyncio.wait_for(told.wait(), 10)

    heard: list[str] = []
    graph = reasoning(router_of(VOTE), ScriptedModel(["Answer: 4"], adelay=wait))
    async for part in graph.astream(ASK, thread(), stream_mode="custom"):
        heard += part
        if "budget_sample" in part:
            told.set()

    assert heard == WHOLE_VOTE


@pytest.mark.parametrize("handler", [Broken(), BrokenAsync()], ids=["sync", "async"])
def test_a_listener_that_raises_harms_neither_the_run_nor_the_books(call: Callable[..., Any], handler: Any) -> None:
    router, model = router_of(VOTE), ScriptedModel(["Answer: 4"])
    result = call(reasoning(router, model), ASK, {**thread(), "callbacks": [handler]})

    entry = only(router)
    assert result["messages"][-1].text == "Answer: 4"
    assert entry.settlement is not None
    assert (entry.settlement.status, entry.settlement.spend.n_calls, len(model.invoice)) == ("ok", 3, 3)


@pytest.mark.parametrize("handler", [Broken(), BrokenAsync()], ids=["sync", "async"])
def test_nor_does_it_harm_a_chain_under_a_budget(call: Callable[..., Any], handler: Any) -> None:
    router = router_of(VOTE)
    reply = call(budget(ScriptedModel(["Answer: 4"]), router=router), "2 + 2?", {"callbacks": [handler]})

    entry = only(router)
    assert reply.text == "Answer: 4"
    assert entry.settlement is not None
    assert (entry.settlement.status, entry.settlement.spend.n_calls) == ("ok", 3)


def test_the_users_own_nodes_are_told_of_as_before(listen: Listen) -> None:
    router, model = router_of(VOTE), ScriptedModel(["Answer: 4"])
    events = listen(branching(router, model).compile(), ASK)

    assert names(events) == ["budget_decision", "budget_settlement"]


@pytest.mark.parametrize("per", ["run", "call"])
def test_an_agents_step_is_told_of_alike(listen: Listen, per: Any) -> None:
    agent = create_agent(ScriptedModel(["Answer: 4"]), middleware=[BudgetMiddleware(router_of(VOTE), per=per)])
    events = listen(agent, ASK)

    assert names(events) == WHOLE_VOTE
    assert the_vote(events)["answer"] == "4"


async def test_a_chain_under_a_budget_is_told_of_alike() -> None:
    chain = ChatPromptTemplate.from_template("{question}") | ScriptedModel(["Answer: 4"]) | StrOutputParser()
    sync, other = Ear(), Ear()
    budgeted = budget(chain, router=router_of(VOTE))
    budgeted.invoke({"question": "2 + 2?"}, {"callbacks": [sync]})
    await budgeted.ainvoke({"question": "2 + 2?"}, {"callbacks": [other]})

    assert names(sync.heard) == names(other.heard) == WHOLE_VOTE


async def test_a_single_sample_that_is_streamed_is_told_of_too() -> None:
    sync, other = Ear(), Ear()
    budgeted = budget(StreamingModel(["Answer: 4"]), router=router_of(SingleShot()))
    assert len(list(budgeted.stream("2 + 2?", {"callbacks": [sync]}))) > 1
    assert len([piece async for piece in budgeted.astream("2 + 2?", {"callbacks": [other]})]) > 1

    once = ["budget_decision", "budget_sample", "budget_vote", "budget_settlement"]
    assert names(sync.heard) == names(other.heard) == once


# The hook of `execute`, which knows no graph


def test_execute_tells_a_plain_function_and_logs_what_it_raises(caplog: pytest.LogCaptureFixture) -> None:
    router = router_of(VOTE)
    heard: list[Event] = []

    def on_event(name: str, event: Any) -> None:
        heard.append((name, event))
        raise ConnectionError("nobody there")

    decision = router.decide(Task("2 + 2?"))
    receipt = execute(router, decision, ScriptedModel(["Answer: 4"]), "2 + 2?", on_event=on_event)

    assert names(heard) == [*["budget_sample"] * 3, "budget_vote"]
    assert receipt.answer == "4"
    assert only(router).settlement is not None
    assert caplog.text.count("a listener failed at the event budget_sample") == 3


async def test_aexecute_awaits_a_coroutine_function() -> None:
    router = router_of(VOTE)
    heard: list[Event] = []

    async def on_event(name: str, event: Any) -> None:
        await asyncio.sleep(0)
        heard.append((name, event))

    decision = router.decide(Task("2 + 2?"))
    await aexecute(router, decision, ScriptedModel(["Answer: 4"]), "2 + 2?", on_event=on_event)

    assert names(heard) == [*["budget_sample"] * 3, "budget_vote"]


@pytest.mark.parametrize("is_grouping", [False, True])
def test_a_rule_reads_a_reply_once_for_the_event_and_the_vote(is_grouping: bool) -> None:
    router, read = router_of(VOTE), Counter[str]()

    def rule(text: str) -> str | None:
        read[text] += 1
        return text

    def first_letter(answers: Any) -> list[int]:
        return [ord(answer[0]) for answer in answers]

    told: list[Event] = []
    answer = FreeText(first_letter, answer=rule) if is_grouping else rule
    model = ScriptedModel(["by train", "by rail", "on foot"])
    receipt = execute(
        router, router.decide(Task("?")), model, "?", answer=answer, max_concurrency=1, on_event=lambda *event: told.append(event)
    )

    assert read == {"by train": 1, "by rail": 1, "on foot": 1}
    assert [sample["answer"] for sample in samples(told)] == ["by train", "by rail", "on foot"]
    assert receipt.agreement == pytest.approx(2 / 3 if is_grouping else 1 / 3)


def test_a_rule_that_raises_raises_once_it_is_asked_for_the_vote(call: Callable[..., Any]) -> None:
    def rule(text: str) -> str | None:
        raise ZeroDivisionError

    router = router_of(VOTE)
    with pytest.raises(ZeroDivisionError):
        call(reasoning(router, ScriptedModel(["4"]), answer=rule), ASK, thread())
    entry = only(router)
    assert entry.settlement is not None
    assert (entry.settlement.status, entry.settlement.spend.n_calls) == ("failed", 3)


def test_what_is_refused_is_no_sample() -> None:
    """A hard cap that keeps a conversation from being sent is an error of the run, and nothing was decided or drawn."""
    capped = Budget(per_task=1e6, hard_cap=500, window="day")
    router = BudgetRouter(Menu([SingleShot(max_tokens=50)]), capped, ledger=MemoryLedger())
    heard = Ear()
    long = {"messages": [("user", "2 + 2?"), ("ai", "word " * 500), ("user", "Sure?")]}
    with pytest.raises(CapReached):
        reasoning(router, ScriptedModel(["4"])).invoke(long, {**thread(), "callbacks": [heard]})

    assert names(heard.heard) == []


# What traces are filtered by


class Traces(BaseTracer):
    """Keeps the runs of models as a tracer does."""

    def __init__(self) -> None:
        super().__init__()
        self.models: list[Run] = []

    def _persist_run(self, run: Run) -> None:
        """Only what runs of models tell is looked at."""

    def _on_llm_start(self, run: Run) -> None:
        self.models.append(run)


class Starts(BaseCallbackHandler):
    """Keeps what a callback is told of each model call."""

    def __init__(self) -> None:
        self.told: dict[UUID, tuple[list[str], dict[str, Any]]] = {}

    def on_chat_model_start(
        self, serialized: Any, messages: list[list[BaseMessage]], *, run_id: UUID, tags: Any, metadata: Any, **_: Any
    ) -> None:
        self.told[run_id] = tags, metadata


def test_each_model_call_bears_its_decision_strategy_and_sample(call: Callable[..., Any]) -> None:
    router, traces = router_of(VOTE), Traces()
    config = {**thread(), "callbacks": [traces], "tags": ["mine"], "metadata": {"customer": "c1"}}
    call(reasoning(router, ScriptedModel(["Answer: 4"])), ASK, config)

    decision = only(router).decision
    assert sorted(run.extra["metadata"]["budget_router_sample"] for run in traces.models) == [0, 1, 2]
    for run in traces.models:
        metadata = run.extra["metadata"]
        assert metadata["budget_router_decision_id"] == decision.id
        assert metadata["budget_router_strategy"] == "self_consistency_3"
        assert (metadata["budget_router_n_samples"], metadata["customer"]) == (1, "c1")
        assert "budget_router_group" not in metadata
        assert {"budget_router", "nostream", "mine"} <= set(run.tags or ())
        assert all(isinstance(value, str | int | float | bool) for key, value in metadata.items() if "budget_router" in key)
    assert {str(run.id) for run in traces.models} == {one.id for one in only(router).calls}


def test_what_a_run_is_tagged_with_stays_where_no_graph_passes_it_on() -> None:
    router, starts = router_of(SingleShot()), Starts()
    config: Any = {"callbacks": [starts], "tags": ["mine"], "metadata": {"customer": "c1"}}
    execute(router, router.decide(Task("?")), ScriptedModel(["4"]), "?", config=config)

    ((tags, metadata),) = starts.told.values()
    assert {"mine", "budget_router"} <= set(tags)
    assert (metadata["customer"], metadata["budget_router_strategy"]) == ("c1", "single_shot")
    assert config["tags"] == ["mine"]
    assert config["metadata"] == {"customer": "c1"}


def test_a_request_for_several_samples_tells_how_many(call: Callable[..., Any]) -> None:
    router = BudgetRouter(Menu([VOTE]), budgets=[Budget(group="team", per_task=1e6)], ledger=MemoryLedger())
    starts = Starts()
    call(reasoning(router, SeveralModel(["Answer: 4"]), group="team"), ASK, {**thread(), "callbacks": [starts]})

    ((tags, metadata),) = starts.told.values()
    assert (metadata["budget_router_sample"], metadata["budget_router_n_samples"]) == (0, 3)
    assert metadata["budget_router_group"] == "team"
    assert "budget_router" in tags


def test_the_calls_of_an_agents_step_bear_it_too(call: Callable[..., Any]) -> None:
    router, starts = router_of(VOTE), Starts()
    agent = create_agent(ScriptedModel(["Answer: 4"]), middleware=[BudgetMiddleware(router)])
    call(agent, ASK, {"callbacks": [starts]})

    told = [metadata for _, metadata in starts.told.values()]
    assert sorted(metadata["budget_router_sample"] for metadata in told) == [0, 1, 2]
    assert {metadata["budget_router_decision_id"] for metadata in told} == {only(router).decision.id}


def test_a_single_sample_still_streams_its_tokens_and_tells_where_they_belong() -> None:
    router = router_of(SingleShot())
    chain = budget(StreamingModel(["So the Answer: 4"]), router=router)
    graph = StateGraph(MessagesState)
    graph.add_node("reason", lambda state: {"messages": [chain.invoke(state["messages"])]})
    graph.add_edge(START, "reason")
    tokens = [(chunk.text, told) for chunk, told in graph.compile().stream(ASK, stream_mode="messages")]

    assert [text for text, _ in tokens if text] == ["So ", "the ", "Answer: ", "4"]
    assert {told["budget_router_decision_id"] for text, told in tokens if text} == {only(router).decision.id}


# Drawings


def branching(router: BudgetRouter, model: ScriptedModel) -> Any:
    """A graph that decides, goes to the user's own three nodes, and settles."""

    def think(state: MessagesState) -> Any:
        return {"messages": [model.invoke(state["messages"])]}

    graph = StateGraph(MessagesState)
    graph.add_node("budget", BudgetNode(router))
    graph.add_node("settle", SettleNode(router))
    routes = {"single_shot": "quick", "self_consistency_3": "vote", "extended_cot": "think"}
    for name in routes.values():
        graph.add_node(name, think)
        graph.add_edge(name, "settle")
    graph.add_edge(START, "budget")
    graph.add_conditional_edges("budget", route_by_strategy(routes))
    return graph


def test_the_drawing_shows_the_decision_its_three_ways_and_the_settlement() -> None:
    drawn = branching(router_of(VOTE), ScriptedModel(["4"])).compile().get_graph()

    ways = {("budget", way, True) for way in ("quick", "vote", "think")}
    back = {(way, "settle", False) for way in ("quick", "vote", "think")}
    ends = {("__start__", "budget", False), ("settle", "__end__", False)}
    assert {(edge.source, edge.target, edge.conditional) for edge in drawn.edges} == ways | back | ends
    mermaid = drawn.draw_mermaid()
    for line in ["budget -.-> quick;", "budget -.-> vote;", "budget -.-> think;", "quick --> settle;", "settle --> __end__;"]:
        assert line in mermaid
    for node in ("budget", "quick", "vote", "think", "settle"):
        assert f"\t{node}({node})\n" in mermaid


def test_the_drawing_shows_a_reasoner_as_one_node_under_its_own_name() -> None:
    graph = StateGraph(MessagesState)
    graph.add_node(budgeted_reasoner(router_of(VOTE), ScriptedModel(["4"])))
    graph.add_edge(START, "reason")
    drawn = graph.compile().get_graph(xray=True)

    assert [(edge.source, edge.target) for edge in drawn.edges] == [("__start__", "reason"), ("reason", "__end__")]
    assert "\treason(reason)\n" in drawn.draw_mermaid()


# --- nobody


@pytest.mark.parametrize("is_async", [False, True])
def test_samples_are_not_told_to_nobody(is_async: bool) -> None:
    told: list[bool] = []

    def listens(_: object, config: RunnableConfig) -> dict[str, object]:
        told.append((ateller if is_async else teller)(config) is not None)
        return {}

    graph: Any = StateGraph(MessagesState).add_node("node", listens).add_edge(START, "node").compile()
    graph.invoke(ASK)
    assert told == [False]
    for listen in (by_stream, by_astream, by_astream_events, by_handler):
        listen(graph, ASK)
    assert told == [False, True, True, True, True]
