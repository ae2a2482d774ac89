"""What may be spent: on average, and at most within a window; and in which unit."""

from decimal import Decimal
from typing import Literal, Self, get_args

from pydantic import model_validator

from budget_router.errors import InvalidInput
from budget_router.words import Name, Positive, Word

Unit = Literal["tokens", "completion_tokens", "usd", "seconds"]
"""`tokens` = prompt + completion, reasoning being part of completion and cached part of prompt; `seconds` = wall time."""

Window = Literal["hour", "day", "month", "run", "thread"]
"""What a hard cap holds over: any hour, any day, any 31 days, however they begin; or one run, be it of a graph or a chain, or all
runs of one thread, as long as it goes on. What runs in no thread is a thread of its own, and the other way round."""

Shortage = Literal["cheapest", "wait", "ask", "refuse"]
"""What becomes of a task that its cap has too little left for: the cheapest strategy, some patience, what the router's `ask`
answers, or CapReached at once."""

_MOST_COUNTED = 2**62
"""Databases count up to 2**63 - 1, and sums have to be counted too."""


class Budget(Word):
    """An average spend per task that traffic of one group may reach, and a cap that it never passes.

    >>> Budget(per_task=800, unit="tokens").per_task
    800.0
    >>> str(Budget.parse("0.002:usd"))
    '0.002 usd per task'
    >>> Budget(group="support", per_task=0.001, unit="usd", hard_cap=200, window="day").counted_cap
    200000000000
    """

    per_task: Positive
    unit: Unit = "tokens"
    group: Name | None = None
    hard_cap: Positive | None = None
    """Most that all workers on one ledger may be billed together within the window, in the budget's unit."""
    window: Window | None = None
    on_shortage: Shortage = "cheapest"

    @model_validator(mode="after")
    def _can_be_capped(self) -> Self:
        if (self.hard_cap is None) != (self.window is None):
            raise ValueError("hard_cap and window go together: hard_cap=200, window='day'")
        if self.hard_cap is not None and self.unit == "seconds":
            raise ValueError("seconds cannot be capped, for how long a call takes is not known before: cap tokens or usd")
        if self.hard_cap is not None and not 1 <= (self.counted_cap or 0) <= _MOST_COUNTED:
            raise ValueError(
                f"hard_cap is {self.hard_cap:g} {self.unit}: caps are counted in whole tokens or nano-USD, up to 2**62"
            )
        return self

    @property
    def counted_cap(self) -> int | None:
        """The hard cap in whole tokens or nano-USD; `None` without one."""
        if self.hard_cap is None:
            return None
        return int(Decimal(repr(self.hard_cap)) * (10**9 if self.unit == "usd" else 1))

    @classmethod
    def parse(cls, text: str, *, unit: Unit = "tokens") -> "Budget":
        """Read `800:tokens`, or a bare number of `unit`; raises InvalidInput otherwise."""
        number, _, name = text.partition(":")
        name = name or unit
        try:
            per_task = float(number)
        except ValueError as error:
            raise InvalidInput(f"budget {text!r} is not a number: write it as 800:tokens or 0.002:usd") from error
        if name not in get_args(Unit):
            raise InvalidInput(f"budget {text!r} has the unknown unit {name!r}: use one of {', '.join(get_args(Unit))}")
        return cls(per_task=per_task, unit=name)

    def __str__(self) -> str:
        return f"{self.per_task:g} {self.unit.replace('_', ' ')} per task"
