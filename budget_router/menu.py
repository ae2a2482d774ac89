"""The menu of strategies that a router may choose from."""

from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from itertools import pairwise
from typing import Any, Self

from pydantic import ConfigDict, RootModel, ValidationError, model_validator

from budget_router.errors import InvalidInput
from budget_router.strategy import (
    MAX_NAME_CHARACTERS,
    EarlyStop,
    Effort,
    Escalate,
    ExtendedCoT,
    Sampling,
    SelfConsistency,
    SingleShot,
    Stage,
    Strategy,
    digest,
    stages,
)
from budget_router.words import explain

__all__ = [
    "MAX_NAME_CHARACTERS",
    "EarlyStop",
    "Effort",
    "Escalate",
    "ExtendedCoT",
    "Menu",
    "Sampling",
    "SelfConsistency",
    "SingleShot",
    "Stage",
    "Strategy",
    "stages",
]


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

    def __iter__(self) -> Iterator[Strategy]:  # type: ignore[override]  # strategies, not pydantic's fields
        return iter(self.root)

    def __len__(self) -> int:
        return len(self.root)

    def __getitem__(self, name: str) -> Strategy:
        return self.root[self.action(name)]

    def __hash__(self) -> int:
        return hash(self.hash)  # kept, where pydantic's own asks every strategy each time

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The strategies' names, in order: the columns of every table."""
        return tuple(strategy.name for strategy in self.root)

    @cached_property
    def hash(self) -> str:
        """Content hash of the strategies and all their settings."""
        return digest(self.model_dump_json(exclude_none=True))

    def action(self, name: str) -> int:
        """Column of the strategy called `name`; raises InvalidInput if there is none."""
        if name not in self.names:
            raise InvalidInput(f"no strategy {name!r} on the menu: it has {', '.join(self.names)}")
        return self.names.index(name)

    def refined(self, n_between: int = 1) -> Self:
        """Put settings between each two neighbouring ones of a numeric knob, `k` or `max_thinking_tokens`, evenly on a log scale.

        A learned policy tells what they are worth by the settings that were tried: no log has to hold them. So a budget between
        two settings is met by one between them, not by a lottery over both.

        Args:
            n_between: settings between two neighbours; fewer where whole numbers leave no room.

        >>> Menu([SelfConsistency(k=2), SelfConsistency(k=8)]).refined().names
        ('self_consistency_2', 'self_consistency_4', 'self_consistency_8')
        """
        rungs = sorted((knob.of, knob.setting, one) for one, strategy in enumerate(self.root) if (knob := strategy.knob))
        added: dict[int, list[Strategy]] = {}
        names = set(self.names)
        for (of, low, _), (above, high, column) in pairwise(rungs):
            share = [(place + 1) / (n_between + 1) for place in range(n_between)]
            settings = sorted({round(low ** (1 - one) * high**one) for one in share} - {low, high}) if of == above else []
            added[column] = [_reset(self.root[column], setting, names) for setting in settings]
        return type(self)(one for column, strategy in enumerate(self.root) for one in (*added.get(column, ()), strategy))

    def priced_by(self, executed: Strategy) -> Sequence[int]:
        """Columns whose accuracy a graded bundle of `executed` reveals.

        Itself; and of those with the same sampling, whatever needs no more samples than were drawn whatever they said: samples
        that a stopping rule or an escalation asked for were asked for because of the answers before them.
        """
        return [
            action
            for action, strategy in enumerate(self.root)
            if strategy.settings_key == executed.settings_key
            or (
                not isinstance(strategy, Escalate)
                and strategy.n_samples <= executed.n_guaranteed
                and strategy.sampling == executed.sampling
            )
        ]

    def bundles(self) -> tuple[Stage, ...]:
        """The fewest whole votes that price every strategy: the largest of each sampling, early stops and escalations included.

        One is a strategy of the menu where that draws alike, as many, and whatever the answers say; else the menu lacks it.

        >>> doubtful = Escalate(first=SelfConsistency(k=4), then=SingleShot(model="large"), agreement=1.0)
        >>> [one.name for one in Menu([SingleShot(), SelfConsistency(k=3), doubtful]).bundles()]
        ['self_consistency_4', 'single_shot_large']
        """
        largest: dict[Sampling, Stage] = {}
        for stage in (stage for strategy in self.root for stage in stages(strategy)):
            if stage.sampling not in largest or stage.n_samples > largest[stage.sampling].n_samples:
                largest[stage.sampling] = stage
        whole = {(one.sampling, one.n_samples): one for one in self.root if not isinstance(one, Escalate) and not one.is_adaptive}
        return tuple(whole.get((stage.sampling, stage.n_samples)) or _unstopped(stage) for stage in largest.values())


def _unstopped(stage: Stage) -> Stage:
    """The stage drawn whole."""
    if not isinstance(stage, SelfConsistency) or stage.early_stop is None:
        return stage
    fields = {name: getattr(stage, name) for name in stage.model_fields_set - {"name", "early_stop"}}
    return SelfConsistency(**fields)


def _reset(strategy: Strategy, setting: int, names: set[str]) -> Strategy:
    """The strategy with its knob at another setting, under a name of its own, which is noted."""
    knob = "k" if isinstance(strategy, SelfConsistency) else "max_thinking_tokens"
    fields = {name: getattr(strategy, name) for name in strategy.model_fields_set - {"name"}} | {knob: setting}
    found = type(strategy)(**fields)
    if found.name in names:
        found = type(strategy)(**fields, name=f"{strategy.name} at {setting}"[-MAX_NAME_CHARACTERS:])
    names.add(found.name)
    return found
