"""A provider that fails in every way a provider can, with its invoice.

Each prompt says what becomes of its requests. The invoice keeps for each request under its run's id what was billed, and how much
of it reached us.
"""

import asyncio
import threading
import time
from collections import Counter, defaultdict, deque
from collections.abc import AsyncIterator, Iterator
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, Literal
from uuid import UUID

from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from pydantic import PrivateAttr

WORDS = ("the ", "answer ", "is ", "four ")
OUTCOMES = ("usage", "usage", "text", "refused", "lost", "timeout", "breaks", "slow")
"""Of a request: a reply with its usage, or without; refused, so not billed; billed, and the reply lost, by a broken line or a
timeout; a stream that breaks off; a reply that takes its time."""
_SLOW_TICKS, _SLOW_SECONDS = 20, 0.001

may_be_lost: ContextVar[bool] = ContextVar("may_be_lost", default=False)
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
            line = Line(prompt, is_billed=outcome != "refused", may_be_lost=may_be_lost.get())
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
        await ticks(_SLOW_TICKS if outcome == "slow" else 1)
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
            await ticks(_SLOW_TICKS if outcome == "slow" else 1)


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


async def ticks(nticks: int) -> None:
    for _ in range(nticks):
        await asyncio.sleep(0)
