"""Group commit: many threads and coroutines hand in entries, one thread writes all that wait in one transaction.

While one batch is being committed, the next one gathers: under load commits grow instead of queues. Whoever wants to know waits
for the future of an entry; whoever does not, goes on. The queue is bounded, and who finds it full waits.
"""

import asyncio
import atexit
import logging
import math
import os
import signal
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from types import FrameType
from typing import Any, TypeVar

from budget_router.errors import BudgetRouterError, LedgerUnavailable
from budget_router.paces import tell_all
from budget_router_sql.batches import Answer
from budget_router_sql.entries import Entry
from budget_router_sql.promises import Promise, keep

_log = logging.getLogger("budget_router")

MOST_AT_ONCE = 500
"""Entries of one transaction: enough to make the commit's share small, few enough to be retried one by one."""
MOST_QUEUED = 10_000
"""Entries that wait in memory: some ten megabytes, two seconds of a database's work."""
LINGER_SECONDS = 0.05
"""How long what nobody waits for gathers: a commit for each would take the work of many from those who decide."""
BURST_SECONDS = 0.001
"""How long after a write in an event loop the next one waits for company: longer than it takes to write, so that many coroutines
at once share their commits, and one by itself loses no turn."""
RETRY_SECONDS = 0.5
"""Between two attempts to write what nobody waits for while the database is away."""
DRAIN_SECONDS = 30.0
"""How long an exit waits for what is queued; a supervisor's patience is no longer."""

Write = Callable[[Sequence[Entry]], Sequence[Answer]]

T = TypeVar("T")

_Waiting = tuple[Entry | Callable[[], Entry], Promise[Any] | None]  # Any: of what each holds otherwise
"""An entry, or what makes it in the writing thread; and what it was promised to whoever waits for it, if anybody does."""


class Writer:
    """A queue, and the thread that empties it into `write`.

    Args:
        write: commits entries together and answers each; raises LedgerUnavailable if none was kept.
        at_once: does the same in less time than it takes to hand them to a thread, or raises LedgerUnavailable where it would
            have to wait; `None`: nothing does.
        name: of the ledger, for what is logged.
        n_queued: entries that may wait in memory.
    """

    def __init__(self, write: Write, *, name: str, at_once: Write | None = None, n_queued: int = MOST_QUEUED) -> None:
        self._write = write
        self._at_once = at_once
        self._name = name
        self._n_queued = n_queued
        self._start_anew()
        _writers.add(self)

    def _start_anew(self) -> None:
        self._queue: deque[_Waiting] = deque()
        self._lock = threading.RLock()  # a signal's handler may come in between, and waits too
        self._work = threading.Condition(self._lock)
        """For the writing thread: to wake it takes longer than many a write, so it is told of nothing else."""
        self._changed = threading.Condition(self._lock)
        """For all others but those who wait for a promise."""
        self._told = threading.Condition()
        self._thread: threading.Thread | None = None
        self._is_dozing = False
        self._wrote_here_at = -math.inf
        self._is_busy = self._is_closed = self._is_urgent = self._has_warned = False
        self._stuck: LedgerUnavailable | None = None

    def submit(self, entry: Entry, otherwise: T) -> Future[T]:
        """Hand in an entry; once it is written the future holds what stood before it, or `otherwise`, or what refused it."""
        promise = Promise(self._told, otherwise)
        self._put((entry, promise))
        return promise

    def write(self, entry: Entry, otherwise: T) -> T:
        """Hand in an entry and wait for what stood before it, or `otherwise`.

        Where nobody else writes, no other thread helps. What was handed in before, and nobody waits for, is written in the same
        transaction.
        """
        with self._changed:
            is_alone = not (self._is_busy or self._is_closed) and self._is_idle()
            before = list(self._queue) if is_alone else []
            if is_alone:
                self._queue.clear()
                self._is_busy = True
        if not is_alone:
            return self.submit(entry, otherwise).result()
        promise = Promise(self._told, otherwise)
        unwritten = before  # also where this thread is interrupted: what is written twice is kept once
        try:
            unwritten = self._written([*before, (entry, promise)])
        finally:
            self._go_on(unwritten)
        return promise.result()

    async def awrite(self, entry: Entry, otherwise: T) -> T:
        """Hand in an entry and wait for what stood before it, or `otherwise`, in a coroutine.

        Where it can be written at once, it is written in the event loop; right after another write together with what others hand
        in meanwhile.
        """
        if self._at_once is None:
            return await asyncio.wrap_future(self.submit(entry, otherwise))
        promise = Promise(self._told, otherwise)
        self._put((entry, promise), is_awaited=False)
        try:
            if time.monotonic() - self._wrote_here_at < BURST_SECONDS:
                await asyncio.sleep(0)  # a turn of the loop for others
        finally:
            self._write_here()  # whatever comes of who waits
        return promise.result() if promise.done() else await asyncio.wrap_future(promise)

    def _write_here(self) -> None:
        """Write what waits in this thread, if that can be done at once; else leave it to the writing one."""
        with self._changed:
            is_free = bool(self._queue) and not (self._is_busy or self._is_closed)
            batch = [self._queue.popleft() for _ in range(min(len(self._queue), MOST_AT_ONCE))] if is_free else []
            self._is_busy = self._is_busy or is_free
        unwritten = batch  # also where this thread is interrupted: what is written twice is kept once
        try:
            if batch:
                unwritten = self._written_at_once(batch)
        finally:
            if batch:
                self._go_on(unwritten)
                self._wrote_here_at = time.monotonic()
            with self._changed:
                if self._queue:
                    self._wake()
                else:
                    self._is_urgent = False

    def enqueue(self, make: Callable[[], Entry]) -> None:
        """Hand in an entry that nobody waits for; what is wrong with it is logged.

        It is written before, or together with, whatever is handed in after it.
        """
        self._put((make, None))

    def drain(self) -> bool:
        """Wait until all that was handed in is written, and no longer than `DRAIN_SECONDS`; tell whether it was."""
        with self._changed:
            self._wake()
            return self._changed.wait_for(self._is_done, DRAIN_SECONDS)

    def catch_up(self) -> None:
        """Wait until all that was handed in is written, or cannot be for now."""
        with self._changed:
            self._wake()
            self._changed.wait_for(lambda: self._stuck is not None or self._is_done(), DRAIN_SECONDS)

    def close(self) -> None:
        """Write what was handed in, and end the thread; closing twice changes nothing."""
        self.drain()
        with self._changed:
            left, self._is_closed = list(self._queue), True
            self._queue.clear()
            self._work.notify()
            self._changed.notify_all()
        if left:
            _log.error("%s: %d records were never written, the database is away (%s)", self._name, len(left), self._stuck)
            self._refuse(left, LedgerUnavailable(f"{self._name} was closed: open another SqlLedger"))
        if self._thread is not None:
            self._thread.join()

    def _hurry(self) -> None:
        """Let nothing gather longer: somebody waits, or it is enough."""
        self._is_urgent = True
        self._work.notify()

    def _is_idle(self) -> bool:
        """Whether nobody waits for anything, and one transaction suffices for what is queued."""
        return len(self._queue) < MOST_AT_ONCE and all(promise is None for _, promise in self._queue)

    def _is_done(self) -> bool:
        return not self._queue and not self._is_busy

    def _put(self, waiting: _Waiting, *, is_awaited: bool = True) -> None:
        """Let an entry wait; one that is not awaited, is taken by whoever put it there."""
        _, promise = waiting
        with self._lock:  # of the condition, which takes three times as long to enter: each row comes along here
            while len(self._queue) >= self._n_queued and not self._is_closed:
                self._tell_that_it_is_full()
                self._changed.wait()
            if self._is_closed:
                raise LedgerUnavailable(f"{self._name} was closed: open another SqlLedger")
            self._queue.append(waiting)
            if not is_awaited:
                return
            if self._thread is None:
                self._begin()
            if not self._is_urgent and (promise is not None or len(self._queue) >= MOST_AT_ONCE):
                self._hurry()
            elif self._is_dozing:
                self._work.notify()

    def _wake(self) -> None:
        """Let what waits be written now, by the thread."""
        if self._queue:
            self._begin()
        self._hurry()

    def _begin(self) -> None:
        """Let there be a thread that writes."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name=f"writes {self._name}", daemon=True)
            self._thread.start()

    def _tell_that_it_is_full(self) -> None:
        if self._stuck is not None:
            raise LedgerUnavailable(
                f"{self._name}: {len(self._queue):,} records wait already, and the database is away: bring it back"
            ) from self._stuck
        if not self._has_warned:
            _log.warning(
                "%s: %d records wait to be written: callers wait too, none is dropped; the database is too slow for them",
                self._name,
                len(self._queue),
            )
            self._has_warned = True

    def _run(self) -> None:
        while batch := self._next():
            unwritten = self._written(batch)
            self._go_on(unwritten)
            if unwritten:
                with self._work:
                    self._work.wait_for(lambda: self._is_closed, RETRY_SECONDS)

    def _go_on(self, unwritten: Sequence[_Waiting]) -> None:
        """Let others write, what was not written first of all."""
        with self._changed:
            self._queue.extendleft(reversed(unwritten))
            self._is_busy = False
            if not unwritten:
                self._stuck = None
                self._has_warned = self._has_warned and len(self._queue) > self._n_queued // 2
            if self._queue and (self._is_urgent or self._is_dozing):
                self._work.notify()
            self._changed.notify_all()

    def _next(self) -> list[_Waiting]:
        """Wait for what is to be written: at once where somebody waits for it, else after it has gathered; nothing at the end."""
        with self._work:
            has_gathered = False
            while not self._is_closed:
                self._is_urgent = self._is_urgent and bool(self._queue)
                if self._queue and not self._is_busy and (self._is_urgent or has_gathered):
                    break
                self._is_dozing = has_gathered and not self._queue
                has_gathered = not self._work.wait(None if self._is_dozing else LINGER_SECONDS)
                self._is_dozing = False
            batch = [self._queue.popleft() for _ in range(min(len(self._queue), MOST_AT_ONCE))]
            self._is_busy = bool(batch)
            self._is_urgent = bool(self._queue) and self._is_urgent
            self._changed.notify_all()
            return batch

    def _written(self, batch: list[_Waiting]) -> list[_Waiting]:
        """Write a batch and answer who waits; what could not be written, and nobody waits for, is given back."""
        made, entries = self._made(batch)
        try:
            answers = self._write(entries) if entries else []
        except LedgerUnavailable as error:
            self._refuse([(entry, promise) for entry, promise in made if promise is not None], error)
            unwritten: list[_Waiting] = [(entry, promise) for entry, promise in made if promise is None]
            if unwritten:
                self._tell_that_it_is_away(error)
            return unwritten
        except Exception as error:  # noqa: BLE001  # whoever waits must hear of it, and the thread goes on
            self._refuse(made, error)
            return []
        self._answer(made, answers)
        return []

    def _written_at_once(self, batch: list[_Waiting]) -> list[_Waiting]:
        """Write a batch and answer who waits; give back all of it where it would have to wait."""
        assert self._at_once is not None  # noqa: S101  # else nobody asks
        made, entries = self._made(batch)
        try:
            answers = self._at_once(entries) if entries else []
        except LedgerUnavailable:
            return made
        except Exception as error:  # noqa: BLE001  # whoever waits must hear of it
            self._refuse(made, error)
            return []
        self._answer(made, answers)
        return []

    def _made(self, batch: list[_Waiting]) -> tuple[list[_Waiting], list[Entry]]:
        """The entries of a batch, and who waits for each; what cannot be made is answered."""
        made: list[_Waiting] = []
        entries: list[Entry] = []
        for waiting in batch:
            entry, _ = waiting
            try:
                entries.append(entry if isinstance(entry, Entry) else entry())
                made.append(waiting)
            except BudgetRouterError as error:
                self._answer([waiting], [error])
        return made, entries

    def _answer(self, made: Sequence[_Waiting], answers: Sequence[Answer]) -> None:
        awaited = []
        for (_, promise), answer in zip(made, answers, strict=True):
            if promise is not None:
                awaited.append((promise, answer))
            elif isinstance(answer, BudgetRouterError):
                _log.error("%s: a queued record was refused: %s", self._name, answer)
        keep(self._told, awaited)

    def _refuse(self, many: Sequence[_Waiting], error: Exception) -> None:
        refused = []
        for _, promise in many:
            if promise is None:
                _log.error("%s: a queued record was lost: %s", self._name, error)
                continue
            own = error
            if isinstance(error, BudgetRouterError):
                own = type(error)(*error.args)  # one for each, as each adds where it was raised
                own.__cause__ = error.__cause__
            refused.append((promise, own))
        keep(self._told, refused)

    def _tell_that_it_is_away(self, error: LedgerUnavailable) -> None:
        if self._stuck is None:
            _log.error("%s: what is queued waits in memory, the database is away: %s", self._name, error)
        self._stuck = error


# --- the ends of a process

_writers: "weakref.WeakSet[Writer]" = weakref.WeakSet()


def drain_all() -> None:
    """Wait until every ledger of this process has written what was handed in."""
    for writer in list(_writers):
        writer.drain()


def drain_on_sigterm() -> None:
    """Drain before SIGTERM ends the process, where it would end it and nobody else has a say."""
    if threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        signal.signal(signal.SIGTERM, _drain_and_end)


def _drain_and_end(number: int, frame: FrameType | None) -> None:  # noqa: ARG001  # a handler's signature
    drain_all()
    tell_all()
    signal.signal(number, signal.SIG_DFL)
    signal.raise_signal(number)


def _begin_anew_in_a_child() -> None:
    # threads stay behind in the parent, and so does what it was about to write
    for writer in list(_writers):
        writer._start_anew()  # of its own module


atexit.register(drain_all)
os.register_at_fork(after_in_child=_begin_anew_in_a_child)
