"""Spans and metrics of what a router decides, calls and settles, as an exporter would send them."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from langchain_core.caches import InMemoryCache
from langchain_core.language_models import FakeListLLM
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.types import Command, interrupt
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from budget_router import (
    Budget,
    BudgetRouter,
    MemoryLedger,
    Menu,
    SelfConsistency,
    SingleShot,
    Spend,
    Tariff,
    Tariffs,
    Task,
)
from budget_router.records import Call, LoggedDecision
from budget_router_langchain import execute
from budget_router_langchain.budget_state import BudgetState
from budget_router_langchain.progress import SampleEvent, VoteEvent
from budget_router_langgraph import BudgetNode, SettleNode, budgeted_reasoner
from budget_router_otel import conventions, instrument, telemetry, uninstrument
from budget_router_otel.conventions import SECOND_BOUNDS, TOKEN_BOUNDS
from tests.scripted import ScriptedModel, billed

ASK = {"messages": [("user", "A secret: 2 + 2?")]}
VOTE = SelfConsistency(k=3)
SECRET = "Between us, plutonium.\nAnswer: 4"
GEN_AI = {"gen_ai.operation.name": "chat", "gen_ai.request.model": "scripted", "gen_ai.provider.name": "scriptedmodel"}


class Collector:
    """An exporter that keeps what it is sent."""

    def __init__(self) -> None:
        self._spans, self._metrics = InMemorySpanExporter(), InMemoryMetricReader()
        self.tracer_provider = TracerProvider()
        self.tracer_provider.add_span_processor(SimpleSpanProcessor(self._spans))
        self.meter_provider = MeterProvider(metric_readers=[self._metrics])

    def watch(self, router: BudgetRouter) -> BudgetRouter:
        instrument(router, tracer_provider=self.tracer_provider, meter_provider=self.meter_provider)
        return router

    @property
    def spans(self) -> list[ReadableSpan]:
        return list(self._spans.get_finished_spans())

    def named(self, name: str) -> list[ReadableSpan]:
        return [span for span in self.spans if span.name == name]

    def one(self, name: str) -> ReadableSpan:
        (span,) = self.named(name)
        return span

    def points(self, name: str) -> list[Any]:
        data = self._metrics.get_metrics_data()
        if data is None:
            return []
        scopes = [scope for resource in data.resource_metrics for scope in resource.scope_metrics]
        return [point for scope in scopes for metric in scope.metrics if metric.name == name for point in metric.data.data_points]

    def all_text(self) -> str:
        data = self._metrics.get_metrics_data()
        return " ".join(span.to_json() for span in self.spans) + (data.to_json() if data else "")


@pytest.fixture
def collector() -> Collector:
    return Collector()


def router_of(*strategies: Any, unit: Any = "tokens", **settings: Any) -> BudgetRouter:
    budget = Budget(per_task=1e6, unit=unit, group="team")
    return BudgetRouter(Menu(strategies), budgets=[budget], ledger=MemoryLedger(), **settings)


def reasoning(router: BudgetRouter, model: ScriptedModel, *, inside: bool = False) -> Any:
    graph = StateGraph(MessagesState)
    graph.add_node("reason", budgeted_reasoner(router, model, group="team"))
    graph.add_edge(START, "reason")
    if not inside:
        return graph.compile(InMemorySaver())
    outer = StateGraph(MessagesState)
    outer.add_node("inner", graph.compile())
    outer.add_edge(START, "inner")
    return outer.compile(InMemorySaver())


def thread(name: str = "t1") -> dict[str, Any]:
    return {"configurable": {"thread_id": name}}


def only(router: BudgetRouter) -> LoggedDecision:
    (entry,) = router.ledger.read()
    return entry


def parent_of(span: ReadableSpan) -> int | None:
    return None if span.parent is None else span.parent.span_id


def id_of(span: ReadableSpan) -> int:
    return span.context.span_id


@pytest.mark.parametrize("inside", [False, True], ids=["graph", "subgraph"])
def test_a_decision_is_one_tree_below_the_users_own_span(call: Callable[..., Any], collector: Collector, inside: bool) -> None:
    router = collector.watch(router_of(VOTE))
    graph = reasoning(router, ScriptedModel([SECRET]), inside=inside)
    with collector.tracer_provider.get_tracer("user").start_as_current_span("request") as request:
        call(graph, ASK, thread())

    executed, decided = collector.one("budget_router execute"), collector.one("budget_router decide")
    calls = collector.named("chat scripted")
    assert parent_of(executed) == request.get_span_context().span_id
    assert parent_of(decided) == id_of(executed)
    assert [parent_of(span) for span in calls] == [id_of(executed)] * 3
    assert len({span.context.trace_id for span in collector.spans}) == 1
    assert len(collector.spans) == 6


def test_decisions_that_run_side_by_side_keep_their_calls_apart(collector: Collector) -> None:
    router = collector.watch(router_of(VOTE))
    graph = reasoning(router, ScriptedModel(["Answer: 4"]))
    graph.batch([ASK] * 8, [thread(str(number)) for number in range(8)])

    owners = {id_of(span): span.attributes["budget_router.decision.id"] for span in collector.named("budget_router execute")}
    assert len(owners) == 8
    for span in collector.named("chat scripted"):
        assert owners[parent_of(span)] == span.attributes["budget_router.decision.id"]
    assert len(collector.named("chat scripted")) == 24


def test_a_call_is_told_by_the_conventions_for_generative_ai(call: Callable[..., Any], collector: Collector) -> None:
    router = collector.watch(router_of(VOTE, tariffs=Tariffs({"scripted": Tariff(prompt="1", completion="10")})))
    model = ScriptedModel([SECRET])
    call(reasoning(router, model), ASK, thread())

    calls = collector.named("chat scripted")
    for span in calls:
        assert GEN_AI.items() <= dict(span.attributes).items()
        assert (span.kind, span.status.status_code) == (SpanKind.CLIENT, StatusCode.UNSET)
    tokens = [sum(span.attributes[f"gen_ai.usage.{kind}_tokens"] for span in calls) for kind in ("input", "output")]
    assert tuple(tokens) == billed(model)
    booked = sum(one.nano_usd or 0 for one in only(router).calls)
    assert sum(span.attributes["budget_router.usd"] for span in calls) == pytest.approx(booked / 1e9)


def test_the_decision_and_the_execution_tell_what_was_decided_and_spent(call: Callable[..., Any], collector: Collector) -> None:
    router = collector.watch(router_of(VOTE))
    call(reasoning(router, ScriptedModel(["Answer: 4", "Answer: 4", "Answer: 5"])), ASK, thread())

    entry = only(router)
    decision, settlement = entry.decision, entry.settlement
    assert settlement is not None
    decided, executed = collector.one("budget_router decide"), collector.one("budget_router execute")
    assert dict(decided.attributes) == {
        "budget_router.decision.id": decision.id,
        "budget_router.strategy": "self_consistency_3",
        "budget_router.group": "team",
        "budget_router.unit": "tokens",
        "budget_router.expected_cost": decision.expected_cost,
        "budget_router.shadow_price": decision.shadow_price,
        "budget_router.propensity": 1.0,
        "budget_router.policy.version": decision.policy_version,
        "budget_router.reason": "policy",
    }
    assert dict(executed.attributes) == {
        "budget_router.decision.id": decision.id,
        "budget_router.strategy": "self_consistency_3",
        "budget_router.group": "team",
        "gen_ai.conversation.id": "t1",
        "budget_router.status": "ok",
        "budget_router.n_calls": 3,
        "budget_router.unit": "tokens",
        "budget_router.spend": settlement.spend.in_unit("tokens"),
        "budget_router.agreement": pytest.approx(2 / 3),
    }
    starts = {decided.start_time, executed.start_time}
    assert len(starts) == 1
    assert executed.start_time <= decided.end_time <= executed.end_time


def test_neither_prompts_nor_answers_stand_in_any_of_it(call: Callable[..., Any], collector: Collector) -> None:
    router = collector.watch(router_of(VOTE))
    call(reasoning(router, ScriptedModel([SECRET, ValueError("the key is hunter2"), SECRET])), ASK, thread())

    text = collector.all_text()
    assert "self_consistency_3" in text
    for said in ("secret", "plutonium", "Answer", "hunter2", only(router).decision.task_id):
        assert said not in text


def test_a_call_that_fails_is_an_error_and_so_is_an_execution_without_an_answer(
    call: Callable[..., Any], collector: Collector
) -> None:
    router = collector.watch(router_of(VOTE))
    with pytest.raises(Exception, match="samples of 'self_consistency_3' failed"):
        call(reasoning(router, ScriptedModel([ValueError("overloaded")])), ASK, thread())

    calls = collector.named("chat scripted")
    assert {(span.status.status_code, span.attributes["error.type"]) for span in calls} == {(StatusCode.ERROR, "_OTHER")}
    executed = collector.one("budget_router execute")
    assert (executed.status.status_code, executed.attributes["budget_router.status"]) == (StatusCode.ERROR, "failed")
    assert {point.attributes["error.type"] for point in collector.points("gen_ai.client.operation.duration")} == {"_OTHER"}


def test_metrics_count_decisions_tokens_seconds_and_spend(call: Callable[..., Any], collector: Collector) -> None:
    router = collector.watch(router_of(VOTE, tariffs=Tariffs({"scripted": Tariff(prompt="1", completion="10")})))
    graph = reasoning(router, ScriptedModel([SECRET]))
    for number in range(2):
        call(graph, ASK, thread(str(number)))

    entries = list(router.ledger.read())
    calls = [one for entry in entries for one in entry.calls]
    (price,) = collector.points("budget_router.shadow_price")  # first: SDKs of old tell a gauge in one collection alone
    assert (price.value, dict(price.attributes)) == (entries[-1].decision.shadow_price, {"budget_router.group": "team"})

    (decided,) = collector.points("budget_router.decisions")
    labels = {"budget_router.strategy": "self_consistency_3", "budget_router.group": "team"}
    assert (decided.value, dict(decided.attributes)) == (2, {**labels, "budget_router.reason": "policy"})

    tokens = {point.attributes["gen_ai.token.type"]: point for point in collector.points("gen_ai.client.token.usage")}
    assert tokens["input"].sum == sum(one.prompt_tokens for one in calls)
    assert tokens["output"].sum == sum(one.completion_tokens for one in calls)
    assert tokens["input"].count == tokens["output"].count == len(calls) == 6
    assert dict(tokens["input"].attributes) == {**GEN_AI, "gen_ai.token.type": "input"}
    assert list(tokens["input"].explicit_bounds) == TOKEN_BOUNDS

    (seconds,) = collector.points("gen_ai.client.operation.duration")
    assert (seconds.count, dict(seconds.attributes)) == (6, GEN_AI)
    assert seconds.sum == pytest.approx(sum(one.seconds for one in calls))
    assert list(seconds.explicit_bounds) == SECOND_BOUNDS

    spend = {point.attributes["budget_router.unit"]: point for point in collector.points("budget_router.spend")}
    assert spend["tokens"].value == sum(one.prompt_tokens + one.completion_tokens for one in calls)
    assert spend["usd"].value == pytest.approx(sum(one.nano_usd or 0 for one in calls) / 1e9)
    assert dict(spend["tokens"].attributes) == {**labels, "budget_router.unit": "tokens"}


def test_the_bounds_are_the_conventions_own() -> None:
    """As of the semantic conventions for generative AI metrics."""
    assert TOKEN_BOUNDS == [1, 4, 16, 64, 256, 1024, 4096, 16384, 65536, 262144, 1048576, 4194304, 16777216, 67108864]
    assert SECOND_BOUNDS == [0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92]


def test_a_spend_of_unknown_price_is_no_spend_of_zero(collector: Collector) -> None:
    router = collector.watch(router_of(SingleShot()))
    execute(router, router.decide(Task("?", group="team")), ScriptedModel(["4"]), "?")

    assert [point.attributes["budget_router.unit"] for point in collector.points("budget_router.spend")] == ["tokens"]
    assert "budget_router.usd" not in collector.one("chat scripted").attributes


def test_an_execution_whose_price_is_unknown_tells_no_spend(collector: Collector) -> None:
    tariffs = Tariffs({"scripted": Tariff(prompt="1", completion="10")})
    router = collector.watch(router_of(SingleShot(), unit="usd", tariffs=tariffs, model="scripted"))
    router.settle(router.decide(Task("?", group="team")), Spend(prompt_tokens=5, n_calls=1))

    executed = collector.one("budget_router execute")
    assert executed.attributes["budget_router.unit"] == "usd"
    assert "budget_router.spend" not in executed.attributes
    assert collector.points("budget_router.spend") == []


def test_tokens_by_a_rule_of_thumb_are_not_told_as_usage(collector: Collector) -> None:
    router = collector.watch(router_of(SingleShot()))
    decision = router.decide(Task("?", group="team"))
    router.open_call(Call(id="c", decision_id=decision.id, model="m", status="open"))
    router.close_call(Call(id="c", decision_id=decision.id, model="m", prompt_tokens=7, source="estimated"))

    span = collector.one("chat m")
    assert "gen_ai.usage.input_tokens" not in span.attributes
    assert "gen_ai.provider.name" not in span.attributes
    assert collector.points("gen_ai.client.token.usage") == []
    assert len(collector.points("gen_ai.client.operation.duration")) == 1


def test_a_reply_from_langchains_cache_is_no_operation_of_a_provider(collector: Collector) -> None:
    router = collector.watch(router_of(SingleShot()))
    model = ScriptedModel(["4"], cache=InMemoryCache())
    graph = StateGraph(MessagesState)
    graph.add_node("budget", BudgetNode(router, group="team"))
    graph.add_node("twice", lambda state: {"messages": [model.invoke("?"), model.invoke("?")]})
    graph.add_node("settle", SettleNode(router))
    for start, end in [(START, "budget"), ("budget", "twice"), ("twice", "settle")]:
        graph.add_edge(start, end)
    graph.compile().invoke(ASK)

    sources = [span.attributes["budget_router.spend.source"] for span in collector.named("chat scripted")]
    assert sorted(sources) == ["cache", "reported"]
    (seconds,) = collector.points("gen_ai.client.operation.duration")
    assert seconds.count == 1


def test_a_plain_language_model_completes_text(collector: Collector) -> None:
    router = collector.watch(router_of(SingleShot()))
    graph = StateGraph(MessagesState)
    graph.add_node("budget", BudgetNode(router, group="team"))
    graph.add_node("complete", lambda state: {"messages": [("ai", FakeListLLM(responses=["4"]).invoke("?"))]})
    graph.add_edge(START, "budget")
    graph.add_edge("budget", "complete")
    graph.compile().invoke(ASK)

    (span,) = [span for span in collector.spans if span.kind is SpanKind.CLIENT]
    assert span.attributes["gen_ai.operation.name"] == "text_completion"


def test_a_run_that_is_interrupted_and_resumed_stays_one_execution(call: Callable[..., Any], collector: Collector) -> None:
    router, model = collector.watch(router_of(SingleShot())), ScriptedModel(["Answer: 4"])

    def think(state: MessagesState) -> Any:
        reply = model.invoke(state["messages"])
        interrupt("Shall it stand?")
        return {"messages": [reply]}

    graph = StateGraph(MessagesState)
    graph.add_node("budget", BudgetNode(router, group="team"))
    graph.add_node("think", think)
    graph.add_node("settle", SettleNode(router))
    for start, end in [(START, "budget"), ("budget", "think"), ("think", "settle")]:
        graph.add_edge(start, end)
    compiled = graph.compile(InMemorySaver())
    call(compiled, ASK, thread())
    assert collector.named("budget_router execute") == []
    call(compiled, Command(resume="yes"), thread())

    executed = collector.one("budget_router execute")
    assert [parent_of(span) for span in collector.named("chat scripted")] == [id_of(executed)] * 2
    assert collector.points("budget_router.decisions")[0].value == 1


def test_a_retry_that_finds_its_decision_counts_it_once_and_a_second_settlement_spends_nothing(collector: Collector) -> None:
    router = collector.watch(router_of(SingleShot()))
    first = router.decide(Task("?", group="team"), decision_id="d")
    assert router.decide(Task("?", group="team"), decision_id="d") == first
    for _ in range(2):
        router.settle(first, Spend(prompt_tokens=5, n_calls=1))

    assert [point.value for point in collector.points("budget_router.decisions")] == [1]
    assert [point.value for point in collector.points("budget_router.spend")] == [5.0]
    assert len(collector.named("budget_router execute")) == 1
    assert len(collector.named("budget_router decide")) == 2


def test_what_is_never_settled_does_not_pile_up(collector: Collector, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(telemetry, "MAX_OPEN", 2)
    router = collector.watch(router_of(SingleShot()))
    decisions = [router.decide(Task("?", group="team")) for _ in range(5)]

    ended = [span.attributes["budget_router.decision.id"] for span in collector.named("budget_router execute")]
    assert ended == [decision.id for decision in decisions[:3]]
    assert all("budget_router.status" not in span.attributes for span in collector.named("budget_router execute"))


def test_switched_off_nothing_more_is_told_and_what_was_open_ends(collector: Collector) -> None:
    router = collector.watch(router_of(SingleShot()))
    router.decide(Task("?", group="team"))
    collector.watch(router)
    assert len(router.watchers) == 1
    uninstrument(router)
    uninstrument(router)
    told = len(collector.spans)
    router.decide(Task("?", group="team"))

    assert (told, len(collector.spans), router.watchers) == (2, 2, [])


def test_the_guide_names_every_field_attribute_and_metric() -> None:
    guide = (Path(__file__).parents[1] / "docs" / "seeing.md").read_text()
    named = {value for name, value in vars(conventions).items() if name.isupper() and isinstance(value, str)}
    fields = {*SampleEvent.__annotations__, *VoteEvent.__annotations__, *BudgetState.__annotations__}

    assert {"gen_ai.usage.input_tokens", "budget_router.decisions"} <= named
    assert [name for name in sorted(named | fields) if f"`{name}`" not in guide] == []


def test_a_watcher_that_raises_harms_neither_the_run_nor_the_books(
    call: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    class Broken:
        def __getattr__(self, name: str) -> Any:
            raise ValueError(f"cannot bear {name}")

    router, model = router_of(VOTE), ScriptedModel(["Answer: 4"])
    router.watchers.append(Broken())
    result = call(reasoning(router, model), ASK, thread())

    entry = only(router)
    assert result["messages"][-1].text == "Answer: 4"
    assert entry.settlement is not None
    assert (entry.settlement.status, len(entry.calls)) == ("ok", 3)
    assert caplog.text.count("Broken failed while it watched") == 8


def test_a_router_that_is_not_instrumented_knows_nothing_of_opentelemetry() -> None:
    probe = (
        "import sys; from budget_router import *; import budget_router_langgraph as door\n"
        "router = BudgetRouter(Menu([SingleShot()]), Budget(per_task=1000))\n"
        "router.settle(router.decide(Task('?')), Spend())\n"
        "assert router.watchers == []\n"
        "assert 'budget_router_otel' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", probe], check=True)


def test_a_missing_api_is_told_with_its_extra() -> None:
    probe = "import sys; sys.modules['opentelemetry'] = None; import budget_router_otel"
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=False)

    assert "pip install 'budget-router[otel]'" in done.stderr
