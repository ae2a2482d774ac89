"""A decided strategy while it is executed: rounds of samples, side by side, each billed to the decision.

The thinking is written once and never awaits; the sync and the async door differ in how a list of requests is answered. What a
sample is drawn from (a chat model, a chain, the step of an agent) is a `Source`.
"""

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Iterable, Iterator, MutableMapping, Sequence
from concurrent.futures import Future, wait
from contextlib import aclosing, closing, contextmanager
from contextvars import copy_context
from functools import cached_property
from threading import Thread
from typing import Any, Generic, Protocol, TypeVar
from uuid import UUID

from langchain_core.runnables import RunnableConfig
from langchain_core.runnables.config import ContextThreadPoolExecutor

from budget_router.answers import are_quick
from budget_router.errors import (
    BudgetRouterError,
    CapReached,
    InvalidInput,
    LedgerError,
    NoAnswer,
    Unbounded,
    UnknownDecision,
    UnknownTariff,
)
from budget_router.ids import new_id
from budget_router.menu import Sampling
from budget_router.records import Call, Decision, Spend
from budget_router.router import BudgetRouter
from budget_router.strategies import AnswerRule, Failure, Plan, Reply, Request, Result, arun, first_round, plan, run
from budget_router_langchain.booking import Booking
from budget_router_langchain.drawing import Drawing, Output
from budget_router_langchain.progress import AsyncOnEvent, Progress, read_once

_log = logging.getLogger("budget_router")
_NOTHING = object()
REFUSALS = (LedgerError, UnknownDecision, CapReached, Unbounded, UnknownTariff)
"""Errors by which the books or a hard cap keep a call from being made: the next sample would be refused as well."""

Drawn_co = TypeVar("Drawn_co", covariant=True)


class Source(Protocol[Drawn_co]):
    """What the samples of a decision are drawn from."""

    def asks(self, sampling: Sampling) -> str | None:
        """Name of the model where a run is one call of it, under the run's own id; else `None`."""
        ...

    def width(self, sampling: Sampling) -> int:
        """Most samples that one run brings; whatever it does not bring is asked for singly."""
        ...

    def ready(self, sampling: Sampling) -> None:
        """Do once, before the first of them is drawn, what all samples have in common."""
        ...

    async def aready(self, sampling: Sampling) -> None:
        """Do as `ready`, in a coroutine."""
        ...

    def draw(self, sampling: Sampling, n_samples: int, config: RunnableConfig) -> Sequence[Drawn_co | Exception]:
        """Draw samples in one run under `config`; there may come fewer."""
        ...

    async def adraw(self, sampling: Sampling, n_samples: int, config: RunnableConfig) -> Sequence[Drawn_co | Exception]:
        """Do as `draw`, in a coroutine."""
        ...


class Execution(Generic[Output]):
    """One decision while it is executed.

    Args:
        router: that made the decision.
        decision: to be executed.
        source: makes what its samples are drawn from, and refuses what cannot be executed before anything is paid.
        read: finds in a sample what the vote is about.
        answer: finds the answer in a reply's text.
        config: of the run that this is a part of.
        max_concurrency: most runs at once; by default the config's, and without one all of them.
        timeout_seconds: after which a run counts as failed. A coroutine is then cancelled; a thread cannot be, so it goes on, and
            what it bills is booked when it ends.
        replies: what an earlier attempt at this decision has brought, by the number of the sample: it is not drawn again, and the
            attempt's calls are settled with this one's. Each new reply is put there as it arrives.
        passes: errors that are no failure of a sample, and end the execution.
        on_event: told of each sample as it arrives, and of the vote; see `budget_router_langchain.progress`.
    """

    def __init__(
        self,
        router: BudgetRouter,
        decision: Decision,
        source: Callable[[], Source[Output]],
        *,
        read: Callable[[Output], Reply],
        answer: AnswerRule,
        config: RunnableConfig,
        max_concurrency: int | None = None,
        timeout_seconds: float | None = None,
        replies: MutableMapping[int, Reply] | None = None,
        passes: tuple[type[Exception], ...] = (),
        on_event: AsyncOnEvent | None = None,
    ) -> None:
        if timeout_seconds is not None and not timeout_seconds > 0:
            raise InvalidInput(f"timeout_seconds is {timeout_seconds:g}: let it be above 0, or None")
        self.router = router
        self.decision = decision
        self._make_source = source
        self.read = read
        self.answer = answer if on_event is None else read_once(answer)
        self._rule = answer
        self.config = config
        self.width = max_concurrency or config.get("max_concurrency") or decision.strategy.n_samples
        self.timeout_seconds = timeout_seconds
        self.passes: tuple[type[Exception], ...] = (*REFUSALS, *passes)
        self._progress = None if on_event is None else Progress(decision, self.answer, on_event, self.passes)
        self.replies = {} if replies is None else replies
        self.outputs: dict[int, Output] = {}
        """What was drawn, by the number of the sample."""
        self.beside = Booking(router, decision, settles_soon=True)
        """Books of calls that belong to no sample."""
        if replies is not None:
            self.beside.calls.update({call.id: call for call in router.ledger.decision(decision.id).calls})
        self._bookings = [self.beside]
        self._failed: dict[int, Failure] = {}
        self._opened: dict[int, Call] = {}
        self._singly: set[Sampling] = set()
        self._began = time.monotonic()

    @property
    def is_followed(self) -> bool:
        """Whether anybody is told of its events."""
        return self._progress is not None

    @cached_property
    def source(self) -> Source[Output]:
        """What the samples are drawn from."""
        return self._make_source()

    @property
    def spend(self) -> Spend:
        """What was billed so far."""
        calls = [call for booking in list(self._bookings) for call in list(booking.calls.values())]
        return Spend.of(calls, seconds=time.monotonic() - self._began)

    def first_calls(self) -> list[Call]:
        """The calls that it makes first, as far as they are known before: open them with the decision, or not at all."""
        requests = first_round(self.decision.strategy)
        model = self.source.asks(requests[0].sampling)
        if model is not None:
            for run in self._shared(requests):
                call = Call(id=str(UUID(new_id())), decision_id=self.decision.id, model=model, status="open")
                self._opened[run[0].index] = call
        return [*self._opened.values()]

    def let_go(self) -> None:
        """Close the calls that were opened with the decision and not made by now: they are not made any more, and not billed."""
        unmade = [*self._opened.values(), *(call for booking in self._bookings if (call := booking.let_go()))]
        self._opened.clear()
        for call in unmade:
            self.beside.closed(call.model_copy(update={"status": "error", "source": "cache"}))

    def run(self) -> Result:
        """Draw and vote; raises NoAnswer when every sample failed."""
        return self._voted(run(self._plan(), self._complete))

    async def arun(self) -> Result:
        """Do as `run`, in a coroutine."""
        return await self._avoted(await arun(self._plan(), self._acomplete, is_quick=self._is_quick))

    def stream(self, pieces: Callable[[Sampling, RunnableConfig], Generator[Any, None, None]]) -> Iterator[Any | Result]:
        """Draw the only sample piece by piece; last of all comes the result. Any: a piece is whatever adds up to the sample."""
        steps = self._plan()
        (request,) = next(steps)
        self.source.ready(request.sampling)
        with self._drawing([request]) as drawing:
            total: Any = _NOTHING
            with closing(pieces(request.sampling, drawing.config)) as stream:  # what is left early is drained, and billed
                for piece in stream:
                    total = piece if total is _NOTHING else _added(total, piece)
                    yield piece
            drawing.brought([] if total is _NOTHING else [total], self.read)
        self._keep(drawing)
        yield self._voted(_last_step(steps, self._all([request])))

    async def astream(self, pieces: Callable[[Sampling, RunnableConfig], AsyncGenerator[Any, None]]) -> AsyncGenerator[Any, None]:
        """Do as `stream`, in a coroutine."""
        steps = self._plan()
        (request,) = next(steps)
        await self.source.aready(request.sampling)
        with self._drawing([request]) as drawing:
            total: Any = _NOTHING
            async with aclosing(pieces(request.sampling, drawing.config)) as stream:
                async for piece in stream:
                    total = piece if total is _NOTHING else _added(total, piece)
                    yield piece
            drawing.brought([] if total is _NOTHING else [total], self.read)
        await self._akeep(drawing)
        replies = self._all([request])
        is_quick = self._is_quick(replies)
        yield await self._avoted(_last_step(steps, replies) if is_quick else await asyncio.to_thread(_last_step, steps, replies))

    def settle(self, result: Result) -> Spend:
        """Book the end of an execution that came to a result."""
        spend = self._total()
        self.router.settle(self.decision, spend, result=result)
        return spend

    async def asettle(self, result: Result) -> Spend:
        """Do as `settle`, in a coroutine."""
        spend = self._total()
        await self.router.asettle(self.decision, spend, result=result)
        return spend

    @contextmanager
    def accounted(self) -> Iterator[None]:
        """Book the end of what fails inside as well; from here on it takes its time."""
        self._began = time.monotonic()
        try:
            yield
        except BaseException:
            self._fail()
            raise

    def _fail(self) -> None:
        """Book what was spent in vain; the error that made it so is about to be raised, and goes first."""
        try:
            self.router.settle(self.decision, self._total(), status="failed")
        except BudgetRouterError:
            _log.exception("decision %s failed, and its settlement was refused as well", self.decision.id)

    def _total(self) -> Spend:
        """What it is settled with; calls that a thread which was left alone still makes are late, and kept each at once."""
        self.let_go()
        for booking in list(self._bookings):
            booking.settles_soon = False
        return self.spend

    def _is_quick(self, replies: Iterable[Reply | Failure]) -> bool:
        """Whether the answers of some replies are read at once; those that call tools tell nothing of their length."""
        arrived = [reply for reply in replies if isinstance(reply, Reply)]
        return not any(reply.tool_calls for reply in arrived) and are_quick(self._rule, [reply.text for reply in arrived])

    def _plan(self) -> Plan:
        return plan(self.decision.strategy, answer=self.answer)

    def _complete(self, requests: Sequence[Request]) -> list[Reply | Failure]:
        """Answer a round: in as few runs as the source offers, and what those did not bring in a run of its own."""
        if runs := self._shared(requests):
            self.source.ready(requests[0].sampling)
            self._side_by_side(runs)
        if missing := self._missing(requests):
            self._side_by_side(missing)
        return self._all(requests)

    async def _acomplete(self, requests: Sequence[Request]) -> list[Reply | Failure]:
        """Do as `_complete`, in the event loop."""
        if runs := self._shared(requests):
            await self.source.aready(requests[0].sampling)
            await self._aside_by_side(runs)
        if missing := self._missing(requests):
            await self._aside_by_side(missing)
        return self._all(requests)

    def _open(self, requests: Sequence[Request]) -> list[Request]:
        """Those of a round that nobody has answered yet."""
        return [request for request in requests if request.index not in self.replies and request.index not in self._failed]

    def _shared(self, requests: Sequence[Request]) -> list[Sequence[Request]]:
        """Put a round's requests, which are all of one sampling, into runs."""
        open_ = self._open(requests)
        width = 1 if not open_ or open_[0].sampling in self._singly else self.source.width(open_[0].sampling)
        return [open_[start : start + width] for start in range(0, len(open_), width)]

    def _missing(self, requests: Sequence[Request]) -> list[Sequence[Request]]:
        """What runs for several did not bring; the source is not asked for several again."""
        missing = [[request] for request in self._open(requests)]
        if missing:
            self._singly.add(requests[0].sampling)
        return list(missing)

    def _all(self, requests: Sequence[Request]) -> list[Reply | Failure]:
        replies = [self.replies.get(request.index) or self._failed[request.index] for request in requests]
        for reply in replies:
            if isinstance(reply, Failure) and isinstance(reply.error, self.passes):
                raise reply.error
        return replies

    def _side_by_side(self, runs: Sequence[Sequence[Request]]) -> None:
        """Make runs in threads."""
        if len(runs) < 2:
            for requests in runs:
                self._keep(self._draw_in_time(requests))
            return
        with ContextThreadPoolExecutor(max_workers=min(self.width, len(runs))) as pool:
            futures = [pool.submit(lambda requests: self._keep(self._draw_in_time(requests)), requests) for requests in runs]
            try:
                for future in futures:
                    future.result()
            except BaseException:
                for future in futures:  # what has not begun need not be paid
                    future.cancel()
                raise

    async def _aside_by_side(self, runs: Sequence[Sequence[Request]]) -> None:
        """Make runs in the event loop."""
        if len(runs) == 1:  # without a task of its own
            await self._akeep(await self._adraw(runs[0]))
            return
        gate = asyncio.Semaphore(self.width)

        async def gated(requests: Sequence[Request]) -> None:
            async with gate:
                await self._akeep(await self._adraw(requests))

        await asyncio.gather(*map(gated, runs))

    def _draw(self, requests: Sequence[Request]) -> Drawing[Output]:
        with self._drawing(requests) as drawing:
            drawing.brought(self.source.draw(requests[0].sampling, len(requests), drawing.config), self.read)
        return drawing

    async def _adraw(self, requests: Sequence[Request]) -> Drawing[Output]:
        with self._drawing(requests) as drawing:
            drawn = self.source.adraw(requests[0].sampling, len(requests), drawing.config)
            drawing.brought(await (drawn if self.timeout_seconds is None else self._in_time(drawn)), self.read)
        return drawing

    async def _in_time(self, drawn: Awaitable[Sequence[Output | Exception]]) -> Sequence[Output | Exception]:
        limit = asyncio.timeout(self.timeout_seconds)
        try:
            async with limit:
                return await drawn
        except TimeoutError as error:
            raise (self._late() if limit.expired() else error) from error.__cause__

    def _draw_in_time(self, requests: Sequence[Request]) -> Drawing[Output]:
        """Draw in a thread of its own that is left alone when its time is over."""
        if self.timeout_seconds is None:
            return self._draw(requests)
        drawn: Future[Drawing[Output]] = Future()

        def draw() -> None:
            try:
                drawn.set_result(self._draw(requests))
            except BaseException as error:  # noqa: BLE001  # whoever waits raises it
                drawn.set_exception(error)

        Thread(target=copy_context().run, args=(draw,), daemon=True).start()
        if not wait([drawn], self.timeout_seconds).done:
            late = self._drawing(requests)
            late.failed(self._late())
            return late
        return drawn.result()

    def _late(self) -> TimeoutError:
        return TimeoutError(
            f"no reply within {self.timeout_seconds:g} seconds: raise timeout_seconds, or ask for shorter replies"
        )

    def _drawing(self, requests: Sequence[Request]) -> Drawing[Output]:
        """A run has books of its own, for it may take several calls: a retry's, a fallback's, a second model's."""
        call = self._opened.pop(requests[0].index, None)
        booking = Booking(self.router, self.decision, n_samples=len(requests), settles_soon=True, opened_before=call)
        self._bookings.append(booking)
        return Drawing(booking, requests, self.config, run_id=UUID(call.id if call else new_id()))

    def _voted(self, result: Result) -> Result:
        """Tell of the vote."""
        if self._progress is not None:
            self._progress.voted(result, len(self._failed))
        return result

    async def _avoted(self, result: Result) -> Result:
        """Do as `_voted`, in a coroutine."""
        if self._progress is not None:
            await self._progress.avoted(result, len(self._failed))
        return result

    def _keep(self, drawing: Drawing[Output]) -> None:
        """Note what a run brought, and tell of it."""
        self._note(drawing)
        if self._progress is not None:
            self._progress.arrived(drawing)

    async def _akeep(self, drawing: Drawing[Output]) -> None:
        """Do as `_keep`, in a coroutine."""
        self._note(drawing)
        if self._progress is not None:
            await self._progress.aarrived(drawing, is_quick=self._is_quick(drawing.answers.values()))

    def _note(self, drawing: Drawing[Output]) -> None:
        self.outputs |= drawing.outputs
        for index, answer in drawing.answers.items():
            if isinstance(answer, Failure):
                self._failed[index] = answer
            else:
                self.replies[index] = answer


@contextmanager
def own_errors() -> Iterator[None]:
    """Raise what the model raised, where no sample brought a reply: its retries and fallbacks know that by its type."""
    own: BaseException | None = None
    try:
        yield
    except NoAnswer as error:
        own = error.__cause__ or error
    if own is not None:  # as it came: raised from NoAnswer, whose cause it is, it would be the cause of its own cause
        raise own


def _last_step(steps: Plan, replies: Sequence[Reply | Failure]) -> Result:
    try:
        steps.send(replies)
    except StopIteration as done:
        result: Result = done.value
        return result
    raise AssertionError("a plan of one sample asks once")


def _added(total: Any, piece: Any) -> Any:  # Any: what a chain streams; pieces that do not add up replace each other
    try:
        return total + piece
    except TypeError:
        return piece
