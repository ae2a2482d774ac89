"""Requests of a plan while one call answers them."""

from collections.abc import Sequence
from types import TracebackType
from typing import Self
from uuid import uuid4

from langchain_core.messages import AIMessage
from langchain_core.runnables import RunnableConfig

from budget_router.answers import ToolCall
from budget_router.errors import LedgerError, UnknownDecision
from budget_router.strategies import Failure, Reply, Request
from budget_router_langchain.booking import Booking
from budget_router_langchain.meter import meter
from budget_router_langchain.several import is_refusal

Drawn = dict[int, Reply | Failure]
"""By the sample's number."""


class Drawing:
    """A context that answers requests by one call: what it bills under its `config` is booked, what goes wrong is a `Failure`."""

    def __init__(self, booking: Booking, requests: Sequence[Request], config: RunnableConfig) -> None:
        self.booking = booking
        self.requests = requests
        self.call_id = uuid4()
        samples = str(requests[0].index) if len(requests) == 1 else f"{requests[0].index}:{requests[-1].index + 1}"
        self.config: RunnableConfig = {
            **config,
            "run_id": self.call_id,
            "run_name": f"{booking.decision.strategy.name}[{samples}]",
        }
        self.drawn: Drawn = {}
        """What was brought; samples that the provider left out, or did not want to bring together, are missing."""

    def __enter__(self) -> Self:
        meter.bind(self.call_id, self.booking)
        return self

    @property
    def outcome(self) -> Reply | Failure:
        """What came back of the first request; there once the context is left."""
        return self.drawn[self.requests[0].index]

    def replied(self, text: str) -> None:
        """Take the reply to the only request."""
        self.drawn[self.requests[0].index] = Reply(text, str(self.call_id))

    def brought(self, messages: Sequence[AIMessage]) -> None:
        """Take the model's replies, one for each request; a call for one brings one."""
        if not messages and len(self.requests) == 1:
            raise ValueError("the model gave no generation")
        for request, message in zip(self.requests, messages, strict=False):
            tools = tuple(ToolCall(call["name"], call["args"]) for call in message.tool_calls)
            self.drawn[request.index] = Reply(str(message.text), str(self.call_id), tools)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> bool:
        meter.end(self.call_id)
        if not isinstance(error, Exception):
            return False
        if len(self.requests) == 1 or not is_refusal(error):  # samples may fail in any way, the vote goes on without them
            self.drawn = {request.index: Failure(error) for request in self.requests}
        return True


def checked(replies: list[Reply | Failure]) -> list[Reply | Failure]:
    """Give the replies back, unless the books refused one of them: that is no failure of the model's."""
    for reply in replies:
        if isinstance(reply, Failure) and isinstance(reply.error, LedgerError | UnknownDecision):
            raise reply.error
    return replies
