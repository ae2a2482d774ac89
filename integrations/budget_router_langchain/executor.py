"""Execute a decided strategy on a chat model: draw its samples, those of a round side by side, vote, settle what was spent.

The thinking is written once and never awaits; the sync and the async door differ in how a list of requests is answered.
"""

import asyncio
import logging
import time
from collections.abc import Mapping, MutableMapping, Sequence

from langchain_core.language_models import BaseChatModel, LanguageModelInput
from langchain_core.messages import BaseMessage
from langchain_core.runnables import RunnableConfig, ensure_config
from langchain_core.runnables.config import ContextThreadPoolExecutor
from pydantic import Field

from budget_router.errors import BudgetRouterError
from budget_router.menu import Sampling, stages
from budget_router.records import Decision, Spend
from budget_router.router import BudgetRouter
from budget_router.strategies import AnswerRule, Failure, Reply, Request, Result, arun, final_answer, plan, run
from budget_router.words import Word
from budget_router_langchain.booking import Booking
from budget_router_langchain.drawing import Drawing, checked
from budget_router_langchain.tuned import as_messages, chosen, instructed, tuned

_log = logging.getLogger("budget_router")


class Receipt(Word):
    """What was answered, and what it cost."""

    decision_id: str
    strategy: str
    text: str = Field(repr=False)
    """The reply that gave the winning answer, whole."""
    answer: str | None
    """The winning answer, normalised; `None` when no reply held one."""
    agreement: float | None
    """Share of the samples, of the stage that answered, that gave the winning answer."""
    answers: tuple[str | None, ...]
    """Normalised answer of each sample that arrived."""
    spend: Spend


def execute(
    router: BudgetRouter,
    decision: Decision,
    model: BaseChatModel,
    messages: LanguageModelInput,
    *,
    models: Mapping[str, BaseChatModel] | None = None,
    answer: AnswerRule = final_answer,
    config: RunnableConfig | None = None,
    max_concurrency: int | None = None,
    replies: MutableMapping[int, Reply] | None = None,
) -> Receipt:
    """Draw the decided strategy's answers, vote, and settle; what was spent is booked whatever happens.

    Args:
        router: that made the decision.
        decision: to be executed.
        model: for strategies that name none.
        messages: the prompt, as a chat model takes it.
        models: for strategies that name one, by that name.
        answer: finds the answer in a reply.
        config: of the run that this is a part of.
        max_concurrency: most samples at once; by default the config's, and without one all of them.
        replies: what an earlier attempt at this decision has brought, by the number of the sample: it is not drawn again, and the
            attempt's calls are settled with this one's. Each new reply is put there as it arrives.

    Raises:
        InvalidInput: the strategy names an unknown model, or a setting that its class does not offer; nothing was paid.
        NoAnswer: every sample failed; its cause is the first failure.
        LedgerError: the books cannot be kept.
    """
    execution = _Execution(router, decision, config, max_concurrency, replies)
    try:
        execution.prepare(model, models or {}, messages)
        result = run(plan(decision.strategy, answer=answer), execution.complete)
    except BaseException:
        execution.fail()
        raise
    return execution.settle(result)


async def aexecute(
    router: BudgetRouter,
    decision: Decision,
    model: BaseChatModel,
    messages: LanguageModelInput,
    *,
    models: Mapping[str, BaseChatModel] | None = None,
    answer: AnswerRule = final_answer,
    config: RunnableConfig | None = None,
    max_concurrency: int | None = None,
    replies: MutableMapping[int, Reply] | None = None,
) -> Receipt:
    """Do as `execute`, in a coroutine."""
    execution = _Execution(router, decision, config, max_concurrency, replies)
    try:
        execution.prepare(model, models or {}, messages)
        result = await arun(plan(decision.strategy, answer=answer), execution.acomplete)
    except BaseException:
        execution.fail()
        raise
    return await asyncio.to_thread(execution.settle, result)


class _Execution:
    """All of an execution but its I/O."""

    def __init__(
        self,
        router: BudgetRouter,
        decision: Decision,
        config: RunnableConfig | None,
        max_concurrency: int | None,
        replies: MutableMapping[int, Reply] | None,
    ) -> None:
        self.router = router
        self.decision = decision
        self.config = ensure_config(config)
        self.width = max_concurrency or self.config.get("max_concurrency") or decision.strategy.n_samples
        self.booking = Booking(router, decision)
        self.replies = {} if replies is None else replies
        if replies is not None:
            self.booking.calls.update({call.id: call for call in router.ledger.decision(decision.id).calls})
        self.began = time.monotonic()
        self.prepared: dict[Sampling, tuple[BaseChatModel, list[BaseMessage]]] = {}

    def prepare(self, model: BaseChatModel, models: Mapping[str, BaseChatModel], messages: LanguageModelInput) -> None:
        """Choose and tune the models and write the prompts: whatever can be refused is refused here, before anything is paid."""
        given = as_messages(messages)
        for sampling in {stage.sampling for stage in stages(self.decision.strategy)}:
            self.prepared[sampling] = tuned(chosen(sampling, model, models), sampling), instructed(given, sampling.instruction)

    def complete(self, requests: Sequence[Request]) -> list[Reply | Failure]:
        """Answer requests side by side in threads."""
        if len(requests) == 1:
            return checked([self._draw(requests[0])])
        with ContextThreadPoolExecutor(max_workers=min(self.width, len(requests))) as pool:
            futures = [pool.submit(self._draw, request) for request in requests]
            try:
                return checked([future.result() for future in futures])
            except BaseException:
                for future in futures:  # what has not begun need not be paid
                    future.cancel()
                raise

    async def acomplete(self, requests: Sequence[Request]) -> list[Reply | Failure]:
        """Answer requests side by side in the event loop."""
        gate = asyncio.Semaphore(self.width)

        async def draw(request: Request) -> Reply | Failure:
            async with gate:
                return await self._adraw(request)

        return checked(await asyncio.gather(*map(draw, requests)))

    def _draw(self, request: Request) -> Reply | Failure:
        if request.index in self.replies:
            return self.replies[request.index]
        with Drawing(self.booking, request, self.config) as drawing:
            model, messages = self.prepared[request.sampling]
            drawing.replied(str(model.invoke(messages, drawing.config).text))
        return self._kept(request, drawing.outcome)

    async def _adraw(self, request: Request) -> Reply | Failure:
        if request.index in self.replies:
            return self.replies[request.index]
        with Drawing(self.booking, request, self.config) as drawing:
            model, messages = self.prepared[request.sampling]
            drawing.replied(str((await model.ainvoke(messages, drawing.config)).text))
        return self._kept(request, drawing.outcome)

    def _kept(self, request: Request, outcome: Reply | Failure) -> Reply | Failure:
        if isinstance(outcome, Reply):
            self.replies[request.index] = outcome
        return outcome

    def settle(self, result: Result) -> Receipt:
        """Book the end of an execution that came to a result."""
        spend = self._spend()
        self.router.settle(self.decision, spend, result=result)
        return Receipt(
            decision_id=self.decision.id,
            strategy=self.decision.strategy.name,
            text=result.text,
            answer=result.answer,
            agreement=result.agreement,
            answers=tuple(draw.answer for draw in result.draws),
            spend=spend,
        )

    def fail(self) -> None:
        """Book what was spent in vain; the error that made it so is about to be raised, and goes first."""
        try:
            self.router.settle(self.decision, self._spend(), status="failed")
        except BudgetRouterError:
            _log.exception("decision %s failed, and its settlement was refused as well", self.decision.id)

    def _spend(self) -> Spend:
        return Spend.of(list(self.booking.calls.values()), seconds=time.monotonic() - self.began)
