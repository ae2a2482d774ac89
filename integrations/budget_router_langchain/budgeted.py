"""A chain with a budget: each call is decided on, run as often as decided, voted on, and settled."""

import asyncio
import inspect
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import aclosing
from functools import partial
from typing import Any, Generic, cast

from langchain_core.callbacks import (
    AsyncCallbackManagerForChainRun,
    CallbackManagerForChainRun,
    adispatch_custom_event,
    dispatch_custom_event,
)
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.runnables import Runnable, RunnableConfig, RunnableLambda
from langchain_core.runnables.base import RunnableLike, coerce_to_runnable
from langchain_core.runnables.graph import Graph
from langchain_core.runnables.utils import ConfigurableFieldSpec, Input, Output, get_unique_config_specs

from budget_router.costs import limits
from budget_router.deciding import Asked
from budget_router.menu import Stage, stages
from budget_router.records import Decision
from budget_router.router import BudgetRouter
from budget_router.strategies import AnswerRule, Result
from budget_router.task import Task
from budget_router_langchain.asked import TaskSource, task_of
from budget_router_langchain.beginning import Beginning
from budget_router_langchain.budget_state import METADATA_KEY, BudgetState, decided, settled
from budget_router_langchain.chain import BudgetedChain, Samples
from budget_router_langchain.execution import Execution, own_errors
from budget_router_langchain.executor import asettled_receipt, settled_receipt
from budget_router_langchain.meter import meter
from budget_router_langchain.progress import AsyncOnEvent, is_heard, unharmed
from budget_router_langchain.receipt import Receipt, output_answer, reply_of
from budget_router_langchain.rewriting import Chain

_log = logging.getLogger("budget_router")

_SIGNATURE = inspect.signature(lambda given, run_manager, config, **settings: None)  # noqa: ARG005
"""Of what LangChain runs for a call."""

STRATEGY_KEY, GROUP_KEY = "budget_strategy", "budget_group"
"""Of a config's `configurable`: the strategy that a call is forced to, and the budget that it draws on."""


def budget(
    chain: RunnableLike[Input, Output],
    *,
    router: BudgetRouter,
    answer: AnswerRule = output_answer,
    task_from: TaskSource | None = None,
    group: str | None = None,
    models: Mapping[str, BaseChatModel] | None = None,
    max_concurrency: int | None = None,
    timeout_seconds: float | None = None,
) -> "Budgeted[Input, Output]":
    """Put a chain under a budget.

    Each call of it is decided on by `router`, then run once, several times, or with more thinking, and settled. All that
    LangChain does with a chain works as before: `invoke`, `batch`, `stream`, their async forms, events, `|`, retries, fallbacks.
    What stands before the chain's first chat model is run once for a call, the rest for each sample. A single sample is streamed
    as it comes, of several the winner at the end. When every sample fails, the call raises what the chain raised.

    A call is forced to a strategy, or draws on another budget, by its config: `{"configurable": {"budget_strategy":
    "single_shot", "budget_group": "research"}}`.

    Args:
        chain: a chat model, or any chain whose structure shows its chat models; of a function that calls one, write a factory
            and `budgeted`.
        router: makes and keeps the decisions.
        answer: finds the answer in an output's text, or in its JSON where a parser made it; by default that is compared field by
            field.
        task_from: key of the input that holds the task, or a function of the input; by default `task`, `question` or `input`,
            else the last human turn of its messages, else all of its texts.
        group: budget that the tasks draw on, unless the task or the call names one.
        models: for strategies that name one, by that name.
        max_concurrency: most runs at once of one call; by default the config's, and without one all of them.
        timeout_seconds: after which a run counts as failed; what it bills is booked when it ends. Streams are not timed.

    Raises:
        InvalidInput: a strategy on the router's menu asks for what a chat model of the chain does not offer.
    """
    made = BudgetedChain(coerce_to_runnable(chain), models or {})
    if not made.shows_models:
        _log.warning(
            "%s shows no chat model: its runs are metered and repeated, and no setting of a strategy reaches them. Write it as a "
            "factory, a function without parameters that returns the chain, under @budgeted(router)",
            made.whole.get_name(),
        )
    budgeted: Budgeted[Input, Output] = Budgeted(
        lambda _: made,
        router,
        answer=answer,
        task_from=task_from,
        group=group,
        max_concurrency=max_concurrency,
        timeout_seconds=timeout_seconds,
    )
    budgeted.check()
    return budgeted


class Budgeted(Runnable[Input, Output], Generic[Input, Output]):
    """A chain under a budget; `budget` and `budgeted` make it.

    Args:
        chain_of: gives the chain that a stage of a strategy is run on.
        router: makes and keeps the decisions.
        answer: as of `budget`, like all that follow.
        task_from: where the task stands in the input.
        group: budget that the tasks draw on.
        max_concurrency: most runs at once of one call.
        timeout_seconds: after which a run counts as failed.
        name: in traces; by default the chain's own.
    """

    def __init__(
        self,
        chain_of: Callable[[Stage], BudgetedChain],
        router: BudgetRouter,
        *,
        answer: AnswerRule = output_answer,
        task_from: TaskSource | None = None,
        group: str | None = None,
        max_concurrency: int | None = None,
        timeout_seconds: float | None = None,
        name: str | None = None,
    ) -> None:
        self.router = router
        self.name = name
        self._chain_of = chain_of
        self._answer = answer
        self._task_from = task_from
        self._group = group
        self._limits: dict[str, Any] = {"max_concurrency": max_concurrency, "timeout_seconds": timeout_seconds}

    def check(self) -> None:
        """Raise InvalidInput if a strategy of the menu cannot be run on the chain."""
        budgets = [*self.router.budgets.values()]
        capped = next((one for one in budgets if one.hard_cap is not None), budgets[0])
        for strategy in self.router.menu:
            Samples(self._chain_of, strategy, None, {}, streams=False, limits=limits(strategy, capped))

    @property
    def chain(self) -> Chain:
        """The chain itself; where a factory makes one for each strategy, that of the menu's first."""
        return self._chain_of(self._first_stage).whole

    @property
    def _first_stage(self) -> Stage:
        return stages(self.router.menu.root[0])[0]

    # --- calls

    def invoke(self, input: Input, config: RunnableConfig | None = None, **kwargs: Any) -> Output:  # noqa: A002  # Runnable's own name
        """Decide, run, vote, settle; Any: whatever the chain's first step takes."""
        return self.with_receipt(input, config, **kwargs)[0]

    async def ainvoke(self, input: Input, config: RunnableConfig | None = None, **kwargs: Any) -> Output:  # noqa: A002
        """Do as `invoke`, in a coroutine."""
        return (await self.awith_receipt(input, config, **kwargs))[0]

    def with_receipt(self, input: Input, config: RunnableConfig | None = None, **kwargs: Any) -> tuple[Output, Receipt]:  # noqa: A002
        """Do as `invoke`, and tell what was decided, answered and spent: the output and its receipt."""
        receipts: list[Receipt] = []

        def run(given: Input, run_manager: CallbackManagerForChainRun, config: RunnableConfig, **kwargs: Any) -> Output:
            execution = self._begun(given, run_manager, config, kwargs)
            with own_errors(), execution.accounted():
                result = execution.run()
            receipts.append(self._settled(execution, result, config))
            return cast("Output", receipts[0].output)

        return self._call_with_config(_told_by(run), input, config, **kwargs), receipts[0]

    async def awith_receipt(
        self,
        input: Input,  # noqa: A002
        config: RunnableConfig | None = None,
        **kwargs: Any,
    ) -> tuple[Output, Receipt]:
        """Do as `with_receipt`, in a coroutine."""
        receipts: list[Receipt] = []

        async def run(
            given: Input, run_manager: AsyncCallbackManagerForChainRun, config: RunnableConfig, **kwargs: Any
        ) -> Output:
            execution = await self._abegun(given, run_manager, config, kwargs)
            with own_errors(), execution.accounted():
                result = await execution.arun()
            receipts.append(await self._asettled(execution, result, config))
            return cast("Output", receipts[0].output)

        return await self._acall_with_config(_told_by(run), input, config, **kwargs), receipts[0]

    def receipts(self) -> Runnable[Input, Receipt]:
        """The same chain, giving receipts in place of outputs: `receipts().batch(inputs)` tells which decisions to grade."""

        def receipt(given: Input, config: RunnableConfig) -> Receipt:
            return self.with_receipt(given, config)[1]

        async def areceipt(given: Input, config: RunnableConfig) -> Receipt:
            return (await self.awith_receipt(given, config))[1]

        return RunnableLambda(receipt, areceipt, name=self.get_name())

    def stream(self, input: Input, config: RunnableConfig | None = None, **kwargs: Any) -> Iterator[Output]:  # noqa: A002
        """Do as `invoke`, and give a single sample piece by piece, of several the winner at the end."""

        def run(
            inputs: Iterator[Input], run_manager: CallbackManagerForChainRun, config: RunnableConfig, **kwargs: Any
        ) -> Iterator[Output]:
            execution = self._begun(next(inputs), run_manager, config, kwargs)
            last: list[Any] = []
            with own_errors(), execution.accounted():
                if execution.decision.strategy.n_samples > 1:
                    last = [self._settled(execution, execution.run(), config).output]
                else:
                    for piece in execution.stream(lambda *asked: cast("Samples", execution.source).stream(*asked)):
                        if isinstance(piece, Result):
                            last = _last_pieces(self._settled(execution, piece, config))
                        else:
                            yield piece
            yield from last

        yield from self._transform_stream_with_config(iter([input]), run, config, **kwargs)

    async def astream(self, input: Input, config: RunnableConfig | None = None, **kwargs: Any) -> AsyncIterator[Output]:  # noqa: A002
        """Do as `stream`, in a coroutine."""

        async def run(
            inputs: AsyncIterator[Input], run_manager: AsyncCallbackManagerForChainRun, config: RunnableConfig, **kwargs: Any
        ) -> AsyncIterator[Output]:
            execution = await self._abegun(await anext(inputs), run_manager, config, kwargs)
            last: list[Any] = []
            with own_errors(), execution.accounted():
                if execution.decision.strategy.n_samples > 1:
                    last = [(await self._asettled(execution, await execution.arun(), config)).output]
                else:
                    stream = execution.astream(lambda *asked: cast("Samples", execution.source).astream(*asked))
                    async with aclosing(stream) as pieces:
                        async for piece in pieces:
                            if isinstance(piece, Result):
                                last = _last_pieces(await self._asettled(execution, piece, config))
                            else:
                                yield piece
            for piece in last:
                yield piece

        async def inputs() -> AsyncIterator[Input]:
            yield input

        stream = self._atransform_stream_with_config(inputs(), run, config, **kwargs)
        async with aclosing(cast("AsyncGenerator[Output, None]", stream)) as pieces:
            async for piece in pieces:
                yield piece

    # --- what a chain tells of itself

    @property
    def InputType(self) -> Any:  # noqa: N802  # Runnable's own name; Any: a type
        """Of the chain."""
        return self.chain.InputType

    @property
    def OutputType(self) -> Any:  # noqa: N802
        """Of the chain."""
        return self.chain.OutputType

    def get_input_schema(self, config: RunnableConfig | None = None) -> Any:  # a pydantic class
        """Of the chain."""
        return self.chain.get_input_schema(config)

    def get_output_schema(self, config: RunnableConfig | None = None) -> Any:  # a pydantic class
        """Of the chain."""
        return self.chain.get_output_schema(config)

    def get_graph(self, config: RunnableConfig | None = None) -> Graph:
        """Of the chain."""
        return self.chain.get_graph(config)

    @property
    def config_specs(self) -> list[ConfigurableFieldSpec]:
        """Those of the chain, and what a call may say of its budget."""
        names = ", ".join(self.router.menu.names)
        forced = ConfigurableFieldSpec(STRATEGY_KEY, str | None, "Strategy", f"Force it to one of {names}", default=None)
        group = ConfigurableFieldSpec(GROUP_KEY, str | None, "Group", "Budget that the call draws on", default=None)
        return get_unique_config_specs([*self.chain.config_specs, forced, group])

    def bind_tools(self, tools: Sequence[Any], **settings: Any) -> "Budgeted[Any, AIMessage]":
        """Bind tools to the chat model that this is; Any: whatever that takes for a tool."""
        return self._changed(lambda chain: chain.bind_tools(tools, **settings))

    def with_structured_output(self, schema: Any, **settings: Any) -> "Budgeted[Any, Any]":
        """Let the chat model that this is give structured output; Any: whatever that takes for a schema."""
        return self._changed(lambda chain: chain.with_structured_output(schema, **settings))

    def _changed(self, change: Callable[[Any], Chain]) -> "Budgeted[Any, Any]":  # Any: a chat model, which the change asks of
        made: dict[int, BudgetedChain] = {}

        def chain_of(stage: Stage) -> BudgetedChain:
            chain = self._chain_of(stage)
            if id(chain) not in made:
                made[id(chain)] = chain.changed(change)
            return made[id(chain)]

        chain_of(self._first_stage)  # what is no chat model refuses here
        return Budgeted(
            chain_of,
            self.router,
            answer=self._answer,
            task_from=self._task_from,
            group=self._group,
            name=self.name,
            **self._limits,
        )

    # --- one call

    def _asked(self, given: Input, config: RunnableConfig) -> tuple[Task, Asked]:
        """What is to be decided on."""
        said = config.get("configurable") or {}
        task = task_of(given, self._task_from, group=self._group)
        if said.get(GROUP_KEY) is not None:
            task = task.model_copy(update={"group": said[GROUP_KEY]})
        thread_id = said.get("thread_id", (config.get("metadata") or {}).get("thread_id"))
        run_id = getattr(config.get("callbacks"), "parent_run_id", None)
        return task, {
            "strategy": said.get(STRATEGY_KEY),
            "run_id": run_id and str(meter.root(run_id)),
            "thread_id": None if thread_id is None else str(thread_id),
        }

    def _execution(
        self,
        decision: Decision,
        given: Input,
        config: RunnableConfig,
        settings: dict[str, Any],
        on_event: AsyncOnEvent | None,
    ) -> Execution[Any]:
        def chain_of(stage: Stage) -> BudgetedChain:
            chain = self._chain_of(stage)
            return chain.bound(settings) if settings else chain

        strategy = decision.strategy
        streams, at_most = strategy.n_samples == 1, limits(strategy, decision.budget)
        return Execution(
            self.router,
            decision,
            lambda: Samples(chain_of, strategy, given, config, streams=streams, limits=at_most),
            read=reply_of,
            answer=self._answer,
            config=config,
            on_event=on_event,
            **self._limits,
        )

    def _begun(
        self, given: Input, run_manager: CallbackManagerForChainRun, config: RunnableConfig, settings: dict[str, Any]
    ) -> Execution[Any]:
        task, asked = self._asked(given, config)
        decision = self.router.decide(task, **asked)
        tell = partial(dispatch_custom_event, config=config) if is_heard(config) else None
        execution = self._execution(decision, given, config, settings, tell)
        meter.bind(run_manager.run_id, execution.beside)
        _tell("budget_decision", decided(decision), config)
        return execution

    async def _abegun(
        self, given: Input, run_manager: AsyncCallbackManagerForChainRun, config: RunnableConfig, settings: dict[str, Any]
    ) -> Execution[Any]:
        read = partial(self._asked, given, config)
        task, asked = await asyncio.to_thread(read) if callable(self._task_from) else read()  # which may take its time
        tell = partial(adispatch_custom_event, config=config) if is_heard(config) else None
        with Beginning(lambda decision: self._execution(decision, given, config, settings, tell)) as beginning:
            decision = await self.router.adecide(task, opens=beginning.opens, **asked)
        execution = beginning.of(decision)
        meter.bind(run_manager.run_id, execution.beside)
        await _atell("budget_decision", decided(decision), config)
        return execution

    def _settled(self, execution: Execution[Any], result: Result, config: RunnableConfig) -> Receipt:
        receipt, budget = _named(execution, settled_receipt(execution, result))
        _tell("budget_settlement", budget, config)
        return receipt

    async def _asettled(self, execution: Execution[Any], result: Result, config: RunnableConfig) -> Receipt:
        receipt, budget = _named(execution, await asettled_receipt(execution, result))
        await _atell("budget_settlement", budget, config)
        return receipt


def _tell(name: str, budget: BudgetState, config: RunnableConfig) -> None:
    """Tell whoever listens; what that raises is logged."""
    if is_heard(config):
        with unharmed(name):
            dispatch_custom_event(name, budget, config=config)


async def _atell(name: str, budget: BudgetState, config: RunnableConfig) -> None:
    """Do as `_tell`, in a coroutine."""
    if is_heard(config):
        with unharmed(name):
            await adispatch_custom_event(name, budget, config=config)


def _told_by(run: Callable[..., Any]) -> Callable[..., Any]:
    """Keep the signature of a function that is made for one call: LangChain reads it twice, which takes longer than to decide."""
    run.__signature__ = _SIGNATURE  # type: ignore[attr-defined]  # where inspect looks first
    return run


def _named(execution: Execution[Any], receipt: Receipt) -> tuple[Receipt, BudgetState]:
    """Name the decision in an output that has a place for it."""
    budget = settled(decided(execution.decision), receipt.spend, receipt.answer, receipt.agreement)
    output = receipt.output
    if isinstance(output, AIMessage):
        output = output.model_copy(update={"response_metadata": {**output.response_metadata, METADATA_KEY: dict(budget)}})
    return receipt.model_copy(update={"output": output}), budget


def _last_pieces(receipt: Receipt) -> list[Any]:  # Any: of the user's own output
    """What became known after the last piece of a stream, where that is of a message."""
    output = receipt.output
    if not isinstance(output, AIMessageChunk):
        return []
    return [AIMessageChunk(content="", id=output.id, response_metadata={METADATA_KEY: output.response_metadata[METADATA_KEY]})]
