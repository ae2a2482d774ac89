"""An agent's budget as a middleware of `create_agent`: decide, ask the model as often as decided, vote, settle."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from functools import partial
from typing import Annotated, Any, Literal, NotRequired

from langchain.agents.middleware import AgentMiddleware, AgentState
from langchain.agents.middleware.types import PrivateStateAttr
from langchain_core.language_models import BaseChatModel
from langchain_core.runnables import RunnableConfig
from langgraph.config import get_config
from langgraph.errors import GraphBubbleUp
from langgraph.runtime import Runtime

from budget_router.errors import InvalidInput
from budget_router.records import Decision
from budget_router.router import BudgetRouter
from budget_router.strategies import AnswerRule, Reply, Result, final_answer
from budget_router_agents.step import Asked, Handler, Replied, Step
from budget_router_agents.vote_key import reply_of, vote_key
from budget_router_langchain.asked import TaskSource
from budget_router_langchain.budget_state import METADATA_KEY, BudgetState, decided, settled
from budget_router_langchain.execution import Execution, own_errors
from budget_router_langchain.progress import AsyncOnEvent
from budget_router_langgraph import BudgetNode, SettleNode
from budget_router_langgraph.deciding import adecide, aemit, ateller, decide, emit, place_of, teller
from budget_router_langgraph.facts import FactSource, agent_facts
from budget_router_langgraph.state import Update, budget_of
from budget_router_langgraph.wanting import NameSource, NumberSource

Per = Literal["run", "call"]


class BudgetAgentState(AgentState[Any]):  # Any: the user's own structured response
    """An agent's state with the decision of the run that is under way."""

    budget: NotRequired[Annotated[BudgetState, PrivateStateAttr]]


class BudgetMiddleware(AgentMiddleware[BudgetAgentState, Any, Any]):  # Any: the user's own context and structured response
    """Spends on each step of an agent what a router decides.

    A step that is decided to be a vote asks the model several times and goes on with the majority's reply: equal are replies that
    call the same tools with the same arguments, give the same structured response, or the same answer by the `answer` rule. Each
    reply names its decision in `response_metadata["budget_router"]`, for `router.grade`.

    Put it last among the middleware. What stands before it acts once on a whole step: a retry or a fallback is tried when every
    sample failed, and sees the model's own error; a call limit counts steps, not samples. What stands after it acts on each
    sample.

    Args:
        router: makes and keeps the decisions.
        per: `run`: one decision for all steps of a run, and all models called in it, those of tools too; it settles when the
            agent ends. `call`: a decision for each step, settled with it.
        task_from: key of the state that holds the task, or a function of the state; by default the last human turn.
        group: budget that the tasks draw on, unless the task names one; a name, or a function of the state.
        per_task: what each task is allowed in place of the budget's average; a number, or a function of the state.
        strategy: that each task gets, whatever the policy says; a name, or a function of the state that may return `None`.
        override: whether a run may ask for its own group, average or strategy; see `BudgetNode`.
        models: for strategies that name one, by that name.
        answer: finds the answer in a reply that calls no tool.
        facts_from: function of the state to facts that policies learn from, kept in the task's metadata; `None`: none.
        max_concurrency: most samples at once.
        timeout_seconds: after which a sample counts as failed; what it bills is booked when it ends.

    Raises:
        InvalidInput: from the agent, when a strategy asks for what its model does not offer; nothing was paid.
    """

    state_schema = BudgetAgentState

    def __init__(
        self,
        router: BudgetRouter,
        *,
        per: Per = "run",
        task_from: TaskSource | None = None,
        group: NameSource | None = None,
        per_task: NumberSource | None = None,
        strategy: NameSource | None = None,
        override: bool = True,
        models: Mapping[str, BaseChatModel] | None = None,
        answer: AnswerRule = final_answer,
        facts_from: FactSource | None = agent_facts,
        max_concurrency: int | None = None,
        timeout_seconds: float | None = None,
    ) -> None:
        if per not in {"run", "call"}:
            raise InvalidInput(f"per is {per!r}: decide per 'run' or per 'call'")
        self.router = router
        self.per = per
        self.models = models or {}
        self.answer = answer
        self.max_concurrency = max_concurrency
        self.timeout_seconds = timeout_seconds
        self._decides = BudgetNode(
            router, task_from, group, per_task=per_task, strategy=strategy, override=override, facts_from=facts_from
        )
        self._settles = SettleNode(router, answer)

    def before_agent(self, state: BudgetAgentState, runtime: Runtime[Any]) -> Update | None:  # noqa: ARG002  # LangChain's signature
        """Decide, where a decision is for the whole run."""
        return self._decides.invoke(state, get_config()) if self.per == "run" else None

    async def abefore_agent(self, state: BudgetAgentState, runtime: Runtime[Any]) -> Update | None:  # noqa: ARG002
        """Do as `before_agent`, in a coroutine."""
        return await self._decides.ainvoke(state, get_config()) if self.per == "run" else None

    def after_agent(self, state: BudgetAgentState, runtime: Runtime[Any]) -> Update | None:  # noqa: ARG002
        """Settle, where a decision is for the whole run."""
        return self._settles.invoke(state, get_config()) if self.per == "run" else None

    async def aafter_agent(self, state: BudgetAgentState, runtime: Runtime[Any]) -> Update | None:  # noqa: ARG002
        """Do as `after_agent`, in a coroutine."""
        return await self._settles.ainvoke(state, get_config()) if self.per == "run" else None

    def wrap_model_call(self, request: Asked, handler: Callable[[Asked], Replied]) -> Replied:
        """Ask the model as often as decided."""
        config = get_config()
        decision = self._decision(request, config)
        if self.per == "call":
            emit("budget_decision", decided(decision), config)
        execution = self._execution(decision, request, handler, config, teller(config))
        with own_errors(), self._accounted(execution):
            result = execution.run()
        told = self._booked(execution, result)
        if self.per == "call":
            emit("budget_settlement", told, config)
        return _named(execution.outputs[result.index or 0], told)

    async def awrap_model_call(self, request: Asked, handler: Callable[[Asked], Awaitable[Replied]]) -> Replied:
        """Do as `wrap_model_call`, in a coroutine."""
        config = get_config()

        async def ask(asked: Asked) -> Replied:
            return await handler(asked)

        decision = await self._adecision(request, config)
        if self.per == "call":
            await aemit("budget_decision", decided(decision), config)
        execution = self._execution(decision, request, ask, config, ateller(config))
        with own_errors(), self._accounted(execution):
            result = await execution.arun()
        told = await self._abooked(execution, result)
        if self.per == "call":
            await aemit("budget_settlement", told, config)
        return _named(execution.outputs[result.index or 0], told)

    def _decision(self, request: Asked, config: RunnableConfig) -> Decision:
        if self.per == "run":
            return self.router.ledger.decision(budget_of(request.state)["decision_id"]).decision
        place = place_of(config)
        return decide(self.router, self._decides.wants.of(request.state, config, self.router, place), place)

    async def _adecision(self, request: Asked, config: RunnableConfig) -> Decision:
        """Do as `_decision`, in a coroutine."""
        if self.per == "run":
            return await asyncio.to_thread(self._decision, request, config)
        place, wants = place_of(config), self._decides.wants
        read = partial(wants.of, request.state, config, self.router, place)
        wanted = read() if wants.is_read_at_once(self.router) else await asyncio.to_thread(read)
        return await adecide(self.router, wanted, place)

    def _execution(
        self, decision: Decision, asked: Asked, handler: Handler, config: RunnableConfig, on_event: AsyncOnEvent | None
    ) -> Execution[Replied]:
        return Execution(
            self.router,
            decision,
            lambda: Step(handler, asked, decision, self.models),
            read=lambda response: Reply(vote_key(response, self.answer) or ""),
            answer=lambda key: key or None,
            config=config,
            max_concurrency=self.max_concurrency,
            timeout_seconds=self.timeout_seconds,
            passes=(GraphBubbleUp,),
            on_event=on_event,
        )

    def _booked(self, execution: Execution[Replied], result: Result) -> BudgetState:
        """Settle a decision that was made for one step alone, and tell of it what the reply bears."""
        told: BudgetState = {**decided(execution.decision), "answer": result.answer, "agreement": result.agreement}
        if self.per == "call":
            told = settled(told, execution.settle(result), result.answer, result.agreement)
        return told

    async def _abooked(self, execution: Execution[Replied], result: Result) -> BudgetState:
        """Do as `_booked`, in a coroutine."""
        told: BudgetState = {**decided(execution.decision), "answer": result.answer, "agreement": result.agreement}
        if self.per == "call":
            told = settled(told, await execution.asettle(result), result.answer, result.agreement)
        return told

    def _accounted(self, execution: Execution[Replied]) -> AbstractContextManager[None]:
        """Book the end of a step that fails; a whole run may go on, by a retry, or when its thread is resumed."""
        return execution.accounted() if self.per == "call" else nullcontext()


def _named(response: Replied, budget: BudgetState) -> Replied:
    """The response with its decision named in the model's own message."""
    reply = reply_of(response)
    named = reply.model_copy(update={"response_metadata": {**reply.response_metadata, METADATA_KEY: dict(budget)}})
    return replace(response, result=[named if message is reply else message for message in response.result])
