"""One request of a plan while it is answered."""

from types import TracebackType
from typing import Self
from uuid import uuid4

from langchain_core.runnables import RunnableConfig

from budget_router.errors import LedgerError, UnknownDecision
from budget_router.strategies import Failure, Reply, Request
from budget_router_langchain.booking import Booking
from budget_router_langchain.meter import meter


class Drawing:
    """A context that answers one request: model calls under its `config` are booked, and whatever goes wrong is a `Failure`."""

    def __init__(self, booking: Booking, request: Request, config: RunnableConfig) -> None:
        self.booking = booking
        self.call_id = uuid4()
        self.config: RunnableConfig = {
            **config,
            "run_id": self.call_id,
            "run_name": f"{booking.decision.strategy.name}[{request.index}]",
        }
        self.outcome: Reply | Failure
        """What came back; there once the context is left."""

    def __enter__(self) -> Self:
        meter.bind(self.call_id, self.booking)
        return self

    def replied(self, text: str) -> None:
        """Take the reply."""
        self.outcome = Reply(text, str(self.call_id))

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> bool:
        meter.end(self.call_id)
        if not isinstance(error, Exception):
            return False
        self.outcome = Failure(error)  # a sample may fail in any way, the vote goes on without it
        return True


def checked(replies: list[Reply | Failure]) -> list[Reply | Failure]:
    """Give the replies back, unless the books refused one of them: that is no failure of the model's."""
    for reply in replies:
        if isinstance(reply, Failure) and isinstance(reply.error, LedgerError | UnknownDecision):
            raise reply.error
    return replies
