"""Ways to spend compute on a task: how many answers are drawn, how, and when it is enough."""

import hashlib
import re
from functools import cached_property, lru_cache
from typing import Annotated, Any, Literal, NamedTuple, Self

from pydantic import Field, PositiveInt, model_validator

from budget_router.words import Name, NonNegative, Positive, Text, Word

Effort = Literal["minimal", "low", "medium", "high"]

MAX_NAME_CHARACTERS = 200


class Sampling(Word):
    """How one answer is drawn: two strategies with equal sampling draw from the same distribution of answers.

    So graded samples of the one price the other, whatever the number of samples.
    """

    model: Name | None = None
    temperature: NonNegative | None = None
    max_tokens: PositiveInt | None = None
    instruction: Text | None = None
    effort: Effort | None = None
    max_thinking_tokens: PositiveInt | None = None

    @property
    def key(self) -> str:
        """Content hash, stable across processes and versions."""
        return _key(self)


@lru_cache(maxsize=1024)
def _key(sampling: Sampling) -> str:
    """By value, not on the sampling: a copy with other fields would take a remembered key along."""
    return digest(sampling.model_dump_json(exclude_none=True))


class EarlyStop(Word):
    """When a vote is decided before all its samples are drawn.

    Samples are drawn `window` at a time. After each round the vote stops if the leader is surely ahead of the runner-up, by the
    Beta criterion of Adaptive-Consistency (Aggarwal et al. 2023, arXiv 2305.11860), or if what may still be drawn cannot change
    the winner.
    """

    threshold: float = Field(gt=0.5, le=1)
    """Posterior probability that the leader is the true majority; at 1 only a vote that cannot change any more stops."""
    window: PositiveInt = 1
    """Samples drawn side by side before the next look; the last round may be smaller."""


class Knob(NamedTuple):
    """A numeric setting that trades cost for accuracy smoothly."""

    of: str
    """Content hash of all else that bears on the answers: strategies that share it differ in the setting alone."""
    setting: int


class _Named(Word):
    """What is known of every strategy."""

    name: Text = Field("", max_length=MAX_NAME_CHARACTERS)
    """Stable name in logs and routes; by default the kind and its distinguishing settings."""

    @model_validator(mode="after")
    def _has_name(self) -> Self:
        if not self.name:
            name = "_".join(re.sub(r"\W+", "_", str(part)) for part in self._name_parts() if part is not None)
            object.__setattr__(self, "name", name[:MAX_NAME_CHARACTERS])  # frozen only once it is complete
        return self

    def _name_parts(self) -> list[object]:
        """What tells it from others of its kind; `None` is left out."""
        raise NotImplementedError

    @cached_property
    def sampling(self) -> Sampling:
        """How each of its guaranteed answers is drawn."""
        raise NotImplementedError

    @cached_property
    def sampling_key(self) -> str:
        """Content hash of how each of its guaranteed answers is drawn."""
        return self.sampling.key

    @property
    def n_samples(self) -> int:
        """Most answers drawn: what a reservation has to cover."""
        return 1

    @property
    def n_guaranteed(self) -> int:
        """Answers drawn by `sampling` whatever they say: these, and these alone, are an exchangeable bundle."""
        return self.n_samples

    @property
    def is_adaptive(self) -> bool:
        """Whether the answers decide how many are drawn, and so what is billed."""
        return self.n_guaranteed < self.n_samples

    @cached_property
    def settings_key(self) -> str:
        """Content hash of all that bears on its answers: equal ones are one strategy, whatever they are called."""
        irrelevant: Any = {"name", "typical_completion_tokens"}  # Any: pydantic's own recursive type
        excluded: Any = {**dict.fromkeys(irrelevant, True), "first": irrelevant, "then": irrelevant}
        return digest(self.model_dump_json(exclude_none=True, exclude=excluded))

    @property
    def knob(self) -> Knob | None:
        """The numeric setting that tells it from its neighbours; `None` when it has none."""
        return None

    @property
    def cost_key(self) -> str:
        """Strategies of one key cost the same per sample billed; an adaptive one has a cost of its own."""
        return self.settings_key if self.is_adaptive else self.sampling_key

    @property
    def cost_scale(self) -> int:
        """Samples that the cost is proportional to among strategies of one `cost_key`."""
        return 1 if self.is_adaptive else self.n_samples


class _Strategy(_Named):
    """What all strategies that draw their answers alike may set. `None` leaves the model's own setting."""

    model: Name | None = None
    temperature: NonNegative | None = None
    max_tokens: PositiveInt | None = None
    instruction: Text | None = None
    """Put before the task as a system message."""
    typical_completion_tokens: Positive = 300.0
    """Completion tokens of one answer, as guessed before anything was measured."""

    def _name_parts(self) -> list[object]:
        return [getattr(self, name, None) for name in ("kind", "effort", "max_thinking_tokens", "model")]

    @cached_property
    def sampling(self) -> Sampling:
        """How each of its answers is drawn."""
        shared = {name: getattr(self, name, None) for name in Sampling.model_fields}
        return Sampling(**shared)


class SingleShot(_Strategy):
    """One answer.

    >>> SingleShot().name
    'single_shot'
    """

    kind: Literal["single_shot"] = "single_shot"

    @property
    def knob(self) -> Knob:
        """A vote of one."""
        return Knob(self.sampling_key, 1)


class SelfConsistency(_Strategy):
    """Draw `k` answers, or fewer where they agree early, and take the majority (Wang et al. 2023, arXiv 2203.11171).

    >>> SelfConsistency(k=5).name
    'self_consistency_5'
    >>> careful = SelfConsistency(k=10, early_stop=EarlyStop(threshold=0.9, window=2))
    >>> careful.name, careful.n_guaranteed, careful.n_samples
    ('self_consistency_10_stop_90_by_2', 2, 10)
    """

    kind: Literal["self_consistency"] = "self_consistency"
    k: int = Field(ge=1, le=1000)
    """Answers drawn, at most if there is an early stop."""
    early_stop: EarlyStop | None = None

    def _name_parts(self) -> list[object]:
        stop = self.early_stop
        stops = [] if stop is None else ["stop", _percent(stop.threshold)]
        by = [] if stop is None or stop.window == 1 else ["by", stop.window]
        return [self.kind, self.k, *stops, *by, self.model]

    @property
    def n_samples(self) -> int:
        """Most answers drawn: `k`."""
        return self.k

    @property
    def knob(self) -> Knob:
        """`k`, among votes that stop alike."""
        stop = self.early_stop
        return Knob(self.sampling.key if stop is None else digest(self.sampling.key + stop.model_dump_json()), self.k)

    @property
    def n_guaranteed(self) -> int:
        """All of `k`, or the first window where the vote may stop after it."""
        return self.k if self.early_stop is None else min(self.early_stop.window, self.k)


class ExtendedCoT(_Strategy):
    """One answer with more thinking: by reasoning effort, thinking-token limit, room to write (`max_tokens`), or instruction.

    >>> ExtendedCoT(effort="high").name, ExtendedCoT(max_tokens=4000).name
    ('extended_cot_high', 'extended_cot_4000')
    """

    kind: Literal["extended_cot"] = "extended_cot"
    effort: Effort | None = None
    max_thinking_tokens: PositiveInt | None = None
    typical_completion_tokens: Positive = 1500.0

    @model_validator(mode="after")
    def _thinks(self) -> Self:
        if all(given is None for given in (self.effort, self.max_thinking_tokens, self.max_tokens, self.instruction)):
            raise ValueError("set effort, max_thinking_tokens, max_tokens or instruction: without one it is a SingleShot")
        return self

    def _name_parts(self) -> list[object]:
        if self.effort is None and self.max_thinking_tokens is None and self.instruction is None:
            return [self.kind, self.max_tokens, self.model]
        return super()._name_parts()

    @property
    def knob(self) -> Knob | None:
        """`max_thinking_tokens`, where it is set."""
        if self.max_thinking_tokens is None:
            return None
        rest = self.sampling.model_copy(update={"max_thinking_tokens": None})
        return Knob(digest(f"thinking {rest.key}"), self.max_thinking_tokens)


Stage = Annotated[SingleShot | SelfConsistency | ExtendedCoT, Field(discriminator="kind")]
"""A strategy that draws all its answers alike."""


class Escalate(_Named):
    """Vote over a few cheap answers, and run the dear strategy only where they disagree.

    >>> doubtful = Escalate(first=SelfConsistency(k=3), then=ExtendedCoT(effort="high"), agreement=1.0)
    >>> doubtful.name
    'escalate_self_consistency_3_extended_cot_high_100'
    >>> doubtful.n_guaranteed, doubtful.n_samples
    (3, 4)
    """

    kind: Literal["escalate"] = "escalate"
    first: SelfConsistency
    """The cheap vote, always drawn whole."""
    then: Stage
    """Run where the first vote is not accepted; its answer stands, and the first vote's only if it gives none."""
    agreement: float = Field(gt=0, le=1)
    """Share of all of `first`'s samples that the winner must reach to be accepted."""

    @model_validator(mode="after")
    def _first_is_a_whole_vote(self) -> Self:
        if self.first.early_stop is not None or self.first.k < 2:
            raise ValueError("first takes a SelfConsistency of at least two samples and no early_stop: its agreement is counted")
        return self

    @classmethod
    def at_every_agreement(cls, first: SelfConsistency, then: Stage) -> tuple[Self, ...]:
        """One escalation for each number of votes that may be asked of the winner: a learned policy picks the one for the task.

        >>> [one.agreement for one in Escalate.at_every_agreement(SelfConsistency(k=4), ExtendedCoT(effort="high"))]
        [0.5, 0.75, 1.0]
        """
        return tuple(cls(first=first, then=then, agreement=votes / first.k) for votes in range(2, first.k + 1))

    def _name_parts(self) -> list[object]:
        return [self.kind, self.first.name, self.then.name, _percent(self.agreement)]

    @cached_property
    def sampling(self) -> Sampling:
        """How the first stage's answers are drawn: those alone are guaranteed."""
        return self.first.sampling

    @property
    def n_samples(self) -> int:
        """Most answers drawn: both stages in full."""
        return self.first.k + self.then.n_samples

    @property
    def n_guaranteed(self) -> int:
        """The first stage's samples."""
        return self.first.k


Strategy = Annotated[SingleShot | SelfConsistency | ExtendedCoT | Escalate, Field(discriminator="kind")]


def stages(strategy: Strategy) -> tuple[Stage, ...]:
    """The parts of a strategy, each of which draws all its answers alike: one, or two for an escalation."""
    return (strategy.first, strategy.then) if isinstance(strategy, Escalate) else (strategy,)


def digest(text: str) -> str:
    """Short content hash."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _percent(share: float) -> str:
    return f"{100 * share:.4g}"
