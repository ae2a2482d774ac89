"""An agent's budget as a middleware of `create_agent`: decide, ask the model as often as decided, vote, settle."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import Annotated, Any, Literal, NotRequired

from langchain.agents.middleware import AgentMiddleware, AgentState
from langchain.agents.middleware.types import PrivateStateAttr
from langchain_core.language_models import BaseChatModel
from langchain_core.runnables import RunnableConfig
from langgraph.config import get_config
from langgraph.runtime import Runtime

from budget_router.errors import BudgetRouterError, InvalidInput
from budget_router.records import Decision, Spend
from budget_router.router import BudgetRouter
from budget_router.strategies import AnswerRule, Result, final_answer
from budget_router_agents.step import Asked, Replied, Step
from budget_router_agents.vote_key import reply_of
from budget_router_langgraph import BudgetNode, SettleNode
from budget_router_langgraph.deciding import decide, place_of
from budget_router_langgraph.facts import FactSource, agent_facts, with_facts
from budget_router_langgraph.reading import TaskSource, task_from
from budget_router_langgraph.state import BudgetState, Update, budget_of, decided, settled

_log = logging.getLogger("budget_router")

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
        group: budget that the tasks draw on, unless the task names one.
        models: for strategies that name one, by that name.
        answer: finds the answer in a reply that calls no tool.
        facts_from: function of the state to facts that policies learn from, kept in the task's metadata; `None`: none.
        max_concurrency: most samples at once.

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
        group: str | None = None,
        models: Mapping[str, BaseChatModel] | None = None,
        answer: AnswerRule = final_answer,
        facts_from: FactSource | None = agent_facts,
        max_concurrency: int | None = None,
    ) -> None:
        if per not in {"run", "call"}:
            raise InvalidInput(f"per is {per!r}: decide per 'run' or per 'call'")
        self.router = router
        self.per = per
        self.task_from = task_from
        self.group = group
        self.models = models or {}
        self.answer = answer
        self.facts_from = facts_from
        self.max_concurrency = max_concurrency
        self._decides = BudgetNode(router, task_from, group, facts_from=facts_from)
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
        step: Step | None = None
        try:
            step = self._step(request, decision, config)
            response, result = step.run(handler)
        except BaseException:
            self._failed(decision, step)
            raise
        return _named(response, self._booked(step, result))

    async def awrap_model_call(self, request: Asked, handler: Callable[[Asked], Awaitable[Replied]]) -> Replied:
        """Do as `wrap_model_call`, in a coroutine."""
        config = get_config()
        decision = await asyncio.to_thread(self._decision, request, config)
        step: Step | None = None
        try:
            step = self._step(request, decision, config)
            response, result = await step.arun(handler)
        except BaseException:
            self._failed(decision, step)
            raise
        return _named(response, await asyncio.to_thread(self._booked, step, result))

    def _decision(self, request: Asked, config: RunnableConfig) -> Decision:
        if self.per == "run":
            return self.router.ledger.decision(budget_of(request.state)["decision_id"]).decision
        task = with_facts(task_from(request.state, self.task_from, group=self.group), request.state, self.facts_from)
        return decide(self.router, task, place_of(config))

    def _step(self, request: Asked, decision: Decision, config: RunnableConfig) -> Step:
        return Step(
            self.router,
            decision,
            request,
            models=self.models,
            answer=self.answer,
            config=config,
            max_concurrency=self.max_concurrency,
        )

    def _booked(self, step: Step, result: Result) -> BudgetState:
        """Tell what came of a step, and settle a decision that was made for it alone."""
        told: BudgetState = {**decided(step.decision), "answer": result.answer, "agreement": result.agreement}
        if self.per == "run":
            return told
        self.router.settle(step.decision, step.spend, result=result)
        return settled(told, step.spend, result.answer, result.agreement)

    def _failed(self, decision: Decision, step: Step | None) -> None:
        """Settle what was spent in vain; the error that made it so is about to be raised, and goes first."""
        if self.per == "run":
            return  # the run may go on: by a retry, or when its thread is resumed
        try:
            self.router.settle(decision, step.spend if step else Spend(), status="failed")
        except BudgetRouterError:
            _log.exception("decision %s failed, and its settlement was refused as well", decision.id)


def _named(response: Replied, budget: BudgetState) -> Replied:
    """The response with its decision named in the model's own message."""
    reply = reply_of(response)
    named = reply.model_copy(update={"response_metadata": {**reply.response_metadata, "budget_router": dict(budget)}})
    return replace(response, result=[named if message is reply else message for message in response.result])
