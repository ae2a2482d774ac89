"""Ways to spend compute on a task, and the menu of them that a router may choose from."""

import hashlib
import re
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from typing import Annotated, Any, Literal, Self

from pydantic import ConfigDict, Field, PositiveInt, RootModel, ValidationError, model_validator

from budget_router.errors import InvalidInput
from budget_router.words import Name, NonNegative, Positive, Text, Word, explain

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
        return _digest(self.model_dump_json(exclude_none=True))


class _Strategy(Word):
    """What all strategies may set. `None` leaves the model's own setting."""

    name: Text = Field("", max_length=MAX_NAME_CHARACTERS)
    """Stable name in logs and routes; by default the kind and its distinguishing settings."""
    model: Name | None = None
    temperature: NonNegative | None = None
    max_tokens: PositiveInt | None = None
    instruction: Text | None = None
    """Put before the task as a system message."""
    typical_completion_tokens: Positive = 300.0
    """Completion tokens of one answer, as guessed before anything was measured."""

    @model_validator(mode="after")
    def _named(self) -> Self:
        if not self.name:
            settings = [getattr(self, name, None) for name in ("kind", "k", "effort", "max_thinking_tokens", "model")]
            name = "_".join(re.sub(r"\W+", "_", str(setting)) for setting in settings if setting is not None)
            object.__setattr__(self, "name", name[:MAX_NAME_CHARACTERS])  # frozen only once it is complete
        return self

    @property
    def n_samples(self) -> int:
        """Answers drawn."""
        return 1

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


class SelfConsistency(_Strategy):
    """Draw `k` answers and take the majority (Wang et al. 2023, arXiv 2203.11171).

    >>> SelfConsistency(k=5).name
    'self_consistency_5'
    """

    kind: Literal["self_consistency"] = "self_consistency"
    k: int = Field(ge=1, le=1000)

    @property
    def n_samples(self) -> int:
        """Answers drawn: `k`."""
        return self.k


class ExtendedCoT(_Strategy):
    """One answer with more thinking: by reasoning effort, thinking-token limit, or instruction.

    >>> ExtendedCoT(effort="high").name
    'extended_cot_high'
    """

    kind: Literal["extended_cot"] = "extended_cot"
    effort: Effort | None = None
    max_thinking_tokens: PositiveInt | None = None
    typical_completion_tokens: Positive = 1500.0

    @model_validator(mode="after")
    def _thinks(self) -> Self:
        if self.effort is None and self.max_thinking_tokens is None and self.instruction is None:
            raise ValueError("set effort, max_thinking_tokens or instruction: without one it is a SingleShot")
        return self


Strategy = Annotated[SingleShot | SelfConsistency | ExtendedCoT, Field(discriminator="kind")]


class Menu(RootModel[tuple[Strategy, ...]]):
    """The strategies a router may choose from, cheap to dear, each under its own name.

    Raises InvalidInput when it is empty or two strategies share a name.

    >>> Menu([SingleShot(), SelfConsistency(k=5)]).names
    ('single_shot', 'self_consistency_5')
    """

    model_config = ConfigDict(frozen=True)

    def __init__(self, /, strategies: Iterable[Any] = (), **unknown: Any) -> None:  # Any: pydantic checks each just below
        if unknown:
            raise InvalidInput(f"Menu: it has no {min(unknown)!r}: pass a list of strategies")
        try:
            super().__init__(tuple(strategies))
        except ValidationError as error:
            raise InvalidInput(explain("Menu", error)) from error
        except TypeError as error:
            raise InvalidInput(f"Menu: {error}: pass a list of strategies") from error

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        if not self.root:
            raise ValueError("a menu needs at least one strategy: add SingleShot()")
        twice = {name for name in self.names if self.names.count(name) > 1}
        if twice:
            raise ValueError(f"strategies share the name {min(twice)!r}: give one of them name=...")
        return self

    def __iter__(self) -> Iterator[SingleShot | SelfConsistency | ExtendedCoT]:  # type: ignore[override]  # strategies, not pydantic's fields
        return iter(self.root)

    def __len__(self) -> int:
        return len(self.root)

    def __getitem__(self, name: str) -> SingleShot | SelfConsistency | ExtendedCoT:
        return self.root[self.action(name)]

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The strategies' names, in order: the columns of every table."""
        return tuple(strategy.name for strategy in self.root)

    @cached_property
    def hash(self) -> str:
        """Content hash of the strategies and all their settings."""
        return _digest(self.model_dump_json(exclude_none=True))

    def action(self, name: str) -> int:
        """Column of the strategy called `name`; raises InvalidInput if there is none."""
        if name not in self.names:
            raise InvalidInput(f"no strategy {name!r} on the menu: it has {', '.join(self.names)}")
        return self.names.index(name)

    def priced_by(self, executed: SingleShot | SelfConsistency | ExtendedCoT) -> Sequence[int]:
        """Columns whose accuracy a graded bundle of `executed` reveals: same sampling, no more samples."""
        return [
            action
            for action, strategy in enumerate(self.root)
            if strategy.sampling == executed.sampling and strategy.n_samples <= executed.n_samples
        ]


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]
