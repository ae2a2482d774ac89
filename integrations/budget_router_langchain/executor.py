"""Execute a decided strategy on a chat model: draw its samples, vote, settle what was spent."""

from collections.abc import Mapping, MutableMapping
from typing import Any

from langchain_core.language_models import BaseChatModel, LanguageModelInput
from langchain_core.messages import AIMessage
from langchain_core.runnables import Runnable, RunnableConfig, ensure_config

from budget_router.costs import limits
from budget_router.errors import InvalidInput
from budget_router.records import Decision, Spend
from budget_router.router import BudgetRouter
from budget_router.strategies import AnswerRule, Reply, Result, final_answer
from budget_router_langchain.chain import BudgetedChain, Samples
from budget_router_langchain.execution import Execution
from budget_router_langchain.progress import AsyncOnEvent, OnEvent
from budget_router_langchain.receipt import Receipt, reply_of
from budget_router_langchain.rewriting import asks, models_of

Asking = BaseChatModel | Runnable[LanguageModelInput, AIMessage]
"""What takes a prompt and gives a model's message."""


def execute(
    router: BudgetRouter,
    decision: Decision,
    model: Asking | BudgetedChain,
    messages: LanguageModelInput,
    *,
    models: Mapping[str, BaseChatModel] | None = None,
    answer: AnswerRule = final_answer,
    config: RunnableConfig | None = None,
    max_concurrency: int | None = None,
    timeout_seconds: float | None = None,
    replies: MutableMapping[int, Reply] | None = None,
    on_event: OnEvent | None = None,
) -> Receipt:
    """Draw the decided strategy's answers, vote, and settle; what was spent is booked whatever happens.

    Args:
        router: that made the decision.
        decision: to be executed.
        model: for strategies that name none; bare, or with tools, retries or fallbacks; or what `prepared` made of it.
        messages: the prompt, as a chat model takes it.
        models: for strategies that name one, by that name.
        answer: finds the answer in a reply.
        config: of the run that this is a part of.
        max_concurrency: most requests at once; by default the config's, and without one all of them.
        timeout_seconds: after which a request counts as failed; what it bills is booked when it ends.
        replies: what an earlier attempt at this decision has brought, by the number of the sample: it is not drawn again, and the
            attempt's calls are settled with this one's. Each new reply is put there as it arrives.
        on_event: told of each sample as it arrives (`budget_sample`) and of the vote (`budget_vote`), in whichever thread it is;
            what it raises is logged. `aexecute` awaits a coroutine function.

    Raises:
        InvalidInput: the strategy names an unknown model, or a setting that its class does not offer; nothing was paid.
        NoAnswer: every sample failed; its cause is the first failure.
        LedgerError: the books cannot be kept.
    """
    execution = execution_of(
        router,
        decision,
        model,
        messages,
        models=models,
        answer=answer,
        config=config,
        max_concurrency=max_concurrency,
        timeout_seconds=timeout_seconds,
        replies=replies,
        on_event=on_event,
    )
    with execution.accounted():
        result = execution.run()
    return settled_receipt(execution, result)


async def aexecute(
    router: BudgetRouter,
    decision: Decision,
    model: Asking | BudgetedChain,
    messages: LanguageModelInput,
    *,
    models: Mapping[str, BaseChatModel] | None = None,
    answer: AnswerRule = final_answer,
    config: RunnableConfig | None = None,
    max_concurrency: int | None = None,
    timeout_seconds: float | None = None,
    replies: MutableMapping[int, Reply] | None = None,
    on_event: AsyncOnEvent | None = None,
) -> Receipt:
    """Do as `execute`, in a coroutine."""
    execution = execution_of(
        router,
        decision,
        model,
        messages,
        models=models,
        answer=answer,
        config=config,
        max_concurrency=max_concurrency,
        timeout_seconds=timeout_seconds,
        replies=replies,
        on_event=on_event,
    )
    return await aexecuted(execution)


async def aexecuted(execution: Execution[Any]) -> Receipt:  # Any: of what the samples are
    """Draw, vote and settle."""
    with execution.accounted():
        result = await execution.arun()
    return await asettled_receipt(execution, result)


def prepared(model: Asking, models: Mapping[str, BaseChatModel] | None = None) -> BudgetedChain:
    """A model made ready for many executions, to be passed in its place.

    Raises:
        InvalidInput: it is no chat model whose settings can be set, nor one with tools, retries or fallbacks.
    """
    if not (asks(model) and any(models_of(model))):
        raise InvalidInput(f"{type(model).__name__} is no chat model whose settings can be set: pass the bare BaseChatModel")
    return BudgetedChain(model, models or {})


def settled_receipt(execution: Execution[Any], result: Result) -> Receipt:  # Any: of what the samples are
    """Settle an execution that came to a result, and write its receipt."""
    return _receipt(execution, result, execution.settle(result))


async def asettled_receipt(execution: Execution[Any], result: Result) -> Receipt:  # Any: as above
    """Do as `settled_receipt`, in a coroutine."""
    return _receipt(execution, result, await execution.asettle(result))


def _receipt(execution: Execution[Any], result: Result, spend: Spend) -> Receipt:  # Any: as above
    index = result.index or 0
    return Receipt(
        decision_id=execution.decision.id,
        strategy=execution.decision.strategy.name,
        output=execution.outputs[index] if index in execution.outputs else AIMessage(result.text),  # drawn by an earlier attempt
        text=result.text,
        answer=result.answer,
        agreement=result.agreement,
        answers=tuple(draw.answer for draw in result.draws),
        spend=spend,
    )


def execution_of(
    router: BudgetRouter,
    decision: Decision,
    model: Asking | BudgetedChain,
    messages: LanguageModelInput,
    *,
    models: Mapping[str, BaseChatModel] | None = None,
    config: RunnableConfig | None,
    **settings: Any,  # those of an execution
) -> Execution[AIMessage]:
    """Make a decision ready to be executed."""
    config = ensure_config(config)

    def source() -> Samples:
        chain = model if isinstance(model, BudgetedChain) else prepared(model, models)
        return Samples(
            lambda _: chain, decision.strategy, messages, config, streams=False, limits=limits(decision.strategy, decision.budget)
        )

    return Execution(router, decision, source, read=reply_of, config=config, **settings)
