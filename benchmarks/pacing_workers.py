"""Eight workers on one budget: what it costs to hear late of what the others spend, and what it costs to hear nothing."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from benchmarks.pacing_rivals import Ours, hindsight, serve
from benchmarks.pacing_teams import TeamPacer
from benchmarks.pacing_world import BUDGET, N_KNOWN, Calibrated, Stream, stream_of
from budget_router.budget import Budget
from budget_router.paces import Key, Paces
from budget_router.pacing import Pacer
from budget_router.sums import Sums

N_WORKERS = 8
STALE = (0, 10, 40, None)
"""Decisions of each worker between two exchanges; `None`: each keeps its own average."""
SCENARIOS = ("stationary", "harder tasks", "price × 3", "late bills")


class OneBook:
    """Pasts that are added up in this process: what a database does for workers in several."""

    def __init__(self) -> None:
        self._pasts: dict[Key, Sums] = {}

    def exchange(self, told: Mapping[Key, Sums], asked: Mapping[Key, Sums]) -> Mapping[Key, Sums]:
        """Put what is told behind what stands; one policy, so each answer is its own total."""
        for key, beginning in asked.items():
            self._pasts[key] = self._pasts.get(key, beginning).then(told.get(key, Sums()))
        return {key: self._pasts[key] for key in asked}


class WorkersPacer(TeamPacer):
    """Deals decisions out in turn to workers, who exchange after so many of their own."""

    def __init__(self, n_tasks: int, stale: int | None) -> None:
        book = None if stale is None else OneBook()
        self._paces = [Paces(book) for _ in range(N_WORKERS)]
        self._stale = stale
        budget = Budget(per_task=BUDGET, unit="usd")
        super().__init__(np.arange(n_tasks) % N_WORKERS, [Pacer(budget, paces=paces) for paces in self._paces])

    def target(self, table: str | None = None) -> float:
        """Of the next worker, who exchanges first if it is time; they take turns at that too."""
        turn, worker = divmod(self._row, N_WORKERS)
        if self._stale is not None and (turn + worker) % (self._stale or 1) == 0:
            self._paces[worker].exchange()
        return super().target(table)


def worker_rows(*, seeds: int, n_tasks: int) -> list[dict[str, Any]]:  # Any: JSON
    """One row per scenario and staleness: the joint average, its worst excess, and the accuracy against hindsight."""
    return [
        _row(name, stale, np.array([_served(name, stale, seed=seed, n_tasks=n_tasks) for seed in range(seeds)]))
        for name in SCENARIOS
        for stale in STALE
    ]


def _served(name: str, stale: int | None, *, seed: int, n_tasks: int) -> tuple[float, float, float, float]:
    """Average and worst running average over budget, less one, the limit of that, and the gain on the static price."""
    rng = np.random.default_rng([seed, n_tasks])
    known = Stream.drawn(rng, np.zeros(N_KNOWN))
    stream = stream_of(name, rng, n_tasks)
    run = serve(stream, Ours(stream, Calibrated(known, stream), WorkersPacer(n_tasks, stale), rng))
    bill, accuracy = stream.outcome(run.actions)
    average = np.cumsum(bill) / np.arange(1, n_tasks + 1) / BUDGET - 1
    limit = 0.05 + float(bill.max()) / (200 * BUDGET)
    best = stream.outcome(hindsight(stream, BUDGET).actions)[1].mean()
    return float(average[-1]), float(average[199:].max()), limit, float(accuracy.mean() - best)


def _row(name: str, stale: int | None, runs: Any) -> dict[str, Any]:  # Any: rows of floats, JSON
    error, excess, limit, gain = runs.T
    return {
        "scenario": name,
        "decisions_between_exchanges": stale,
        "seeds": len(runs),
        "budget_error": float(error.mean()),
        "worst_budget_error": float(error[np.abs(error).argmax()]),
        "share_within": float((np.abs(error) <= 0.01).mean()),
        "worst_excess": float(excess.max()),
        "least_room": float((limit - excess).min()),
        "gain": float(gain.mean()),
        "gain_standard_error": float(gain.std(ddof=1) / len(gain) ** 0.5) if len(gain) > 1 else float("nan"),
    }
