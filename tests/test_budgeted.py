"""A chain under a budget: what is run how often, what is voted on, what is refused, and what reaches the caller."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from typing import Any
from uuid import uuid4

import pytest
from langchain_core.messages import AIMessage, SystemMessage
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import Runnable, RunnableLambda
from pydantic import BaseModel

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
from budget_router.answers import structured
from budget_router.errors import InvalidInput, InvalidTask, LedgerUnavailable, UnknownDecision
from budget_router.menu import Strategy
from budget_router.records import Call, LoggedDecision
from budget_router_langchain import Budgeted, budget, meter
from tests.scripted import BadRequest, ScriptedModel, SeveralModel, StreamingModel, billed, booked

PROMPT = ChatPromptTemplate.from_template("{question}")
TEXT = StrOutputParser()
ASKED = {"question": "2 + 2?"}
VOTE = SelfConsistency(k=3)
Invoke = Callable[..., Any]


@pytest.fixture(params=["sync", "async"])
def invoke(request: pytest.FixtureRequest) -> Invoke:
    if request.param == "sync":
        return lambda chain, *given, **settings: chain.invoke(*given, **settings)
    return lambda chain, *given, **settings: asyncio.run(chain.ainvoke(*given, **settings))


@pytest.fixture(autouse=True)
def _memory_stays_flat() -> Iterator[None]:
    before = meter.n_live()
    yield
    assert meter.n_live() == before


def routed(*strategies: Strategy, budgets: Any = (), **settings: Any) -> BudgetRouter:
    return BudgetRouter(Menu(strategies), Budget(per_task=1e6), budgets=budgets, seed=0, **settings)


def entries(router: BudgetRouter) -> list[LoggedDecision]:
    return list(router.ledger.read())


# --- what is run, and how often


def test_what_stands_before_the_model_runs_once_however_many_samples_are_drawn(invoke: Invoke) -> None:
    retrieved: list[str] = []
    retrieve = RunnableLambda(lambda given: retrieved.append(given["question"]) or given, name="retrieve")
    model = ScriptedModel(["Answer: 4"])
    router = routed(VOTE)

    invoke(budget(retrieve | PROMPT | model | TEXT, router=router), ASKED)

    assert (retrieved, len(model.invoice)) == (["2 + 2?"], 3)


def test_calls_that_stand_before_the_model_unseen_are_booked_to_the_decision(invoke: Invoke) -> None:
    hidden, model = ScriptedModel(["what is two and two?"]), ScriptedModel(["Answer: 4"])
    router = routed(VOTE)
    rephrase = RunnableLambda(lambda given: {"question": hidden.invoke(given["question"]).text})

    invoke(budget(rephrase | PROMPT | model | TEXT, router=router), ASKED)

    (logged,) = entries(router)
    assert len(logged.calls) == 4
    assert booked(logged.calls) == tuple(map(sum, zip(billed(hidden), billed(model), strict=True)))
    assert logged.settlement is not None
    assert logged.settlement.spend.n_calls == 4


def test_where_the_class_offers_it_a_chains_vote_is_one_request_and_each_reply_is_parsed(invoke: Invoke) -> None:
    model = SeveralModel(["Answer: 4", "Answer: 5", "Answer: 4"])
    router = routed(VOTE)

    assert invoke(budget(PROMPT | model | TEXT, router=router), ASKED) == "Answer: 4"

    (logged,) = entries(router)
    assert [line["n"] for line in model.invoice] == [3]
    assert booked(logged.calls) == billed(model)
    assert logged.settlement is not None
    assert {sample.call_id for sample in logged.settlement.samples} == {logged.calls[0].id}


@pytest.mark.parametrize("wrapped", ["bound", "retried", "with fallbacks"])
def test_one_request_serves_a_vote_through_bindings_retries_and_fallbacks(invoke: Invoke, wrapped: str) -> None:
    model = SeveralModel(["Answer: 4"])
    asking: Runnable[Any, Any] = {
        "bound": model.bind(stop=["!"]),
        "retried": model.with_retry(wait_exponential_jitter=False),
        "with fallbacks": SeveralModel([ConnectionError("down")]).with_fallbacks([model]),
    }[wrapped]
    invoke(budget(PROMPT | asking | TEXT, router=routed(VOTE)), ASKED)
    assert [line["n"] for line in model.invoice] == [3]


def test_a_reply_that_the_parser_refuses_is_one_failed_sample_of_one_request(invoke: Invoke) -> None:
    def number(text: str) -> int:
        return int(text)

    model = SeveralModel(["four", "4", "4"])
    router = routed(VOTE)
    output = invoke(budget(PROMPT | model | TEXT | number, router=router), ASKED)

    assert output == 4
    (logged,) = entries(router)
    assert logged.settlement is not None
    assert [sample.index for sample in logged.settlement.samples] == [1, 2]
    assert len(model.invoice) == 1


def test_a_model_that_refuses_several_generations_is_asked_singly(invoke: Invoke) -> None:
    model = SeveralModel(["Answer: 4"], n_most=0)
    invoke(budget(PROMPT | model | TEXT, router=routed(VOTE)), ASKED)
    assert [line["n"] for line in model.invoice] == [1, 1, 1]


def test_a_vote_stops_early_and_an_escalation_asks_the_other_model(invoke: Invoke) -> None:
    early = SelfConsistency(k=10, early_stop=EarlyStop(threshold=0.85))
    doubt = Escalate(first=VOTE, then=SingleShot(model="large", instruction="Think."), agreement=1.0)
    small, large = ScriptedModel(["Answer: 4", "Answer: 5", "Answer: 4"]), ScriptedModel(["Answer: 6"], model_name="large-1")
    sure = ScriptedModel(["Answer: 4"])

    invoke(budget(PROMPT | sure | TEXT, router=routed(early)), ASKED)
    output = invoke(budget(PROMPT | small | TEXT, router=routed(doubt), models={"large": large}), ASKED)

    assert (len(sure.invoice), output) == (2, "Answer: 6")
    assert isinstance(large.seen[0][0], SystemMessage)


def test_settings_of_a_call_go_to_the_first_step_as_a_sequences_do(invoke: Invoke) -> None:
    class Stopping(ScriptedModel):
        def _generate(self, messages: Any, stop: Any = None, run_manager: Any = None, **settings: Any) -> Any:
            assert stop == ["!"]
            return super()._generate(messages, stop, run_manager, **settings)

    model = Stopping(["Answer: 4"])
    chain = budget(model, router=routed(VOTE))
    assert invoke(chain, "2 + 2?", stop=["!"]).text == "Answer: 4"
    assert invoke(chain.bind(stop=["!"]), "2 + 2?").text == "Answer: 4"
    assert len(model.invoice) == 6


def test_a_budgeted_chain_inside_of_another_pays_its_own_bills(invoke: Invoke) -> None:
    inner_router, outer_router = routed(SingleShot()), routed(SelfConsistency(k=2))
    inner_model, outer_model = ScriptedModel(["2 + 2?"]), ScriptedModel(["Answer: 4"])
    inner = budget(PROMPT | inner_model | TEXT, router=inner_router)

    invoke(budget({"question": inner} | PROMPT | outer_model | TEXT, router=outer_router), ASKED)

    assert booked(entries(inner_router)[0].calls) == billed(inner_model)
    assert booked(entries(outer_router)[0].calls) == billed(outer_model)
    assert len(inner_model.invoice) == 1


def test_calls_side_by_side_keep_their_bills_apart() -> None:
    model = ScriptedModel(lambda messages: f"Answer: {messages[-1].text}")
    router = routed(VOTE, SingleShot())
    chain = budget(PROMPT | model | TEXT, router=router)

    outputs = chain.batch([{"question": str(one)} for one in range(40)])

    assert outputs == [f"Answer: {one}" for one in range(40)]
    for logged in entries(router):
        assert logged.settlement is not None
        assert len(logged.calls) == logged.decision.strategy.n_samples == logged.settlement.spend.n_calls
    assert sum(len(logged.calls) for logged in entries(router)) == len(model.invoice)


# --- what is voted on


class Bill(BaseModel):
    reason: str
    total: float


def test_what_a_parser_made_is_voted_on_field_by_field(invoke: Invoke) -> None:
    bills = iter([Bill(reason="a", total=3), Bill(reason="b", total=2), Bill(reason="A ", total=3.0)])
    chain = PROMPT | ScriptedModel(["-"]) | RunnableLambda(lambda _: next(bills))
    assert invoke(budget(chain, router=routed(VOTE), max_concurrency=1), ASKED) == Bill(reason="a", total=3)


def test_a_rule_chooses_the_fields_that_count(invoke: Invoke) -> None:
    bills = iter([Bill(reason="a", total=3), Bill(reason="b", total=2), Bill(reason="c", total=2)])
    chain = PROMPT | ScriptedModel(["-"]) | RunnableLambda(lambda _: next(bills))
    rule = structured(Bill, fields={"total": str})
    assert invoke(budget(chain, router=routed(VOTE), max_concurrency=1, answer=rule), ASKED).total == 2


def test_bound_tools_are_voted_on_by_name_and_arguments(invoke: Invoke) -> None:
    def asking(city: str) -> AIMessage:
        return AIMessage("", tool_calls=[{"name": "weather", "args": {"city": city}, "id": f"of {city}"}])

    class Agent(ScriptedModel):
        def bind_tools(self, tools: Any, **settings: Any) -> Any:
            return self.bind(**settings)

    model = Agent([asking("Rome"), asking("Paris"), asking("Paris")])
    reply = invoke(budget(model, router=routed(VOTE), max_concurrency=1).bind_tools(["weather"]), "Is it sunny?")
    assert reply.tool_calls[0]["args"] == {"city": "Paris"}


def test_structured_output_of_a_budgeted_model_is_budgeted_too(invoke: Invoke) -> None:
    class Agent(ScriptedModel):
        def bind_tools(self, tools: Any, **settings: Any) -> Any:
            return self.bind(**settings)

    model = Agent([AIMessage("", tool_calls=[{"name": "Bill", "args": {"reason": "a", "total": 3}, "id": "1"}])])
    router = routed(VOTE)
    assert invoke(budget(model, router=router).with_structured_output(Bill), "2 + 2?") == Bill(reason="a", total=3)
    assert len(entries(router)[0].calls) == 3


def test_tools_are_not_bound_to_what_is_no_chat_model() -> None:
    with pytest.raises(AttributeError):
        budget(PROMPT | ScriptedModel(["4"]), router=routed(VOTE)).bind_tools([])


# --- what is refused, before anything is paid


def test_a_strategy_that_the_chains_model_does_not_offer_is_refused_when_the_chain_is_wrapped() -> None:
    with pytest.raises(InvalidInput, match="offers no effort"):
        budget(PROMPT | ScriptedModel(["4"]), router=routed(SingleShot(), ExtendedCoT(effort="high")))


def test_a_chain_that_shows_no_model_takes_no_settings_and_is_warned_about(caplog: pytest.LogCaptureFixture) -> None:
    opaque = RunnableLambda(lambda given: given)
    budget(opaque, router=routed(SingleShot()))
    assert "shows no chat model" in caplog.text
    with pytest.raises(InvalidInput, match=r"a strategy sets instruction, and the chain shows no chat model.*factory"):
        budget(opaque, router=routed(ExtendedCoT(instruction="Think.")))


def test_tools_bound_for_one_provider_are_not_handed_to_another() -> None:
    strategy = SingleShot(model="large")
    with pytest.raises(InvalidInput, match=r"runs on a SeveralModel, and the chain has bound tools to a ScriptedModel"):
        budget(PROMPT | ScriptedModel(["4"]).bind(tools=[]), router=routed(strategy), models={"large": SeveralModel(["4"])})


def test_an_input_without_a_task_is_refused(invoke: Invoke) -> None:
    model = ScriptedModel(["4"])
    with pytest.raises(InvalidTask, match="task_from"):
        invoke(budget(RunnableLambda(str) | model, router=routed(SingleShot())), {"number": 4})
    assert model.invoice == []


def test_a_time_limit_of_nought_is_refused() -> None:
    with pytest.raises(InvalidInput, match="timeout_seconds is 0"):
        budget(ScriptedModel(["4"]), router=routed(SingleShot()), timeout_seconds=0).invoke("?")


def test_no_sample_is_drawn_when_the_ledger_cannot_open_its_call(invoke: Invoke) -> None:
    class Refusing(MemoryLedger):
        def open_call(self, call: Call) -> None:
            raise LedgerUnavailable("the database did not answer")

    model = ScriptedModel(["4"])
    with pytest.raises(LedgerUnavailable):
        invoke(budget(PROMPT | model | TEXT, router=routed(VOTE, ledger=Refusing())), ASKED)
    assert model.invoice == []


# --- where the task, the group, the strategy come from


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ("2 + 2?", "2 + 2?"),
        ([("human", "2 + 2?"), ("ai", "4"), ("human", "Sure?")], "Sure?"),
        (PROMPT.invoke(ASKED), "2 + 2?"),
    ],
)
def test_a_models_own_inputs_are_tasks(given: Any, text: str) -> None:
    router = routed(SingleShot())
    budget(ScriptedModel(["4"]), router=router).invoke(given)
    assert entries(router)[0].task_text == text


@pytest.mark.parametrize(
    ("given", "source", "text"),
    [
        ({"question": "2 + 2?", "context": "long"}, None, "2 + 2?"),
        ({"topic": "bears", "language": "French", "n": 3}, None, "bears\nFrench"),
        ({"question": "?", "ask": "2 + 2?"}, "ask", "2 + 2?"),
        ({"a": "2", "b": "3"}, lambda given: Task(given["a"], metadata={"b": given["b"]}), "2"),
        ({"history": [("human", "Hi")], "messages": [("human", "2 + 2?")]}, None, "2 + 2?"),
    ],
)
def test_the_task_is_found_in_the_input(given: Any, source: Any, text: str) -> None:
    router = routed(SingleShot())
    budget(RunnableLambda(str) | ScriptedModel(["4"]), router=router, task_from=source).invoke(given)
    assert entries(router)[0].task_text == text


def test_a_call_may_draw_on_another_budget_and_name_its_strategy(invoke: Invoke) -> None:
    router = routed(SingleShot(), VOTE, budgets=[Budget(per_task=9e5, group="research"), Budget(per_task=8e5, group="support")])
    chain = budget(PROMPT | ScriptedModel(["4"]), router=router, group="support")
    forced = chain.with_config(configurable={"budget_strategy": "self_consistency_3", "budget_group": "research"})

    invoke(chain, ASKED)
    invoke(forced, ASKED)

    first, second = [logged.decision for logged in entries(router)]
    assert (first.group, first.reason) == ("support", "policy")
    assert (second.group, second.reason, second.strategy.name) == ("research", "forced", "self_consistency_3")


@pytest.mark.parametrize("said", [{"budget_strategy": "guess"}, {"budget_group": "sales"}])
def test_an_unknown_strategy_or_group_is_refused_and_nothing_is_paid(invoke: Invoke, said: dict[str, str]) -> None:
    model = ScriptedModel(["4"])
    router = BudgetRouter(Menu([SingleShot()]), Budget(per_task=1e6, group="support"))
    with pytest.raises(InvalidInput, match=r"guess|sales"):
        invoke(budget(PROMPT | model, router=router, group="support"), ASKED, {"configurable": said})
    assert model.invoice == []


# --- what reaches the caller


def test_a_messages_metadata_names_its_decision_for_a_later_grade(invoke: Invoke) -> None:
    router = routed(VOTE)
    reply = invoke(budget(PROMPT | ScriptedModel(["Answer: 4"]), router=router), ASKED)
    told = reply.response_metadata["budget_router"]

    router.grade(told["decision_id"], score=1.0)

    assert (told["strategy"], told["answer"], told["agreement"], told["spend"]["n_calls"]) == ("self_consistency_3", "4", 1.0, 3)
    assert entries(router)[0].outcome is not None


def test_receipts_tell_which_decisions_a_batch_made() -> None:
    router = routed(VOTE)
    chain = budget(PROMPT | ScriptedModel(["Answer: 4"]) | TEXT, router=router)

    receipts = chain.receipts().batch([ASKED, ASKED])
    output, receipt = chain.with_config(tags=["late"]).with_receipt(ASKED)  # type: ignore[attr-defined]  # a binding passes it on

    assert [one.output for one in receipts] == [output] * 2 == ["Answer: 4"] * 2
    assert {one.decision_id for one in [*receipts, receipt]} == {logged.decision.id for logged in entries(router)}
    assert asyncio.run(chain.receipts().abatch([ASKED]))[0].answer == "4"


def test_a_thread_is_graded_by_its_name(invoke: Invoke) -> None:
    router = routed(SingleShot())
    invoke(budget(PROMPT | ScriptedModel(["4"]) | TEXT, router=router), ASKED, {"configurable": {"thread_id": "t-42"}})
    router.grade(thread_id="t-42", score=1.0)
    assert entries(router)[0].outcome is not None
    with pytest.raises(UnknownDecision):
        router.grade(thread_id="t-43", score=1.0)


def test_the_decision_stands_under_the_run_of_its_call() -> None:
    run_id, router = uuid4(), routed(SingleShot())
    budget(ScriptedModel(["4"]), router=router).invoke("2 + 2?", {"run_id": run_id})
    assert entries(router)[0].decision.run_id == str(run_id)


def test_a_step_of_a_longer_chain_stands_under_the_run_that_was_invoked(invoke: Invoke) -> None:
    run_id, router = uuid4(), routed(SingleShot())
    invoke(PROMPT | budget(ScriptedModel(["4"]), router=router) | TEXT, ASKED, {"run_id": run_id})
    (outcome,) = router.grade(run_id=str(run_id), score=1.0)
    assert outcome.decision_id == entries(router)[0].decision.id


def test_tokens_of_a_single_sample_are_streamed_and_those_of_several_are_not() -> None:
    def streamed(strategy: Strategy) -> list[str]:
        model = StreamingModel(["It is four"])
        return [piece for piece in budget(PROMPT | model | TEXT, router=routed(strategy)).stream(ASKED) if piece]

    assert streamed(SingleShot()) == ["It ", "is ", "four"]
    assert streamed(VOTE) == ["It is four"]


def test_a_streamed_message_ends_with_its_decision() -> None:
    chain = budget(PROMPT | StreamingModel(["Answer: 4"]), router=routed(SingleShot()))
    first, *others = chain.stream(ASKED)
    for piece in others:
        first += piece
    assert (first.text, first.response_metadata["budget_router"]["answer"]) == ("Answer: 4", "4")


# --- what fails


def test_when_every_sample_fails_the_chains_own_error_is_raised_and_the_spend_is_settled(invoke: Invoke) -> None:
    router = routed(VOTE)
    with pytest.raises(BadRequest):
        invoke(budget(PROMPT | ScriptedModel([BadRequest("too long")]) | TEXT, router=router), ASKED)
    (logged,) = entries(router)
    assert logged.settlement is not None
    assert (logged.settlement.status, len(logged.calls)) == ("failed", 3)


def test_an_error_of_a_budgeted_chain_inside_of_another_comes_through_as_it_was_raised(invoke: Invoke) -> None:
    error = ValueError("overloaded")
    inner = budget(PROMPT | ScriptedModel([error]) | TEXT, router=routed(VOTE))
    model = SeveralModel(["4"])

    with pytest.raises(ValueError, match="overloaded") as raised:
        invoke(budget(model | TEXT | (lambda text: {"question": text}) | inner, router=routed(VOTE)), "2 + 2?")
    assert (raised.value, raised.value.__cause__) == (error, None)


def test_the_vote_goes_on_without_samples_that_failed(invoke: Invoke) -> None:
    model = ScriptedModel(["Answer: 4", ValueError("overloaded"), "Answer: 4"])
    router = routed(VOTE)
    assert invoke(budget(PROMPT | model | TEXT, router=router), ASKED) == "Answer: 4"
    assert sorted(call.status for call in entries(router)[0].calls) == ["error", "ok", "ok"]


def test_a_retry_of_the_whole_chain_decides_anew_and_both_attempts_are_booked(invoke: Invoke) -> None:
    model = ScriptedModel([ConnectionError("down"), "Answer: 4"])
    router = routed(SingleShot())
    chain = budget(PROMPT | model | TEXT, router=router).with_retry(
        retry_if_exception_type=(ConnectionError,), wait_exponential_jitter=False
    )
    assert invoke(chain, ASKED) == "Answer: 4"
    assert [logged.settlement and logged.settlement.status for logged in entries(router)] == ["failed", "ok"]


def test_a_fallback_is_chosen_by_the_models_own_error(invoke: Invoke) -> None:
    chain = budget(PROMPT | ScriptedModel([BadRequest("too long")]) | TEXT, router=routed(VOTE))
    other = RunnableLambda(lambda _: "shorter")
    assert invoke(chain.with_fallbacks([other], exceptions_to_handle=(BadRequest,)), ASKED) == "shorter"


def test_an_error_before_the_model_settles_a_decision_that_cost_nothing(invoke: Invoke) -> None:
    def down(_: Any) -> Any:
        raise ConnectionError("no search")

    router = routed(VOTE)
    with pytest.raises(ConnectionError, match="no search"):
        invoke(budget(RunnableLambda(down) | PROMPT | ScriptedModel(["4"]), router=router), ASKED)
    (logged,) = entries(router)
    assert logged.settlement is not None
    assert (logged.settlement.status, logged.settlement.spend.n_calls) == ("failed", 0)


def test_a_stream_that_is_left_early_books_what_it_brought() -> None:
    router = routed(SingleShot())
    stream = budget(StreamingModel(["It is four"]), router=router).stream("2 + 2?")
    next(stream)
    stream.close()  # type: ignore[attr-defined]  # a generator

    (logged,) = entries(router)
    assert logged.settlement is not None
    assert (logged.settlement.status, [call.status for call in logged.calls]) == ("failed", ["error"])
    assert logged.settlement.spend.completion_tokens > 0


async def test_an_async_stream_that_is_left_early_books_what_it_brought() -> None:
    router = routed(SingleShot())
    stream = budget(PROMPT | StreamingModel(["It is four"]) | TEXT, router=router).astream(ASKED)
    await anext(stream)
    await stream.aclose()  # type: ignore[attr-defined]  # a generator

    (logged,) = entries(router)
    assert logged.settlement is not None
    assert (logged.settlement.status, [call.status for call in logged.calls]) == ("failed", ["error"])


def test_a_stream_that_breaks_raises_its_own_error_and_books_what_it_brought() -> None:
    router = routed(SingleShot())
    chain = budget(PROMPT | StreamingModel(["It is four"], breaks_after=2) | TEXT, router=router)
    with pytest.raises(ConnectionError, match="the line broke"):
        list(chain.stream(ASKED))
    (logged,) = entries(router)
    assert logged.settlement is not None
    assert (logged.settlement.status, logged.calls[0].completion_tokens > 0) == ("failed", True)


async def test_what_a_cancelled_call_spent_is_booked() -> None:
    hanging = asyncio.Event()

    async def hang() -> None:
        hanging.set()
        await asyncio.Event().wait()

    router = routed(VOTE)
    task = asyncio.ensure_future(budget(PROMPT | ScriptedModel(["4"], adelay=hang) | TEXT, router=router).ainvoke(ASKED))
    await hanging.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    (logged,) = entries(router)
    assert logged.settlement is not None
    assert (logged.settlement.status, {call.status for call in logged.calls}) == ("failed", {"error"})


def test_a_sample_that_takes_too_long_is_a_failure_and_a_thread_books_it_when_it_ends() -> None:
    slow, turns, lock = threading.Event(), iter(range(3)), threading.Lock()

    def second_is_slow() -> None:
        with lock:
            turn = next(turns)
        if turn == 1:
            slow.wait(10)

    model = ScriptedModel(["Answer: 4"], delay=second_is_slow)
    router = routed(VOTE)
    output = budget(PROMPT | model | TEXT, router=router, timeout_seconds=0.2).invoke(ASKED)

    (logged,) = entries(router)
    assert output == "Answer: 4"
    assert sorted(call.status for call in logged.calls) == ["ok", "ok", "open"]
    slow.set()
    while any(call.status == "open" for call in entries(router)[0].calls):
        threading.Event().wait(0.01)
    assert booked(entries(router)[0].calls) == billed(model)
    while threading.active_count() > 1 and any(one.daemon and one.name.startswith("Thread") for one in threading.enumerate()):
        threading.Event().wait(0.01)


async def test_a_sample_that_takes_too_long_is_cancelled_in_the_event_loop() -> None:
    turns = iter(range(3))

    async def second_hangs() -> None:
        if next(turns) == 1:
            await asyncio.Event().wait()

    router = routed(VOTE)
    model = ScriptedModel(["Answer: 4"], adelay=second_hangs)
    assert await budget(PROMPT | model | TEXT, router=router, timeout_seconds=0.2).ainvoke(ASKED) == "Answer: 4"
    assert sorted(call.status for call in entries(router)[0].calls) == ["error", "ok", "ok"]


def test_when_all_samples_take_too_long_the_error_says_so(invoke: Invoke) -> None:
    gate = threading.Event()

    async def hang() -> None:
        await asyncio.Event().wait()

    model = ScriptedModel(["4"], delay=lambda: bool(gate.wait(10)) or None, adelay=hang)
    with pytest.raises(TimeoutError, match=r"no reply within 0.05 seconds: raise timeout_seconds"):
        invoke(budget(model, router=routed(SingleShot()), timeout_seconds=0.05), "2 + 2?")
    gate.set()
    while any(one.daemon and one.name.startswith("Thread") for one in threading.enumerate()):
        threading.Event().wait(0.01)


def test_a_models_own_time_limit_keeps_its_own_error(invoke: Invoke) -> None:
    with pytest.raises(TimeoutError, match="the provider's"):
        invoke(budget(ScriptedModel([TimeoutError("the provider's")]), router=routed(SingleShot()), timeout_seconds=5), "2 + 2?")


def test_a_budgeted_chain_is_a_step_of_a_chain(invoke: Invoke) -> None:
    chain: Budgeted[Any, Any] = budget(PROMPT | ScriptedModel(["Answer: 4"]) | TEXT, router=routed(VOTE))
    assert invoke({"question": RunnableLambda(str)} | chain | str.upper, "2 + 2?") == "ANSWER: 4"
    assert list((chain | RunnableLambda(str.upper)).stream(ASKED)) == ["ANSWER: 4"]
