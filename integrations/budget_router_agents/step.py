"""One step of an agent under a decision: its model is asked as often as decided, and the majority's reply goes on.

As in the executor the thinking is written once; the sync and the async door differ in how a list of requests is answered.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from langchain.agents.middleware import ModelRequest, ModelResponse
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import SystemMessage
from langchain_core.runnables import RunnableConfig, RunnableLambda
from langchain_core.runnables.config import ContextThreadPoolExecutor
from langgraph.errors import GraphBubbleUp

from budget_router.errors import NoAnswer
from budget_router.menu import Sampling, stages
from budget_router.records import Decision, Spend
from budget_router.router import BudgetRouter
from budget_router.strategies import AnswerRule, Failure, Plan, Reply, Request, Result, arun, plan, run
from budget_router_agents.vote_key import vote_key
from budget_router_langchain import Booking, tuned
from budget_router_langchain.drawing import Drawing, checked
from budget_router_langchain.tuned import chosen, instructed

Asked = ModelRequest[Any]  # Any: the user's own context
Replied = ModelResponse[Any]  # Any: the user's own structured response


class Step:
    """One model call of an agent while it is made, as often as decided."""

    def __init__(
        self,
        router: BudgetRouter,
        decision: Decision,
        asked: Asked,
        *,
        models: Mapping[str, BaseChatModel],
        answer: AnswerRule,
        config: RunnableConfig,
        max_concurrency: int | None,
    ) -> None:
        self.decision = decision
        self.answer = answer
        self.config = config
        self.router = router
        self.width = max_concurrency or config.get("max_concurrency") or decision.strategy.n_samples
        self.began = time.monotonic()
        self.bookings: list[Booking] = []
        self.replies: dict[int, Replied] = {}
        streams = decision.strategy.n_samples == 1
        self.requests: dict[Sampling, Asked] = {
            sampling: asked.override(
                model=tuned(chosen(sampling, asked.model, models), sampling, streams=streams),
                system_message=_instructed(asked.system_message, sampling.instruction),
            )
            for sampling in (stage.sampling for stage in stages(decision.strategy))
        }

    @property
    def spend(self) -> Spend:
        """What was billed so far."""
        calls = [call for booking in list(self.bookings) for call in list(booking.calls.values())]
        return Spend.of(calls, seconds=time.monotonic() - self.began)

    def run(self, handler: Callable[[Asked], Replied]) -> tuple[Replied, Result]:
        """Ask and vote; raises what the model raised where no sample brought a reply."""

        def draw(request: Request) -> Reply | Failure:
            with self._drawing(request) as drawing:
                asked = self.requests[request.sampling]
                self.replies[request.index] = RunnableLambda(handler).invoke(asked, drawing.config)
                drawing.replied(self._key(request))
            return self._traced(drawing)

        def complete(requests: Sequence[Request]) -> list[Reply | Failure]:
            if len(requests) == 1:
                return _passed([draw(requests[0])])
            with ContextThreadPoolExecutor(max_workers=min(self.width, len(requests))) as pool:
                return _passed(list(pool.map(draw, requests)))

        try:
            return self._elected(run(self._plan(), complete))
        except NoAnswer as error:
            raise error.__cause__ or error from error

    async def arun(self, handler: Callable[[Asked], Awaitable[Replied]]) -> tuple[Replied, Result]:
        """Do as `run`, in a coroutine."""
        gate = asyncio.Semaphore(self.width)

        async def ask(asked: Asked) -> Replied:
            return await handler(asked)

        async def draw(request: Request) -> Reply | Failure:
            async with gate:
                with self._drawing(request) as drawing:
                    asked = self.requests[request.sampling]
                    self.replies[request.index] = await RunnableLambda(ask).ainvoke(asked, drawing.config)
                    drawing.replied(self._key(request))
                return self._traced(drawing)

        async def complete(requests: Sequence[Request]) -> list[Reply | Failure]:
            return _passed(list(await asyncio.gather(*map(draw, requests))))

        try:
            return self._elected(await arun(self._plan(), complete))
        except NoAnswer as error:
            raise error.__cause__ or error from error

    def _plan(self) -> Plan:
        return plan(self.decision.strategy, answer=lambda key: key or None)

    def _drawing(self, request: Request) -> Drawing:
        """A sample has books of its own, for it may take several calls: a retry's, a fallback's."""
        booking = Booking(self.router, self.decision)
        self.bookings.append(booking)
        return Drawing(booking, [request], self.config)

    def _key(self, request: Request) -> str:
        return vote_key(self.replies[request.index], self.answer) or ""

    @staticmethod
    def _traced(drawing: Drawing) -> Reply | Failure:
        """The outcome, traced to the call that brought it; a reply that some middleware had at hand took none."""
        outcome, calls = drawing.outcome, list(drawing.booking.calls)
        return replace(outcome, call_id=calls[-1] if calls else None) if isinstance(outcome, Reply) else outcome

    def _elected(self, result: Result) -> tuple[Replied, Result]:
        winner = next(draw for draw in result.draws if draw.answer == result.answer)
        return self.replies[winner.index], result


def _instructed(system_message: SystemMessage | None, instruction: str | None) -> SystemMessage | None:
    leading = instructed([system_message] if system_message else [], instruction)
    return leading[0] if leading and isinstance(leading[0], SystemMessage) else None


def _passed(replies: list[Reply | Failure]) -> list[Reply | Failure]:
    """Give the replies back, unless one of them is the graph's own signal, or the books refused it."""
    for reply in replies:
        if isinstance(reply, Failure) and isinstance(reply.error, GraphBubbleUp):
            raise reply.error
    return checked(replies)
