"""A chat model that replies by script and keeps an invoice of what it billed, as a provider would."""

import itertools
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from pydantic import ConfigDict, Field, PrivateAttr

Line = str | BaseException | AIMessage


class ScriptedModel(BaseChatModel):
    """Replies from `script`, a list that is read round and round or a function of the messages; an error in it is raised."""

    model_config = ConfigDict(arbitrary_types_allowed=True)

    script: list[Line] | Callable[[list[BaseMessage]], Line]
    model_name: str = "scripted"
    temperature: float | None = None
    max_tokens: int | None = None
    reports_usage: bool = True
    bills_errors: bool = False
    """Whether a failed request was billed all the same; it then tells so by its partial text."""
    delay: Callable[[], None] = Field(default=lambda: None)
    adelay: Callable[[], Awaitable[None]] | None = None
    invoice: list[dict[str, Any]] = Field(default_factory=list)
    """One line per request that was billed; copies of the model share it."""
    seen: list[list[BaseMessage]] = Field(default_factory=list)

    _place: Iterator[int] = PrivateAttr(default_factory=itertools.count)
    _lock: Any = PrivateAttr(default_factory=threading.Lock)

    def __init__(self, script: Any = None, **fields: Any) -> None:
        super().__init__(**(fields if script is None else {"script": script, **fields}))

    @property
    def _llm_type(self) -> str:
        return "scripted"

    def _line(self, messages: list[BaseMessage]) -> AIMessage:
        with self._lock:
            line = self.script(messages) if callable(self.script) else self.script[next(self._place) % len(self.script)]
        if isinstance(line, BaseException):
            raise line
        return line if isinstance(line, AIMessage) else AIMessage(line)

    def _replies(self, messages: list[BaseMessage], n: int) -> list[AIMessage]:
        """So many generations of one request: one line of the invoice, and each repeats the request's whole usage."""
        with self._lock:
            self.seen.append(messages)
        replies = [self._line(messages) for _ in range(n)]
        prompt = sum(len(str(one.text).split()) for one in messages)
        completion = 0
        for reply in replies:
            told = reply.usage_metadata or {"input_tokens": prompt, "output_tokens": len(str(reply.text).split())}
            prompt, completion = told["input_tokens"], completion + told["output_tokens"]
        with self._lock:
            self.invoice.append({"prompt": prompt, "completion": completion, "temperature": self.temperature, "n": n})
        if not self.reports_usage:
            return replies
        usage = {"input_tokens": prompt, "output_tokens": completion, "total_tokens": prompt + completion}
        return [reply.model_copy(update={"usage_metadata": {**(reply.usage_metadata or {}), **usage}}) for reply in replies]

    def _reply(self, messages: list[BaseMessage]) -> AIMessage:
        return self._replies(messages, 1)[0]

    def _generate(self, messages: list[BaseMessage], stop: Any = None, run_manager: Any = None, **kwargs: Any) -> ChatResult:
        self.delay()
        reply = self._reply(messages)
        return ChatResult(generations=[ChatGeneration(message=reply) for _ in range(kwargs.get("n", 1))])

    async def _agenerate(
        self, messages: list[BaseMessage], stop: Any = None, run_manager: Any = None, **kwargs: Any
    ) -> ChatResult:
        if self.adelay is not None:
            await self.adelay()
        return self._generate(messages, stop, None, **kwargs)


class BadRequest(Exception):
    """As a provider's client raises it."""

    status_code = 400


class SeveralModel(ScriptedModel):
    """Offers several generations in one request, as OpenAI's class does: `n_most` at most; at 0 it refuses to be asked."""

    n: int | None = None
    n_most: int = 1000

    def _generate(self, messages: list[BaseMessage], stop: Any = None, run_manager: Any = None, **kwargs: Any) -> ChatResult:
        self.delay()
        wanted = self.n or 1
        if wanted > 1 and not self.n_most:
            raise BadRequest("n is not supported")
        replies = self._replies(messages, min(wanted, max(self.n_most, 1)))
        return ChatResult(generations=[ChatGeneration(message=reply) for reply in replies])


class StreamingModel(ScriptedModel):
    """Streams its reply word by word; `breaks_after` words it raises."""

    breaks_after: int | None = None

    def _stream(self, messages: list[BaseMessage], stop: Any = None, run_manager: Any = None, **kwargs: Any) -> Any:
        reply = self._reply(messages)
        words = str(reply.text).split(" ")
        for place, word in enumerate(words):
            if place == self.breaks_after:
                raise ConnectionError("the line broke")
            last = place == len(words) - 1
            chunk = AIMessageChunk(word if last else word + " ", usage_metadata=reply.usage_metadata if last else None)
            generation = ChatGenerationChunk(message=chunk)
            if run_manager:
                run_manager.on_llm_new_token(word, chunk=generation)
            yield generation

    async def _astream(
        self, messages: list[BaseMessage], stop: Any = None, run_manager: Any = None, **kwargs: Any
    ) -> AsyncIterator[Any]:
        for chunk in self._stream(messages):
            yield chunk
            if self.adelay is not None:
                await self.adelay()


def billed(model: ScriptedModel) -> tuple[int, int]:
    """Prompt and completion tokens of the whole invoice."""
    return sum(line["prompt"] for line in model.invoice), sum(line["completion"] for line in model.invoice)


def booked(calls: Any) -> tuple[int, int]:
    """Prompt and completion tokens of recorded calls."""
    return sum(call.prompt_tokens for call in calls), sum(call.completion_tokens for call in calls)
