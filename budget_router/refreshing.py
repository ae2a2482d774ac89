"""Learn again from what was logged: read, tabulate, solve, learn, estimate, save; promoting is a step of its own."""

import math
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

import numpy as np

from budget_router.allocation import Allocation, FloatArray, solve
from budget_router.budget import Budget
from budget_router.errors import InvalidInput, NotEnoughEvidence
from budget_router.evaluation import OffPolicyEstimate, Revealed, dr
from budget_router.leases import LEASE_SECONDS, Lease
from budget_router.ledger import Ledger, Registry
from budget_router.menu import Menu
from budget_router.outcomes import OutcomeTable
from budget_router.policies import Mixture, OracleImitator, ValuePolicy
from budget_router.policies.artifact import record_of
from budget_router.policies.completion import completed
from budget_router.policies.learned import LearnedPolicy
from budget_router.policies.pricing import PriceCurve
from budget_router.records import Solve

LEARNERS: dict[str, type[LearnedPolicy]] = {"value": ValuePolicy, "imitator": OracleImitator}


@dataclass(frozen=True)
class Refresh:
    """A candidate policy and what speaks for it."""

    policy: LearnedPolicy
    version: str
    budget: Budget
    n_decisions: int
    n_tasks: int
    n_graded: dict[str, int]
    """Tasks on which each strategy was graded, the smaller votes that a bundle prices included."""
    n_weak: dict[str, int]
    """Tasks on which agreement alone speaks for a strategy; all 0 unless weak labels were asked for."""
    weak_doubts: tuple[str, ...]
    """Why weak labels that were asked for were not given: found, limit, mend."""
    allocation: Allocation
    """The solve on the completed table: the shadow price of the budget on what was logged."""
    accuracy: OffPolicyEstimate
    """Of the candidate at the budget, doubly robust on tasks held out from it; says why where the log tells too little."""
    gain: OffPolicyEstimate
    """Over the best static mix at the same expected spend, paired, on the same terms."""
    spend: OffPolicyEstimate
    """Per task, in the budget's unit, on the same terms: of all settled decisions, graded or not."""
    registry: Registry

    def promote(self) -> None:
        """Let this policy serve; routers of the same menu pick it up within seconds."""
        self.registry.promote(self.version)


def refresh(
    ledger: Ledger,
    *,
    menu: Menu,
    budget: Budget,
    learner: str = "value",
    columns: Collection[str] | None = None,
    weak_labels: bool = False,
    since: datetime | None = None,
    until: datetime | None = None,
    seed: int = 0,
    lease_seconds: float = LEASE_SECONDS,
) -> Refresh:
    """Learn a policy from a ledger and save it as a candidate; `promote` is called on the result.

    One works at a time on a menu, of all who share the ledger. What was solved is recorded: see `ledger.solves`.

    Args:
        ledger: its decisions are read, and its registry keeps the candidate.
        menu: strategies to choose from; decisions under older menus count where their strategies draw alike.
        budget: at which the table is solved and the candidate is judged; the policy serves every other budget too.
        learner: `value` or `imitator`.
        columns: names of the tasks' metadata to learn from; all of it when not given, none of it when empty.
        weak_labels: learn from ungraded votes as well, by how far their samples agree; estimates rest on grades alone.
        since: first moment of the window.
        until: end of the window.
        seed: of the folds.
        lease_seconds: after which the next one may take over from one that was killed.

    Raises:
        NotEnoughEvidence: the window holds too few graded tasks of some strategy.
        LeaseHeld: another refresh of this menu is at work.
        LeaseLost: another took over while this process was paused; nothing was saved.
    """
    if learner not in LEARNERS:
        raise InvalidInput(f"no learner {learner!r}: there are {', '.join(LEARNERS)}")
    with ledger.leases.hold(f"refresh {menu.hash}", seconds=lease_seconds) as lease:
        return _refreshed(
            ledger,
            lease,
            menu=menu,
            budget=budget,
            learner=learner,
            columns=columns,
            weak_labels=weak_labels,
            since=since,
            until=until,
            seed=seed,
        )


def _refreshed(
    ledger: Ledger,
    lease: Lease,
    *,
    menu: Menu,
    budget: Budget,
    learner: str,
    columns: Collection[str] | None,
    weak_labels: bool,
    since: datetime | None,
    until: datetime | None,
    seed: int,
) -> Refresh:
    evidence = ledger.evidence(since=since, until=until)
    table = OutcomeTable.from_evidence(evidence, menu, unit=budget.unit, columns=columns, weak_labels=weak_labels)
    if np.isnan(table.graded).all():
        raise NotEnoughEvidence(f"none of the {len(table.task_ids)} settled decisions is graded: call router.grade first")
    policy = LEARNERS[learner]().fit(table, rng=np.random.default_rng(seed))
    by_task = policy.table_
    held_out = policy.held_out_
    accuracy, cost = completed(by_task, held_out.score if held_out.accuracy is None else held_out.accuracy, held_out.cost)
    allowed_cost = max(budget.per_task, float(cost.min(axis=1).mean()))
    allocation = solve(accuracy, cost, allowed_cost)
    reached, gain, spend = _judge(policy, table, budget.per_task)
    n_tasks, n_graded = len(set(table.task_ids)), (~np.isnan(by_task.graded)).sum(axis=0)
    n_weak = by_task.is_observed.sum(axis=0) - n_graded
    record = record_of(
        policy,
        evidence={
            "budget": budget.model_dump(exclude_none=True),
            "learner": learner,
            "n_decisions": len(table.task_ids),
            "n_tasks": n_tasks,
            "n_weak": dict(zip(menu.names, n_weak.tolist(), strict=True)),
            "shadow_price": allocation.lam,
            "duality_gap": allocation.duality_gap,
            "accuracy": _known(reached),
            "gain": _known(gain),
            "spend": _known(spend),
            "seed": seed,
        },
    )
    lease.check()
    ledger.registry.save(record)
    ledger.record_solve(
        Solve(
            menu_hash=menu.hash,
            policy_version=record.version,
            budget_per_task=budget.per_task,
            budget_unit=budget.unit,
            allowed_cost=allowed_cost,
            shadow_price=allocation.lam,
            duality_gap=allocation.duality_gap,
            expected_accuracy=min(allocation.accuracy, 1.0),  # a mean of ones may be rounded up
            expected_cost=allocation.spend,
            n_decisions=len(table.task_ids),
            n_tasks=n_tasks,
            since=since,
            until=until,
        )
    )
    return Refresh(
        policy=policy,
        version=record.version,
        budget=budget,
        n_decisions=len(table.task_ids),
        n_tasks=n_tasks,
        n_graded=dict(zip(menu.names, n_graded.tolist(), strict=True)),
        n_weak=dict(zip(menu.names, n_weak.tolist(), strict=True)),
        weak_doubts=table.weak_doubts,
        allocation=allocation,
        accuracy=reached,
        gain=gain,
        spend=spend,
        registry=ledger.registry,
    )


def _judge(
    policy: LearnedPolicy, table: OutcomeTable, budget: float
) -> tuple[OffPolicyEstimate, OffPolicyEstimate, OffPolicyEstimate]:
    """Accuracy, gain over the static mix, and spend of the policy, by held-out predictions on what was logged."""
    scores, spends = Revealed.scores(table), Revealed.spends(table)
    scored, billed = table.pool[scores.rows], table.pool[spends.rows]
    held_out = policy.held_out_
    chosen = PriceCurve.of(held_out).choose(held_out, budget, floor=0.0).probabilities
    predicted = held_out.accuracy if held_out.accuracy is not None else held_out.score
    mixture = Mixture(np.clip(predicted.mean(axis=0), 0, 1), held_out.cost.mean(axis=0))
    mix = mixture.choose(held_out, _mean_cost(chosen, held_out.cost)).probabilities
    return (
        dr(scores, target_prob=chosen[scored], predicted=predicted[scored]),
        dr(scores, target_prob=chosen[scored], predicted=predicted[scored], against=mix[scored]),
        dr(spends, target_prob=chosen[billed], predicted=held_out.cost[billed]),
    )


def _known(estimate: OffPolicyEstimate) -> list[float | None]:
    return [None if math.isnan(number) else number for number in estimate.interval]


def _mean_cost(probabilities: FloatArray, cost: FloatArray) -> float:
    return float((probabilities * cost).sum(axis=1).mean())
