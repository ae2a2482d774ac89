"""A log that many workers read: each gathers a part of it, keeps the texts of its tasks, and sends home the numbers.

    with Client(scheduler) as client:
        refresh(ledger, menu=menu, budget=budget, client=client)

Rows stand in the order in which one process would read them, so all that follows is the same. What comes home takes about a
kilobyte per decision; what reading, counting words and walking trees take is the workers'.
"""

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from operator import itemgetter
from typing import Any, TypeVar

import numpy as np

from budget_router.allocation import IntArray
from budget_router.budget import Unit
from budget_router.errors import NotEnoughEvidence
from budget_router.evidence import Part
from budget_router.features.tasks import Tasks, Work
from budget_router.outcomes.rows import Rows

T = TypeVar("T")
Client = Any  # of dask.distributed, which ships no types


def gathered(
    parts: Sequence[Part], unit: Unit, client: Client, *, columns: Collection[str] | None = None
) -> "tuple[Rows, FarTasks]":
    """Let workers read the parts of a log.

    Args:
        parts: oldest first.
        unit: of the costs.
        client: of the workers, who must reach what the parts are read from.
        columns: names of the metadata to keep; `None`: all of it.

    Returns:
        the rows of all parts, without the texts of their tasks; and the tasks, which the workers keep.
    """
    read = [client.submit(_read, part, unit, columns, pure=False) for part in parts]
    rows = client.gather([client.submit(itemgetter(0), one, pure=False) for one in read])
    kept = [client.submit(itemgetter(1), one, pure=False) for one in read]
    size = np.array([len(part) for part in rows])
    return Rows.joined(rows), FarTasks(client, tuple(kept), size, np.arange(size.sum()))


@dataclass(frozen=True)
class FarTasks:
    """Tasks that workers keep, each those of the parts that it has read."""

    client: Client
    kept: Sequence[Any]
    """(n_parts,) futures of `Tasks`."""
    size: IntArray
    """(n_parts,) tasks of each."""
    place: IntArray
    """(n,) of each row among all that were read."""

    def rows(self, chosen: IntArray) -> "FarTasks":
        """Some of them."""
        return replace(self, place=self.place[chosen])

    def here(self) -> Tasks:
        """Fetch them."""
        found = list(self._worked(_chosen, np.arange(len(self.place))))
        order = np.argsort(np.concatenate([rows for rows, _ in found]))
        structure = np.concatenate([tasks.structure for _, tasks in found])[order]
        texts, metadata = (_joined([part for _, part in found], name, order) for name in ("texts", "metadata"))
        return Tasks(structure, texts, metadata)

    def map(self, work: Work[T], chosen: IntArray, /) -> Iterator[tuple[IntArray, T]]:
        """Let the workers work on some of them."""
        for rows, found in self._worked(_worked, chosen, self.client.scatter(work, broadcast=True)):
            for within, one in found:
                yield rows[within], one

    def _worked(self, function: Callable[..., T], chosen: IntArray, *given: Any) -> Iterator[tuple[IntArray, T]]:
        end = np.cumsum(self.size)
        part = np.searchsorted(end, self.place[chosen], side="right")
        waiting = []
        for number in np.unique(part).tolist():
            rows = chosen[part == number]
            places = self.place[rows] - (end[number] - self.size[number])
            asked = self.client.submit(function, self.kept[number], int(self.size[number]), places, rows, *given, pure=False)
            waiting.append((rows, asked))
        for rows, asked in waiting:
            yield rows, asked.result()


def _read(part: Part, unit: Unit, columns: Collection[str] | None) -> tuple[Rows, Tasks]:
    rows = Rows.of(part.evidence(), unit, columns)
    return rows.silent(), Tasks(rows.structure, rows.texts.gathered(), rows.metadata)


def _chosen(tasks: Tasks, size: int, places: IntArray, _rows: IntArray) -> Tasks:
    _check(tasks, size)
    return tasks.rows(places)


def _worked(tasks: Tasks, size: int, places: IntArray, rows: IntArray, work: Work[T]) -> list[tuple[IntArray, T]]:
    _check(tasks, size)
    return list(tasks.rows(places).map(lambda some, within: work(some, rows[within]), np.arange(len(rows))))


def _check(tasks: Tasks, size: int) -> None:
    """A worker that is lost is replaced by one that reads its part anew, when more of it may have been settled."""
    if len(tasks) != size:
        raise NotEnoughEvidence(
            f"a part of the log was read again after its worker was lost, and holds {len(tasks)} settled decisions instead of "
            f"{size}: begin again"
        )


def _joined(parts: Sequence[Tasks], name: str, order: IntArray) -> list[Any] | None:
    """One column of all parts; a part may be the only one that knows anything."""
    columns = [getattr(part, name) for part in parts]
    if all(column is None for column in columns):
        return None
    known = ([{}] * len(part) if column is None else column for part, column in zip(parts, columns, strict=True))
    joined = list(chain.from_iterable(known))
    return [joined[place] for place in order.tolist()]
