"""Columns of a table in a file, many rows at a time, as arrays: a row that is handed over alone costs more than it takes to find.

Ids become numbers of 64 bits, drawn anew by every reader: two of a million ids share one with a probability below 1e-7, and none
can be made to.
"""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic_core import from_json
from sqlalchemy import ColumnElement, Connection, FromClause, Integer, Table, bindparam, func, literal_column, select

ROWS_AT_ONCE = 4096
"""Rows of one array that the database writes: some hundred KiB."""
ROW = literal_column("rowid", Integer)
"""The key of a table in the order of writing."""
_WORD_BYTES = 8
_SURE_COUNT = 2**40
"""Counts below which sums of millions are whole numbers of 64 bits."""

Ids = NDArray[np.uint64]
Numbers = NDArray[np.int64]


def chunks(
    connection: Connection, table: FromClause, columns: Sequence[ColumnElement[Any]], *, key: ColumnElement[Any]
) -> Iterator[Sequence[str]]:
    """Some rows at a time, in the order of a unique `key` above 0 or "": of each column a JSON array.

    Any: columns of any type.
    """
    after, upto = bindparam("after", type_=key.type), bindparam("upto", type_=key.type)
    next_keys = select(key.label("key")).select_from(table).where(key > after).order_by(key).limit(ROWS_AT_ONCE).subquery()
    end_of = select(func.max(next_keys.c.key))
    rows = select(*map(func.json_group_array, columns)).select_from(table).where(key > after, key <= upto)
    last = key.type.python_type()
    while (end := connection.execute(end_of, {"after": last}).scalar_one()) is not None:
        yield connection.execute(rows, {"after": last, "upto": end}).one()
        last = end


class Fingerprints:
    """Numbers that tell ids apart."""

    def __init__(self, rng: np.random.Generator) -> None:
        self._seed, self._odd = (number | np.uint64(1) for number in rng.integers(2**63, size=2, dtype=np.uint64))

    def of(self, array: str) -> Ids:
        """Number each text of a JSON array; the same text has the same number, and 0 is no text."""
        told = array.encode()
        letters = _of_one_length(told)
        if letters is not None:
            return self._mixed(letters)
        told_texts = from_json(told)
        texts = [b"" if text is None else str(text).encode() for text in told_texts]
        letters = np.array(texts, dtype=np.bytes_).view(np.uint8).reshape(len(texts), -1)
        is_text = np.array([text is not None for text in told_texts])
        return np.where(is_text, self._mixed(letters), np.uint64(0))

    def pairs(self, one: Ids, other: Ids) -> Ids:
        """Number pairs of two ids."""
        return self._step(self._step(np.full_like(one, self._seed), one), other)

    def _mixed(self, letters: NDArray[np.uint8]) -> Ids:
        n_texts, length = letters.shape
        padded = np.zeros((n_texts, -(-length // _WORD_BYTES) * _WORD_BYTES), dtype=np.uint8)
        padded[:, :length] = letters
        number = np.full(n_texts, self._seed)
        for word in padded.view(np.uint64).T:
            number = np.where(word == 0, number, self._step(number, word))  # what only fills up counts for nothing
        return number

    def _step(self, number: Ids, word: Ids) -> Ids:
        mixed = (number ^ word) * self._odd
        mixed ^= mixed >> np.uint64(32)
        return np.asarray(mixed * self._odd)


class Rows(NamedTuple):
    """Some columns of a table, in the order of writing; (n_rows,) each."""

    ids: tuple[Ids, ...]
    counts: tuple[Numbers, ...]
    is_known: NDArray[np.bool_]
    """Whether there is a number in the last column of counts."""


def read(connection: Connection, prints: Fingerprints, table: Table, ids: Sequence[str], counts: Sequence[str] = ()) -> Rows:
    """Read columns of ids and of counts; raises ValueError where something else, or a count too large to add up, stands."""
    columns = [table.c[name] for name in (*ids, *counts)]
    read_ids: list[list[Ids]] = [[np.empty(0, np.uint64)] for _ in ids]
    read_counts: list[list[Numbers]] = [[np.empty(0, np.int64)] for _ in counts]
    known: list[NDArray[np.bool_]] = [np.empty(0, np.bool_)]
    for arrays in chunks(connection, table, columns, key=ROW):
        for so_far, array in zip(read_ids, arrays, strict=False):
            so_far.append(prints.of(array))
        is_known = np.empty(0, np.bool_)
        for numbered, array in zip(read_counts, arrays[len(ids) :], strict=True):
            found, is_known = numbers(array)
            numbered.append(found)
        known.append(is_known)
    return Rows(
        tuple(np.concatenate(parts) for parts in read_ids),
        tuple(np.concatenate(parts) for parts in read_counts),
        np.concatenate(known),
    )


def numbers(array: str) -> tuple[Numbers, NDArray[np.bool_]]:
    """Counts of a JSON array, 0 where there is none, and where there is one; raises ValueError at anything else."""
    told = from_json(array)
    found = np.array(told)
    if found.dtype == np.object_:
        known = np.array([number is not None for number in told])
        found = np.array([0 if number is None else number for number in told])
    else:
        known = np.ones(len(told), dtype=np.bool_)
    if found.dtype != np.int64 or found.min() < 0 or found.max() >= _SURE_COUNT:
        raise ValueError("no counts, or counts too large to add up")
    return found, known


def sums(counts: Numbers, first: Numbers, last: Numbers) -> Numbers:
    """Sums of stretches of counts, each from its first place up to its last."""
    so_far = np.append(0, np.cumsum(counts))
    return np.asarray(so_far[last] - so_far[first])


def _of_one_length(array: bytes) -> NDArray[np.uint8] | None:
    """The letters of the texts of a JSON array, if all are of one length and plain; (n_texts, length)."""
    length = array.find(b'"', 2) - 2
    n_texts, rest = divmod(len(array) - 1, length + 3) if length > 0 else (0, 1)
    if rest or b"\\" in array or array.count(b'"') != 2 * n_texts:
        return None
    table = np.frombuffer(array, dtype=np.uint8, offset=1).reshape(n_texts, length + 3)
    is_quoted = (table[:, 0] == ord('"')).all() and (table[:, -2] == ord('"')).all()
    return table[:, 1:-2] if is_quoted else None
