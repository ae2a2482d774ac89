"""What was served: a log by columns, of any length, and a sample of its tasks to judge policies on."""

import hashlib
import heapq
import math
import zlib
from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Self

import numpy as np
from numpy.typing import NDArray

from budget_router.allocation import FloatArray, IntArray
from budget_router.budget import Unit
from budget_router.evidence import Act, Evidence

MOST_JUDGED = 20_000
"""Decisions that policies are judged on: more would make the intervals narrower and the page slower."""
N_DEAREST = 8
"""Decisions that are told one by one."""
_EPOCH, _MICROSECOND = datetime(1970, 1, 1, tzinfo=UTC), timedelta(microseconds=1)
_NUMBERS = ("spend", "budget", "shadow_price", "expected_cost", "expected_accuracy", "score")
_NAMES = ("strategy", "group", "version")


@dataclass
class Served:
    """Settled decisions, oldest first; NaN for what is not known of one."""

    unit: Unit
    judged: list[Act] = field(default_factory=list)
    """All decisions of a sample of the tasks, of all of them where these are few."""
    share_judged: float = 1.0
    """Share of the tasks that were sampled."""
    n_unpriced: int = 0
    """Decisions whose spend is money, and not known."""
    _moments: "array[int]" = field(default_factory=lambda: array("q"))
    _tasks: "array[int]" = field(default_factory=lambda: array("q"))
    _numbers: dict[str, "array[float]"] = field(default_factory=lambda: {name: array("d") for name in _NUMBERS})
    _codes: dict[str, "array[int]"] = field(default_factory=lambda: {name: array("q") for name in _NAMES})
    _names: dict[str, dict[str | None, int]] = field(default_factory=lambda: {name: {} for name in _NAMES})
    _dearest: list[tuple[float, int, str]] = field(default_factory=list)
    _digest: "hashlib._Hash" = field(default_factory=lambda: hashlib.sha256(usedforsecurity=False))

    @classmethod
    def of(cls, acts: Iterable[Act], unit: Unit, *, per_task: float | None = None, most: int = MOST_JUDGED) -> Self:
        """Read a log.

        Args:
            acts: oldest first.
            unit: of the spend; budgets in another one are not known.
            per_task: budget of every decision; its own where that is not given.
            most: decisions to judge policies on; tasks are kept whole, and chosen by their ids' hash.
        """
        served = cls(unit)
        for act in acts:
            served._add(act, per_task, most)
        return served

    def _add(self, act: Act, per_task: float | None, most: int) -> None:
        one = act.evidence
        spend = one.spend.in_unit(self.unit)
        own = act.budget.per_task if act.budget.unit == self.unit else math.nan
        known = (
            spend,
            own if per_task is None else per_task,
            act.shadow_price,
            act.expected_cost,
            act.expected_accuracy,
            one.score,
        )
        for column, number in zip(self._numbers.values(), known, strict=True):
            column.append(math.nan if number is None else number)
        for name, told in zip(_NAMES, (one.strategy.name, one.group, act.policy_version), strict=True):
            numbers = self._names[name]
            self._codes[name].append(numbers.setdefault(told, len(numbers)))
        self._moments.append((one.decided_at - _EPOCH) // _MICROSECOND)
        self._tasks.append(hash(one.task_id))
        self._digest.update(one.decision_id.encode("utf-8", "replace"))
        if math.isnan(spend):
            self.n_unpriced += 1
        else:
            dear = (spend, len(self._moments), one.decision_id)
            (heapq.heappush if len(self._dearest) < N_DEAREST else heapq.heappushpop)(self._dearest, dear)
        if _place(one.task_id) < self.share_judged:
            self.judged.append(act)
        while len(self.judged) > most and self.share_judged > 1e-6:
            self.share_judged /= 2
            self.judged = [each for each in self.judged if _place(each.evidence.task_id) < self.share_judged]

    @property
    def evidence(self) -> list[Evidence]:
        """What those of the sample tell."""
        return [act.evidence for act in self.judged]

    def __len__(self) -> int:
        return len(self._moments)

    def numbers(self, name: str) -> FloatArray:
        """(n,) `spend`, `budget`, `shadow_price`, `expected_cost`, `expected_accuracy` or `score` of each decision."""
        return np.array(self._numbers[name])

    def codes(self, name: str) -> IntArray:
        """(n,) place in `names` of each decision's `strategy`, `group` or policy `version`."""
        return np.array(self._codes[name])

    def names(self, name: str) -> tuple[str | None, ...]:
        """Strategies, groups or policy versions in the order in which they came."""
        return tuple(self._names[name])

    @property
    def decided_at(self) -> NDArray[np.datetime64]:
        """(n,) UTC."""
        return np.array(self._moments).astype("datetime64[us]")

    @property
    def tasks(self) -> IntArray:
        """(n,) number of each decision's task, from 0."""
        return np.unique(np.array(self._tasks), return_inverse=True)[1]

    @property
    def dearest(self) -> Sequence[str]:
        """Ids of the dearest decisions, the dearest first."""
        return [decision_id for _, _, decision_id in sorted(self._dearest, reverse=True)]

    @property
    def digest(self) -> str:
        """Names which decisions were read."""
        return self._digest.hexdigest()[:16]


def _place(task_id: str) -> float:
    """Where a task falls in [0, 1), the same each time."""
    return zlib.crc32(task_id.encode("utf-8", "replace")) / 2**32
