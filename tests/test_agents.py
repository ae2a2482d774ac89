"""The middleware of LangChain's agents: decide, vote on tool calls, settle."""

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain.agents.middleware import (
    HumanInTheLoopMiddleware,
    ModelCallLimitMiddleware,
    ModelFallbackMiddleware,
    ModelResponse,
    ModelRetryMiddleware,
)
from langchain.agents.structured_output import ProviderStrategy, ToolStrategy
from langchain_core.messages import AIMessage, BaseMessage, ToolMessage
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command
from pydantic import BaseModel

from budget_router import Budget, BudgetRouter, Escalate, ExtendedCoT, Menu, SelfConsistency, SingleShot
from budget_router.errors import InvalidInput, LedgerUnavailable
from budget_router.records import LoggedDecision
from budget_router.strategies import final_answer
from budget_router_agents import BudgetMiddleware, vote_key
from budget_router_langchain import meter
from tests.scripted import ScriptedModel, StreamingModel, billed, booked

Run = Callable[..., dict[str, Any]]


class AgentModel(ScriptedModel):
    """A scripted model that takes tools."""

    def bind_tools(self, tools: Any, **_: Any) -> Any:
        return self


class StreamingAgentModel(StreamingModel):
    def bind_tools(self, tools: Any, **_: Any) -> Any:
        return self


@tool
def look_up(word: str) -> str:
    """Look a word up."""
    return f"{word} is a word"


def wants(word: str, call_id: str = "1") -> AIMessage:
    return AIMessage("", tool_calls=[{"name": "look_up", "args": {"word": word}, "id": call_id}])


def in_turn(*steps: list[AIMessage | str]) -> Callable[[list[BaseMessage]], AIMessage | str]:
    """Reply in each step with the next of its samples; a step ends when its tool has answered."""
    drawn = [iter(step) for step in steps]
    return lambda messages: next(drawn[sum(isinstance(message, ToolMessage) for message in messages)])


@pytest.fixture(params=["sync", "async"])
def run(request: pytest.FixtureRequest) -> Run:
    if request.param == "sync":
        return lambda agent, *given, **settings: agent.invoke(*given, **settings)
    return lambda agent, *given, **settings: asyncio.run(agent.ainvoke(*given, **settings))


@pytest.fixture(autouse=True)
def _memory_stays_flat() -> Iterator[None]:
    before = meter.n_live()
    yield
    assert meter.n_live() == before


def asked(text: str = "What is a word?") -> dict[str, Any]:
    return {"messages": [("user", text)]}


def router_of(*strategies: Any, **settings: Any) -> BudgetRouter:
    return BudgetRouter(Menu(strategies), Budget(per_task=1e6), **settings)


def logged(router: BudgetRouter) -> list[LoggedDecision]:
    return list(router.ledger.read())


VOTE = SelfConsistency(k=3)


def test_the_majoritys_tool_call_is_made_once(run: Run) -> None:
    model = AgentModel(
        in_turn([wants("car"), wants("word", "2"), wants("word", "3")], ["Answer: yes", "Answer: no", "Answer: yes"])
    )
    agent = create_agent(model, [look_up], middleware=[BudgetMiddleware(router_of(VOTE), max_concurrency=1)])

    messages = run(agent, asked())["messages"]

    assert [message.type for message in messages] == ["human", "ai", "tool", "ai"]
    assert messages[1].tool_calls[0]["id"] == "2"
    assert messages[2].text == "word is a word"
    assert messages[3].response_metadata["budget_router"]["answer"] == "yes"
    assert messages[3].response_metadata["budget_router"]["agreement"] == pytest.approx(2 / 3)


def test_a_run_is_one_decision_that_settles_with_all_it_billed(run: Run) -> None:
    router, model = router_of(VOTE), AgentModel(in_turn([wants("word")] * 3, ["Answer: yes"] * 3))
    agent = create_agent(model, [look_up], middleware=[BudgetMiddleware(router)])

    reply = run(agent, asked())["messages"][-1]

    (entry,) = logged(router)
    assert entry.settlement is not None
    assert entry.decision.id == reply.response_metadata["budget_router"]["decision_id"]
    assert booked(entry.calls) == billed(model)
    assert (entry.settlement.spend.n_calls, entry.settlement.samples) == (6, ())
    assert entry.settlement.spend.prompt_tokens == billed(model)[0]
    assert entry.task_text == "What is a word?"


def test_each_call_may_have_a_decision_of_its_own_with_its_samples(run: Run) -> None:
    router, model = router_of(VOTE), AgentModel(in_turn([wants("word")] * 3, ["Answer: yes"] * 3))
    agent = create_agent(model, [look_up], middleware=[BudgetMiddleware(router, per="call")])

    messages = run(agent, asked())["messages"]

    first, second = logged(router)
    assert [m.response_metadata["budget_router"]["decision_id"] for m in (messages[1], messages[3])] == [
        first.decision.id,
        second.decision.id,
    ]
    assert booked([*first.calls, *second.calls]) == billed(model)
    assert second.metadata["agent.n_tool_calls"] == 1
    for entry in (first, second):
        assert entry.settlement is not None
        assert {sample.call_id for sample in entry.settlement.samples} == {call.id for call in entry.calls}
        assert entry.settlement.agreement == 1.0


def test_an_escalation_asks_the_dear_model_where_the_cheap_samples_want_different_tools(run: Run) -> None:
    small = AgentModel(in_turn([wants("a"), wants("b"), wants("c")], ["Answer: yes"] * 3), model_name="small")
    large = AgentModel(in_turn([wants("word")], []), model_name="large")
    doubtful = Escalate(first=VOTE, then=SingleShot(model="large"), agreement=1.0)
    router = router_of(doubtful)
    agent = create_agent(small, [look_up], middleware=[BudgetMiddleware(router, models={"large": large})])

    messages = run(agent, asked())["messages"]

    assert messages[2].text == "word is a word"
    assert (len(small.invoice), len(large.invoice)) == (6, 1)
    assert [call.model for call in logged(router)[0].calls].count("large") == 1


def test_an_instruction_extends_the_agents_system_prompt_and_settings_reach_its_model(run: Run) -> None:
    model = AgentModel(["Answer: yes"])
    thinking = ExtendedCoT(instruction="Think step by step.", temperature=0.3)
    agent = create_agent(model, [look_up], system_prompt="Be brief.", middleware=[BudgetMiddleware(router_of(thinking))])

    run(agent, asked())

    assert model.seen[0][0].text == "Be brief.\n\nThink step by step."
    assert model.invoice[0]["temperature"] == 0.3


def test_samples_that_fail_are_left_out_of_the_vote(run: Run) -> None:
    model = AgentModel(
        in_turn([ConnectionError("down"), wants("word"), wants("word")], ["Answer: yes", ValueError("!"), "Answer: yes"])
    )
    router = router_of(VOTE)
    agent = create_agent(model, [look_up], middleware=[BudgetMiddleware(router)])

    assert run(agent, asked())["messages"][-1].text == "Answer: yes"
    assert sorted(call.status for call in logged(router)[0].calls) == ["error"] * 2 + ["ok"] * 4


async def test_a_sample_that_takes_too_long_is_left_out_of_the_vote() -> None:
    turns = iter(range(3))

    async def second_hangs() -> None:
        if next(turns) == 1:
            await asyncio.Event().wait()

    router, model = router_of(VOTE), AgentModel(["Answer: yes"], adelay=second_hangs)
    agent = create_agent(model, middleware=[BudgetMiddleware(router, per="call", timeout_seconds=0.2)])

    reply = (await agent.ainvoke(asked()))["messages"][-1]

    assert reply.response_metadata["budget_router"]["answer"] == "yes"
    assert sorted(call.status for call in logged(router)[0].calls) == ["error", "ok", "ok"]


@pytest.mark.parametrize("per", ["run", "call"])
def test_when_all_samples_fail_the_models_own_error_is_raised(run: Run, per: Any) -> None:
    router = router_of(VOTE)
    agent = create_agent(AgentModel([ConnectionError("down")]), middleware=[BudgetMiddleware(router, per=per)])

    with pytest.raises(ConnectionError, match="down"):
        run(agent, asked())

    (entry,) = logged(router)
    assert [call.status for call in entry.calls] == ["error"] * 3
    assert (entry.settlement.status if entry.settlement else None) == ("failed" if per == "call" else None)


@pytest.mark.parametrize("per", ["run", "call"])
def test_an_outer_retry_tries_the_whole_step_again(run: Run, per: Any) -> None:
    model = AgentModel([ConnectionError("down")] * 3 + ["Answer: yes"] * 3)
    router = router_of(VOTE)
    retry = ModelRetryMiddleware(max_retries=1, retry_on=(ConnectionError,), initial_delay=0, jitter=False)
    agent = create_agent(model, middleware=[retry, BudgetMiddleware(router, per=per)])

    assert run(agent, asked())["messages"][-1].text == "Answer: yes"
    assert sum(len(entry.calls) for entry in logged(router)) == 6
    assert len(logged(router)) == (1 if per == "run" else 2)


def test_an_inner_retry_tries_each_sample_again_and_the_sample_is_traced_to_the_call_that_answered(run: Run) -> None:
    model = AgentModel([ConnectionError("down"), "Answer: yes"])
    router = router_of(VOTE)
    retry = ModelRetryMiddleware(max_retries=1, initial_delay=0, jitter=False)
    agent = create_agent(model, middleware=[BudgetMiddleware(router, per="call", max_concurrency=1), retry])

    run(agent, asked())

    (entry,) = logged(router)
    assert entry.settlement is not None
    assert {sample.call_id for sample in entry.settlement.samples} == {call.id for call in entry.calls if call.status == "ok"}
    assert len(entry.calls) == 6


def test_a_fallback_answers_where_the_model_cannot(run: Run) -> None:
    spare = AgentModel(["Answer: yes"], model_name="spare")
    router = router_of(VOTE)
    middleware = [ModelFallbackMiddleware(spare), BudgetMiddleware(router)]
    agent = create_agent(AgentModel([ConnectionError("down")]), middleware=middleware)

    assert run(agent, asked())["messages"][-1].text == "Answer: yes"
    assert [call.model for call in logged(router)[0].calls].count("spare") == 3


def test_a_call_limit_counts_steps_and_the_run_still_settles(run: Run) -> None:
    router = router_of(VOTE)
    model = AgentModel([wants("word")])
    agent = create_agent(model, [look_up], middleware=[ModelCallLimitMiddleware(run_limit=2), BudgetMiddleware(router)])

    run(agent, asked())

    (entry,) = logged(router)
    assert entry.settlement is not None
    assert len(model.invoice) == entry.settlement.spend.n_calls == 2 * 3


def test_agents_of_one_process_keep_their_books_apart(run: Run) -> None:
    routers = [router_of(VOTE) for _ in range(8)]
    models = [AgentModel(in_turn([wants("word")] * 3, [f"Answer: {number}"] * 3)) for number in range(8)]
    agents = [
        create_agent(model, [look_up], middleware=[BudgetMiddleware(router)])
        for model, router in zip(models, routers, strict=True)
    ]

    async def all_at_once() -> None:
        await asyncio.gather(*(agent.ainvoke(asked()) for agent in agents))

    asyncio.run(all_at_once())

    for model, router in zip(models, routers, strict=True):
        (entry,) = logged(router)
        assert booked(entry.calls) == billed(model)


def test_an_agent_called_as_a_tool_pays_by_its_own_decision(run: Run) -> None:
    inner_router, outer_router = router_of(VOTE), router_of(SingleShot())
    inner_model = AgentModel(["Answer: a word"])
    inner = create_agent(inner_model, middleware=[BudgetMiddleware(inner_router)])

    @tool
    def ask(question: str) -> str:
        """Ask another agent."""
        return str(inner.invoke(asked(question))["messages"][-1].text)

    wish = AIMessage("", tool_calls=[{"name": "ask", "args": {"question": "?"}, "id": "1"}])
    outer_model = AgentModel(in_turn([wish], ["Answer: yes"]))
    run(create_agent(outer_model, [ask], middleware=[BudgetMiddleware(outer_router)]), asked())

    assert booked(logged(inner_router)[0].calls) == billed(inner_model)
    assert booked(logged(outer_router)[0].calls) == billed(outer_model)


def test_a_run_that_waits_for_a_human_goes_on_under_its_decision(run: Run) -> None:
    router, model = router_of(VOTE), AgentModel(in_turn([wants("word")] * 3, ["Answer: yes"] * 3))
    human = HumanInTheLoopMiddleware(interrupt_on={"look_up": True})
    agent = create_agent(model, [look_up], middleware=[human, BudgetMiddleware(router)], checkpointer=InMemorySaver())
    thread = {"configurable": {"thread_id": "t"}}

    run(agent, asked(), thread)
    assert logged(router)[0].settlement is None
    run(agent, Command(resume={"decisions": [{"type": "approve"}]}), thread)

    (entry,) = logged(router)
    assert entry.settlement is not None
    assert booked(entry.calls) == billed(model)


def test_each_turn_of_a_thread_is_decided_anew(run: Run) -> None:
    router = router_of(SingleShot())
    agent = create_agent(AgentModel(["Answer: yes"]), middleware=[BudgetMiddleware(router)], checkpointer=InMemorySaver())
    for _ in range(2):
        run(agent, asked(), {"configurable": {"thread_id": "t"}})

    assert [entry.settlement is not None for entry in logged(router)] == [True, True]
    assert {entry.decision.thread_id for entry in logged(router)} == {"t"}


class Verdict(BaseModel):
    is_word: bool
    sure: float


@pytest.mark.parametrize("strategy", [ToolStrategy, ProviderStrategy])
def test_structured_responses_are_voted_on_as_values(run: Run, strategy: Any) -> None:
    def reply(is_word: bool, sure: float) -> AIMessage:
        args = {"sure": sure, "is_word": is_word}
        if strategy is ToolStrategy:
            return AIMessage("", tool_calls=[{"name": "Verdict", "args": args, "id": "1"}])
        return AIMessage(Verdict(**args).model_dump_json())

    model = AgentModel([reply(False, 0.5), reply(True, 1), reply(True, 1.0)])
    agent = create_agent(model, response_format=strategy(Verdict), middleware=[BudgetMiddleware(router_of(VOTE))])

    assert run(agent, asked())["structured_response"] == Verdict(is_word=True, sure=1)


@pytest.mark.parametrize(("strategy", "n_chunks"), [(SingleShot(), 4), (VOTE, 1)])
def test_a_single_answer_streams_word_by_word_and_samples_do_not_leak(strategy: Any, n_chunks: int) -> None:
    agent = create_agent(StreamingAgentModel(["Answer: it is one"]), middleware=[BudgetMiddleware(router_of(strategy))])

    chunks = [chunk for chunk, _ in agent.stream(asked(), stream_mode="messages") if chunk.text]

    assert "".join(chunk.text for chunk in chunks) == "Answer: it is one"
    assert len(chunks) == n_chunks


def test_a_setting_that_the_model_does_not_offer_is_refused_before_anything_is_paid(run: Run) -> None:
    model = AgentModel(["Answer: yes"])
    agent = create_agent(model, middleware=[BudgetMiddleware(router_of(ExtendedCoT(effort="high")))])

    with pytest.raises(InvalidInput, match="offers no effort"):
        run(agent, asked())

    assert model.seen == []


def test_a_call_that_the_ledger_refuses_is_not_made(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    router, model = router_of(VOTE), AgentModel(["Answer: yes"])

    def refuse(_: object) -> None:
        raise LedgerUnavailable("the database did not answer")

    monkeypatch.setattr(router.ledger, "open_call", refuse)
    with pytest.raises(LedgerUnavailable):
        run(create_agent(model, middleware=[BudgetMiddleware(router)]), asked())

    assert model.seen == []


def test_the_middleware_takes_no_other_scope_than_run_and_call() -> None:
    with pytest.raises(InvalidInput, match="decide per 'run' or per 'call'"):
        BudgetMiddleware(router_of(VOTE), per="step")  # type: ignore[arg-type]  # that is the point


def calls(*wanted: tuple[str, dict[str, Any]]) -> ModelResponse[Any]:
    message = AIMessage(
        "", tool_calls=[{"name": name, "args": args, "id": str(place)} for place, (name, args) in enumerate(wanted)]
    )
    return ModelResponse(result=[message])


@pytest.mark.parametrize(
    ("one", "other", "is_equal"),
    [
        (calls(("f", {"a": 1, "b": 2})), calls(("f", {"b": 2, "a": 1})), True),
        (calls(("f", {"a": 1.0})), calls(("f", {"a": 1})), True),
        (calls(("f", {}), ("g", {})), calls(("g", {}), ("f", {})), True),
        (calls(("f", {"a": [1, 2]})), calls(("f", {"a": [2, 1]})), False),
        (calls(("f", {"a": 1})), calls(("g", {"a": 1})), False),
        (calls(("f", {"a": 1})), calls(("f", {"a": True})), False),
        (calls(("f", {})), calls(("f", {}), ("f", {})), False),
    ],
)
def test_tool_calls_are_equal_by_name_and_arguments(one: Any, other: Any, is_equal: bool) -> None:
    assert (vote_key(one, final_answer) == vote_key(other, final_answer)) is is_equal
