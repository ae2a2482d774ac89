"""What may be spent, on average, and in which unit."""

from typing import Literal, get_args

from budget_router.errors import InvalidInput
from budget_router.words import Name, Positive, Word

Unit = Literal["tokens", "completion_tokens", "usd", "seconds"]
"""`tokens` = prompt + completion, reasoning being part of completion and cached part of prompt; `seconds` = wall time."""


class Budget(Word):
    """An average spend per task that traffic of one group may reach.

    >>> Budget(per_task=800, unit="tokens").per_task
    800.0
    >>> str(Budget.parse("0.002:usd"))
    '0.002 usd per task'
    """

    per_task: Positive
    unit: Unit = "tokens"
    group: Name | None = None

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
