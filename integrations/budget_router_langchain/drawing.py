"""Requests of a plan while one run answers them."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from types import TracebackType
from typing import Generic, Self, TypeVar
from uuid import UUID

from langchain_core.runnables import RunnableConfig

from budget_router.strategies import Failure, Reply, Request
from budget_router_langchain.booking import Booking
from budget_router_langchain.meter import meter
from budget_router_langchain.several import is_refusal

TAG = "budget_router"
"""Of all runs that a decision draws its samples by; also how the names of their metadata begin."""

Output = TypeVar("Output")


class Drawing(Generic[Output]):
    """A context that answers requests by one run: what that bills under its `config` is booked, what goes wrong is kept.

    An error leaves the context only if it is no failure of a sample: an interrupt, a cancellation.
    """

    def __init__(self, booking: Booking, requests: Sequence[Request], config: RunnableConfig, *, run_id: UUID) -> None:
        self.booking = booking
        self.requests = requests
        self.run_id = run_id
        samples = str(requests[0].index) if len(requests) == 1 else f"{requests[0].index}:{requests[-1].index + 1}"
        self.config: RunnableConfig = {
            **config,
            "run_id": self.run_id,
            "run_name": f"{booking.decision.strategy.name}[{samples}]",
            "tags": [*(config.get("tags") or ()), TAG],
            "metadata": {**(config.get("metadata") or {}), **self._traced()},
        }
        self.outputs: dict[int, Output] = {}
        """What was drawn, by the number of the sample."""
        self.answers: dict[int, Reply | Failure] = {}
        """What the vote makes of it; samples that the provider left out, or did not want to bring together, are missing."""

    def _traced(self) -> dict[str, str | int]:
        """What traces of the run, and of all model calls in it, can be filtered by."""
        decision = self.booking.decision
        told: dict[str, str | int] = {
            f"{TAG}_decision_id": decision.id,
            f"{TAG}_strategy": decision.strategy.name,
            f"{TAG}_sample": self.requests[0].index,
            f"{TAG}_n_samples": len(self.requests),
        }
        return told if decision.group is None else {**told, f"{TAG}_group": decision.group}

    def __enter__(self) -> Self:
        meter.bind(self.run_id, self.booking, holds=True)
        return self

    @property
    def call_id(self) -> str | None:
        """The call that brought it all; `None` when there were several, for nobody knows then which part each one billed."""
        brought = [call_id for call_id, call in list(self.booking.calls.items()) if call.status == "ok"]
        return brought[0] if len(brought) == 1 else None

    def brought(self, outputs: Sequence[Output | Exception], read: Callable[[Output], Reply]) -> None:
        """Take what was drawn, one for each request; a run for one request brings one."""
        if not outputs and len(self.requests) == 1:
            raise ValueError("the model gave no generation")
        for request, output in zip(self.requests, outputs, strict=False):
            if isinstance(output, Exception):
                self.answers[request.index] = Failure(output)
            else:
                self.outputs[request.index] = output
                self.answers[request.index] = replace(read(output), call_id=self.call_id)

    def failed(self, error: Exception) -> None:
        """Let all of them have failed."""
        self.answers = {request.index: Failure(error) for request in self.requests}

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> bool:
        meter.end(self.run_id)
        if not isinstance(error, Exception):
            return False
        if len(self.requests) == 1 or not is_refusal(error):  # samples may fail in any way, the vote goes on without them
            self.failed(error)
        return True
