"""Two saved policies on the same decisions: what each would reach and spend, and where they part."""

from datetime import datetime
from typing import NamedTuple

import numpy as np

from budget_router.allocation import FloatArray
from budget_router.errors import ArtifactError
from budget_router.outcomes import OutcomeTable
from budget_router.placing import Fold, Judged, on_later
from budget_router.policies.learned import LearnedPolicy
from budget_router.reports import ComparisonResult, Part


class Candidate(NamedTuple):
    """A saved policy, and the end of what it was learned from."""

    policy: LearnedPolicy
    learned_at: datetime


def compare(first: Candidate, second: Candidate, table: OutcomeTable, *, budget: float, unit: str) -> ComparisonResult:
    """Compare two policies at a budget.

    What they choose is told of every task of the table. What they reach is judged, paired and doubly robust, by decisions later
    than what either learned from.

    Args:
        first: whose gain is told.
        second: over which.
        table: one row per decision.
        budget: mean cost per task.
        unit: as in FrontierResult.

    Raises:
        ArtifactError: both are the same version.
    """
    names = (first.policy.version, second.policy.version)
    if names[0] == names[1]:
        raise ArtifactError(f"policy {names[0]!r} is compared with itself: name another, of `policies`")
    everywhere = [_on(table, candidate.policy) for candidate in (first, second)]
    chosen = [judged.chosen(budget)[0] for judged in everywhere]
    since = max(first.learned_at, second.learned_at)
    later = [on_later(table, candidate.policy, since) for candidate in (first, second)]
    accuracy = spend = gain = None
    reason = f"no decision is later than what both learned from, {since:%Y-%m-%d %H:%M} UTC: serve and grade more, then compare"
    if later[0] is not None and later[1] is not None and len(later[0].scores.rows):
        one, other = later[0], later[1]
        by_one, by_other = one.chosen(budget)[0], other.chosen(budget)[0]
        accuracy = one.accuracy(by_one), one.accuracy(by_other)
        spend = one.spend(by_one), one.spend(by_other)
        gain, reason = one.accuracy(by_one, by_other), ""
    elif later[0] is not None:
        reason = f"none of the decisions later than {since:%Y-%m-%d %H:%M} UTC is graded: call router.grade"
    return ComparisonResult(
        unit=unit,
        names=(f"policy {names[0]}", f"policy {names[1]}"),
        accuracy=accuracy,
        spend=spend,
        gain=gain,
        reason=reason,
        differs=float(np.abs(chosen[0] - chosen[1]).sum(axis=1).mean()) / 2,
        parts=(*_shares(everywhere[0], chosen), *_groups(everywhere, chosen)),
    )


def _on(table: OutcomeTable, policy: LearnedPolicy) -> Judged:
    by_task = table.by_task()
    return Judged(table, by_task, (Fold(policy, np.arange(len(by_task.task_ids))),), "")


def _shares(judged: Judged, chosen: list[FloatArray]) -> list[Part]:
    means = [each.mean(axis=0) for each in chosen]
    n_tasks = len(judged.by_task.task_ids)
    names = judged.by_task.menu.names
    return [Part("share", name, float(means[0][k]), float(means[1][k]), n_tasks) for k, name in enumerate(names)]


def _groups(judged: list[Judged], chosen: list[FloatArray]) -> list[Part]:
    """Predicted spend of each group under both, each by the same predictions: the mean of theirs."""
    groups = np.array(["no group" if name is None else name for name in judged[0].table.groups or ()], dtype=object)
    if not len(groups):
        return []
    cost = (judged[0].prediction.cost + judged[1].prediction.cost) / 2
    pool = judged[0].table.pool
    spends = [(each * cost).sum(axis=1)[pool] for each in chosen]
    names = sorted(set(groups.tolist()), key=lambda name: -int((groups == name).sum()))
    members = {name: groups == name for name in names}
    return [
        Part("spend", name, float(spends[0][rows].mean()), float(spends[1][rows].mean()), int(rows.sum()))
        for name, rows in members.items()
    ]
