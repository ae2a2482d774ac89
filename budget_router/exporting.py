"""Carry a ledger away in a file: exact for machines, flat for tables, harmless for spreadsheets."""

import csv
import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import Any

from budget_router.errors import InvalidInput
from budget_router.ledger import Ledger
from budget_router.records import LoggedDecision, Spend
from budget_router.reports.escaping import unspelled

ROWS_AT_ONCE = 5_000
"""Rows of a Parquet file that are held in memory, and then stand together in it."""

_COLUMNS: dict[str, str] = {
    "decision_id": "text",
    "task_id": "text",
    "group": "text",
    "run_id": "text",
    "thread_id": "text",
    "decided_at": "time",
    "strategy": "text",
    "propensity": "number",
    "shadow_price": "number",
    "expected_cost": "number",
    "expected_accuracy": "number",
    "budget_per_task": "number",
    "budget_unit": "text",
    "policy_version": "text",
    "menu_hash": "text",
    "features_version": "text",
    "reason": "text",
    "status": "text",
    "agreement": "number",
    "n_calls": "count",
    "n_open_calls": "count",
    "prompt_tokens": "count",
    "completion_tokens": "count",
    "nano_usd": "count",
    "seconds": "number",
    "settled_at": "time",
    "score": "number",
    "score_source": "text",
    "graded_at": "time",
    "metadata": "text",
    "task_text": "text",
}
"""Of tables, by what they hold. Spend is the settlement's, of a decision that was not settled the sum of its calls."""


@dataclass(frozen=True)
class Export:
    """What was written, and where."""

    path: Path
    n_decisions: int


def export(ledger: Ledger, path: str | Path, *, since: datetime | None = None, until: datetime | None = None) -> Export:
    """Write the decisions of a ledger with all that came of them to a file, oldest first; its name tells the form.

    `.jsonl` is exact: `LoggedDecision.model_validate_json` reads each line back. `.csv` and `.parquet` are tables of one row per
    decision, the latter in types of their own; in the former no cell is a formula. The file appears whole or not at all, and the
    ledger is streamed: a long one takes no more memory than a short one.

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
        writer.writerow(_COLUMNS)
        for entry in logged:
            writer.writerow([_cell(value) for value in _row(entry).values()])
            n_decisions += 1
    return n_decisions


def _cell(value: object) -> object:
    if isinstance(value, datetime):
        return value.isoformat()
    return unspelled(value) if isinstance(value, str) else value


def _write_parquet(logged: Iterable[LoggedDecision], path: Path) -> int:
    try:
        import pyarrow as pa
        from pyarrow import parquet
    except ImportError as error:
        raise ImportError("an export to Parquet needs pyarrow: pip install 'budget-router[parquet]'") from error
    types = {"text": pa.string(), "number": pa.float64(), "count": pa.int64(), "time": pa.timestamp("us", tz="UTC")}
    schema = pa.schema([(name, types[kind]) for name, kind in _COLUMNS.items()])
    entries, n_decisions = iter(logged), 0
    with parquet.ParquetWriter(path, schema) as writer:
        while rows := [_row(entry) for entry in islice(entries, ROWS_AT_ONCE)]:
            writer.write_table(pa.Table.from_pylist(rows, schema))
            n_decisions += len(rows)
            del rows  # before the next are made
    return n_decisions


def _row(entry: LoggedDecision) -> dict[str, Any]:  # Any: each column has its own type
    decision, settlement, outcome = entry.decision, entry.settlement, entry.outcome
    spend = Spend.of(entry.calls) if settlement is None else settlement.spend
    known: dict[str, Any] = {
        "decision_id": decision.id,
        "strategy": decision.strategy.name,
        "budget_per_task": decision.budget.per_task,
        "budget_unit": decision.budget.unit,
        "n_open_calls": sum(call.status == "open" for call in entry.calls),
        "status": settlement and settlement.status,
        "agreement": settlement and settlement.agreement,
        "settled_at": settlement and settlement.settled_at,
        "score": outcome and outcome.score,
        "score_source": outcome and outcome.source,
        "graded_at": outcome and outcome.graded_at,
        "metadata": json.dumps(entry.metadata, ensure_ascii=False),
        "task_text": entry.task_text,
    }
    told = {**{name: getattr(decision, name) for name in type(decision).model_fields}, "propensity": decision.propensity}
    facts = {**told, **spend.model_dump(), **known}
    return {name: facts[name] for name in _COLUMNS}


_FORMS = {".jsonl": _write_lines, ".csv": _write_csv, ".parquet": _write_parquet}
