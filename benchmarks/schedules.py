"""Random schedules of all the ways to call a chat model, a failing one, alone and under a budget.

A schedule is the same again under its seed, whatever threads do.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from random import Random
from typing import Any

from langchain_core.messages import HumanMessage
from langchain_core.output_parsers import StrOutputParser
from langchain_core.runnables import Runnable, RunnableConfig, RunnableLambda, RunnableParallel
from langchain_core.runnables.config import ContextThreadPoolExecutor

from benchmarks.faults import OUTCOMES, FaultyModel, Invoice, may_be_lost, ticks
from budget_router import Budget, BudgetRouter, Menu, SingleShot
from budget_router_langchain import budget


class Schedule:
    """A random sequence of ways to call a model, in one bound run; with a router some of them are under a budget of their own."""

    def __init__(self, seed: int, invoice: Invoice, router: BudgetRouter | None = None) -> None:
        self.rng = Random(seed)  # noqa: S311  # it draws faults, not secrets
        self.model = FaultyModel(invoice)
        self.is_async = self.rng.random() < 0.6
        self.is_cut_off = self.is_async and self.rng.random() < 0.2
        self.router = router or BudgetRouter(Menu([SingleShot()]), Budget(per_task=1e9))
        ways = ASYNC_WAYS if self.is_async else SYNC_WAYS
        if router is not None:
            ways = [*ways, *(ASYNC_BUDGETED if self.is_async else BUDGETED)]
        self.ways = [self.rng.choice(ways) for _ in range(self.rng.randint(1, 5))]
        self._n_prompts = 0

    def prompt(self, outcomes: Sequence[str] = OUTCOMES) -> str:
        """A prompt of its own, with what becomes of its requests."""
        self._n_prompts += 1
        return " ".join([f"{self._n_prompts}:", *self.rng.choices(outcomes, k=self.rng.randint(1, 3))])

    def budgeted(self) -> Runnable[Any, str]:
        """A chain under a budget; one request of a prompt at a time, for the invoice tells equal ones apart by their order."""
        asking = self.rng.choice(
            [
                self.model,
                self.model.with_retry(stop_after_attempt=2, wait_exponential_jitter=False),
                self.model.with_fallbacks([self.model]),
            ]
        )
        return budget(asking | StrOutputParser(), router=self.router, max_concurrency=None if self.is_async else 1)

    def run(self, enter: Callable[[RunnableConfig], None]) -> None:
        """Run it; `enter` is called with the config of the run that all is a part of."""

        def play(_: str, config: RunnableConfig) -> None:
            enter(config)
            for way in self.ways:
                with suppress(Exception):
                    way(self)

        async def aplay(_: str, config: RunnableConfig) -> None:
            enter(config)
            for way in self.ways:
                with suppress(Exception):
                    await way(self)

        async def whole() -> None:
            asyncio.get_running_loop().set_exception_handler(lambda *_: None)  # errors of tasks that were cut off
            root = asyncio.ensure_future(RunnableLambda(play, aplay).ainvoke("go"))
            if self.is_cut_off:
                await _cancelled_after(root, self.rng.randint(1, 60))
            with suppress(asyncio.CancelledError):
                await root

        if not self.is_async:
            RunnableLambda(play).invoke("go")
            return
        with _lossy() if self.is_cut_off else nullcontext():
            asyncio.run(whole())


def _asked(s: "Schedule") -> Runnable[Any, Any]:
    prompt = s.prompt()
    return RunnableLambda(lambda _: prompt) | s.model


@contextmanager
def _lossy() -> Iterator[None]:
    token = may_be_lost.set(True)
    try:
        yield
    finally:
        may_be_lost.reset(token)


async def _cancelled_after(task: "asyncio.Future[Any]", n_ticks: int) -> None:
    await ticks(n_ticks)
    task.cancel()


def _invoke(s: Schedule) -> None:
    s.model.invoke(s.prompt())


def _chain(s: Schedule) -> None:
    (s.model | StrOutputParser()).invoke(s.prompt())


def _several(s: Schedule) -> None:
    s.model.bind(n=3).invoke(s.prompt())


def _batch(s: Schedule) -> None:
    s.model.batch([s.prompt() for _ in range(3)], return_exceptions=True)


def _generate(s: Schedule) -> None:
    with _lossy():  # where the second prompt fails, nobody is given the first one's reply
        s.model.generate([[HumanMessage(s.prompt())] for _ in range(2)])


def _stream(s: Schedule) -> None:
    for _ in s.model.stream(s.prompt()):
        pass


def _abort(s: Schedule) -> None:
    stream = s.model.stream(s.prompt())
    for _ in range(s.rng.randint(1, 3)):
        next(stream)
    stream.close()  # type: ignore[attr-defined]  # a generator, though LangChain promises an iterator


def _abandon(s: Schedule) -> None:
    next(s.model.stream(s.prompt()))


def _chain_abort(s: Schedule) -> None:
    # LangChain drains the model, and an error that it then meets has nobody to go to
    next((s.model | StrOutputParser()).stream(s.prompt(["usage", "text", "slow"])))


def _retry(s: Schedule) -> None:
    s.model.with_retry(stop_after_attempt=3, wait_exponential_jitter=False).invoke(s.prompt())


def _fallback(s: Schedule) -> None:
    s.model.with_fallbacks([s.model, s.model]).invoke(s.prompt())


def _parallel(s: Schedule) -> None:
    RunnableParallel(a=_asked(s), b=_asked(s) | StrOutputParser()).invoke("go")


def _threads(s: Schedule) -> None:
    with ContextThreadPoolExecutor(3) as pool:
        list(pool.map(s.model.invoke, [s.prompt() for _ in range(3)]))


async def _ainvoke(s: Schedule) -> None:
    await s.model.ainvoke(s.prompt())


async def _abatch(s: Schedule) -> None:
    await s.model.abatch([s.prompt() for _ in range(3)], return_exceptions=True)


async def _agenerate(s: Schedule) -> None:
    await s.model.agenerate([[HumanMessage(s.prompt())] for _ in range(2)])


async def _astream(s: Schedule) -> None:
    async for _ in s.model.astream(s.prompt()):
        pass


async def _aabort(s: Schedule) -> None:
    stream = s.model.astream(s.prompt())
    for _ in range(s.rng.randint(1, 3)):
        await anext(stream)
    await stream.aclose()  # type: ignore[attr-defined]  # a generator, though LangChain promises an iterator


async def _aabandon(s: Schedule) -> None:
    await anext(s.model.astream(s.prompt()))


async def _achain_abort(s: Schedule) -> None:
    await anext((s.model | StrOutputParser()).astream(s.prompt()))


async def _aevents(s: Schedule) -> None:
    with _lossy():  # what is closed early is cancelled
        events = (s.model | StrOutputParser()).astream_events(s.prompt(), version="v2")
        for _ in range(s.rng.randint(1, 8)):
            await anext(events)
        await events.aclose()  # type: ignore[attr-defined]


async def _aretry(s: Schedule) -> None:
    await s.model.with_retry(stop_after_attempt=3, wait_exponential_jitter=False).ainvoke(s.prompt())


async def _afallback(s: Schedule) -> None:
    await s.model.with_fallbacks([s.model, s.model]).ainvoke(s.prompt())


async def _aparallel(s: Schedule) -> None:
    with _lossy():  # where one of the two fails the other goes on alone, and is cancelled when the event loop ends
        await RunnableParallel(a=_asked(s), b=_asked(s) | StrOutputParser()).ainvoke("go")


async def _athread(s: Schedule) -> None:
    await asyncio.to_thread(s.model.invoke, s.prompt())


async def _gather(s: Schedule) -> None:
    ways = [s.rng.choice(_SIMPLE)(s) for _ in range(3)]
    await asyncio.gather(*ways, return_exceptions=True)


async def _cancel(s: Schedule) -> None:
    with _lossy():
        task = asyncio.ensure_future(s.rng.choice([*_SIMPLE, _athread, _gather])(s))
    await _cancelled_after(task, s.rng.randint(0, 30))
    with suppress(asyncio.CancelledError):
        await task


async def _timeout(s: Schedule) -> None:
    with _lossy():
        await asyncio.wait_for(s.rng.choice(_SIMPLE)(s), timeout=s.rng.choice([0, 0.0005]))


def _budget(s: Schedule) -> None:
    s.budgeted().invoke(s.prompt())


def _budget_batch(s: Schedule) -> None:
    s.budgeted().batch([s.prompt() for _ in range(3)], return_exceptions=True)


def _budget_stream(s: Schedule) -> None:
    for _ in s.budgeted().stream(s.prompt()):
        pass


def _budget_abort(s: Schedule) -> None:
    # as in `_chain_abort`: a chain is drained
    stream = s.budgeted().stream(s.prompt(["usage", "text", "slow"]))
    next(stream)
    stream.close()  # type: ignore[attr-defined]  # a generator, though LangChain promises an iterator


async def _abudget(s: Schedule) -> None:
    await s.budgeted().ainvoke(s.prompt())


async def _abudget_batch(s: Schedule) -> None:
    await s.budgeted().abatch([s.prompt() for _ in range(3)], return_exceptions=True)


async def _abudget_stream(s: Schedule) -> None:
    async for _ in s.budgeted().astream(s.prompt()):
        pass


async def _abudget_abort(s: Schedule) -> None:
    with _lossy():  # what is closed early is cancelled
        stream = s.budgeted().astream(s.prompt())
        await anext(stream)
        await stream.aclose()  # type: ignore[attr-defined]  # a generator, though LangChain promises an iterator


async def _abudget_cancel(s: Schedule) -> None:
    with _lossy():
        task = asyncio.ensure_future(s.rng.choice([_abudget, _abudget_batch, _abudget_stream])(s))
    await _cancelled_after(task, s.rng.randint(0, 60))
    with suppress(asyncio.CancelledError):
        await task


AsyncWay = Callable[[Schedule], Awaitable[None]]
_SIMPLE: list[Callable[[Schedule], Any]] = [_ainvoke, _abatch, _agenerate, _astream, _aabort, _aretry, _afallback, _aparallel]
SYNC_WAYS: list[Callable[[Schedule], Any]] = [
    *(_invoke, _chain, _several, _batch, _generate, _stream, _abort, _abandon),
    *(_chain_abort, _retry, _fallback, _parallel, _threads),
]
ASYNC_WAYS: list[Callable[[Schedule], Any]] = [
    *(*_SIMPLE, _aabandon, _achain_abort, _aevents, _athread, _gather),
    *(_cancel, _cancel, _timeout),
]
BUDGETED: list[Callable[[Schedule], Any]] = [_budget, _budget_batch, _budget_stream, _budget_abort]
ASYNC_BUDGETED: list[Callable[[Schedule], Any]] = [_abudget, _abudget_batch, _abudget_stream, _abudget_abort, _abudget_cancel]
