"""What the ledger promises, under fire: no acknowledged row is lost to a kill, and commits are shared.

    python -m benchmarks.ledger --json

A process that writes from several threads is killed with SIGKILL at random, again and again: every row that it was told to be
kept must stand, and nothing may stand in part. Then durable rows are counted by the second: SQLite from 8 threads that share
commits, beside SQLAlchemy's commits of one row from one thread and from 8, whichever are more, and beside our own from one
thread; a real PostgreSQL from 4 processes. Last, a decision is timed with a ledger
that queues and without a database. Kills of a process leave the disk's own cache alone: a power cut is left to the
databases' word.
"""

import argparse
import random
import statistics
import tempfile
import threading
import time
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path

from benchmarks.facts import tell
from benchmarks.ledger_work import N_SAMPLES, Acknowledged, Work, at_rest, killed, several
from benchmarks.one_row_commits import rate_of_one_row_commits
from benchmarks.postgres import new_ledger, served
from budget_router import Budget, BudgetRouter, Task
from budget_router.ledger import Ledger
from budget_router.records import now
from budget_router.testing import MENU, TASK, example_decision
from budget_router_sql import SqlLedger, audit

BARS = {
    "sqlite_rows_per_second": 5_000,
    "sqlite_times_one_row_commits": 15,
    "postgresql_rows_per_second": 8_000,
    "decide_added_us": 150,
}
N_THREADS, N_PROCESSES = 8, 4
DECISIONS_AT_ONCE = 50
"""Decided in turns with and without a database, so that both meet the same weather."""


@dataclass(frozen=True)
class Kills:
    """What became of the rows that killed processes had been told to be kept."""

    n_kills: int
    n_acknowledged: int
    n_lost: int
    n_partial: int
    faults: tuple[str, ...]
    """Kinds of what an audit says is wrong in the end; calls and decisions that the kills left open are none."""


@dataclass(frozen=True)
class Rates:
    """Durable rows by the second, half decisions and half their calls."""

    sqlite: float
    one_row_commits: float
    """Of SQLAlchemy alone."""
    own_one_row_commits: float
    """Of a ledger that one thread writes to."""
    postgresql: float

    @property
    def times(self) -> float:
        """What sharing commits gains on SQLite."""
        return self.sqlite / self.one_row_commits


@dataclass(frozen=True)
class Latency:
    """Median of one decision, in microseconds."""

    with_queue: float
    without: float

    @property
    def added(self) -> float:
        """What the queueing ledger adds."""
        return self.with_queue - self.without


def kills(url: str, n_kills: int, *, seed: int) -> Kills:
    """Kill a writing process again and again, and look after each at what it left."""
    rng, n_acknowledged, n_lost, n_partial = random.Random(seed), 0, 0, 0  # noqa: S311  # when to kill is no secret
    for _ in range(n_kills):
        since = now()
        acknowledged = killed(url, rng)
        found, partial = standing(url, since)
        n_acknowledged += len(acknowledged)
        n_lost += len(acknowledged - found)
        n_partial += partial
    with SqlLedger(url) as ledger:
        proof = audit(ledger)
    return Kills(n_kills, n_acknowledged, n_lost, n_partial, tuple(one.kind for one in proof.findings if one.is_fault))


def standing(url: str, since: datetime) -> tuple[Acknowledged, int]:
    """Rows of decisions made since then, and how many decisions hold a record that is not what was written."""
    found: Acknowledged = set()
    n_partial = 0
    with SqlLedger(url) as ledger:
        for logged in ledger.read(since=since):
            name, settlement = logged.decision.id, logged.settlement
            is_whole = logged.decision == example_decision(name, decided_at=logged.decision.decided_at)
            is_whole &= (logged.task_text, logged.metadata) == (TASK.text, TASK.metadata)
            is_whole &= settlement is None or len(settlement.samples) == N_SAMPLES
            n_partial += not is_whole
            is_closed = any(call.status == "ok" for call in logged.calls)
            came = {"opening": bool(logged.calls), "closing": is_closed, "settlement": settlement, "outcome": logged.outcome}
            found |= {("decision", name), *((kind, name) for kind, is_there in came.items() if is_there)}
    return found, n_partial


def rate_of_threads(url: str, n_rows: int) -> float:
    """Durable rows by the second from threads of this process."""
    works = [Work.of(n_rows // N_THREADS, name=f"thread {number}") for number in range(N_THREADS)]
    with SqlLedger(url, durability="durable") as ledger, at_rest():
        threads = [threading.Thread(target=work.hand_in, args=(ledger,)) for work in works]
        started = time.perf_counter()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return sum(2 * len(work.pairs) for work in works) / (time.perf_counter() - started)


def rate_one_by_one(url: str, n_rows: int) -> float:
    """Durable rows by the second where each is a commit."""
    work = Work.of(n_rows, name="alone")
    with SqlLedger(url, durability="durable") as ledger, at_rest():
        started = time.perf_counter()
        work.one_by_one(ledger)
        return 2 * len(work.pairs) / (time.perf_counter() - started)


def rate_of_processes(url: str, n_rows: int) -> float:
    """Durable rows by the second from processes on one server."""
    each = n_rows // N_PROCESSES
    times = several(url, N_PROCESSES, each)
    return each * N_PROCESSES / (max(end for _, end in times) - min(start for start, _ in times))


def latency(url: str, n_decisions: int) -> Latency:
    """Time decisions, in turns with a ledger that queues and with one in memory."""
    tasks = [Task(f"What is {number} + {number}? Think before you answer.") for number in range(n_decisions)]
    with SqlLedger(url, durability="queued") as queueing:
        kept = {True: BudgetRouter(MENU, Budget(per_task=800), ledger=queueing, seed=0)}
        kept[False] = BudgetRouter(MENU, Budget(per_task=800), seed=0)
        seconds: dict[bool, list[float]] = {True: [], False: []}
        for start in range(0, n_decisions, DECISIONS_AT_ONCE):
            for is_queued, router in kept.items():
                for task in tasks[start : start + DECISIONS_AT_ONCE]:
                    began = time.perf_counter()
                    router.decide(task)
                    seconds[is_queued].append(time.perf_counter() - began)
            _catch_up(queueing)
    of = {is_queued: statistics.median(each[len(each) // 10 :]) * 1e6 for is_queued, each in seconds.items()}
    return Latency(with_queue=of[True], without=of[False])


def _catch_up(ledger: Ledger) -> None:
    ledger.latest()


def run(uri: str, *, sqlite_kills: int, postgresql_kills: int, n_rows: int, n_decisions: int, seed: int) -> dict[str, object]:
    """Measure everything, in a folder that is gone afterwards, and on the server at `uri`."""
    with tempfile.TemporaryDirectory() as folder:
        file = f"sqlite:///{Path(folder)}"
        n_alone = max(n_rows // 40, 2 * N_THREADS)
        rates = Rates(
            sqlite=rate_of_threads(f"{file}/threads.db", n_rows),
            one_row_commits=max(
                rate_of_one_row_commits(f"{folder}/{n_threads}.db", n_alone, n_threads=n_threads) for n_threads in (1, N_THREADS)
            ),
            own_one_row_commits=rate_one_by_one(f"{file}/alone.db", n_alone),
            postgresql=rate_of_processes(new_ledger(uri, "rates"), n_rows),
        )
        decided = latency(f"{file}/queued.db", n_decisions)
        SqlLedger(f"{file}/killed.db").close()
        on_sqlite = kills(f"{file}/killed.db", sqlite_kills, seed=seed)
        on_postgresql = kills(new_ledger(uri, "killed"), postgresql_kills, seed=seed)
    met = {
        "nothing_lost": not (on_sqlite.n_lost or on_sqlite.n_partial or on_postgresql.n_lost or on_postgresql.n_partial),
        "audit_is_clean": not (on_sqlite.faults or on_postgresql.faults),
        "sqlite_rows_per_second": rates.sqlite >= BARS["sqlite_rows_per_second"],
        "sqlite_times_one_row_commits": rates.times >= BARS["sqlite_times_one_row_commits"],
        "postgresql_rows_per_second": rates.postgresql >= BARS["postgresql_rows_per_second"],
        "decide_added_us": decided.added <= BARS["decide_added_us"],
    }
    return {
        "seed": seed,
        "kills": {"sqlite": asdict(on_sqlite), "postgresql": asdict(on_postgresql)},
        "rows_per_second": {
            "sqlite, 8 threads": round(rates.sqlite),
            "sqlite, SQLAlchemy's one-row commits": round(rates.one_row_commits),
            "sqlite, times": round(rates.times, 1),
            "sqlite, our own one-row commits": round(rates.own_one_row_commits),
            "sqlite, times our own": round(rates.sqlite / rates.own_one_row_commits, 1),
            "postgresql, 4 processes": round(rates.postgresql),
        },
        "decide_us": {
            "with queue": round(decided.with_queue, 1),
            "without": round(decided.without, 1),
            "added": round(decided.added, 1),
        },
        "bars": BARS,
        "met": met,
    }


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sqlite-kills", type=int, default=100)
    parser.add_argument("--postgresql-kills", type=int, default=50)
    parser.add_argument("--rows", type=int, default=40_000)
    parser.add_argument("--decisions", type=int, default=3_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args()
    with served() as uri:
        told = run(
            uri,
            sqlite_kills=options.sqlite_kills,
            postgresql_kills=options.postgresql_kills,
            n_rows=options.rows,
            n_decisions=options.decisions,
            seed=options.seed,
        )
    tell(told, as_json=options.json)


if __name__ == "__main__":
    main()
