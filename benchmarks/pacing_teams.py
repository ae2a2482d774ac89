"""Three teams with tasks of their own difficulty and one budget each: what it buys to let them lend and borrow."""

from typing import Any

import numpy as np

from benchmarks.pacing_rivals import Ours, serve
from benchmarks.pacing_world import BUDGET, N_KNOWN, Calibrated, Stream
from budget_router.allocation import FloatArray, IntArray
from budget_router.budget import Budget
from budget_router.lending import borrowers
from budget_router.pacing import Pacer

TEAMS = {"support": 2.0, "search": 0.0, "research": -2.0}
"""Ease of each team's tasks; a third of the traffic each, and the same budget."""
LENDS = (0.0, 0.25, 0.5, 1.0)
"""Share of its own budget that a team may lend or borrow."""


class TeamPacer(Pacer):
    """Sends each decision to the pacer of its team; a decision's id is its row."""

    def __init__(self, team: IntArray, pacers: list[Pacer]) -> None:
        super().__init__(pacers[0].budget)
        self._team, self._pacers, self._row = team, pacers, 0

    def target(self, table: str | None = None) -> float:
        """Of the next row's team."""
        return self._pacers[int(self._team[self._row])].target(table)

    def decided(
        self,
        decision_id: str,
        expected_cost: float,
        *,
        promised: float | None = None,
        allowed: float | None = None,
        table: str | None = None,
    ) -> None:
        """Count it for its team."""
        pacer = self._pacers[int(self._team[self._row])]
        pacer.decided(decision_id, expected_cost, promised=promised, allowed=allowed, table=table)
        self._row += 1

    def settled(self, decision_id: str, cost: float, *, is_typical: bool = True) -> bool:
        """Count it for its team."""
        return self._pacers[int(self._team[int(decision_id)])].settled(decision_id, cost, is_typical=is_typical)


def team_rows(*, seeds: int, n_tasks: int) -> list[dict[str, Any]]:  # Any: JSON
    """One row per share that may be lent: the joint average, each team's, and the accuracy against keeping one's own."""
    found = np.array([[_served(lend, seed=seed, n_tasks=n_tasks) for seed in range(seeds)] for lend in LENDS])
    return [_row(lend, one, found[0]) for lend, one in zip(LENDS, found, strict=True)]


def _served(lend: float, *, seed: int, n_tasks: int) -> FloatArray:
    """Accuracy, mean spend in budgets, and that of each team."""
    rng = np.random.default_rng([seed, n_tasks])
    ease = np.array([*TEAMS.values()])
    known = Stream.drawn(rng, rng.choice(ease, N_KNOWN))
    team = rng.integers(len(ease), size=n_tasks)
    stream = Stream.drawn(rng, ease[team])
    budgets = [Budget(per_task=BUDGET, unit="usd", group=name) for name in TEAMS]
    pacers = [*borrowers(budgets, lend=lend).values()] if lend else [Pacer(one) for one in budgets]
    run = serve(stream, Ours(stream, Calibrated(known, stream), TeamPacer(team, pacers), rng))
    bill, accuracy = stream.outcome(run.actions)
    return np.array([accuracy.mean(), bill.mean() / BUDGET, *(bill[team == one].mean() / BUDGET for one in range(len(ease)))])


def _row(lend: float, runs: FloatArray, own: FloatArray) -> dict[str, Any]:  # Any: JSON
    gain = runs[:, 0] - own[:, 0]
    return {
        "lend": lend,
        "seeds": len(runs),
        "budget_error": float(runs[:, 1].mean() - 1),
        "worst_budget_error": float((runs[:, 1] - 1)[np.abs(runs[:, 1] - 1).argmax()]),
        "spend": dict(zip(TEAMS, runs[:, 2:].mean(axis=0).tolist(), strict=True)),
        "accuracy": float(runs[:, 0].mean()),
        "gain": float(gain.mean()),
        "gain_standard_error": float(gain.std(ddof=1) / len(gain) ** 0.5) if len(gain) > 1 else float("nan"),
    }
