"""A provider that fails in every way a provider can, and random schedules of calls to it, each with its invoice.

Each prompt says what becomes of its requests, so a schedule is the same again under its seed, whatever threads do. The invoice
keeps for each request under its run's id what was billed, and how much of it reached us.
"""

import asyncio
import threading
import time
from collections import Counter, defaultdict, deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from contextvars import ContextVar
from dataclasses import dataclass, field
from random import Random
from typing import Any, Literal
from uuid import UUID

from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, HumanMessage
from langchain_core.output_parsers import StrOutputParser
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.runnables import Runnable, RunnableConfig, RunnableLambda, RunnableParallel
from langchain_core.runnables.config import ContextThreadPoolExecutor
from pydantic import PrivateAttr

WORDS = ("the ", "answer ", "is ", "four ")
OUTCOMES = ("usage", "usage", "text", "refused", "lost", "timeout", "breaks", "slow")
"""Of a request: a reply with its usage, or without; refused, so not billed; billed, and the reply lost, by a broken line or a
timeout; a stream that breaks off; a reply that takes its time."""
_SLOW_TICKS, _SLOW_SECONDS = 20, 0.001

_may_be_lost: ContextVar[bool] = ContextVar("may_be_lost", default=False)
"""Whether a reply may be lost between LangChain and us: its task is cancelled, or LangChain drops it for another one's error."""


@dataclass
class Line:
    """One request on the invoice."""

    prompt: str
    is_billed: bool
    prompt_tokens: int = 0
    completion_tokens: int = 0
    reached: Literal["usage", "text", "nothing"] = "nothing"
    text: str = ""
    """All that the provider sent."""
    last_word: str = ""
    """The end of it, which a cancellation may have met on its way to us."""
    may_be_lost: bool = False


@dataclass
class Invoice:
    """What a provider billed, by the run that asked for it."""

    lines: dict[UUID, Line] = field(default_factory=dict)
    n_seen: Counter[str] = field(default_factory=Counter)
    asking: dict[str, deque[UUID]] = field(default_factory=lambda: defaultdict(deque))
    """Runs that are about to send a prompt; those of one prompt come one after the other."""
    lock: Any = field(default_factory=threading.Lock)  # Any: a lock's class has no public name

    def arrive(self, messages: list[BaseMessage]) -> tuple[Line, str]:
        """Note that a request arrived, and tell what becomes of it."""
        prompt = str(messages[-1].text)
        outcomes = prompt.split()[1:]
        with self.lock:
            outcome = outcomes[min(self.n_seen[prompt], len(outcomes) - 1)]
            self.n_seen[prompt] += 1
            line = Line(prompt, is_billed=outcome != "refused", may_be_lost=_may_be_lost.get())
            if line.is_billed:
                line.prompt_tokens, line.completion_tokens = 7 * len(outcomes), 11 * len(outcomes)
            self.lines[self.asking[prompt].popleft()] = line
        return line, outcome

    def forget(self) -> None:
        """Start anew."""
        self.lines.clear()
        self.n_seen.clear()
        self.asking.clear()


class _Tap(BaseCallbackHandler):
    """Tells an invoice under which run a prompt is about to be sent; the meter is not asked."""

    run_inline = True

    def __init__(self, invoice: Invoice) -> None:
        self.invoice = invoice

    def on_chat_model_start(self, serialized: Any, messages: list[list[BaseMessage]], *, run_id: UUID, **_: Any) -> None:  # noqa: ARG002
        self.invoice.asking[str(messages[0][-1].text)].append(run_id)


class FaultyModel(BaseChatModel):
    """Does with each request what its prompt says."""

    _invoice: Invoice = PrivateAttr()

    def __init__(self, invoice: Invoice) -> None:
        super().__init__(callbacks=[_Tap(invoice)])
        self._invoice = invoice

    @property
    def _llm_type(self) -> str:
        return "faulty"

    def _generate(self, messages: list[BaseMessage], *_: Any, **kwargs: Any) -> ChatResult:
        line, outcome = self._invoice.arrive(messages)
        if outcome == "slow":
            time.sleep(_SLOW_SECONDS)
        return _replied(line, outcome, kwargs.get("n", 1))

    async def _agenerate(self, messages: list[BaseMessage], *_: Any, **kwargs: Any) -> ChatResult:
        await asyncio.sleep(0)
        line, outcome = self._invoice.arrive(messages)
        await _ticks(_SLOW_TICKS if outcome == "slow" else 1)
        return _replied(line, outcome, kwargs.get("n", 1))

    def _stream(self, messages: list[BaseMessage], *_: Any, **__: Any) -> Iterator[ChatGenerationChunk]:
        line, outcome = self._invoice.arrive(messages)
        yield from _streamed(line, outcome)

    async def _astream(
        self,
        messages: list[BaseMessage],
        *_: Any,
        **__: Any,
    ) -> AsyncIterator[ChatGenerationChunk]:
        await asyncio.sleep(0)
        line, outcome = self._invoice.arrive(messages)
        for chunk in _streamed(line, outcome):
            yield chunk
            await _ticks(_SLOW_TICKS if outcome == "slow" else 1)


def _fail(outcome: str) -> None:
    match outcome:
        case "refused":
            raise PermissionError("too many requests")
        case "lost":
            raise ConnectionError("the line broke after the request")
        case "timeout":
            raise TimeoutError("no reply in time")


def _replied(line: Line, outcome: str, n: int) -> ChatResult:
    _fail("lost" if outcome == "breaks" else outcome)
    line.text = "".join(WORDS) * n
    line.reached = "text" if outcome == "text" else "usage"
    message = AIMessage("".join(WORDS), usage_metadata=None if outcome == "text" else _usage(line))
    return ChatResult(generations=[ChatGeneration(message=message) for _ in range(n)])


def _streamed(line: Line, outcome: str) -> Iterator[ChatGenerationChunk]:
    _fail(outcome)
    for place, word in enumerate(WORDS):
        if outcome == "breaks" and place == 2:
            raise ConnectionError("the line broke in the reply")
        line.text, line.last_word, line.reached = line.text + word, word, "text"
        yield ChatGenerationChunk(message=AIMessageChunk(content=word))
    if outcome != "text":
        line.reached = "usage"
        yield ChatGenerationChunk(message=AIMessageChunk(content="", usage_metadata=_usage(line)))


def _usage(line: Line) -> Any:  # Any: LangChain's typed dict
    prompt, completion = line.prompt_tokens, line.completion_tokens
    return {"input_tokens": prompt, "output_tokens": completion, "total_tokens": prompt + completion}


class Schedule:
    """A random sequence of ways to call a model, in one bound run."""

    def __init__(self, seed: int, invoice: Invoice) -> None:
        self.rng = Random(seed)  # noqa: S311  # it draws faults, not secrets
        self.model = FaultyModel(invoice)
        self.is_async = self.rng.random() < 0.6
        self.is_cut_off = self.is_async and self.rng.random() < 0.2
        ways = ASYNC_WAYS if self.is_async else SYNC_WAYS
        self.ways = [self.rng.choice(ways) for _ in range(self.rng.randint(1, 5))]
        self._n_prompts = 0

    def prompt(self, outcomes: Sequence[str] = OUTCOMES) -> str:
        """A prompt of its own, with what becomes of its requests."""
        self._n_prompts += 1
        return " ".join([f"{self._n_prompts}:", *self.rng.choices(outcomes, k=self.rng.randint(1, 3))])

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
    token = _may_be_lost.set(True)
    try:
        yield
    finally:
        _may_be_lost.reset(token)


async def _cancelled_after(task: "asyncio.Future[Any]", n_ticks: int) -> None:
    await _ticks(n_ticks)
    task.cancel()


async def _ticks(n_ticks: int) -> None:
    for _ in range(n_ticks):
        await asyncio.sleep(0)


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
