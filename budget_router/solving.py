"""What a log says that a budget can buy: the best allocation of the logged tasks, and the whole curve of budgets.

Both rest on a completed outcome table: what was graded, shrunk by how sure it is, and elsewhere what a model predicts that did
not see the task. The allocation knows each task's own outcomes, as no policy can that decides before the answer; what a policy
reaches is told beside it, held out.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from budget_router.allocation import Allocation, FloatArray, Frontier
from budget_router.allocation import frontier as trace_frontier
from budget_router.allocation import solve as solve_table
from budget_router.budget import Budget, Unit
from budget_router.evaluation import OffPolicyEstimate, Revealed, dr
from budget_router.frames import frame
from budget_router.ledger import Ledger
from budget_router.menu import Menu
from budget_router.outcomes import OutcomeTable
from budget_router.policies import ValuePolicy
from budget_router.policies.completion import completed
from budget_router.policies.learned import LearnedPolicy
from budget_router.policies.pricing import PriceCurve

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from pandas import DataFrame

N_POINTS = 9
"""Budgets at which a frontier is told unless some are named: evenly from the cheapest to the dearest."""


_HELD_OUT = ("held_out", "held_out_low", "held_out_high")


class Fixed(NamedTuple):
    """A strategy that every task gets."""

    strategy: str
    cost: float
    """Mean per task, in the budget's unit."""
    accuracy: float
    n_graded: int
    """Tasks on which it was graded, smaller votes of a graded bundle included; on all others it is predicted."""


class Point(NamedTuple):
    """What a budget buys."""

    budget: float
    """Mean cost per task that is allowed."""
    spend: float
    """Of the best mixed allocation; less than the budget where every task has its best strategy."""
    accuracy: float
    shadow_price: float
    held_out: OffPolicyEstimate
    """Accuracy of a policy that is priced for this budget, doubly robust on tasks that it has not seen."""


class Ground(NamedTuple):
    """What a solve rests on."""

    unit: Unit
    n_decisions: int
    n_tasks: int
    since: datetime | None
    """First moment of the window; `None`: it has no beginning."""
    until: datetime | None
    seed: int
    """Of the folds of the models that complete the table."""
    fixed: tuple[Fixed, ...]
    """The strategies of the menu, in its order."""


@dataclass(frozen=True)
class Solved:
    """The best allocation of the logged tasks within a budget."""

    budget: Budget
    allocation: Allocation
    shares: dict[str, float]
    """Share of the tasks that each strategy has, by name."""
    ground: Ground


@dataclass(frozen=True)
class LoggedFrontier:
    """The most accuracy that every budget buys on the logged tasks."""

    frontier: Frontier
    """By its corners."""
    points: tuple[Point, ...]
    ground: Ground

    def frame(self) -> "DataFrame":
        """One row per point, then one per strategy; what a policy reaches, held out, stands beside the points alone."""
        points = [point._asdict() | dict(zip(_HELD_OUT, point.held_out.interval, strict=True)) for point in self.points]
        fixed = [{"strategy": one.strategy, "spend": one.cost, "accuracy": one.accuracy} for one in self.ground.fixed]
        columns = ["strategy", "budget", "spend", "accuracy", "shadow_price", *_HELD_OUT]
        return frame({name: [row.get(name) for row in (*points, *fixed)] for name in columns})

    def plot(self, *, budget: float | None = None) -> "Figure":
        """Draw the curve; see `budget_router.allocation.Frontier.plot`."""
        return self.frontier.plot(budget=budget, unit=self.ground.unit.replace("_", " "))


def solve(
    ledger: Ledger,
    *,
    menu: Menu,
    budget: Budget,
    since: datetime | None = None,
    until: datetime | None = None,
    seed: int = 0,
) -> Solved:
    """Find the best allocation of the logged tasks within a budget, and its shadow price; nothing is learned or saved.

    Args:
        ledger: its settled decisions are read.
        menu: strategies to choose from.
        budget: mean cost per task.
        since: first moment of the window.
        until: end of the window.
        seed: of the folds of the models that complete the table.

    Raises:
        InfeasibleBudget: the budget is below the cheapest strategy of every task.
        NotEnoughEvidence: the window holds too few graded tasks.
    """
    log = _Log.read(ledger, menu, budget.unit, since=since, until=until, seed=seed)
    allocation = solve_table(log.accuracy, log.cost, budget.per_task)
    shares = np.bincount(allocation.actions, minlength=len(menu)) / len(allocation.actions)
    return Solved(budget, allocation, dict(zip(menu.names, shares.tolist(), strict=True)), log.ground)


def frontier(
    ledger: Ledger,
    *,
    menu: Menu,
    unit: Unit,
    budgets: Sequence[float] = (),
    since: datetime | None = None,
    until: datetime | None = None,
    seed: int = 0,
) -> LoggedFrontier:
    """Trace the most accuracy that every budget buys on the logged tasks; nothing is learned or saved.

    Args:
        ledger: its settled decisions are read.
        menu: strategies to choose from.
        unit: of the budgets.
        budgets: mean costs per task at which points are told; when not given, `N_POINTS` from the cheapest to the dearest.
        since: first moment of the window.
        until: end of the window.
        seed: of the folds of the models that complete the table.

    Raises:
        InfeasibleBudget: a budget is below the cheapest strategy of every task.
        NotEnoughEvidence: the window holds too few graded tasks.
    """
    log = _Log.read(ledger, menu, unit, since=since, until=until, seed=seed)
    traced = trace_frontier(log.accuracy, log.cost)
    wanted = sorted(budgets) or np.unique(np.linspace(traced.spend[0], traced.spend[-1], N_POINTS)).tolist()
    points = [Point(budget, *traced.at(budget), log.held_out(budget)) for budget in wanted]
    return LoggedFrontier(traced, tuple(points), log.ground)


class _Log(NamedTuple):
    """Logged decisions, a policy learned from them for its held-out predictions, and the table that these complete."""

    table: OutcomeTable
    policy: LearnedPolicy
    accuracy: FloatArray
    cost: FloatArray
    ground: Ground

    @classmethod
    def read(cls, ledger: Ledger, menu: Menu, unit: Unit, *, since: datetime | None, until: datetime | None, seed: int) -> "_Log":
        table = OutcomeTable.from_evidence(ledger.evidence(since=since, until=until), menu, unit=unit)
        policy = ValuePolicy().fit(table, rng=np.random.default_rng(seed))
        held_out, by_task = policy.held_out_, policy.table_
        accuracy, cost = completed(by_task, held_out.score, held_out.cost)
        means = zip(menu.names, cost.mean(axis=0), accuracy.mean(axis=0), (~np.isnan(by_task.graded)).sum(axis=0), strict=True)
        fixed = tuple(Fixed(name, float(spend), float(reached), int(n)) for name, spend, reached, n in means)
        ground = Ground(unit, len(table.task_ids), len(set(table.task_ids)), since, until, seed, fixed)
        return cls(table, policy, accuracy, cost, ground)

    def held_out(self, budget: float) -> OffPolicyEstimate:
        scores, held_out = Revealed.scores(self.table), self.policy.held_out_
        chosen = PriceCurve.of(held_out).choose(held_out, budget, floor=0.0).probabilities
        rows = self.table.pool[scores.rows]
        return dr(scores, target_prob=chosen[rows], predicted=held_out.score[rows])
