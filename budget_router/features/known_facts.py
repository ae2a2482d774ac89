"""Which facts of a task training knew: names, values, numbers."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import NamedTuple, Self

import numpy as np

from budget_router.allocation import FloatArray, IntArray
from budget_router.features.columns import Facts, hashed, is_nan, named, tamed
from budget_router.features.reach import LEAST_MARGIN, beyond
from budget_router.features.strangeness import N_PARTS, BoolArray, Strange, limit_of
from budget_router.task import MetadataValue

MOST_NAMES = 64
"""Names that are looked at, those known of most tasks: as many as there are columns of categories at most."""
MOST_VALUES = 1000
"""Different texts of one name that are kept; of more any text may come."""
LEAST_BEYOND = 2
"""Trained tasks that may bear a sign which is heeded, however few there are: else one rare value would have nothing heeded."""
_MOST_SHARED = 4096
"""Facts of which is remembered what is strange, of those that tasks have in common."""


class _Kind(IntEnum):
    """What a task tells by a name."""

    NOTHING = 0
    NUMBER = 1
    TEXT = 2


class _Ask(IntEnum):
    """What can be strange about a name."""

    KIND = 0
    NUMBER = 1
    VALUE = 2


class _Sign(NamedTuple):
    """Something that only tasks of one part have."""

    name: int
    """Its place."""
    ask: _Ask
    rows: IntArray
    """Trained tasks that have it, rising."""


class KnownFacts:
    """What training knew of each name: whether it is told, as a number or as a text, how far its numbers reach, which texts.

    A task is strange by a name where it tells another kind of fact than any trained task, tells nothing where all did, tells a
    new text, or a number that lies beyond the others by more than a tenth of their reach, both as `sign(x) · log(1 + |x|)`.

    What is new by nature says nothing: a ticket's own number, a fact that comes and goes. So each of these signs is counted on
    the trained tasks, each told beside all parts of the log but its own. The rarer the sign that a task bears is in the other
    parts, the stranger the task: signs are heeded that are rarer than `limit_of` says. A name that no trained task had changes
    no decision, and is not strange. Facts may be secret: as in `Columns`, what is kept of them holds no text.
    """

    def fit(self, metadata: Sequence[Facts], part: IntArray) -> Self:
        """Learn from (n_tasks,) facts, `part` being (n_tasks,) what is left out together."""
        told, n_tasks = _gathered(metadata), len(metadata)
        kept = sorted(told, key=lambda name: (-len(told[name].rows), name))[:MOST_NAMES]
        self._name = {hashed(name): name for name in kept}
        self.names_: IntArray = np.array(list(self._name), dtype=np.int64)
        self.kinds_: IntArray = np.zeros((len(kept), len(_Kind)), dtype=np.int64)
        self.reach_: FloatArray = np.zeros((len(kept), 2))
        signs: list[_Sign] = []
        values: dict[int, list[str]] = {}
        for place, name in enumerate(kept):
            one = told[name]
            kind = one.kinds(n_tasks)
            self.kinds_[place, np.unique(kind)] = 1
            signs.append(_Sign(place, _Ask.KIND, _only_there(kind, np.arange(n_tasks), part, len(_Kind))))
            rows, numbers = one.numbers()
            if len(rows):
                self.reach_[place] = numbers.min(), numbers.max()
                signs.append(_Sign(place, _Ask.NUMBER, rows[_is_beyond_others(numbers, part[rows])]))
            rows, code, texts = one.texts()
            if 0 < len(texts) <= MOST_VALUES:
                values[place] = texts
                signs.append(_Sign(place, _Ask.VALUE, _only_there(code, rows, part, len(texts))))
        self._heed(signs, part)
        known = [
            hashed(named(kept[place], text)) for place, texts in values.items() if self.asks_[place, _Ask.VALUE] for text in texts
        ]
        self.values_: IntArray = np.array(sorted(known), dtype=np.int64)
        self._index()
        return self

    def _heed(self, signs: Sequence[_Sign], part: IntArray) -> None:
        """Heed the signs that are rare enough for as few trained tasks to bear one as are to be called strange."""
        rarity = np.full(len(part), np.inf)
        for sign in signs:
            within = part[sign.rows]
            n_elsewhere = len(within) - np.bincount(within, minlength=N_PARTS)[within]
            rarity[sign.rows] = np.minimum(rarity[sign.rows], n_elsewhere)
        limit = -limit_of(-rarity, least=LEAST_BEYOND)
        self.asks_: IntArray = np.zeros((len(self.names_), len(_Ask)), dtype=np.int64)
        for sign in signs:
            self.asks_[sign.name, sign.ask] = len(sign.rows) < limit
        self.held_out_: Strange = {"metadata": rarity < limit}

    def strange(self, metadata: Sequence[Facts]) -> Strange:
        """Tasks whose facts training did not know, by name and by what is strange about it."""
        found: dict[str, BoolArray] = {}
        told: dict[int, list[str]] = {}
        for row, facts in enumerate(metadata):
            if (labels := told.get(id(facts))) is None:
                labels = list(self._strange(facts))
                if len(told) < _MOST_SHARED:
                    told[id(facts)] = labels
            for label in labels:
                found.setdefault(label, np.zeros(len(metadata), dtype=np.bool_))[row] = True
        return found

    def _strange(self, facts: Facts) -> Iterator[str]:
        seen = set()
        for name, fact in facts.items():
            if _kind_of(fact) is _Kind.NOTHING:
                continue
            place = self._place.get(hashed(name))
            if place is not None:
                seen.add(place)
                if why := self._why(place, name, fact):
                    yield _told(name, why)
        for place in self._always:
            if place not in seen:
                yield _told(self._name.get(int(self.names_[place])), "missing")

    def _why(self, place: int, name: str, fact: MetadataValue) -> str | None:
        """Why a fact is strange; `None` where it is not."""
        kind, asks = _kind_of(fact), self.asks_[place]
        if not self.kinds_[place, kind]:
            return "of another kind" if asks[_Ask.KIND] else None
        if isinstance(fact, str):
            return "a new value" if asks[_Ask.VALUE] and hashed(named(name, fact)) not in self._values else None
        is_far = asks[_Ask.NUMBER] and beyond(np.array([tamed(fact)]), *self.reach_[place])[0] > LEAST_MARGIN
        return "beyond its numbers" if is_far else None

    def arrays(self) -> dict[str, FloatArray | IntArray]:
        """What was learned, as arrays."""
        return {name: getattr(self, f"{name}_") for name in ("names", "kinds", "reach", "asks", "values")}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, FloatArray | IntArray]) -> Self:
        """The facts that `arrays` was taken from; raises ValueError where the arrays do not fit each other."""
        n_names, n_values = arrays["names"].size, arrays["values"].size
        shapes = {
            "names": (n_names,),
            "kinds": (n_names, len(_Kind)),
            "reach": (n_names, 2),
            "asks": (n_names, len(_Ask)),
            "values": (n_values,),
        }
        known = cls()
        for name, shape in shapes.items():
            kind = "f" if name == "reach" else "i"
            if arrays[name].shape != shape or arrays[name].dtype.kind != kind:
                raise ValueError(f"{name} of known facts are {arrays[name].dtype} of shape {arrays[name].shape}, not {shape}")
            setattr(known, f"{name}_", arrays[name])
        known._name = {}
        known._index()
        return known

    def _index(self) -> None:
        self._place = {name: place for place, name in enumerate(self.names_.tolist())}
        self._values = frozenset(self.values_.tolist())
        is_always = (self.kinds_[:, _Kind.NOTHING] == 0) & (self.asks_[:, _Ask.KIND] == 1)
        self._always: list[int] = np.flatnonzero(is_always).tolist()


@dataclass
class _Told:
    """What tasks tell by one name."""

    rows: list[int] = field(default_factory=list)
    facts: list[MetadataValue] = field(default_factory=list)

    @property
    def places(self) -> IntArray:
        return np.array(self.rows, dtype=np.intp)

    @property
    def _is_text(self) -> BoolArray:
        return np.array([isinstance(fact, str) for fact in self.facts], dtype=np.bool_)

    def kinds(self, n_tasks: int) -> IntArray:
        kind = np.full(n_tasks, _Kind.NOTHING, dtype=np.intp)
        kind[self.places] = np.where(self._is_text, _Kind.TEXT, _Kind.NUMBER)
        return kind

    def numbers(self) -> tuple[IntArray, FloatArray]:
        """Rows of numbers, and the numbers, tamed."""
        known = [tamed(fact) for fact in self.facts if not isinstance(fact, str)]
        return self.places[~self._is_text], np.array(known)

    def texts(self) -> tuple[IntArray, IntArray, list[str]]:
        """Rows of texts, the place of each among the different ones, and these."""
        known = [fact for fact in self.facts if isinstance(fact, str)]
        place = {text: number for number, text in enumerate(Counter(known))}
        return self.places[self._is_text], np.array([place[text] for text in known], dtype=np.intp), list(place)


def _gathered(metadata: Sequence[Facts]) -> dict[str, _Told]:
    told: dict[str, _Told] = {}
    for row, facts in enumerate(metadata):
        for name, fact in facts.items():
            if _kind_of(fact) is _Kind.NOTHING:
                continue
            if (one := told.get(name)) is None:
                one = told[name] = _Told()
            one.rows.append(row)
            one.facts.append(fact)
    return told


def _kind_of(fact: MetadataValue) -> _Kind:
    if isinstance(fact, str):
        return _Kind.TEXT
    return _Kind.NOTHING if is_nan(fact) else _Kind.NUMBER


def _only_there(code: IntArray, rows: IntArray, part: IntArray, n_codes: int) -> IntArray:
    """Rows whose code stands in no part but their own; `part` is of all tasks."""
    first, last = np.full(n_codes, N_PARTS), np.full(n_codes, -1)
    within = part[rows]
    np.minimum.at(first, code, within)
    np.maximum.at(last, code, within)
    is_alone = (first == last)[code]
    return np.asarray(rows[is_alone])


def _is_beyond_others(numbers: FloatArray, part: IntArray) -> BoolArray:
    """Whether each number lies beyond those of all parts but its own; the only part that has any lies beyond none."""
    least, most = np.full(N_PARTS, np.inf), np.full(N_PARTS, -np.inf)
    np.minimum.at(least, part, numbers)
    np.maximum.at(most, part, numbers)
    is_far, present = np.zeros(len(numbers), dtype=np.bool_), np.unique(part)
    for one in present.tolist() if len(present) > 1 else ():
        others, own = np.arange(N_PARTS) != one, part == one
        is_far[own] = beyond(numbers[own], least[others].min(), most[others].max()) > LEAST_MARGIN
    return is_far


def _told(name: str | None, why: str) -> str:
    return f"metadata {name[:40]!r} ({why})" if name else f"metadata (a name that all tasks had is {why})"
