"""What a saved policy would have bought, by decisions that were logged after it was trained."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from budget_router.allocation import FloatArray
from budget_router.budget import Budget
from budget_router.errors import ArtifactError, InvalidInput, NotEnoughEvidence
from budget_router.evaluation import Comparison, OffPolicyEstimate, Worth, compare, static_mix
from budget_router.frames import frame
from budget_router.ledger import Ledger
from budget_router.menu import Menu
from budget_router.outcomes import OutcomeTable
from budget_router.policies.artifact import policy_from
from budget_router.policies.learned import LearnedPolicy
from budget_router.records import PolicyRecord
from budget_router.reports import Estimated, EstimatesResult

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from pandas import DataFrame

MIX = "mix"
"""Names the best static mix of strategies at the same expected spend."""

_TICK = timedelta(microseconds=1)


class Row(NamedTuple):
    """One estimate of an evaluation."""

    policy: str
    """A version, or `mix`."""
    measure: str
    """`accuracy`, `spend` or `gain`."""
    estimator: str
    """`ips`, `snips` or `dr`."""
    estimate: OffPolicyEstimate


@dataclass(frozen=True)
class Evaluation:
    """A policy's accuracy, spend and gain, as far as the decisions of a window tell them."""

    version: str
    against: str
    """A version, or `mix`."""
    budget: Budget
    since: datetime | None
    """First moment of the window; `None`: it has no beginning."""
    until: datetime | None
    trained_until: datetime
    """Up to which decisions trained one of the two."""
    is_in_sample: bool
    """Whether some of the decisions trained one of the two: it then looks better than it is."""
    n_decisions: int
    n_tasks: int
    n_graded: int
    """Decisions that scores are known of."""
    policy: Worth
    rival: Worth
    gain: OffPolicyEstimate
    """Accuracy over the rival's, doubly robust, paired."""

    @property
    def rows(self) -> list[Row]:
        """Every estimate, one a row."""
        rows = [
            Row(name, measure, estimator, estimate)
            for measure in ("accuracy", "spend")
            for name, worth in ((self.version, self.policy), (self.against, self.rival))
            for estimator, estimate in getattr(worth, measure)._asdict().items()
        ]
        return [*rows, Row(self.version, "gain", "dr", self.gain)]

    def frame(self) -> "DataFrame":
        """One row per estimate: whose it is, of what, by which estimator, and how sure it is.

        Raises:
            ImportError: pandas is not installed.
        """
        told = [{**row._asdict(), **vars(row.estimate)} for row in self.rows]
        return frame({name: [row[name] for row in told] for name in told[0] if name != "estimate"})

    def plot(self) -> "Figure":
        """Draw accuracy and spend of both, by every estimator, with their intervals.

        Raises:
            ImportError: matplotlib is not installed.
        """
        rows = [
            Estimated(name, estimator.upper(), accuracy, spend, is_ours=worth is self.policy)
            for name, worth in ((self.version, self.policy), (self.against, self.rival))
            for (estimator, accuracy), spend in zip(worth.accuracy._asdict().items(), worth.spend, strict=True)
        ]
        return EstimatesResult(f"{self.budget.unit.replace('_', ' ')} per task", tuple(rows)).plot()


def evaluate(
    ledger: Ledger,
    version: str | None = None,
    *,
    menu: Menu,
    budget: Budget,
    since: datetime | None = None,
    until: datetime | None = None,
    against: str = MIX,
    in_sample: bool = False,
) -> Evaluation:
    """Estimate what a saved policy would have reached at a budget on logged decisions, later ones than those that trained it.

    Args:
        ledger: its decisions are read, and its registry holds the policies.
        version: of the policy; the active one when not given.
        menu: of the policy.
        budget: at which it is judged, whatever was served at.
        since: first moment of the window; when not given, the first one after training.
        until: end of the window.
        against: what it is compared with: `mix`, the best static mix at the same expected spend, or another version.
        in_sample: take a window that holds decisions which trained either, all of the log when none is given; the figures then
            flatter what was trained.

    Raises:
        ArtifactError: no policy is active, there is none of that version, or it must not be served for this menu and unit.
        InvalidInput: the window holds decisions that trained one of the policies.
        NotEnoughEvidence: the window holds no settled decision.
    """
    version = version or ledger.registry.active_version(menu.hash)
    if version is None:
        raise ArtifactError("no policy serves this menu yet: name a saved version, or learn one by refresh and promote it")
    records = [ledger.registry.load(name) for name in (version, against) if name != MIX]
    policies = [policy_from(record, menu, unit=budget.unit) for record in records]
    trained_until = max(_trained(record)[1] for record in records)
    if since is None and not in_sample and (until is None or until > trained_until):
        since = trained_until + _TICK
    known = next((record for record in records if _holds_training(record, since, until)), None)
    if known is not None and not in_sample:
        raise InvalidInput(
            f"policy {known.version!r} was trained on decisions up to {_trained(known)[1]:%Y-%m-%d %H:%M:%S}, and the window "
            "holds some of them, which flatter it: begin later, or ask for it in-sample (--in-sample)"
        )
    table = _table(ledger, menu, budget, since, until)
    compared = judge(table, policies[0], budget.per_task, against=policies[1] if len(policies) > 1 else None)
    return Evaluation(
        version=version,
        against=against,
        budget=budget,
        since=since,
        until=until,
        trained_until=trained_until,
        is_in_sample=known is not None,
        n_decisions=len(table.task_ids),
        n_tasks=len(set(table.task_ids)),
        n_graded=int((~np.isnan(table.graded)).any(axis=1).sum()),
        policy=compared.policy,
        rival=compared.rival,
        gain=compared.gain,
    )


def judge(table: OutcomeTable, policy: LearnedPolicy, budget: float, *, against: LearnedPolicy | None = None) -> Comparison:
    """Compare a policy with another, or with the best static mix at its expected spend, on decisions that trained neither.

    Args:
        table: one row per logged decision, of the policy's menu and unit.
        policy: as it would serve, without exploration.
        budget: mean cost per task that both are priced for.
        against: another policy; `None`: the static mix.
    """
    prediction = policy.predict_table(table)
    chosen = policy.choose(prediction, budget).probabilities
    rival = static_mix(prediction, chosen) if against is None else _chosen(against, table, budget)
    return compare(table, prediction, chosen=chosen, rival=rival)


def _chosen(policy: LearnedPolicy, table: OutcomeTable, budget: float) -> FloatArray:
    return policy.choose(policy.predict_table(table), budget).probabilities


def _table(ledger: Ledger, menu: Menu, budget: Budget, since: datetime | None, until: datetime | None) -> OutcomeTable:
    try:
        return OutcomeTable.from_evidence(ledger.evidence(since=since, until=until), menu, unit=budget.unit)
    except NotEnoughEvidence as error:
        began = "" if since is None else f" since {since:%Y-%m-%d %H:%M:%S}"
        ended = "" if until is None else f" until {until:%Y-%m-%d %H:%M:%S}"
        raise NotEnoughEvidence(
            f"no settled decision of this menu stands in the window{began}{ended}: serve on, widen it, or judge in-sample"
        ) from error


def _holds_training(record: PolicyRecord, since: datetime | None, until: datetime | None) -> bool:
    began, ended = _trained(record)
    return (since is None or since <= ended) and (until is None or began is None or until > began)


def trained_until(record: PolicyRecord) -> datetime:
    """Up to when the decisions date that a policy was trained on; at the latest, up to when it was saved."""
    return _trained(record)[1]


def _trained(record: PolicyRecord) -> tuple[datetime | None, datetime]:
    """From when and up to when the decisions date that a policy was trained on; at the latest, up to when it was saved."""
    began, *ended = (_moment(record.evidence.get(name)) for name in ("since", "last_decided_at", "until"))
    return began, min(moment for moment in (record.created_at, *ended) if moment is not None)


def _moment(told: object) -> datetime | None:
    if not isinstance(told, str):
        return None
    at = datetime.fromisoformat(told)
    return at if at.tzinfo else at.replace(tzinfo=UTC)
