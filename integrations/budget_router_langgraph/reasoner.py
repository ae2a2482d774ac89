"""One node that does all of it: decide, execute the decided strategy, settle."""

import asyncio
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from langchain_core.language_models import BaseChatModel, LanguageModelInput
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage
from langchain_core.prompts import BasePromptTemplate
from langchain_core.runnables import Runnable, RunnableConfig, ensure_config

from budget_router.records import Decision
from budget_router.router import BudgetRouter
from budget_router.strategies import AnswerRule, final_answer
from budget_router.task import Task
from budget_router_langchain import Receipt, execute
from budget_router_langchain.asked import TaskSource, field_of, messages_of
from budget_router_langchain.beginning import Beginning
from budget_router_langchain.budget_state import METADATA_KEY, BudgetState, decided, settled
from budget_router_langchain.chain import BudgetedChain
from budget_router_langchain.execution import Execution
from budget_router_langchain.executor import Asking, aexecuted, execution_of, prepared
from budget_router_langgraph.deciding import Place, Wanted, adecide, aemit, ateller, decide, emit, place_of, teller
from budget_router_langgraph.facts import FactSource, agent_facts
from budget_router_langgraph.reading import read_also
from budget_router_langgraph.state import BudgetIO, Update
from budget_router_langgraph.wanting import NameSource, NumberSource, Wants

PromptSource = BasePromptTemplate[Any] | Callable[[Any], LanguageModelInput] | str
"""What a model is given of a state; Any: the user's own state, dict, dataclass or pydantic."""

Writes = Callable[[Receipt], Mapping[str, Any]]
"""What a node writes of a receipt; Any: values of the user's state."""


def budgeted_reasoner(
    router: BudgetRouter,
    model: Asking,
    prompt: PromptSource | None = None,
    task_from: TaskSource | None = None,
    *,
    models: Mapping[str, BaseChatModel] | None = None,
    answer: AnswerRule = final_answer,
    answer_key: str = "answer",
    writes: Writes | None = None,
    group: NameSource | None = None,
    per_task: NumberSource | None = None,
    strategy: NameSource | None = None,
    override: bool = True,
    facts_from: FactSource | None = agent_facts,
    max_concurrency: int | None = None,
) -> Runnable[Any, Update]:
    """Make a node that decides on the state's task, draws and votes as decided, and settles what was spent.

    It writes the winning reply to `messages`, tool calls and all, or its text to `answer_key` when the state has no `messages`,
    and the settled decision to `budget`. The message names its decision in `response_metadata["budget_router"]`.

    Args:
        router: makes and keeps the decision.
        model: for strategies that name none; bare, or with tools, retries or fallbacks. Replies that call tools are voted on by
            the calls.
        prompt: a template that is formatted from the state, a function of the state, or a system message to put before what the
            model is given without one: the state's messages, or the task's text.
        task_from: key of the state that holds the task, or a function of the state.
        models: for strategies that name one, by that name.
        answer: finds the answer in a reply.
        answer_key: where the reply is written when the state has no `messages`.
        writes: what of a receipt goes into the state instead, such as `lambda receipt: {"answers": [receipt.text]}` where many
            branches add to one list.
        group: budget that the tasks draw on, unless the task names one; a name, or a function of the state.
        per_task: what each task is allowed in place of the budget's average; a number, or a function of the state.
        strategy: that each task gets, whatever the policy says; a name, or a function of the state that may return `None`.
        override: whether a run may ask for its own group, average or strategy; see `BudgetNode`.
        facts_from: function of the state to facts that policies learn from, kept in the task's metadata; `None`: none.
        max_concurrency: most samples at once.
    """
    settings = {"answer": answer, "max_concurrency": max_concurrency}
    return _Reasoner(
        router,
        prepared(model, models),
        prompt=prompt,
        wants=Wants(task_from, facts_from, group, per_task, strategy, override),
        writes=writes,
        answer_key=answer_key,
        settings=settings,
    )


class _Reasoner(Runnable[Any, Update]):
    name = "reason"

    def __init__(
        self,
        router: BudgetRouter,
        model: BudgetedChain,
        *,
        prompt: PromptSource | None,
        wants: Wants,
        writes: Writes | None,
        answer_key: str,
        settings: dict[str, Any],  # Any: what the executor takes
    ) -> None:
        self.router = router
        self.model = model
        self.prompt = prompt
        self.wants = wants
        self.writes = writes
        self.answer_key = answer_key
        self.settings = settings
        read_also(self, *wants.sources, *self._variables(), *([prompt] if callable(prompt) else []))

    def __call__(self, state: BudgetIO) -> Update:
        return self.invoke(state)

    def invoke(self, input: Any, config: RunnableConfig | None = None, **_: Any) -> Update:  # noqa: A002  # Runnable's own name
        config = ensure_config(config)
        decision, messages = self._decided(input, config)
        told = decided(decision, field_of(input, "budget"))
        emit("budget_decision", told, config)
        receipt = execute(self.router, decision, self.model, messages, config=config, on_event=teller(config), **self.settings)
        budget = settled(told, receipt.spend, receipt.answer, receipt.agreement)
        emit("budget_settlement", budget, config)
        return self._update(input, budget, receipt)

    async def ainvoke(self, input: Any, config: RunnableConfig | None = None, **_: Any) -> Update:  # noqa: A002
        config = ensure_config(config)
        execution = await self._abegun(input, config)
        told = decided(execution.decision, field_of(input, "budget"))
        if execution.is_followed:
            await aemit("budget_decision", told, config)
        receipt = await aexecuted(execution)
        budget = settled(told, receipt.spend, receipt.answer, receipt.agreement)
        if execution.is_followed:
            await aemit("budget_settlement", budget, config)
        return self._update(input, budget, receipt)

    def _variables(self) -> list[str]:
        template = self.prompt if isinstance(self.prompt, BasePromptTemplate) else None
        return [*template.input_variables, *template.optional_variables] if template else []

    def _decided(self, state: object, config: RunnableConfig) -> tuple[Decision, LanguageModelInput]:
        place = place_of(config)
        wanted, messages = self._read(state, config, place)
        return decide(self.router, wanted, place), messages

    async def _abegun(self, state: object, config: RunnableConfig) -> Execution[AIMessage]:
        """Decide, in a coroutine; a state that takes its time is read in a thread, and so is a template's."""
        place = place_of(config)
        read = partial(self._read, state, config, place)
        is_read_at_once = self.wants.is_read_at_once(self.router) and isinstance(self.prompt, str | None)
        wanted, messages = read() if is_read_at_once else await asyncio.to_thread(read)
        tell = ateller(config)

        def made(decision: Decision) -> Execution[AIMessage]:
            return execution_of(self.router, decision, self.model, messages, config=config, on_event=tell, **self.settings)

        with Beginning(made) as beginning:
            decision = await adecide(self.router, wanted, place, opens=beginning.opens)
        return beginning.of(decision)

    def _read(self, state: object, config: RunnableConfig, place: Place) -> tuple[Wanted, LanguageModelInput]:
        """What is to be decided on, and what models are sent."""
        wanted = self.wants.of(state, config, self.router, place)
        messages = self._messages(state, wanted.task, config)
        return wanted._replace(sent=messages), messages

    def _messages(self, state: object, task: Task, config: RunnableConfig) -> LanguageModelInput:
        if isinstance(self.prompt, BasePromptTemplate):
            known = {name: field_of(state, name) for name in self._variables()}
            return self.prompt.invoke({name: value for name, value in known.items() if value is not None}, config)
        if callable(self.prompt):
            return self.prompt(state)
        said = field_of(state, "messages")
        if self.prompt is None:
            return said or task.text
        return [SystemMessage(self.prompt), *(messages_of(said) or [HumanMessage(task.text)])]

    def _update(self, state: object, budget: BudgetState, receipt: Receipt) -> Update:
        if self.writes is not None:
            return {**self.writes(receipt), "budget": budget}
        if field_of(state, "messages") is None:
            return {self.answer_key: receipt.text, "budget": budget}
        reply = receipt.output
        told = {"response_metadata": {**reply.response_metadata, METADATA_KEY: dict(budget)}}
        return {"messages": [reply.model_copy(update=told)], "budget": budget}
