"""Try a candidate in silence, and tell from what was noted beside each decision what it would have come to.

The candidate's probabilities stand in the log, so it is judged without its model and without any task's text.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime

import numpy as np

from budget_router.allocation import FloatArray
from budget_router.budget import Budget
from budget_router.errors import NotEnoughEvidence
from budget_router.evaluation import OffPolicyEstimate, Revealed, cross_fitted, dr, ips
from budget_router.evidence import Act
from budget_router.ledger import Ledger
from budget_router.menu import Menu
from budget_router.outcomes import OutcomeTable
from budget_router.rollout import Rollout


@dataclass(frozen=True)
class ShadowResult:
    """What a candidate would have done with the tasks that it watched."""

    version: str
    n_decisions: int
    """Settled ones that it watched, which a policy made and no cap or caller changed."""
    differs: float
    """Share of tasks on which it would have taken another strategy, had the same lot been drawn: the mean total variation
    distance of the two choices."""
    expected_spend: float
    """By its own predictions, per task in the budget's unit."""
    accuracy: OffPolicyEstimate
    """Doubly robust."""
    accuracy_ips: OffPolicyEstimate
    """Without any model."""
    gain: OffPolicyEstimate
    """In accuracy over what decided, doubly robust and paired."""
    spend: OffPolicyEstimate
    """Doubly robust, in the budget's unit."""
    spend_ips: OffPolicyEstimate
    more_spend: OffPolicyEstimate
    """Than what decided, doubly robust and paired."""
    shares: tuple[tuple[str, float, float], ...]
    """Of each strategy: its name, how often it was drawn for, how often the candidate would have."""


def shadow(ledger: Ledger, version: str | None, *, menu: Menu) -> Rollout:
    """Let a saved policy decide in silence from now on, in place of the one that does; `None`: nobody.

    Args:
        ledger: whose registry keeps it; routers pick it up within seconds.
        version: of the policy.
        menu: of the policy.

    Raises:
        ArtifactError: it was never saved.
        InvalidInput: it decides tasks already.
    """
    registry = ledger.registry
    if version is not None:
        return registry.shadow(version)
    stands = registry.rollout(menu.hash)
    return stands if stands.shadow is None else registry.withdraw(stands.shadow, reason="shadowing ended")


def shadowed(
    ledger: Ledger,
    *,
    menu: Menu,
    budget: Budget,
    version: str | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
) -> ShadowResult:
    """Tell what a candidate would have come to, by what it noted in silence.

    Args:
        ledger: to read.
        menu: of the policies.
        budget: whose unit spend is told in; one with a group counts that group's decisions alone.
        version: of the candidate; the one that decides in silence now when not given.
        since: first moment of the window.
        until: end of the window.

    Raises:
        NotEnoughEvidence: no candidate was named and none decides in silence, or it watched no settled decision.
    """
    version = version or ledger.registry.rollout(menu.hash).shadow
    if version is None:
        raise NotEnoughEvidence("no policy decides in silence: let one, by shadow, or name one that did")
    watched = [
        act
        for act in ledger.acts(since=since, until=until)
        if act.shadow is not None
        and act.shadow.policy_version == version
        and act.evidence.reason == "policy"
        and act.evidence.menu.hash == menu.hash
        and (budget.group is None or act.evidence.group == budget.group)
    ]
    if not watched:
        raise NotEnoughEvidence(f"{version!r} watched no decision of this menu that was settled: let it watch some first")
    return _result(version, watched, menu, budget)


def _result(version: str, watched: list[Act], menu: Menu, budget: Budget) -> ShadowResult:
    named = (
        act.evidence._replace(task_id=str(row)) for row, act in enumerate(watched)
    )  # rows that tell nothing are left out of a table
    table = OutcomeTable.from_evidence(named, menu, unit=budget.unit)
    kept = [watched[int(row)] for row in table.task_ids]
    theirs = _chances([act.shadow.propensities for act in kept if act.shadow is not None], menu)
    ours = _chances([act.evidence.propensities for act in kept], menu)
    scores, spends = (_of_tasks(log, kept) for log in (Revealed.scores(table), Revealed.spends(table)))
    score_model, spend_model = (cross_fitted(table.structure[log.rows].astype(np.float64), log) for log in (scores, spends))
    graded, billed = scores.rows, spends.rows
    return ShadowResult(
        version=version,
        n_decisions=len(kept),
        differs=float(np.abs(theirs - ours).sum(axis=1).mean()) / 2,
        expected_spend=float(np.mean([act.shadow.expected_cost for act in kept if act.shadow is not None])),
        accuracy=dr(scores, target_prob=theirs[graded], predicted=score_model),
        accuracy_ips=ips(scores, target_prob=theirs[graded]),
        gain=dr(scores, target_prob=theirs[graded], predicted=score_model, against=ours[graded]),
        spend=dr(spends, target_prob=theirs[billed], predicted=spend_model),
        spend_ips=ips(spends, target_prob=theirs[billed]),
        more_spend=dr(spends, target_prob=theirs[billed], predicted=spend_model, against=ours[billed]),
        shares=tuple(zip(menu.names, ours.mean(axis=0).tolist(), theirs.mean(axis=0).tolist(), strict=True)),
    )


def _chances(propensities: list[Mapping[str, float]], menu: Menu) -> FloatArray:
    return np.array([[one.get(name, 0.0) for name in menu.names] for one in propensities])


def _of_tasks(log: Revealed, kept: list[Act]) -> Revealed:
    """The same, whose rows are of the tasks that they are about."""
    return replace(log, task_ids=tuple(kept[row].evidence.task_id for row in log.rows))
