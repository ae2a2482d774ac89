"""One node that does all of it: decide, execute the decided strategy, settle."""

import asyncio
from collections.abc import Mapping
from functools import partial
from typing import Any

from langchain_core.language_models import BaseChatModel, LanguageModelInput
from langchain_core.messages import AIMessage
from langchain_core.prompts import BasePromptTemplate
from langchain_core.runnables import Runnable, RunnableConfig, ensure_config

from budget_router.records import Decision
from budget_router.router import BudgetRouter
from budget_router.strategies import AnswerRule, final_answer
from budget_router.task import Task
from budget_router_langchain import Receipt, aexecute, execute
from budget_router_langchain.asked import TaskSource, field_of, task_from
from budget_router_langchain.budget_state import BudgetState, decided, settled
from budget_router_langgraph.deciding import aemit, decide, emit, place_of
from budget_router_langgraph.facts import FactSource, agent_facts, with_facts
from budget_router_langgraph.reading import read_also
from budget_router_langgraph.state import BudgetIO, Update


def budgeted_reasoner(
    router: BudgetRouter,
    model: BaseChatModel,
    prompt: BasePromptTemplate[Any] | None = None,
    task_from: TaskSource | None = None,
    *,
    models: Mapping[str, BaseChatModel] | None = None,
    answer: AnswerRule = final_answer,
    answer_key: str = "answer",
    group: str | None = None,
    facts_from: FactSource | None = agent_facts,
    max_concurrency: int | None = None,
) -> Runnable[Any, Update]:
    """Make a node that decides on the state's task, draws and votes as decided, and settles what was spent.

    It writes the winning reply as an `AIMessage` to `messages`, or as text to `answer_key` when the state has no `messages`, and
    the settled decision to `budget`. The message names its decision in `response_metadata["budget_router"]`.

    Args:
        router: makes and keeps the decision.
        model: for strategies that name none.
        prompt: formatted from the state; without one the model is given the state's messages, or the task's text.
        task_from: key of the state that holds the task, or a function of the state.
        models: for strategies that name one, by that name.
        answer: finds the answer in a reply.
        answer_key: where the reply is written when the state has no `messages`.
        group: budget that the tasks draw on, unless the task names one.
        facts_from: function of the state to facts that policies learn from, kept in the task's metadata; `None`: none.
        max_concurrency: most samples at once.
    """
    settings = {"models": models, "answer": answer, "max_concurrency": max_concurrency}
    return _Reasoner(
        router,
        model,
        prompt=prompt,
        task_from=task_from,
        answer_key=answer_key,
        group=group,
        facts_from=facts_from,
        settings=settings,
    )


class _Reasoner(Runnable[Any, Update]):
    name = "reason"

    def __init__(
        self,
        router: BudgetRouter,
        model: BaseChatModel,
        *,
        prompt: BasePromptTemplate[Any] | None,
        task_from: TaskSource | None,
        answer_key: str,
        group: str | None,
        facts_from: FactSource | None,
        settings: dict[str, Any],  # Any: what the executor takes
    ) -> None:
        self.router = router
        self.model = model
        self.prompt = prompt
        self.task_from = task_from
        self.answer_key = answer_key
        self.group = group
        self.facts_from = facts_from
        self.settings = settings
        read_also(self, task_from, facts_from if facts_from is not agent_facts else None, *self._variables())

    def __call__(self, state: BudgetIO) -> Update:
        return self.invoke(state)

    def invoke(self, input: Any, config: RunnableConfig | None = None, **_: Any) -> Update:  # noqa: A002  # Runnable's own name
        config = ensure_config(config)
        task, messages = self._read(input, config)
        decision = decide(self.router, task, place_of(config))
        emit("budget_decision", decided(decision), config)
        tell = partial(emit, config=config)
        receipt = execute(self.router, decision, self.model, messages, config=config, on_event=tell, **self.settings)
        budget = _outcome(decision, receipt)
        emit("budget_settlement", budget, config)
        return self._update(input, budget, receipt)

    async def ainvoke(self, input: Any, config: RunnableConfig | None = None, **_: Any) -> Update:  # noqa: A002
        config = ensure_config(config)
        task, messages = self._read(input, config)
        decision = await asyncio.to_thread(decide, self.router, task, place_of(config))
        await aemit("budget_decision", decided(decision), config)
        tell = partial(aemit, config=config)
        receipt = await aexecute(self.router, decision, self.model, messages, config=config, on_event=tell, **self.settings)
        budget = _outcome(decision, receipt)
        await aemit("budget_settlement", budget, config)
        return self._update(input, budget, receipt)

    def _variables(self) -> list[str]:
        return [*self.prompt.input_variables, *self.prompt.optional_variables] if self.prompt else []

    def _read(self, state: object, config: RunnableConfig) -> tuple[Task, LanguageModelInput]:
        task = with_facts(task_from(state, self.task_from, group=self.group), state, self.facts_from)
        if self.prompt is None:
            return task, field_of(state, "messages") or task.text
        known = {name: field_of(state, name) for name in self._variables()}
        return task, self.prompt.invoke({name: value for name, value in known.items() if value is not None}, config)

    def _update(self, state: object, budget: BudgetState, receipt: Receipt) -> Update:
        if field_of(state, "messages") is None:
            return {self.answer_key: receipt.text, "budget": budget}
        return {"messages": [AIMessage(receipt.text, response_metadata={"budget_router": dict(budget)})], "budget": budget}


def _outcome(decision: Decision, receipt: Receipt) -> BudgetState:
    return settled(decided(decision), receipt.spend, receipt.answer, receipt.agreement)
