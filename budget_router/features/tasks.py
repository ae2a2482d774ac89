"""What a log knows of its tasks before any answer, and work on many of them, some at a time."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

from budget_router.allocation import IntArray
from budget_router.features.columns import Facts
from budget_router.features.structure import Structure
from budget_router.features.texts import Said, chosen_texts

_AT_ONCE = 2**13
"""Tasks that are worked on at once."""

T = TypeVar("T")
Work = Callable[["Tasks", IntArray], T]
"""Is given some tasks, and the numbers of their rows."""


@dataclass(frozen=True)
class Tasks:
    """Tasks, one row each."""

    structure: Structure
    texts: Sequence[Said] | None
    """`None` where none was kept of any."""
    metadata: Sequence[Facts] | None
    """`None` where nothing is known of any."""

    def __len__(self) -> int:
        return len(self.structure)

    def rows(self, chosen: IntArray) -> "Tasks":
        """Some of them."""
        metadata = None if self.metadata is None else [self.metadata[row] for row in chosen.tolist()]
        return Tasks(self.structure[chosen], chosen_texts(self.texts, chosen), metadata)

    def map(self, work: Work[T], chosen: IntArray, /) -> Iterator[tuple[IntArray, T]]:
        """Work on some of them, some thousands at a time; in one thread, for two would mostly wait for each other."""
        for start in range(0, len(chosen), _AT_ONCE):
            rows = chosen[start : start + _AT_ONCE]
            yield rows, work(self.rows(rows), rows)
