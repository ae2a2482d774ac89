"""A spend limit that is kept by reserving: what a call may cost at most is set aside before it is made."""

import math
import threading
from typing import Literal

from budget_router.budget import Budget
from budget_router.records import Spend, usd
from budget_router.words import Positive, Word

LimitUnit = Literal["tokens", "completion_tokens", "usd"]
"""What can be reserved before a call: how long it will take cannot."""


class SpendLimit(Word):
    """Most that may be spent in all.

    >>> str(SpendLimit.parse("5:usd"))
    '5 usd'
    """

    total: Positive
    unit: LimitUnit = "usd"

    @classmethod
    def parse(cls, text: str) -> "SpendLimit":
        """Read `5:usd` or `2000000:tokens`; raises InvalidInput otherwise."""
        read = Budget.parse(text, unit="usd")
        return cls(total=read.per_task, unit=read.unit)

    def __str__(self) -> str:
        return f"{self.total:g} {self.unit.replace('_', ' ')}"

    def count(self, spend: Spend) -> int | None:
        """A spend in whole tokens or nano-USD; `None` when it is money and a price is unknown."""
        return spend.nano_usd if self.unit == "usd" else round(spend.in_unit(self.unit))

    @property
    def whole(self) -> int:
        """The limit in whole tokens or nano-USD."""
        return math.floor(self.total * (1e9 if self.unit == "usd" else 1))

    def shown(self, counted: int) -> float:
        """What was counted, in the limit's unit."""
        return usd(counted) if self.unit == "usd" else float(counted)


class Purse:
    """What is left of a limit, shared by threads; amounts are whole tokens or nano-USD.

    Who does not fit waits while others are under way, for they may spend less than they reserved. Once somebody does not fit
    though nobody else is under way, the purse is closed for all.
    """

    def __init__(self, limit: int, *, spent: int = 0) -> None:
        self.limit = limit
        self.spent = spent
        self.is_closed = False
        self._reserved = 0
        self._changed = threading.Condition()

    def reserve(self, most: int) -> bool:
        """Set aside the most that something may cost; `False` when it might pass the limit."""
        with self._changed:
            while not self.is_closed and self.spent + self._reserved + most > self.limit:
                if self._reserved == 0:
                    self.close()
                else:
                    self._changed.wait()
            if self.is_closed:
                return False
            self._reserved += most
            return True

    def pay(self, reserved: int, spent: int) -> None:
        """Count what was really spent of what was set aside."""
        with self._changed:
            self._reserved -= reserved
            self.spent += spent
            self._changed.notify_all()

    def close(self) -> None:
        """Give out nothing more."""
        with self._changed:
            self.is_closed = True
            self._changed.notify_all()
