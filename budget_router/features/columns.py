"""User columns: the facts of a task's metadata as numbers, an agent's state among them.

Facts may be secret, so what is learned of them holds no text: a name, or a name with its value, is known by its hash alone. That
keeps it from being read, not from being guessed by who knows what to look for.
"""

import math
import sys
from array import array
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from hashlib import blake2b
from typing import Self

import numpy as np

from budget_router.allocation import FloatArray, IntArray
from budget_router.features.standardising import centre_and_scale, standardised
from budget_router.task import MetadataValue

Facts = Mapping[str, MetadataValue]
"""What is known of one task before its answer, by name."""

COLUMNS_VERSION = "columns-1"
MAX_NUMBERS, MAX_CATEGORIES = 32, 64
"""Columns at most: of the numbers those known of most tasks, of the categories the most frequent."""
MIN_TASKS = 10
"""Tasks that must have a category, or a number that is not the usual one; as many must not."""
_MOST_SHARED = 4096
"""Facts of which is remembered what they tell, of those that tasks have in common."""


class Columns:
    """Turns facts into a row of numbers known before any answer: standardised numbers, then one column per category.

    Numbers and booleans are taken as `sign(x) · log(1 + |x|)`, which tames heavy tails; one that is not known counts as the mean.
    Texts are categories, and so is whether a number is known. Names, values and kinds that training has seldom seen count as
    nothing: a task with new facts is decided by what else is known of it. Both blocks are scaled to rows of about unit length, as
    the other features are.
    """

    def fit(self, metadata: Sequence[Facts]) -> Self:
        """Learn which facts of these tasks, one mapping each, tell them apart."""
        rows: dict[int, array[int]] = defaultdict(lambda: array("q"))
        values: dict[int, array[float]] = defaultdict(lambda: array("d"))
        tasks_of: Counter[int] = Counter()
        for row, (numbers, categories) in enumerate(_each(metadata)):
            for name, number in numbers:
                rows[name].append(row)
                values[name].append(number)
            tasks_of.update(categories)
        varied = [name for name, known in values.items() if _n_unusual(known) >= MIN_TASKS]
        self.numbers_: IntArray = _most_frequent({name: len(rows[name]) for name in varied}, MAX_NUMBERS)
        told = {category: n for category, n in tasks_of.items() if MIN_TASKS <= n <= len(metadata) - MIN_TASKS}
        self.categories_: IntArray = _most_frequent(told, MAX_CATEGORIES)
        self._index()
        known = np.full((len(metadata), len(self.numbers_)), np.nan)
        for column, name in enumerate(self.numbers_.tolist()):
            known[rows[name], column] = values[name]
        self.centre_, self.scale_ = centre_and_scale(known)
        n_told = sum(tasks_of[category] for category in self.categories_.tolist()) / max(len(metadata), 1)
        self.length_: FloatArray = np.array([math.sqrt(max(n_told, 1.0))])
        return self

    @property
    def width(self) -> int:
        """Numbers per task; 0 where no fact tells tasks apart."""
        return len(self.numbers_) + len(self.categories_)

    def transform(self, metadata: Sequence[Facts]) -> FloatArray:
        """Columns of tasks, (n_tasks, width)."""
        numbers = np.tile(self.centre_, (len(metadata), 1))
        categories = np.zeros((len(metadata), len(self.categories_)))
        for row, (known, told) in enumerate(_each(metadata)):
            for name, number in known:
                if name in self._number:
                    numbers[row, self._number[name]] = number
            for category in told:
                if category in self._category:
                    categories[row, self._category[category]] = 1.0
        standard = standardised(numbers, self.centre_, self.scale_) / math.sqrt(max(len(self.numbers_), 1))
        return np.hstack([standard, categories / self.length_])

    def arrays(self) -> dict[str, FloatArray | IntArray]:
        """What was learned, as arrays."""
        return {name: getattr(self, f"{name}_") for name in ("numbers", "centre", "scale", "categories", "length")}

    @classmethod
    def from_arrays(
        cls, numbers: IntArray, centre: FloatArray, scale: FloatArray, categories: IntArray, length: FloatArray
    ) -> Self:
        """The columns that `arrays` was taken from; raises ValueError where the arrays do not fit each other."""
        if not (numbers.shape == centre.shape == scale.shape == (numbers.size,)):
            raise ValueError(f"columns of {numbers.shape} numbers have a centre {centre.shape} and a scale {scale.shape}")
        if categories.shape != (categories.size,) or length.shape != (1,):
            raise ValueError(f"columns of {categories.shape} categories have a length {length.shape}")
        if {numbers.dtype.kind, categories.dtype.kind} != {"i"}:
            raise ValueError("columns are named by something else than hashes")
        if not ((scale > 0).all() and (length > 0).all()):
            raise ValueError("a scale of the columns is not positive")
        columns = cls()
        columns.numbers_, columns.centre_, columns.scale_ = numbers, centre, scale
        columns.categories_, columns.length_ = categories, length
        columns._index()
        return columns

    def _index(self) -> None:
        self._number = {name: column for column, name in enumerate(self.numbers_.tolist())}
        self._category = {category: column for column, category in enumerate(self.categories_.tolist())}


def _each(metadata: Sequence[Facts]) -> Iterator[tuple[Sequence[tuple[int, float]], Sequence[int]]]:
    """Numbers and categories of each task; facts that several tasks have as one object are looked at once."""
    told: dict[int, tuple[list[tuple[int, float]], list[int]]] = {}
    for facts in metadata:
        if (found := told.get(id(facts))) is None:
            found = list(_numbers(facts)), list(_categories(facts))
            if len(told) < _MOST_SHARED:
                told[id(facts)] = found
        yield found


def _numbers(facts: Facts) -> Iterator[tuple[int, float]]:
    """Hashed name and tamed value of each number that is known."""
    for name, fact in facts.items():
        if not isinstance(fact, str) and not is_nan(fact):
            yield hashed(name), tamed(fact)


def _categories(facts: Facts) -> Iterator[int]:
    """Hash of each text with its name, and of the name of each number that is known."""
    for name, fact in facts.items():
        if isinstance(fact, str):
            yield hashed(named(name, fact))
        elif not is_nan(fact):
            yield hashed(name)


def named(name: str, text: str) -> str:
    """A text with its name: no name holds a NUL, so no two facts read alike."""
    return f"{name}\0{text}"


def tamed(number: float) -> float:
    """A number on a scale on which its factors are steps: `sign(x) · log(1 + |x|)`."""
    size = math.log1p(min(abs(number), sys.float_info.max))  # an integer may be larger than any float
    return size if number >= 0 else -size


def is_nan(fact: MetadataValue) -> bool:
    """Whether a number is none: no task holds such a fact, but a ledger may."""
    return isinstance(fact, float) and math.isnan(fact)


@lru_cache(maxsize=10_000)
def hashed(text: str) -> int:
    """All that is learned of a name, or of a name with its text."""
    return int.from_bytes(blake2b(text.encode("utf-8", "replace"), digest_size=8).digest(), signed=True)


def _n_unusual(known: Sequence[float]) -> int:
    """Tasks whose number is not the most usual one."""
    return len(known) - int(np.unique(known, return_counts=True)[1].max())


def _most_frequent(times: Mapping[int, int], most: int) -> IntArray:
    ranked = sorted(times, key=lambda key: (-times[key], key))[:most]
    return np.array(ranked, dtype=np.int64)
