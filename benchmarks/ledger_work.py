"""What the processes of the ledger's benchmark do: write until they are killed, or as fast as they can."""

import gc
import multiprocessing
import os
import random
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

from budget_router.records import Call, Decision, Sample, Spend, now
from budget_router.testing import MENU, TASK, example_call, example_decision, example_outcome, example_settlement
from budget_router_sql import SqlLedger

N_THREADS = 4
"""Of a process that is to be killed: their records share commits, so that kills fall into batches."""
N_SAMPLES = 3
IN_FLIGHT = 64
"""Rows that a thread has handed in and not yet seen acknowledged."""

Acknowledged = set[tuple[str, str]]
"""Kind and decision of each row that a process was told to be kept."""


def processes() -> Any:  # Any: a context of multiprocessing's has no public type
    """Processes that begin with all imports made, and share no memory, thread or connection with this one."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["benchmarks.ledger_work", "budget_router_sql.migrate", "psycopg"])
    return context


# --- until killed


def write_until_killed(url: str, told: Connection) -> None:
    """Write rows of every kind from several threads, and tell of each once it is acknowledged."""

    def work(ledger: SqlLedger, thread: int) -> None:
        step = 0
        while True:
            step += 1
            name = f"{os.getpid()}-{thread}-{step}"
            ledger.record_decision(example_decision(name, decided_at=now()), TASK, MENU)
            _tell(told, "decision", name)
            call = example_call(name, name, nano_usd=7)  # few, lest millions of them are more than a database counts
            ledger.open_call(call)
            _tell(told, "opening", name)
            ledger.close_call(call)
            _tell(told, "closing", name)
            samples = tuple(Sample(index=index, call_id=name, answer_key="68") for index in range(N_SAMPLES))
            ledger.record_settlement(example_settlement(name, spend=Spend.of([call]), samples=samples))
            _tell(told, "settlement", name)
            ledger.record_outcome(example_outcome(name))
            _tell(told, "outcome", name)

    with SqlLedger(url, durability="durable") as ledger:
        threads = [threading.Thread(target=work, args=(ledger, thread)) for thread in range(N_THREADS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()


def _tell(told: Connection, kind: str, name: str) -> None:
    os.write(told.fileno(), f"{kind} {name}\n".encode())  # in one piece, by its length


def killed(url: str, rng: random.Random) -> Acknowledged:
    """Let a process write, kill it with SIGKILL at random, and give what it had been told to be kept."""
    context = processes()
    heard, told = context.Pipe(duplex=False)
    writer = context.Process(target=write_until_killed, args=(url, told), daemon=True)
    writer.start()
    told.close()
    text, n_lines = b"", rng.randint(1, 400)
    with heard:
        while text.count(b"\n") < n_lines:
            text += _heard(heard)
        time.sleep(rng.uniform(0, 0.01))  # somewhere within a batch
        writer.kill()
        while more := _heard(heard):
            text += more
    writer.join()
    return {(kind, name) for kind, name in (line.split() for line in text.decode().split("\n")[:-1])}


def _heard(heard: Connection) -> bytes:
    return os.read(heard.fileno(), 2**16)


# --- as fast as they can


@contextmanager
def at_rest() -> Iterator[None]:
    """Let the garbage collector leave alone what was made before: its passes over that are no work of the ledger's."""
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


@dataclass(frozen=True)
class Work:
    """Decisions, each with a call, made before the clock starts: it is the ledger that is measured."""

    pairs: Sequence[tuple[Decision, Call]]

    @classmethod
    def of(cls, n_rows: int, *, name: str) -> "Work":
        """So many rows, half of them decisions."""
        names = [f"{name}-{number}" for number in range(n_rows // 2)]
        return cls([(example_decision(one, decided_at=now()), example_call(one, one)) for one in names])

    def hand_in(self, ledger: SqlLedger, *, in_flight: int = IN_FLIGHT) -> None:
        """Record all, with so many rows waiting at a time for their acknowledgement."""
        waiting: list[Future[Any]] = []
        for decision, call in self.pairs:
            waiting += ledger.submit_decision(decision, TASK, MENU), ledger.submit(call)
            if len(waiting) >= in_flight:
                for future in waiting:
                    future.result()
                waiting.clear()
        for future in waiting:
            future.result()

    def one_by_one(self, ledger: SqlLedger) -> None:
        """Record all, each row in a commit of its own."""
        for decision, call in self.pairs:
            ledger.record_decision(decision, TASK, MENU)
            ledger.close_call(call)


def write_at_once(url: str, name: str, n_rows: int, barrier: Any, done: Connection) -> None:  # Any: of multiprocessing's
    """Write rows beside other processes, and tell when the first was handed in and the last was acknowledged."""
    work = Work.of(n_rows, name=name)
    with SqlLedger(url, durability="durable") as ledger:
        barrier.wait()
        started = time.monotonic()
        work.hand_in(ledger, in_flight=8 * IN_FLIGHT)
        done.send((started, time.monotonic()))


def several(url: str, n_processes: int, n_rows: int) -> list[tuple[float, float]]:
    """Let processes write at once; give each one's start and end."""
    context = processes()
    barrier = context.Barrier(n_processes)
    pipes = [context.Pipe(duplex=False) for _ in range(n_processes)]
    writers = [
        context.Process(target=write_at_once, args=(url, f"{number}", n_rows, barrier, done), daemon=True)
        for number, (_, done) in enumerate(pipes)
    ]
    for writer in writers:
        writer.start()
    try:
        return [heard.recv() for heard, _ in pipes]
    finally:
        for writer in writers:
            writer.join()
        for heard, done in pipes:
            heard.close()
            done.close()
