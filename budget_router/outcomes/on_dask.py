"""A log that many workers read: each keeps all that is known of some tasks, and what is worked out of it row by row.

    with Client(scheduler) as client:
        refresh(ledger, menu=menu, budget=budget, client=client)

Parts of the log are read side by side, each into a table, and the tables are cut by task: every worker is sent all decisions on
its tasks. So cells are pooled, completed and weighed where they stand, and sums come home. Tasks stand in the order of their ids,
and decisions on them in the order in which they were made, as in one process.
"""

from bisect import bisect_right
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import chain
from operator import add, itemgetter
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from budget_router.allocation import IntArray
from budget_router.budget import Unit
from budget_router.errors import NotEnoughEvidence
from budget_router.evidence import Part
from budget_router.menu import Menu
from budget_router.outcomes.rows import Rows
from budget_router.outcomes.table import NOTHING_TOLD, OutcomeTable
from budget_router.outcomes.weak_labels import WeakLabels

_SAMPLED = 256
"""Task ids of each part by which tasks are parted evenly."""

T = TypeVar("T")
Client = Any  # of dask.distributed, which ships no types
Kept = Sequence[Any]
"""(n_shards,) futures of what workers keep, one for each shard."""


def packed(values: Collection[Any]) -> NDArray[np.object_]:
    """Values fit to be sent: Dask looks at each of a list, which takes a hundred times as long."""
    found = np.empty(len(values), dtype=np.object_)
    found[:] = list(values)
    return found


class Shard(NamedTuple):
    """All decisions on some tasks, oldest first."""

    table: OutcomeTable
    place: IntArray
    """(n,) of each decision among all that the log told, oldest first."""

    def rows(self, chosen: IntArray) -> "Shard":
        """Some of the decisions."""
        return Shard(self.table.rows(chosen), self.place[chosen])


@dataclass(frozen=True)
class Workers:
    """Workers that do the same with every shard."""

    client: Client

    def sent(self, value: Any) -> Any:
        """Send something large once, whatever is done with it: a future of it, that outlives the worker that holds it."""
        import dask

        with dask.config.set({"distributed.admin.large-graph-warning-threshold": "1 GiB"}):  # it is meant to be large
            return self.client.submit(_itself, value, pure=False)

    def keep(self, work: Callable[..., Any], *shards: Sequence[Any], **to_all: Any) -> Kept:
        """Let them work, and keep what comes of it.

        Args:
            work: is given one of each of `shards`, and all of `to_all` by name.
            shards: what they keep of each shard already, or what is sent for it; something large as `sent`.
            to_all: what each is given; something large as `sent`.
        """
        return [self.client.submit(work, *given, **to_all, pure=False) for given in zip(*shards, strict=True)]

    def told(self, work: Callable[..., T], *shards: Sequence[Any], **to_all: Any) -> list[T]:
        """Let them work, and bring home what comes of it, shard by shard."""
        found: list[T] = self.client.gather(self.keep(work, *shards, **to_all))
        return found

    def summed(self, work: Callable[..., T], *shards: Sequence[Any], **to_all: Any) -> T:
        """Let them work, and bring home the sum."""
        return reduce(add, self.told(work, *shards, **to_all))


class Sharded(NamedTuple):
    """A log that workers keep."""

    workers: Workers
    shards: Kept
    """Of `Shard`, by rising task ids."""
    unit: Unit
    """Of the costs."""
    weak_doubts: tuple[str, ...]


def sharded(
    parts: Sequence[Part], menu: Menu, unit: Unit, client: Client, *, columns: Collection[str] | None, weak_labels: bool
) -> Sharded:
    """Let workers read the parts of a log, and part it among them by task; see `OutcomeTable.from_evidence`.

    Args:
        parts: oldest first.
        menu: strategies to choose from.
        unit: of the costs.
        client: of the workers, who must reach what the parts are read from.
        columns: names of the metadata to keep; `None`: all of it.
        weak_labels: fill cells of ungraded votes by how far their samples agree.

    Raises:
        NotEnoughEvidence: no decision is left; or, later, a part was read again and is not what it was.
    """
    workers = Workers(client)
    read = workers.keep(_read, parts, unit=unit, columns=columns)
    votes = workers.told(_votes, read) if weak_labels else []
    weak = WeakLabels.fit(chain.from_iterable(zip(*one, strict=True) for one in votes)) if weak_labels else None
    tables = workers.keep(_table, read, menu=menu, weak=workers.sent(weak))
    ids, size = zip(*workers.told(_sampled, tables), strict=True)
    if not sum(size):
        raise NotEnoughEvidence(NOTHING_TOLD)
    begin = (np.cumsum(size) - size).tolist()
    bounds = _even(sorted(chain.from_iterable(ids)), len(parts))
    pieces = workers.keep(cut, tables, size, begin, bounds=bounds)
    shards = [
        client.submit(_joined, [client.submit(itemgetter(number), one, pure=False) for one in pieces], pure=False)
        for number in range(len(bounds) + 1)
    ]
    return Sharded(workers, shards, unit, () if weak is None else weak.doubts)


def _itself(value: T) -> T:
    return value


def _even(ids: Sequence[str], n_shards: int) -> list[str]:
    """Task ids, rising, that begin all shards but the first; none is without a task."""
    begin = {ids[number * len(ids) // n_shards] for number in range(n_shards)}
    return sorted(begin - {ids[0]})


def _read(part: Part, unit: Unit, columns: Collection[str] | None) -> Rows:
    return Rows.of(part.evidence(), unit, columns)


def _votes(rows: Rows) -> tuple[NDArray[np.object_], NDArray[np.object_]]:
    """Tasks and bundles of what agreement can be learned from, or is asked of."""
    found = [(task_id, bundle) for task_id, bundle in rows.told if len(bundle.answers) > 1]
    return packed([task_id for task_id, _ in found]), packed([bundle for _, bundle in found])


def _table(rows: Rows, menu: Menu, weak: WeakLabels | None) -> OutcomeTable | None:
    try:
        return OutcomeTable.from_rows(rows, menu, weak=weak)
    except NotEnoughEvidence:
        return None


def _sampled(table: OutcomeTable | None) -> tuple[list[str], int]:
    """Some task ids, and the number of decisions."""
    if table is None:
        return [], 0
    return sorted(table.task_ids)[:: max(len(table) // _SAMPLED, 1)], len(table)


def cut(table: OutcomeTable | None, size: int, begin: int, bounds: Sequence[str]) -> list[Shard | None]:
    """What a part holds of each shard."""
    n_found = 0 if table is None else len(table)
    if n_found != size:  # a worker that is lost is replaced by one that reads its part anew, when more of it may be settled
        raise NotEnoughEvidence(
            f"a part of the log was read again after its worker was lost, and holds {n_found} settled decisions instead of "
            f"{size}: begin again"
        )
    if table is None:
        return [None] * (len(bounds) + 1)
    number = np.array([bisect_right(bounds, task_id) for task_id in table.task_ids])
    whole = Shard(table, begin + np.arange(size))
    return [whole.rows(np.flatnonzero(number == one)) for one in range(len(bounds) + 1)]


def _joined(pieces: Sequence[Shard | None]) -> Shard:
    found = [piece for piece in pieces if piece is not None and len(piece.place)]
    return Shard(OutcomeTable.joined([piece.table for piece in found]), np.concatenate([piece.place for piece in found]))
