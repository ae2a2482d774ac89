"""What settled decisions tell, in plain values: learning reads them by the million, and they were checked when they were made."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Literal, NamedTuple, Protocol, Self

from budget_router.budget import Budget
from budget_router.menu import Escalate, Menu, Strategy
from budget_router.records import LoggedDecision, Reason, Spent
from budget_router.task import MetadataValue


class Drawn(NamedTuple):
    """One sample."""

    place: int
    """`Sample.index`: its place in the order of drawing."""
    call_id: str | None
    answer_key: str | None


class Shadowed(NamedTuple):
    """What a candidate that was tried in silence would have done."""

    policy_version: str
    propensities: Mapping[str, float]
    expected_cost: float


class Evidence(NamedTuple):
    """A settled decision and what is learned from it; each field is that of the record it comes from."""

    task_id: str
    thread_id: str | None
    group: str | None
    decided_at: datetime
    task_text: str | None
    task_ngrams: Mapping[int, int] | None
    metadata: Mapping[str, MetadataValue]
    features: Sequence[float]
    features_version: str
    menu: Menu
    strategy: Strategy
    propensities: Mapping[str, float]
    reason: Reason
    status: Literal["ok", "failed"]
    spend: Spent
    samples: Sequence[Drawn]
    """Of a strategy that draws one, that one, by the answer that was given."""
    calls: Mapping[str, Spent]
    """What each closed call of an escalation billed, by its id, to tell its stages apart; of other strategies none."""
    score: float | None
    """The latest one; `None` until the decision is graded."""
    answer_scores: Mapping[str, float]
    decision_id: str

    @classmethod
    def of(cls, entry: LoggedDecision) -> Self | None:
        """What a record tells; `None` until it is settled."""
        decision, settlement, outcome = entry.decision, entry.settlement, entry.outcome
        if settlement is None:
            return None
        calls = [call for call in entry.calls if call.status != "open"] if isinstance(decision.strategy, Escalate) else []
        return cls(
            task_id=decision.task_id,
            thread_id=decision.thread_id,
            group=decision.group,
            decided_at=decision.decided_at,
            task_text=entry.task_text,
            task_ngrams=entry.task_ngrams,
            metadata=entry.metadata,
            features=decision.features,
            features_version=decision.features_version,
            menu=entry.menu,
            strategy=decision.strategy,
            propensities=decision.propensities,
            reason=decision.reason,
            status=settlement.status,
            spend=settlement.spend.plain,
            samples=[Drawn(sample.index, sample.call_id, sample.answer_key) for sample in settlement.samples]
            if decision.strategy.n_samples > 1
            else [Drawn(0, None, settlement.answer_key)],
            calls={call.id: Spent(call.prompt_tokens, call.completion_tokens, call.nano_usd, call.seconds) for call in calls},
            score=None if outcome is None else outcome.score,
            answer_scores={} if outcome is None else outcome.answer_scores,
            decision_id=decision.id,
        )


class Act(NamedTuple):
    """What a policy did: a settled decision, and what was expected when it was made."""

    evidence: Evidence
    policy_version: str
    shadow_price: float
    expected_cost: float
    expected_accuracy: float | None
    budget: Budget
    run_id: str | None
    shadow: Shadowed | None

    @classmethod
    def of(cls, entry: LoggedDecision) -> Self | None:
        """What a record tells; `None` until it is settled."""
        evidence, decision = Evidence.of(entry), entry.decision
        if evidence is None:
            return None
        shadow = decision.shadow
        return cls(
            evidence=evidence,
            policy_version=decision.policy_version,
            shadow_price=decision.shadow_price,
            expected_cost=decision.expected_cost,
            expected_accuracy=decision.expected_accuracy,
            budget=decision.budget,
            run_id=decision.run_id,
            shadow=None if shadow is None else Shadowed(shadow.policy_version, shadow.propensities, shadow.expected_cost),
        )


class Part(Protocol):
    """Decisions of one stretch of a log, that any process can read: it is sent there, and opens what it needs."""

    def evidence(self) -> Iterator[Evidence]:
        """What the settled ones tell, oldest first."""
        ...
