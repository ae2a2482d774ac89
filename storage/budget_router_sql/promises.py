"""Futures that come true many at a time: they share one condition, and whoever waits for any of them is woken once for all."""

import threading
from collections.abc import Iterable
from concurrent.futures import Future
from functools import cached_property
from typing import Any, TypeVar

T = TypeVar("T")


class Promise(Future[T]):
    """What was handed in is written: there is no way back.

    Most of what a future costs is a condition of its own, to make it and to notify it. A promise whose result alone is asked
    for has none. It becomes a whole future once somebody needs one: to be called back, or for `wait`, `as_completed` or asyncio.

    Args:
        told: condition that it shares with others.
        otherwise: what it holds where there is nothing else to tell.
    """

    def __init__(self, told: threading.Condition, otherwise: T) -> None:
        # not the future's own initialisation: see `_condition`
        self._told = told
        self._answer: object = otherwise
        self._is_kept = self._is_whole = False

    @cached_property
    def _condition(self) -> threading.Condition:  # type: ignore[override]  # Future sets it, and asks for it before all else
        with self._told:
            self._is_whole = True
            super().__init__()  # puts one of its own in this one's place
            if self._is_kept:
                self._tell()
            condition: threading.Condition = vars(self)["_condition"]
            return condition

    def cancel(self) -> bool:
        """Refuse to."""
        return False

    def cancelled(self) -> bool:
        """Tell that it never is."""
        return False

    def running(self) -> bool:
        """Tell that it never is: it is kept, or it is not."""
        return False

    def done(self) -> bool:
        """Whether it is kept."""
        return self._is_kept

    def result(self, timeout: float | None = None) -> T:
        """What was promised, once it is kept; raises what refused it, or TimeoutError after so many seconds."""
        error = self.exception(timeout)
        if error is None:
            return self._answer  # type: ignore[return-value]  # as it is no error
        try:
            raise error
        finally:
            del error  # else it refers to this frame, which refers to it

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """What refused it, if anything did, once it is kept; raises TimeoutError after so many seconds."""
        if not self._is_kept:
            with self._told:
                if not self._told.wait_for(self.done, timeout):
                    raise TimeoutError
        return self._answer if isinstance(self._answer, BaseException) else None

    def _tell(self) -> None:
        """Let those know who asked for more than the result."""
        if isinstance(self._answer, BaseException):
            self.set_exception(self._answer)
        else:
            self.set_result(self._answer)  # type: ignore[arg-type]  # as above


def keep(told: threading.Condition, answers: Iterable[tuple[Promise[Any], object]]) -> None:  # Any: of each its own
    """Keep promises that share a condition: each holds its answer, an error, or with `None` what it holds otherwise."""
    whole = []
    with told:
        for promise, answer in answers:
            if answer is not None:
                promise._answer = answer
            promise._is_kept = True
            if promise._is_whole:
                whole.append(promise)
        told.notify_all()
    for promise in whole:
        promise._tell()
