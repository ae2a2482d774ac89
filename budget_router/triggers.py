"""When it is time to learn again: after so many grades, after so long, or when what was learned no longer holds."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from typing import Protocol

from budget_router.budget import Unit
from budget_router.drifting import drift
from budget_router.errors import InvalidInput, NotEnoughEvidence
from budget_router.evaluation.drift import LIMITS, DriftLimits
from budget_router.ledger import Ledger
from budget_router.menu import Menu
from budget_router.records import Solve

DRIFT_EVERY = timedelta(hours=1)
"""Reading two windows takes seconds to minutes, and what an hour changes can wait for the next."""
DRIFT_WINDOW = timedelta(days=7)
"""A change of yesterday would hardly show in a month."""
DRIFT_OUTCOMES = 200
"""Grades without which there is nothing new to learn, whatever has changed."""


class Look:
    """What a trigger may ask; each thing is read at most once.

    Args:
        ledger: that is learned from.
        menu: of the policy.
        unit: of the budget.
        now: the moment.
    """

    def __init__(self, ledger: Ledger, *, menu: Menu, unit: Unit, now: datetime) -> None:
        self.ledger = ledger
        self.menu = menu
        self.unit: Unit = unit
        self.now = now

    @cached_property
    def last(self) -> Solve | None:
        """The last time that the menu was solved, by whomever of all who share the ledger; `None` before the first."""
        return next(reversed(self.ledger.solves(self.menu.hash)), None)

    @cached_property
    def n_outcomes(self) -> int:
        """Grades since then."""
        return self.ledger.n_outcomes(since=None if self.last is None else self.last.solved_at)


class Trigger(Protocol):
    """Says when it is time."""

    def reason(self, look: Look) -> str:
        """Why to learn again now; empty when there is no reason."""
        ...


@dataclass(frozen=True)
class EveryOutcomes:
    """Once so many grades have come since the last time.

    >>> EveryOutcomes(500).n
    500
    """

    n: int

    def __post_init__(self) -> None:
        if self.n < 1:
            raise InvalidInput(f"every {self.n} outcomes: give at least 1")

    def reason(self, look: Look) -> str:
        """Tell of the grades, if they are enough."""
        return f"{look.n_outcomes:,} new outcomes" if look.n_outcomes >= self.n else ""


@dataclass(frozen=True)
class Every:
    """Once so much time has passed since the last time, however little has come.

    >>> Every(timedelta(minutes=30)).span.total_seconds()
    1800.0
    """

    span: timedelta

    def __post_init__(self) -> None:
        if self.span <= timedelta(0):
            raise InvalidInput(f"every {self.span}: give a span above 0")

    def reason(self, look: Look) -> str:
        """Tell of the time, if it is up."""
        if look.last is None:
            return "nothing was learned yet"
        passed = look.now - look.last.solved_at
        return f"{timedelta(seconds=round(passed.total_seconds()))} since the last refresh" if passed >= self.span else ""


class OnDrift:
    """When `drift` finds that what the serving policy was learned from no longer holds.

    It looks only where there is something to learn from, and not all the time: both windows are read each time.

    Args:
        limits: from which size on a change matters.
        outcomes: grades that must have come since the last refresh.
        every: from one look to the next.
        window: how far back it looks, at what was decided since the policy was learned.
    """

    def __init__(
        self,
        limits: DriftLimits = LIMITS,
        *,
        outcomes: int = DRIFT_OUTCOMES,
        every: timedelta = DRIFT_EVERY,
        window: timedelta = DRIFT_WINDOW,
    ) -> None:
        self.limits = limits
        self.outcomes = outcomes
        self.every = every
        self.window = window
        self._looked_at: datetime | None = None

    def reason(self, look: Look) -> str:
        """Tell what has changed, if it matters."""
        is_early = self._looked_at is not None and look.now - self._looked_at < self.every
        if is_early or look.n_outcomes < self.outcomes:
            return ""
        self._looked_at = look.now
        try:
            found = drift(look.ledger, menu=look.menu, unit=look.unit, since=look.now - self.window, limits=self.limits)
        except NotEnoughEvidence:
            return ""
        return found.says if found.is_drifting else ""
