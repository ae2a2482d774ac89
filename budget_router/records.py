"""What is written into the ledger: what was decided, what was spent, what came of it.

Everything that hindsight cannot rebuild stands here: propensities, the shadow price, the versions of policy and features, the
menu that was offered, UTC times. A record is never changed; a correction is a new record.
"""

import hashlib
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Literal, NamedTuple, Self

from pydantic import Field, NonNegativeInt, model_validator

from budget_router.budget import Budget, Unit
from budget_router.ids import new_id
from budget_router.menu import Menu, Strategy
from budget_router.task import MetadataValue
from budget_router.words import Name, NonNegative, Positive, Probability, Score, Time, Word

Reason = Literal["policy", "forced", "reconsidered", "capped"]
CallStatus = Literal["open", "ok", "error"]
SpendSource = Literal["reported", "counted", "estimated", "cache"]
"""Who says how many tokens: the provider, a tokenizer, a rule of thumb; `cache` was not billed at all."""


def now() -> datetime:
    """The current moment, in UTC."""
    return datetime.now(UTC)


class Shadow(Word):
    """What a policy that decides nothing would have made of a task: beside the decision, and never executed."""

    policy_version: Name
    propensities: dict[str, Probability]
    """Probability of each strategy of the menu, by name."""
    shadow_price: NonNegative
    """Accuracy per unit of cost, at the budget itself: what the past left over is for whoever spent it."""
    expected_cost: NonNegative
    """Mean over the propensities, in the budget's unit."""
    expected_accuracy: Score | None = None
    """Mean over the propensities."""

    @model_validator(mode="after")
    def _is_distribution(self) -> Self:
        _check_distribution(self.propensities)
        return self


class Decision(Word):
    """Which strategy a task gets, why, and with which probability."""

    id: Name = Field(default_factory=new_id)
    task_id: Name
    group: Name | None = None
    strategy: Strategy
    propensities: dict[str, Probability]
    """Probability of each strategy of the menu to be *executed* on this task, by name, whichever of two policies that share the
    traffic was to decide."""
    shadow_price: NonNegative
    """Dual variable of the budget: accuracy per unit of cost."""
    expected_cost: NonNegative
    """Of the chosen strategy, in the budget's unit."""
    expected_accuracy: Score | None = None
    budget: Budget
    policy_version: Name
    """Of the policy that decided; of two that share the traffic, the one whose turn it was."""
    menu_hash: Name
    features: tuple[float, ...] = ()
    """Structural features of the task; see `budget_router.features.structure`."""
    features_version: Name
    run_id: Name | None = None
    thread_id: Name | None = None
    decided_at: Time = Field(default_factory=now)
    reason: Reason = "policy"
    """`forced`: the caller chose; the propensity is one, and off-policy estimates leave it out. `reconsidered`: the first answers
    to the task asked for it, so what comes of it tells nothing of tasks at large, and nothing is learned from it. `capped`: the
    strategy that was drawn did not fit under the hard cap, and another was taken, or the same with a low `max_tokens`; off-policy
    estimates leave it out too."""
    shadow: Shadow | None = None
    """What the candidate that is tried in silence would have done."""

    @model_validator(mode="after")
    def _is_distribution(self) -> Self:
        _check_distribution(self.propensities)
        if self.propensity <= 0:
            raise ValueError(f"the executed strategy {self.strategy.name!r} has no positive propensity")
        return self

    @property
    def propensity(self) -> float:
        """Probability of the executed strategy under the policy that logged it."""
        return self.propensities.get(self.strategy.name, 0.0)


def _check_distribution(propensities: Mapping[str, float]) -> None:
    total = sum(propensities.values())
    if abs(total - 1) > 1e-6:
        raise ValueError(f"propensities add up to {total:g}, not 1")


class Call(Word):
    """One call of a model, opened before it is made and closed by what it billed.

    An open call that was never closed may have been billed all the same: an audit books it as estimated.
    """

    id: Name
    """Unique per real call: the LLM run's id."""
    decision_id: Name
    model: Name
    started_at: Time = Field(default_factory=now)
    prompt_tokens: NonNegativeInt = 0
    completion_tokens: NonNegativeInt = 0
    reasoning_tokens: NonNegativeInt = 0
    """Part of the completion tokens, never added to them."""
    cached_tokens: NonNegativeInt = 0
    """Part of the prompt tokens, never added to them."""
    nano_usd: NonNegativeInt | None = None
    """`None` when no tariff is known: unknown, not free."""
    tariff: Name | None = None
    seconds: NonNegative = 0.0
    status: CallStatus = "ok"
    source: SpendSource = "reported"

    @property
    def is_cut_off(self) -> bool:
        """Whether it ended while the provider was at work, so that what was written unseen may be billed beyond what is known."""
        return self.status == "error" and self.source != "reported" and bool(self.prompt_tokens or self.completion_tokens)


class Sample(Word):
    """One answer that was drawn for a decision."""

    index: NonNegativeInt
    """Place in the order of drawing; those of an escalation's second stage come after all of its first."""
    call_id: Name | None = None
    answer_key: Name | None = None
    """Salted hash of the normalised answer; `None` when none was found in the reply."""


class Spent(NamedTuple):
    """What something cost, in every unit."""

    prompt_tokens: int
    completion_tokens: int
    nano_usd: int | None
    """`None` when a price is unknown."""
    seconds: float

    def in_unit(self, unit: str) -> float:
        """The spend in a budget's unit; NaN when it is money and a price is unknown."""
        match unit:
            case "tokens":
                return float(self.prompt_tokens + self.completion_tokens)
            case "completion_tokens":
                return float(self.completion_tokens)
            case "usd":
                return float("nan") if self.nano_usd is None else usd(self.nano_usd)
            case _:
                return self.seconds


class Spend(Word):
    """What a decision cost in all: the sum of its calls, and the wall time of its execution."""

    prompt_tokens: NonNegativeInt = 0
    completion_tokens: NonNegativeInt = 0
    nano_usd: NonNegativeInt | None = None
    """`None` when the price of one of the calls is unknown."""
    seconds: NonNegative = 0.0
    n_calls: NonNegativeInt = 0

    @classmethod
    def of(cls, calls: "tuple[Call, ...] | list[Call]", *, seconds: float = 0.0) -> "Spend":
        """Add up calls; `seconds` is the wall time of the whole, not their sum."""
        money = [call.nano_usd for call in calls]
        return cls(
            prompt_tokens=sum(call.prompt_tokens for call in calls),
            completion_tokens=sum(call.completion_tokens for call in calls),
            nano_usd=None if not money or None in money else sum(amount or 0 for amount in money),
            seconds=seconds,
            n_calls=len(calls),
        )

    def counted(self, unit: str) -> int | None:
        """The spend in whole tokens or nano-USD; `None` when it is money and a price is unknown."""
        if unit != "usd":
            return round(self.in_unit(unit))
        return (
            0 if self.nano_usd is None and not (self.n_calls or self.prompt_tokens or self.completion_tokens) else self.nano_usd
        )

    def __add__(self, other: "Spend") -> "Spend":
        """Both, one after the other."""
        money = (self.counted("usd"), other.counted("usd"))
        return Spend(
            prompt_tokens=self.prompt_tokens + other.prompt_tokens,
            completion_tokens=self.completion_tokens + other.completion_tokens,
            nano_usd=None if None in money else sum(filter(None, money)),
            seconds=self.seconds + other.seconds,
            n_calls=self.n_calls + other.n_calls,
        )

    @property
    def plain(self) -> Spent:
        """The same, but for the number of calls, without the checks."""
        return Spent(self.prompt_tokens, self.completion_tokens, self.nano_usd, self.seconds)

    def in_unit(self, unit: str) -> float:
        """The spend in a budget's unit; NaN when it is money and a price is unknown."""
        return self.plain.in_unit(unit)


class Settlement(Word):
    """The end of a decision's execution: what was drawn, what was answered, how long it took."""

    decision_id: Name
    status: Literal["ok", "failed"] = "ok"
    samples: tuple[Sample, ...] = ()
    answer_key: Name | None = None
    agreement: Score | None = None
    """Share of the samples, of the stage that answered, that gave the winning answer."""
    spend: Spend
    settled_at: Time = Field(default_factory=now)


class Outcome(Word):
    """How good the answer was, by whoever knows; it may arrive days later, and a later one corrects it."""

    decision_id: Name
    score: Score
    source: Name = "user"
    answer_scores: dict[str, Score] = Field(default_factory=dict)
    """Score of each distinct answer that was drawn, by `answer_key`: one bundle then prices every smaller vote."""
    graded_at: Time = Field(default_factory=now)


class LoggedDecision(Word):
    """A decision with all that is known of it, as a ledger gives it back."""

    decision: Decision
    task_text: str | None = None
    """`None` when the ledger was told to store no text, or the task was erased."""
    task_ngrams: dict[int, int] | None = None
    """In place of the text, where the ledger was told to store it hashed: see `budget_router.features.ngram_counts`."""
    metadata: dict[str, MetadataValue] = Field(default_factory=dict)
    menu: Menu
    calls: tuple[Call, ...] = ()
    settlement: Settlement | None = None
    outcome: Outcome | None = None
    """The latest one."""


class Solve(Word):
    """What the allocation came to, one time that it was solved on what was logged."""

    id: Name = Field(default_factory=new_id)
    menu_hash: Name
    policy_version: Name | None = None
    """The saved policy that was learned on the way; `None` when none was."""
    budget_per_task: Positive
    budget_unit: Unit
    allowed_cost: NonNegative
    """Mean cost that was solved for: the budget, or the cheapest assignment where that is dearer."""
    shadow_price: NonNegative
    """Accuracy per unit of cost."""
    duality_gap: NonNegative
    expected_accuracy: Score
    """Mean of the allocation, as costs are."""
    expected_cost: NonNegative
    n_decisions: NonNegativeInt
    """That it rests on."""
    n_tasks: NonNegativeInt
    since: Time | None = None
    """First moment of the window that was read; `None` when it had no beginning."""
    until: Time | None = None
    solved_at: Time = Field(default_factory=now)


class PolicyRecord(Word):
    """A policy as the registry keeps it, promoted or not, with the evidence that speaks for or against it."""

    version: Name
    menu_hash: Name
    """The menu it was trained for: routers of other menus do not see it."""
    manifest: str
    """JSON; names its arrays' hash."""
    arrays: bytes = Field(repr=False)
    evidence: Mapping[str, object] = Field(default_factory=dict)
    created_at: Time = Field(default_factory=now)


def usd(nano_usd: int) -> float:
    """Convert the ledger's integers to money, the only place that does."""
    return nano_usd / 1e9


def hash_text(text: str, *, salt: str) -> str:
    """Hash a text under a ledger's salt, so that equal texts can be told where none is kept."""
    return hashlib.blake2b(text.encode("utf-8", "replace"), key=salt.encode()[:64], digest_size=12).hexdigest()
