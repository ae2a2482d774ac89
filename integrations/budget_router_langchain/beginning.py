"""An execution that is made before its decision is recorded, so that its first calls are opened in one commit with it."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Generic, Self

from budget_router.records import Call, Decision
from budget_router_langchain.drawing import Output
from budget_router_langchain.execution import Execution

_log = logging.getLogger("budget_router")


class Beginning(Generic[Output]):
    """A context in which a router is asked for a decision: gives `opens` to it, and the execution `of` what it decided.

    Where whoever waits for the decision is cancelled, the calls that are opened with it are closed: nobody makes them.

    Args:
        make: makes the execution of a decision; what it refuses, it refuses again when it is executed.
    """

    def __init__(self, make: Callable[[Decision], Execution[Output]]) -> None:
        self._make = make
        self._made: Execution[Output] | None = None

    def opens(self, decision: Decision) -> Sequence[Call]:
        """The calls that are made first if a decision stands."""
        try:
            self._made = self._make(decision)
            return self._made.first_calls()
        except Exception as error:  # noqa: BLE001  # whatever it is, the execution raises it where it is booked
            _log.debug("no call of decision %s is opened with it: %s", decision.id, error)
            return ()

    def of(self, decision: Decision) -> Execution[Output]:
        """The execution of the decision that stands."""
        made = self._made
        if made is None or made.decision is not decision:
            return self._make(decision)
        return made

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if isinstance(error, asyncio.CancelledError) and self._made is not None:
            self._made.let_go()
