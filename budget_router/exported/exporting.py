"""Carry a ledger away in a file: exact for machines, flat for tables, harmless for spreadsheets."""

import csv
import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from pathlib import Path

from budget_router.errors import InvalidInput
from budget_router.exported.parquet_parts import ROWS_AT_ONCE, arrow_schema, pyarrow
from budget_router.exported.rows import FLAT, flat_row, whole_row
from budget_router.ledger import Ledger
from budget_router.records import LoggedDecision
from budget_router.reports.escaping import unspelled


@dataclass(frozen=True)
class Export:
    """What was written, and where."""

    path: Path
    n_decisions: int


def export(ledger: Ledger, path: str | Path, *, since: datetime | None = None, until: datetime | None = None) -> Export:
    """Write the decisions of a ledger with all that came of them to a file, oldest first; its name tells the form.

    `.jsonl` and `.parquet` are exact, and can be learned from as they are: see `LogFile` and `ParquetLog`. `.csv` and `.parquet`
    are tables of one row per decision, the latter in types of their own; in the former no cell is a formula. The file appears
    whole or not at all, and the ledger is streamed: a long one takes no more memory than a short one.

    Args:
        ledger: to read.
        path: of the file to write; one that stands there is replaced.
        since: of the first decision, with a time zone.
        until: that no decision has reached, with a time zone.

    Raises:
        InvalidInput: the name ends otherwise, its folder is not there, or a time has no zone.
    """
    path = Path(path)
    write = _FORMS.get(path.suffix.lower())
    if write is None:
        raise InvalidInput(f"{path.name!r} names no form of export: end it in one of {', '.join(_FORMS)}")
    if not path.parent.is_dir():
        raise InvalidInput(f"{str(path.parent)!r} is no folder: make it first, or name another")
    logged = ledger.read(since=since, until=until)
    with _whole(path) as unfinished:
        n_decisions = write(logged, unfinished)
    return Export(path, n_decisions)


@contextmanager
def _whole(path: Path) -> Iterator[Path]:
    unfinished = path.with_name(f".{path.name}.unfinished")
    try:
        yield unfinished
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


def _write_lines(logged: Iterable[LoggedDecision], path: Path) -> int:
    n_decisions = 0
    with path.open("w", encoding="utf-8", newline="\n") as file:
        for entry in logged:
            file.write(json.dumps(entry.model_dump(mode="json"), ensure_ascii=False) + "\n")
            n_decisions += 1
    return n_decisions


def _write_csv(logged: Iterable[LoggedDecision], path: Path) -> int:
    n_decisions = 0
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(FLAT)
        for entry in logged:
            writer.writerow([_cell(value) for value in flat_row(entry).values()])
            n_decisions += 1
    return n_decisions


def _cell(value: object) -> object:
    if isinstance(value, datetime):
        return value.isoformat()
    return unspelled(value) if isinstance(value, str) else value


def _write_parquet(logged: Iterable[LoggedDecision], path: Path) -> int:
    schema, pa = arrow_schema(), pyarrow()
    entries, n_decisions = iter(logged), 0
    with pa.parquet.ParquetWriter(path, schema, compression="zstd", write_page_checksum=True) as writer:
        while rows := [whole_row(entry) for entry in islice(entries, ROWS_AT_ONCE)]:
            writer.write_table(pa.Table.from_pylist(rows, schema))
            n_decisions += len(rows)
            del rows  # before the next are made
    return n_decisions


_FORMS = {".jsonl": _write_lines, ".csv": _write_csv, ".parquet": _write_parquet}
