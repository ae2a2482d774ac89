"""The Parquet form of a log: its schema, and files of it that are read some rows at a time, by this process or by others."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple, Self, TypeVar

import numpy as np

from budget_router.errors import ForeignLedger, InvalidInput
from budget_router.evidence import Act, Evidence
from budget_router.exported.columns import acts_of, evidence_of
from budget_router.exported.rows import WHOLE, entry_of
from budget_router.records import LoggedDecision

ROWS_AT_ONCE = 5_000
"""Rows that are held in memory, and stand together in a file."""
_MOMENT = "decided_at"
_AFTER_FOOTER = 8
"""Bytes: the footer's length, and the format's mark."""
_BEFORE_ALL = -(2**63)
"""Microseconds since 1970."""
_EPOCH, _MICROSECOND = datetime(1970, 1, 1, tzinfo=UTC), timedelta(microseconds=1)

Arrow = Any  # pyarrow ships no types
T = TypeVar("T", Act, Evidence)


class Stretch(NamedTuple):
    """Neighbouring rows of a file, a row group: it is read by one process."""

    number: int
    first_row: int
    n_rows: int
    begins: datetime
    ends: datetime
    """When the last of them was decided."""

    def is_within(self, since: datetime | None, until: datetime | None) -> bool:
        """Whether a decision of it may be of `since <= decided_at < until`."""
        return (since is None or self.ends >= since) and (until is None or self.begins < until)


@dataclass(frozen=True)
class ParquetPart:
    """Decisions of some stretches of a file, for any process that finds the file under the same path."""

    path: Path
    mark: str
    """Tells the file from others, and from what it was before it was written anew."""
    stretches: tuple[Stretch, ...]
    since: datetime | None = None
    until: datetime | None = None

    @classmethod
    def of(cls, path: Path) -> Self:
        """A whole file; raises InvalidInput if it is no log in Parquet, or its stretches do not stand in order."""
        with _readable(path) as file:
            missing = [name for name in WHOLE if name not in file.schema_arrow.names]
            if missing:
                raise InvalidInput(
                    f"{path.name} has no column {missing[0]!r}: it is a table of something else, or an older version wrote it; "
                    "export the log again"
                )
            stretches, first_row = [], 0
            for number in range(file.num_row_groups):
                group = file.metadata.row_group(number)
                if group.num_rows:
                    stretches.append(Stretch(number, first_row, group.num_rows, *_bounds(group, path)))
                first_row += group.num_rows
            if any(after.begins < before.ends for before, after in zip(stretches, stretches[1:], strict=False)):
                raise _out_of_order(path, "a row group")
            return cls(path.resolve(), _mark_of(path), tuple(stretches))

    def evidence(self) -> Iterator[Evidence]:
        """What the settled decisions tell, oldest first.

        Raises:
            ForeignLedger: another file stands there, or none.
            InvalidInput: a row is no logged decision, or older than the one before it, or the file is damaged.
        """
        return self._made(evidence_of, Evidence.of)

    def acts(self) -> Iterator[Act]:
        """The same decisions, and what was expected of each."""
        return self._made(acts_of, Act.of)

    def records(self, **known: str) -> Iterator[LoggedDecision]:
        """All decisions, or those that have a value in a column, oldest first."""
        for first_row, batch in self.batches():
            yield from self._records(first_row, batch, known)

    def last(self) -> LoggedDecision:
        """The latest decision."""
        *_, (first_row, batch) = self.batches()
        return self._record(first_row, batch, len(batch) - 1)

    def n_outcomes(self, since: datetime | None) -> int:
        """Decisions that were last graded at a moment or later."""
        graded = (batch["graded_at"].drop_null().cast("int64").to_numpy() for _, batch in self.batches())
        least = _BEFORE_ALL if since is None else _counted(since)
        return sum(int((moments >= least).sum()) for moments in graded)

    def batches(self) -> Iterator[tuple[int, Arrow]]:
        """Record batches of what lies within the window, each with the number of its first row in the file."""
        schema, last = arrow_schema(), _BEFORE_ALL
        with _readable(self.path) as file:
            if _mark_of(self.path) != self.mark:
                raise ForeignLedger(
                    f"{str(self.path)!r} is another file than was asked for: name one in a folder that all workers have, and "
                    "begin again where it was written anew"
                )
            for stretch in self.stretches:
                row = stretch.first_row
                for read in file.iter_batches(ROWS_AT_ONCE, row_groups=[stretch.number], columns=schema.names):
                    batch = read.select(schema.names).cast(schema)
                    moments = batch[_MOMENT].cast("int64").to_numpy()
                    if moments[0] < last or (np.diff(moments) < 0).any():
                        raise _out_of_order(self.path, f"a row after row {row}")
                    first = 0 if self.since is None else int(np.searchsorted(moments, _counted(self.since)))
                    end = len(moments) if self.until is None else int(np.searchsorted(moments, _counted(self.until)))
                    if first < end:
                        yield row + first, batch.slice(first, end - first)
                    row, last = row + len(moments), int(moments[-1])

    def _made(self, by_column: Callable[[Arrow], list[T]], by_record: Callable[[LoggedDecision], T | None]) -> Iterator[T]:
        for first_row, batch in self.batches():
            try:
                found = by_column(batch)
            except (ValueError, TypeError, LookupError):  # as records they name what is wrong
                found = [one for entry in self._records(first_row, batch, {}) if (one := by_record(entry)) is not None]
            yield from found

    def _records(self, first_row: int, batch: Arrow, known: dict[str, str]) -> Iterator[LoggedDecision]:
        rows: Sequence[int] = range(len(batch))
        for name, value in known.items():
            named = batch[name].to_pylist()
            rows = [row for row in rows if named[row] == value]
        return (self._record(first_row, batch, row) for row in rows)

    def _record(self, first_row: int, batch: Arrow, row: int) -> LoggedDecision:
        (cells,) = batch.slice(row, 1).to_pylist()
        return entry_of(cells, f"row {first_row + row + 1} of {self.path.name}")


def arrow_schema() -> Arrow:
    """Of a table of logged decisions; raises ImportError where pyarrow is not installed."""
    pa = pyarrow()
    types = {"text": pa.string(), "number": pa.float64(), "count": pa.int64(), "time": pa.timestamp("us", tz="UTC")}
    types["numbers"] = pa.list_(pa.float64())
    return pa.schema([(name, types[kind]) for name, kind in WHOLE.items()])


def pyarrow() -> Arrow:
    """The library; raises ImportError with the extra's name."""
    try:
        import pyarrow.parquet
    except ImportError as error:
        raise ImportError("a log in Parquet needs pyarrow: pip install 'budget-router[parquet]'") from error
    return pyarrow


@contextmanager
def _readable(path: Path) -> Iterator[Arrow]:
    """Open a file, and tell what is wrong with it in our own words."""
    pa = pyarrow()
    try:
        with pa.parquet.ParquetFile(path, page_checksum_verification=True) as file:
            yield file
    except FileNotFoundError as error:
        raise ForeignLedger(f"no file at {str(path)!r}: name one in a folder that all workers have") from error
    except (pa.ArrowException, OSError) as error:
        found = str(error).partition("\n")[0].rstrip(".")
        raise InvalidInput(f"{path.name} is no log in Parquet, or damaged ({found}): export the log again") from error


def _mark_of(path: Path) -> str:
    """Digest of the footer, which tells where in the file what stands, and between which bounds."""
    with path.open("rb") as file:
        file.seek(-_AFTER_FOOTER, 2)
        length = int.from_bytes(file.read(4), "little")
        file.seek(-_AFTER_FOOTER - length, 2)
        return sha256(file.read(length)).hexdigest()[:16]


def _bounds(group: Arrow, path: Path) -> tuple[datetime, datetime]:
    columns = (group.column(place) for place in range(group.num_columns))
    known = next(column.statistics for column in columns if column.path_in_schema == _MOMENT)
    if known is None or not known.has_min_max or known.null_count:
        raise InvalidInput(f"{path.name} does not tell when its decisions were made: export the log again, with statistics")
    return known.min, known.max


def _out_of_order(path: Path, what: str) -> InvalidInput:
    return InvalidInput(f"{what} of {path.name} was decided before the one above it: sort by {_MOMENT}")


def _counted(moment: datetime) -> int:
    """Microseconds since 1970, as they stand in a file."""
    return (moment - _EPOCH) // _MICROSECOND
