"""The chain shapes that LangChain's documentation shows most, each under a budget, called in every way that a chain is called."""

import asyncio
import json
import operator
from collections.abc import AsyncIterator, Callable, Iterator
from functools import reduce
from typing import Any, NamedTuple

import pytest
from langchain_core.documents import Document
from langchain_core.messages import AIMessage, AIMessageChunk, HumanMessage, SystemMessage
from langchain_core.messages.tool import tool_call_chunk
from langchain_core.output_parsers import JsonOutputParser, StrOutputParser
from langchain_core.outputs import ChatGenerationChunk
from langchain_core.prompts import ChatPromptTemplate, MessagesPlaceholder
from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables import (
    ConfigurableField,
    Runnable,
    RunnableBranch,
    RunnableConfig,
    RunnableGenerator,
    RunnableLambda,
    RunnableParallel,
    RunnablePassthrough,
)
from langchain_core.tools import tool
from pydantic import BaseModel

from budget_router import Budget, BudgetRouter, ExtendedCoT, MemoryLedger, Menu, SelfConsistency, SingleShot
from budget_router_langchain import Budgeted, budget, meter
from tests.scripted import Line, ScriptedModel, StreamingModel, billed, booked

PROMPT = ChatPromptTemplate.from_messages([("system", "Be brief."), ("human", "{question}")])
TEXT = StrOutputParser()
MENU = Menu([SingleShot(), SelfConsistency(k=3), ExtendedCoT(instruction="Think step by step.")])


class Joke(BaseModel):
    """A joke to tell."""

    setup: str
    rating: int


@tool
def multiply(a: int, b: int) -> int:
    """Multiply two numbers."""
    return a * b


class Library(BaseRetriever):
    """Finds the one document that there is."""

    def _get_relevant_documents(self, query: str, *, run_manager: Any) -> list[Document]:
        return [Document(f"All about {query}")]


class Model(StreamingModel):
    """Takes tools, and calls the one that it is bound to."""

    def bind_tools(self, tools: Any, **settings: Any) -> Any:
        return self.bind(tools=[getattr(one, "name", getattr(one, "__name__", None)) for one in tools], **settings)

    def _stream(self, messages: Any, stop: Any = None, run_manager: Any = None, **settings: Any) -> Any:
        if settings.get("tools"):
            yield _chunk(self._generate(messages, stop, run_manager, **settings).generations[0].message)
        else:
            yield from super()._stream(messages, stop, run_manager)

    async def _astream(self, messages: Any, stop: Any = None, run_manager: Any = None, **settings: Any) -> Any:
        for chunk in self._stream(messages, stop, None, **settings):
            yield chunk

    def _generate(self, messages: Any, stop: Any = None, run_manager: Any = None, **settings: Any) -> Any:
        result = super()._generate(messages, stop, run_manager)
        for name in settings.get("tools") or []:
            args = {"a": 2, "b": 3} if name == "multiply" else {"setup": "Why?", "rating": 7}
            result.generations[0].message.tool_calls = [{"name": name, "args": args, "id": "1", "type": "tool_call"}]
        return result


def _chunk(message: AIMessage) -> ChatGenerationChunk:
    chunks = [
        tool_call_chunk(name=call["name"], args=json.dumps(call["args"]), id=call["id"], index=0) for call in message.tool_calls
    ]
    whole = AIMessageChunk(content=message.content, tool_call_chunks=chunks, usage_metadata=message.usage_metadata)
    return ChatGenerationChunk(message=whole)


class Shape(NamedTuple):
    """A chain to be, what it is given, and what it gives when its model says so."""

    make: Callable[[Model], Runnable[Any, Any]]
    given: Any
    expected: Any
    script: list[Line]
    n_calls: int = 1
    """Of the model, for one run."""


def said(output: Any) -> Any:
    """An output without what differs from call to call."""
    if isinstance(output, AIMessage):
        return [(call["name"], call["args"]) for call in output.tool_calls] or output.text
    if isinstance(output, dict):
        return {key: said(value) for key, value in output.items()}
    return output


def _two_models(model: Model) -> Runnable[Any, Any]:
    rephrase = ChatPromptTemplate.from_template("Rephrase: {question}") | model | TEXT
    return {"question": rephrase} | PROMPT | model | TEXT


def _branching(model: Model) -> Runnable[Any, Any]:
    def is_short(given: dict[str, str]) -> bool:
        return len(given["question"]) < 20

    return RunnableBranch((is_short, PROMPT | model | TEXT), RunnableLambda(lambda _: "too long"))


def _shouted(pieces: Iterator[str]) -> Iterator[str]:
    for piece in pieces:
        yield piece.upper()


async def _ashouted(pieces: AsyncIterator[str]) -> AsyncIterator[str]:
    async for piece in pieces:
        yield piece.upper()


SHAPES = {
    "prompt | model | parser": Shape(lambda m: PROMPT | m | TEXT, {"question": "2 + 2?"}, "It is 4", ["It is 4"]),
    "a bare chat model": Shape(lambda m: m, [HumanMessage("2 + 2?")], "It is 4", ["It is 4"]),
    "retrieval": Shape(
        lambda m: (
            {"context": Library() | (lambda found: found[0].page_content), "question": RunnablePassthrough()}
            | ChatPromptTemplate.from_template("By {context}: {question}")
            | m
            | TEXT
        ),
        "bears",
        "They hibernate",
        ["They hibernate"],
    ),
    "structured output": Shape(
        lambda m: PROMPT | m.with_structured_output(Joke), {"question": "A joke!"}, Joke(setup="Why?", rating=7), [""]
    ),
    "structured output with the raw message": Shape(
        lambda m: m.with_structured_output(Joke, include_raw=True),
        "A joke!",
        {"raw": [("Joke", {"setup": "Why?", "rating": 7})], "parsed": Joke(setup="Why?", rating=7), "parsing_error": None},
        [""],
    ),
    "tools": Shape(lambda m: PROMPT | m.bind_tools([multiply]), {"question": "2 x 3?"}, [("multiply", {"a": 2, "b": 3})], [""]),
    "fallbacks": Shape(
        lambda m: PROMPT | ScriptedModel([ConnectionError("down")]).with_fallbacks([m]) | TEXT,
        {"question": "2 + 2?"},
        "It is 4",
        ["It is 4"],
    ),
    "retry": Shape(
        lambda m: PROMPT | m.with_retry(stop_after_attempt=2, wait_exponential_jitter=False) | TEXT,
        {"question": "2 + 2?"},
        "It is 4",
        ["It is 4"],
    ),
    "parallel chains": Shape(
        lambda m: RunnableParallel(joke=PROMPT | m | TEXT, poem=PROMPT | m | TEXT),
        {"question": "bears"},
        {"joke": "Fine", "poem": "Fine"},
        ["Fine"],
        n_calls=2,
    ),
    "assign": Shape(
        lambda m: RunnablePassthrough.assign(answer=PROMPT | m | TEXT),
        {"question": "2 + 2?"},
        {"question": "2 + 2?", "answer": "4"},
        ["4"],
    ),
    "one model after the other": Shape(_two_models, {"question": "2 + 2?"}, "Fine", ["Fine"], n_calls=2),
    "routing by a branch": Shape(_branching, {"question": "2 + 2?"}, "It is 4", ["It is 4"]),
    "chat history": Shape(
        lambda m: (
            ChatPromptTemplate.from_messages([("system", "Be kind."), MessagesPlaceholder("history"), ("human", "{input}")]) | m
        ),
        {"history": [("human", "Hi"), ("ai", "Hello")], "input": "2 + 2?"},
        "It is 4",
        ["It is 4"],
    ),
    "JSON": Shape(lambda m: PROMPT | m | JsonOutputParser(), {"question": "2 + 2?"}, {"sum": 4}, ['{"sum": 4}']),
    "a function after the parser": Shape(
        lambda m: PROMPT | m | TEXT | (lambda text: text.upper()), {"question": "2 + 2?"}, "IT IS 4", ["It is 4"]
    ),
    "a generator function": Shape(
        lambda m: PROMPT | m | TEXT | RunnableGenerator(_shouted, _ashouted), {"question": "2 + 2?"}, "IT IS 4", ["It is 4"]
    ),
    "bound settings": Shape(lambda m: PROMPT | m.bind(stop=["\n"]) | TEXT, {"question": "2 + 2?"}, "It is 4", ["It is 4"]),
    "a configurable model": Shape(
        lambda m: PROMPT | m.configurable_fields(temperature=ConfigurableField("heat")) | TEXT,
        {"question": "2 + 2?"},
        "It is 4",
        ["It is 4"],
    ),
    "alternative models": Shape(
        lambda m: PROMPT | ScriptedModel(["no"]).configurable_alternatives(ConfigurableField("llm"), other=m) | TEXT,
        {"question": "2 + 2?"},
        "It is 4",
        ["It is 4"],
    ),
    "a chain for each of several": Shape(
        lambda m: (PROMPT | m | TEXT).map(), [{"question": "2 + 2?"}, {"question": "3 + 3?"}], ["4", "4"], ["4"], n_calls=2
    ),
}


def _whole(pieces: list[Any]) -> Any:
    """What pieces add up to; of those that do not add up the last is whole."""
    try:
        return reduce(operator.add, pieces)
    except TypeError:
        return pieces[-1]


async def _collected(pieces: Any) -> Any:
    return _whole([piece async for piece in pieces])


async def _end_of_events(budgeted: Budgeted[Any, Any], given: Any, config: RunnableConfig) -> Any:
    events = [event async for event in budgeted.astream_events(given, config, version="v2")]
    names = [event["name"] for event in events if event["event"] == "on_custom_event"]
    assert names == ["budget_decision", *["budget_sample"] * (len(names) - 3), "budget_vote", "budget_settlement"]
    assert len(names) > 3
    return events[-1]["data"]["output"]


WAYS: dict[str, Callable[[Budgeted[Any, Any], Any, RunnableConfig], Any]] = {
    "invoke": lambda b, given, config: b.invoke(given, config),
    "batch": lambda b, given, config: b.batch([given], config)[0],
    "stream": lambda b, given, config: _whole(list(b.stream(given, config))),
    "ainvoke": lambda b, given, config: asyncio.run(b.ainvoke(given, config)),
    "abatch": lambda b, given, config: asyncio.run(b.abatch([given], config))[0],
    "astream": lambda b, given, config: asyncio.run(_collected(b.astream(given, config))),
    "astream_events": lambda b, given, config: asyncio.run(_end_of_events(b, given, config)),
}


@pytest.fixture(autouse=True)
def _memory_stays_flat() -> Iterator[None]:
    before = meter.n_live()
    yield
    assert meter.n_live() == before


def _budgeted(shape: Shape) -> tuple[Model, BudgetRouter, Budgeted[Any, Any]]:
    model = Model(shape.script)
    router = BudgetRouter(MENU, Budget(per_task=1e6), ledger=MemoryLedger(), seed=0)
    return model, router, budget(shape.make(model), router=router)


def _forced(strategy: str) -> RunnableConfig:
    return {"configurable": {"budget_strategy": strategy, "llm": "other"}}


@pytest.mark.parametrize(
    ("way", "strategy"),
    [
        *[(way, strategy) for way in ("invoke", "stream", "ainvoke", "astream") for strategy in MENU.names],
        *[(way, "self_consistency_3") for way in ("batch", "abatch")],
        *[("astream_events", strategy) for strategy in ("single_shot", "self_consistency_3")],
    ],
)
@pytest.mark.parametrize("name", SHAPES)
def test_a_budgeted_chain_gives_what_the_chain_gives_and_books_what_it_bills(name: str, way: str, strategy: str) -> None:
    shape = SHAPES[name]
    model, router, budgeted = _budgeted(shape)

    output = WAYS[way](budgeted, shape.given, _forced(strategy))

    (logged,) = router.ledger.read()
    assert said(output) == shape.expected
    assert logged.settlement is not None
    assert (logged.decision.strategy.name, logged.decision.reason, logged.settlement.status) == (strategy, "forced", "ok")
    assert booked([call for call in logged.calls if call.status == "ok"]) == billed(model)
    assert len(model.invoice) == shape.n_calls * MENU[strategy].n_samples
    assert logged.settlement.spend.in_unit("tokens") == sum(billed(model))
    instructed = [any("step by step" in str(one.text) for one in seen if isinstance(one, SystemMessage)) for seen in model.seen]
    assert set(instructed) == {strategy == "extended_cot"}


@pytest.mark.parametrize("name", SHAPES)
def test_a_budgeted_chain_has_the_chains_own_schemas_and_drawing(name: str) -> None:
    shape = SHAPES[name]
    plain = shape.make(Model(shape.script))
    budgeted = _budgeted(shape)[2]

    assert budgeted.get_input_jsonschema() == plain.get_input_jsonschema()
    assert budgeted.get_output_jsonschema() == plain.get_output_jsonschema()
    assert budgeted.get_graph().draw_mermaid() == plain.get_graph().draw_mermaid()
    assert {"budget_strategy", "budget_group"} <= {spec.id for spec in budgeted.config_specs}
    assert {spec.id for spec in plain.config_specs} <= {spec.id for spec in budgeted.config_specs}
