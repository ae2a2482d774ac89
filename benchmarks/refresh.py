"""A month's log learned from again: what `refresh` takes on a million decisions in a file, stage by stage.

    python -m benchmarks.refresh --json [--decisions N] [--ledger PATH]

A ledger is made, whose tasks have words of their own; `--ledger` names the file, and takes one that is there as it is. The
refresh is run in a process of its own, that tells the seconds of its stages and the most memory it had resident by their ends.
"""

import argparse
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from unittest.mock import patch

from benchmarks.books import alone
from benchmarks.books_made import make
from benchmarks.facts import tell
from benchmarks.refresh_made import BUDGET, MENU, served
from budget_router import refreshing, training
from budget_router.features import Featuriser, Tasks
from budget_router.judging import Trial
from budget_router.outcomes import OutcomeTable
from budget_router.policies.held_out import Predictions
from budget_router.policies.learned import LearnedPolicy
from budget_router.policies.pricing import PriceCurve
from budget_router_sql import SqlLedger

MOST_MB = 2048.0
MOST_SECONDS = {10_000: 15.0, 1_000_000: 180.0}
"""Of so many decisions; those between have the time of more."""
_MIB = 2**20
_STAGES: dict[str, tuple[tuple[Any, str], ...]] = {  # Any: classes and modules
    "read": ((SqlLedger, "evidence"),),
    "tabulate": ((OutcomeTable, "from_evidence"), (OutcomeTable, "by_task")),
    "features": ((Featuriser, "fit_transform"),),
    "fit": ((LearnedPolicy, "_fit_models"),),
    "predict": ((Predictions, "put"), (Tasks, "map"), (LearnedPolicy, "predict_table")),
    "price": ((PriceCurve, "of"),),
    "solve": ((training, "completed"), (training, "solve")),
    "judge": ((Trial, "cross_fitted"), (training, "judged")),
    "save": ((refreshing, "record_of"),),
}
"""What each stage is made of: names under which its parts are found."""


class Stages:
    """Seconds of stages, what one spends in another left out, and the most memory by the end of each."""

    def __init__(self) -> None:
        self.seconds = dict.fromkeys([*_STAGES, "else"], 0.0)
        self.mb = dict.fromkeys(self.seconds, 0.0)
        self._within = ["else"]
        self._since = time.perf_counter()

    def begin(self, stage: str) -> None:
        """What follows is part of a stage."""
        self._count()
        self._within.append(stage)

    def end(self) -> None:
        """What follows is part of what went on before."""
        self._count()
        self.mb[self._within.pop()] = round(_peak_mb(), 1)

    def _count(self) -> None:
        now = time.perf_counter()
        self.seconds[self._within[-1]] += now - self._since
        self._since = now

    def timed(self, stage: str, owner: Any, name: str) -> Any:  # Any: a function, however it is bound
        """A patch of a function that tells its time."""
        as_it_is = vars(owner)[name]
        function: Callable[..., Any] = as_it_is.__func__ if isinstance(as_it_is, classmethod) else as_it_is

        def told(*given: Any, **named: Any) -> Any:
            self.begin(stage)
            try:
                found = function(*given, **named)
            finally:
                self.end()
            return self._each(stage, found) if isinstance(found, Iterator) else found

        return patch.object(owner, name, classmethod(told) if isinstance(as_it_is, classmethod) else told)

    def _each(self, stage: str, found: Iterator[Any]) -> Iterator[Any]:
        done = object()
        while True:
            self.begin(stage)
            one = next(found, done)
            self._count()
            self._within.pop()
            if one is done:
                return
            yield one


def refreshed(path: Path) -> dict[str, object]:
    """Refresh in this process, which has done nothing before."""
    stages = Stages()
    with SqlLedger(f"sqlite:///{path}") as ledger, ExitStack() as patches:
        for stage, parts in _STAGES.items():
            for owner, name in parts:
                patches.enter_context(stages.timed(stage, owner, name))
        started, busy = time.perf_counter(), time.process_time()
        found = refreshing.refresh(ledger, menu=MENU, budget=BUDGET)
        seconds = time.perf_counter() - started
    return {
        "n_decisions": found.n_decisions,
        "n_tasks": found.n_tasks,
        "n_graded": found.n_graded,
        "gain": str(found.gain),
        "accuracy": str(found.accuracy),
        "spend": str(found.spend),
        "n_trained": found.policy.n_trained_,
        "seconds": round(seconds, 1),
        "cpu_seconds": round(time.process_time() - busy, 1),
        "mb": round(_peak_mb(), 1),
        "seconds_of": {stage: round(one, 2) for stage, one in stages.seconds.items()},
        "mb_by_the_end_of": stages.mb,
    }


def run(path: Path, n_decisions: int, *, seed: int) -> dict[str, object]:
    """Make the ledger unless it is there, and learn from it."""
    if not path.exists():
        alone(made, path, n_decisions, seed=seed)
    told = alone(refreshed, path)
    n_decisions = int(str(told["n_decisions"]))
    most_seconds = next((bar for n, bar in MOST_SECONDS.items() if n_decisions <= n), None)
    is_met = most_seconds is None or float(str(told["seconds"])) <= most_seconds
    bars = {"seconds": most_seconds, "mb": MOST_MB}
    return {"seed": seed, **told, "bars": bars, "met": is_met and float(str(told["mb"])) <= MOST_MB}


def made(path: Path, n_decisions: int, *, seed: int) -> None:
    """Make the ledger."""
    make(path, n_decisions, seed=seed, menu=MENU, serve=served(seed))


def _peak_mb() -> float:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (_MIB if sys.platform == "darwin" else 1024)


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--decisions", type=int, default=1_000_000)
    parser.add_argument("--ledger", type=Path, help="file to make the ledger in, or to take as it is; else it is gone afterwards")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = options.ledger or Path(folder) / "log.db"
        told = run(path, options.decisions, seed=options.seed)
    tell(told, as_json=options.json)


if __name__ == "__main__":
    main()
