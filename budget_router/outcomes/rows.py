"""A log by columns: what is each decision's own, and which of the bundles and the chances that many have in common are its."""

from array import array
from collections.abc import Collection, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from budget_router.allocation import FloatArray, IntArray
from budget_router.budget import Unit
from budget_router.evidence import Evidence
from budget_router.features.columns import Facts
from budget_router.features.structure import STRUCTURE_NAMES, STRUCTURE_VERSION, Structure, structural_features
from budget_router.features.texts import Texts
from budget_router.menu import Menu
from budget_router.outcomes.bundle import Bill, Bundle, Cell, Share, bill, pattern

_MOST_SHARED = 4096
"""Propensities that are known again as the same object."""
_EPOCH, _MICROSECOND = datetime(1970, 1, 1, tzinfo=UTC), timedelta(microseconds=1)


class Chances(NamedTuple):
    """What a decision was drawn from."""

    menu: Menu
    propensities: Mapping[str, float]


class _Shared(NamedTuple):
    """Propensities that are kept, so that no others get their place in memory."""

    menu: Menu
    propensities: Mapping[str, float]
    number: int


@dataclass
class Rows:
    """Decisions that are learned from, in the order in which they were given; (n,) each, but for what they have in common."""

    unit: Unit
    columns: frozenset[str] | None = None
    """Names of the metadata that is kept; `None`: all of it."""
    texts: Texts = field(default_factory=Texts)
    metadata: list[Facts] = field(default_factory=list)
    task_ids: list[str] = field(default_factory=list)
    cluster_ids: list[str] = field(default_factory=list)
    groups: list[str | None] = field(default_factory=list)
    bundles: list[Bundle] = field(default_factory=list)
    """(n_bundles,) that tell different things."""
    chances: list[Chances] = field(default_factory=list)
    """(n_chances,) that are different."""
    _structure: "array[float]" = field(default_factory=lambda: array("f"))
    _bills: "array[float]" = field(default_factory=lambda: array("d"))
    _bundle: "array[int]" = field(default_factory=lambda: array("q"))
    _chance: "array[int]" = field(default_factory=lambda: array("q"))
    _moments: "array[int]" = field(default_factory=lambda: array("q"))
    _is_forced: bytearray = field(default_factory=bytearray)
    _numbers: dict[Hashable, int] = field(default_factory=dict)
    _names: dict[str | None, str | None] = field(default_factory=dict)
    _shared: "dict[int, _Shared]" = field(default_factory=dict)

    @classmethod
    def of(cls, evidence: Iterable[Evidence], unit: Unit, columns: Collection[str] | None = None) -> Self:
        """Gather all but reconsidered decisions and those whose features are of another version, and their text gone.

        Args:
            evidence: settled decisions.
            unit: of the costs.
            columns: names of the metadata to keep; `None`: all of it.
        """
        rows = cls(unit, None if columns is None else frozenset(columns))
        for one in evidence:
            rows._add(one)
        return rows

    def __len__(self) -> int:
        return len(self.task_ids)

    def __getstate__(self) -> dict[str, object]:
        """What another process needs: not by which objects more rows would be known again."""
        return {**vars(self), "_numbers": {}, "_names": {}, "_shared": {}}

    @property
    def told(self) -> Iterator[tuple[str, Bundle]]:
        """Each row's task, and what it tells."""
        return zip(self.task_ids, map(self.bundles.__getitem__, self.bundle), strict=True)

    @property
    def structure(self) -> Structure:
        """(n, n_structural_features)."""
        return np.frombuffer(self._structure, dtype=np.float32).reshape(-1, len(STRUCTURE_NAMES))

    @property
    def bills(self) -> FloatArray:
        """(n, 3) as `Bill` has them."""
        return np.frombuffer(self._bills).reshape(-1, len(Bill._fields))

    @property
    def bundle(self) -> IntArray:
        """Each row's place in `bundles`."""
        return np.frombuffer(self._bundle, dtype=np.int64)

    @property
    def chance(self) -> IntArray:
        """Each row's place in `chances`."""
        return np.frombuffer(self._chance, dtype=np.int64)

    @property
    def is_forced(self) -> NDArray[np.bool_]:
        """Whether the strategy was other than drawn."""
        return np.frombuffer(self._is_forced, dtype=np.bool_)

    @property
    def decided_at(self) -> NDArray[np.datetime64]:
        """(n,) UTC, to the microsecond."""
        return np.frombuffer(self._moments, dtype="datetime64[us]")

    def _add(self, one: Evidence) -> None:
        structure = _structure(one)
        if structure is None or one.reason == "reconsidered":
            return
        self.texts.append(one.task_ngrams if one.task_text is None else one.task_text)
        known = one.metadata
        self.metadata.append(known if self.columns is None else {name: known[name] for name in known if name in self.columns})
        self.task_ids.append(one.task_id)
        self.cluster_ids.append(one.thread_id or one.task_id)
        self.groups.append(self._names.setdefault(one.group, one.group))
        self._moments.append((one.decided_at - _EPOCH) // _MICROSECOND)
        self._structure.extend(structure)
        self._bills.extend(bill(one, self.unit))
        self._is_forced.append(one.reason in {"forced", "capped"})
        key = "bundle", id(one.strategy), pattern(one)  # a strategy whose number stands here is kept by its bundle
        number = self._numbers.get(key)
        if number is None:
            number = self._numbers[key] = len(self.bundles)
            self.bundles.append(Bundle.of(one, self.unit))
        self._bundle.append(number)
        self._chance.append(self._chance_of(one.menu, one.propensities))

    def _chance_of(self, menu: Menu, propensities: Mapping[str, float]) -> int:
        """Number of what a decision was drawn from; decisions often have it as one object."""
        known = self._shared.get(id(propensities))
        if known is not None and known.menu is menu:
            return known.number
        key = "chances", id(menu), tuple(propensities.items())
        number = self._numbers.get(key)
        if number is None:
            number = self._numbers[key] = len(self.chances)
            self.chances.append(Chances(menu, propensities))
        if len(self._shared) < _MOST_SHARED:
            self._shared[id(propensities)] = _Shared(menu, propensities, number)
        return number


class BundleCells(NamedTuple):
    """What bundles tell of strategies, NaN for what they do not; (n_bundles, n_strategies) each."""

    accuracy: FloatArray
    standard_error: FloatArray
    shares: Sequence[FloatArray]
    """As `Share` has them."""

    @classmethod
    def empty(cls, n_bundles: int, n_strategies: int) -> Self:
        """BundleCells of which nothing is known."""
        accuracy, error, *shares = (np.full((n_bundles, n_strategies), np.nan) for _ in range(2 + len(Share._fields)))
        return cls(accuracy, error, shares)

    def put(self, bundle: int, action: int, cell: Cell) -> None:
        """Note what a bundle tells of a strategy."""
        self.accuracy[bundle, action], self.standard_error[bundle, action] = cell.accuracy, cell.standard_error
        for share, part in zip(self.shares, cell.cost, strict=True):
            share[bundle, action] = part

    def costs(self, rows: Rows) -> FloatArray:
        """(n, n_strategies) of each row, by what was billed for it; parts of a bill that nothing is taken of may be unknown."""
        bundle, total = rows.bundle, np.zeros((len(rows), self.accuracy.shape[1]))
        for share, part in zip(self.shares, rows.bills.T, strict=True):
            taken = share[bundle]
            total += np.where(taken == 0, 0.0, taken * part[:, None])
        return total


def numbered(ids: Sequence[str]) -> IntArray:
    """(n,) place of each id among the different ones in their order, from 0."""
    place = {one: number for number, one in enumerate(sorted(set(ids)))}
    return np.fromiter(map(place.__getitem__, ids), dtype=np.intp, count=len(ids))


def summed(cells: NDArray[np.generic], group: IntArray, n_groups: int) -> FloatArray:
    """(n_groups, n_columns) sums of the rows, (n, n_columns), of each group, (n,) from 0."""
    return np.column_stack([np.bincount(group, weights=column, minlength=n_groups) for column in cells.T])


def _structure(one: Evidence) -> Sequence[float] | None:
    """As it was logged, else of the text where it was kept; `None` where that was by another version of the features."""
    if one.features_version == STRUCTURE_VERSION and len(one.features) == len(STRUCTURE_NAMES):
        return one.features
    return None if one.task_text is None else structural_features(one.task_text)
