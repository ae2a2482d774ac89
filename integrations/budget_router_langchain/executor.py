"""Execute a decided strategy on a chat model: draw its samples, vote, settle what was spent.

The samples of a round are drawn in one request where the model's class offers several generations, else side by side. The
thinking is written once and never awaits; the sync and the async door differ in how a list of requests is answered.
"""

import asyncio
import logging
import time
from collections.abc import Mapping, MutableMapping, Sequence

from langchain_core.language_models import BaseChatModel, LanguageModelInput
from langchain_core.messages import AIMessage, BaseMessage
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
from budget_router_langchain.drawing import Drawing, Drawn, checked
from budget_router_langchain.several import MAX_GENERATIONS, adraw, draw, offers_several
from budget_router_langchain.tuned import as_messages, chosen, instructed, tuned

_log = logging.getLogger("budget_router")


class Receipt(Word):
    """What was answered, and what it cost."""

    decision_id: str
    strategy: str
    text: str = Field(repr=False)
    """The reply that gave the winning answer, whole."""
    message: AIMessage = Field(repr=False)
    """The same as the model gave it, with the tools that it asks for."""
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
        max_concurrency: most requests at once; by default the config's, and without one all of them.
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
        self.several: set[Sampling] = set()
        self.messages: dict[int, AIMessage] = {}
        self.failed: dict[int, Failure] = {}

    def prepare(self, model: BaseChatModel, models: Mapping[str, BaseChatModel], messages: LanguageModelInput) -> None:
        """Choose and tune the models and write the prompts: whatever can be refused is refused here, before anything is paid."""
        given = as_messages(messages)
        for sampling in {stage.sampling for stage in stages(self.decision.strategy)}:
            model_of = chosen(sampling, model, models)
            self.prepared[sampling] = tuned(model_of, sampling), instructed(given, sampling.instruction)
            if offers_several(model_of):
                self.several.add(sampling)

    def complete(self, requests: Sequence[Request]) -> list[Reply | Failure]:
        """Answer a round: in as few calls as the model offers, and what those did not bring in a call of its own."""
        self._keep(self._side_by_side(self._shared(self._open(requests))))
        if missing := self._missing(requests):
            self._keep(self._side_by_side(missing))
        return self._all(requests)

    async def acomplete(self, requests: Sequence[Request]) -> list[Reply | Failure]:
        """Do as `complete`, in the event loop."""
        self._keep(await self._aside_by_side(self._shared(self._open(requests))))
        if missing := self._missing(requests):
            self._keep(await self._aside_by_side(missing))
        return self._all(requests)

    def _open(self, requests: Sequence[Request]) -> list[Request]:
        """Those of a round that no earlier attempt has answered."""
        return [request for request in requests if request.index not in self.replies]

    def _shared(self, requests: Sequence[Request]) -> list[Sequence[Request]]:
        """Put a round's requests, which are all of one sampling, into calls."""
        width = MAX_GENERATIONS if requests and requests[0].sampling in self.several else 1
        return [requests[start : start + width] for start in range(0, len(requests), width)]

    def _missing(self, requests: Sequence[Request]) -> list[Sequence[Request]]:
        """What calls for several did not bring; the model is not asked for several again."""
        missing = [[request] for request in self._open(requests) if request.index not in self.failed]
        if missing:
            self.several.discard(requests[0].sampling)
        return list(missing)

    def _keep(self, drawn: Drawn) -> None:
        """Note what failed; replies were kept as they arrived."""
        self.failed |= {index: failure for index, failure in drawn.items() if isinstance(failure, Failure)}

    def _all(self, requests: Sequence[Request]) -> list[Reply | Failure]:
        return checked([self.replies.get(request.index) or self.failed[request.index] for request in requests])

    def _side_by_side(self, calls: Sequence[Sequence[Request]]) -> Drawn:
        """Make calls in threads."""
        if len(calls) < 2:
            return {index: reply for call in calls for index, reply in self._draw(call).items()}
        with ContextThreadPoolExecutor(max_workers=min(self.width, len(calls))) as pool:
            futures = [pool.submit(self._draw, call) for call in calls]
            try:
                return {index: reply for future in futures for index, reply in future.result().items()}
            except BaseException:
                for future in futures:  # what has not begun need not be paid
                    future.cancel()
                raise

    async def _aside_by_side(self, calls: Sequence[Sequence[Request]]) -> Drawn:
        """Make calls in the event loop."""
        gate = asyncio.Semaphore(self.width)

        async def gated(call: Sequence[Request]) -> Drawn:
            async with gate:
                return await self._adraw(call)

        return {index: reply for drawn in await asyncio.gather(*map(gated, calls)) for index, reply in drawn.items()}

    def _draw(self, requests: Sequence[Request]) -> Drawn:
        with Drawing(self.booking, requests, self.config) as drawing:
            self._take(drawing, draw(*self.prepared[requests[0].sampling], len(requests), drawing.config))
        return drawing.drawn

    async def _adraw(self, requests: Sequence[Request]) -> Drawn:
        with Drawing(self.booking, requests, self.config) as drawing:
            self._take(drawing, await adraw(*self.prepared[requests[0].sampling], len(requests), drawing.config))
        return drawing.drawn

    def _take(self, drawing: Drawing, messages: Sequence[AIMessage]) -> None:
        drawing.brought(messages)
        for request, message in zip(drawing.requests, messages, strict=False):
            self.messages[request.index] = message
            reply = drawing.drawn[request.index]
            if isinstance(reply, Reply):
                self.replies[request.index] = reply

    def settle(self, result: Result) -> Receipt:
        """Book the end of an execution that came to a result."""
        spend = self._spend()
        self.router.settle(self.decision, spend, result=result)
        return Receipt(
            decision_id=self.decision.id,
            strategy=self.decision.strategy.name,
            text=result.text,
            message=self.messages.get(result.index or 0) or AIMessage(result.text),
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
