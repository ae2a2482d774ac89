"""The books of a year, looked through: what `spend`, `audit` and the reads of `refresh` take on two million decisions in a file.

    python -m benchmarks.books --json [--decisions N] [--ledger PATH]

A ledger is made, with 1.8 calls to a decision, their settlements and samples, and grades of every other one; `--ledger` names the
file, and takes one that is there as it is. Each question is asked in a process of its own, that tells its time and the most
memory it had resident. Whether the file is in the machine's cache is the machine's affair: a first pass over it is not timed.
"""

import argparse
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import TypeVar

from sqlalchemy import func, select

from benchmarks.books_made import TARIFFS, make
from benchmarks.facts import tell
from budget_router_sql import SqlLedger, audit, spend
from budget_router_sql.schema import decisions, settlements

MOST_SECONDS, MOST_MB = 30.0, 1024.0
"""Of each question."""
_MIB = 2**20
T = TypeVar("T")


@dataclass(frozen=True)
class Took:
    """What a question took, in a process of its own."""

    seconds: float
    cpu_seconds: float
    """Of its own: beside other work the wall clock tells of that as well."""
    mb: float
    """The most that was resident, in MiB: the interpreter and its libraries are part of it."""

    @property
    def is_met(self) -> bool:
        """Whether it keeps to the bars."""
        return self.seconds <= MOST_SECONDS and self.mb <= MOST_MB


def _spend(ledger: SqlLedger) -> int:
    return spend(ledger).total.n_decisions


def _audit(ledger: SqlLedger) -> int:
    proof = audit(ledger, tariffs=TARIFFS)
    if not proof.holds:
        raise RuntimeError(f"sound books were found wrong: {[one.kind for one in proof.findings if one.is_fault]}")
    return proof.n_decisions


def _read(ledger: SqlLedger) -> int:
    n_settled = sum(1 for _ in ledger.evidence())
    with ledger.database.read() as connection:
        n_decisions, n_known = (
            connection.execute(select(func.count()).select_from(table)).scalar_one() for table in (decisions, settlements)
        )
    return n_settled + n_decisions - n_known


QUESTIONS: dict[str, Callable[[SqlLedger], int]] = {"spend": _spend, "audit": _audit, "refresh_reads": _read}
"""Each returns how many decisions it saw."""


def asked(name: str, path: Path, n_decisions: int) -> Took:
    """Ask in this process, which has asked nothing before."""
    with SqlLedger(f"sqlite:///{path}") as ledger:
        started, busy = time.perf_counter(), time.process_time()
        seen = QUESTIONS[name](ledger)
        seconds, cpu_seconds = time.perf_counter() - started, time.process_time() - busy
    if seen != n_decisions:
        raise RuntimeError(f"{name} saw {seen} of {n_decisions} decisions")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return Took(round(seconds, 2), round(cpu_seconds, 2), round(peak / (_MIB if sys.platform == "darwin" else 1024), 1))


def run(path: Path, n_decisions: int, *, questions: list[str], seed: int) -> dict[str, object]:
    """Make the ledger unless it is there, and ask each question of it."""
    if not path.exists():
        alone(make, path, n_decisions, seed=seed)
    n_decisions = alone(_count, path)
    took = {}
    for name in questions:
        _read_through(path)
        took[name] = alone(asked, name, path, n_decisions)
    return {
        "seed": seed,
        "n_decisions": n_decisions,
        "file_mb": round(path.stat().st_size / _MIB, 1),
        "took": {name: asdict(one) for name, one in took.items()},
        "bars": {"seconds": MOST_SECONDS, "mb": MOST_MB},
        "met": {name: one.is_met for name, one in took.items()},
    }


def alone(work: Callable[..., T], *given: object, **named: object) -> T:
    """Do work in a fresh process: what it leaves in memory is nobody else's."""
    with get_context("spawn").Pool(1) as pool:
        return pool.apply(work, given, named)


def _count(path: Path) -> int:
    with SqlLedger(f"sqlite:///{path}") as ledger, ledger.database.read() as connection:
        return connection.execute(select(func.count()).select_from(decisions)).scalar_one()


def _read_through(path: Path) -> None:
    with path.open("rb") as file:
        while file.read(16 * _MIB):
            pass


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--decisions", type=int, default=2_000_000)
    parser.add_argument("--ledger", type=Path, help="file to make the ledger in, or to take as it is; else it is gone afterwards")
    parser.add_argument("--ask", nargs="+", choices=QUESTIONS, default=list(QUESTIONS), metavar="QUESTION")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = options.ledger or Path(folder) / "books.db"
        told = run(path, options.decisions, questions=options.ask, seed=options.seed)
    tell(told, as_json=options.json)


if __name__ == "__main__":
    main()
