"""What a refresh asks of the decisions that it learns from and judges by, wherever they are kept."""

from datetime import datetime, timedelta
from typing import NamedTuple, Protocol, Self

import numpy as np

from budget_router.allocation import Allocation, solve
from budget_router.budget import Budget
from budget_router.evaluation import Judgement
from budget_router.judging import Trial, judged, parted
from budget_router.outcomes import OutcomeTable, recent
from budget_router.policies.completion import completed
from budget_router.policies.learned import Evidenced, LearnedPolicy


class Log(Protocol):
    """Settled decisions."""

    @property
    def n_decisions(self) -> int:
        """That count."""
        ...

    @property
    def n_tasks(self) -> int:
        """They are about."""
        ...

    @property
    def weak_doubts(self) -> tuple[str, ...]:
        """Why weak labels that were asked for were not given."""
        ...

    @property
    def is_graded(self) -> bool:
        """Whether any of them is."""
        ...

    @property
    def last_decided_at(self) -> datetime | None:
        """When the last of them was made."""
        ...

    def recent(self, half_life: timedelta, *, rng: np.random.Generator) -> Self:
        """Those that are kept of them: see `budget_router.outcomes.recent`."""
        ...

    def parted(self, later_share: float) -> tuple[Self, Self]:
        """What trains, and what judges: see `budget_router.judging.parted`."""
        ...

    def fit(self, policy: LearnedPolicy, *, rng: np.random.Generator) -> "Taught":
        """Let a policy learn from them."""
        ...

    def judged(self, policy: LearnedPolicy, budget: Budget, *, incumbent: LearnedPolicy | None) -> Judgement:
        """Judge a policy that learned from earlier decisions."""
        ...


class Taught(Protocol):
    """Decisions that a policy has learned from."""

    @property
    def evidenced(self) -> Evidenced:
        """How much they told of each strategy."""
        ...

    def solved(self, budget: Budget) -> tuple[Allocation, float]:
        """Solve the completed table at the budget, or at what the cheapest strategies cost where that is more; at what it was."""
        ...

    def cross_fitted(self, budget: Budget, *, incumbent: LearnedPolicy | None, rng: np.random.Generator) -> Judgement:
        """Judge the policy on them, each task by a twin that did not see it."""
        ...


class LogHere(NamedTuple):
    """Decisions that this process keeps."""

    table: OutcomeTable

    @property
    def n_decisions(self) -> int:
        """That count."""
        return len(self.table)

    @property
    def n_tasks(self) -> int:
        """They are about."""
        return len(set(self.table.task_ids))

    @property
    def weak_doubts(self) -> tuple[str, ...]:
        """Why weak labels that were asked for were not given."""
        return self.table.weak_doubts

    @property
    def is_graded(self) -> bool:
        """Whether any of them is."""
        return not bool(np.isnan(self.table.graded).all())

    @property
    def last_decided_at(self) -> datetime | None:
        """When the last of them was made."""
        return self.table.last_decided_at

    def recent(self, half_life: timedelta, *, rng: np.random.Generator) -> "LogHere":
        """Those that are kept of them."""
        return LogHere(recent(self.table, half_life, rng=rng))

    def parted(self, later_share: float) -> "tuple[LogHere, LogHere]":
        """What trains, and what judges."""
        earlier, later = parted(self.table, later_share)
        return LogHere(earlier), LogHere(later)

    def fit(self, policy: LearnedPolicy, *, rng: np.random.Generator) -> "TaughtHere":
        """Let a policy learn from them."""
        return TaughtHere(policy.fit(self.table, rng=rng), self.table.without_stages())

    def judged(self, policy: LearnedPolicy, budget: Budget, *, incumbent: LearnedPolicy | None) -> Judgement:
        """Judge a policy that learned from earlier decisions."""
        return judged(Trial.later(policy, self.table, budget.per_task), budget, incumbent=incumbent)


class TaughtHere(NamedTuple):
    """Decisions that this process keeps, and a policy that has learned from them."""

    policy: LearnedPolicy
    table: OutcomeTable

    @property
    def evidenced(self) -> Evidenced:
        """How much they told of each strategy."""
        return Evidenced.of(self.policy.table_)

    def solved(self, budget: Budget) -> tuple[Allocation, float]:
        """Solve the completed table."""
        held_out = self.policy.held_out_
        accuracy, cost = completed(self.policy.table_, held_out.expected, held_out.cost)
        allowed_cost = max(budget.per_task, float(cost.min(axis=1).mean()))
        return solve(accuracy, cost, allowed_cost), allowed_cost

    def cross_fitted(self, budget: Budget, *, incumbent: LearnedPolicy | None, rng: np.random.Generator) -> Judgement:
        """Judge the policy on them."""
        trial = Trial.cross_fitted(self.policy, self.table, budget.per_task, rng=rng)
        return judged(trial, budget, incumbent=incumbent)
