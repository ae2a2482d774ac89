"""A ledger carried away in a file."""

import csv
import json
import math
import sys
import tracemalloc
from datetime import timedelta

import pytest
from pyarrow import parquet
from typer.testing import CliRunner

from budget_router import MemoryLedger, Task, export
from budget_router.errors import InvalidInput, LedgerUnavailable
from budget_router.exported import exporting
from budget_router.records import LoggedDecision
from budget_router.testing import (
    MENU,
    NOON,
    TASK,
    example_call,
    example_decision,
    example_outcome,
    example_settlement,
    recorded,
)
from budget_router_cli.app import app
from budget_router_sql import SqlLedger

FORMULAS = ["=cmd|' /C calc'!A0", "+1+1", "-2+3", "@SUM(A1)", "\t=1+1", "\n=1+1", "＝1+1"]


@pytest.fixture
def ledger() -> MemoryLedger:
    """A decision with all that can come of one, and one with nothing."""
    ledger = MemoryLedger()
    recorded(ledger, example_decision("d1"), example_decision("d2", minutes=1, features=(math.inf, 0.5), expected_accuracy=None))
    ledger.close_call(example_call())
    ledger.open_call(example_call("c2", "d2", status="open", nano_usd=None))
    ledger.record_settlement(example_settlement())
    ledger.record_outcome(example_outcome(score=0.25))
    return ledger


def test_lines_are_read_back_equal(ledger, tmp_path):
    done = export(ledger, tmp_path / "all.jsonl")
    lines = (tmp_path / "all.jsonl").read_text().splitlines()
    assert [LoggedDecision.model_validate_json(line) for line in lines] == list(ledger.read())
    assert (done.path, done.n_decisions) == (tmp_path / "all.jsonl", 2)


def test_a_table_has_one_row_per_decision_with_what_it_spent(ledger, tmp_path):
    export(ledger, tmp_path / "all.parquet")
    table = parquet.read_table(tmp_path / "all.parquet")
    first, second = table.to_pylist()
    assert {name: first[name] for name in ("decision_id", "strategy", "status", "prompt_tokens", "nano_usd", "score")} == {
        "decision_id": "d1",
        "strategy": "self_consistency_5",
        "status": "ok",
        "prompt_tokens": 120,
        "nano_usd": 7,
        "score": 0.25,
    }
    assert (first["propensity"], first["decided_at"], first["task_text"]) == (0.3, NOON, TASK.text)
    assert json.loads(first["metadata"]) == TASK.metadata
    assert (second["status"], second["n_open_calls"], second["score"], second["nano_usd"]) == (None, 1, None, None)


def test_csv_holds_the_rows_that_parquet_holds(ledger, tmp_path):
    for name in ("all.csv", "all.parquet"):
        export(ledger, tmp_path / name)
    with (tmp_path / "all.csv").open(newline="") as file:
        written = list(csv.DictReader(file))
    held = parquet.read_table(tmp_path / "all.parquet").to_pylist()
    for row, same in zip(written, held, strict=True):
        assert list(row) == list(same)[: len(row)]
        for name, said in row.items():
            value = same[name]
            is_time = name.endswith("_at") and value is not None
            assert said == ("" if value is None else value.isoformat() if is_time else str(value))


@pytest.mark.parametrize("formula", FORMULAS)
def test_no_cell_is_a_formula(formula, tmp_path):
    ledger = MemoryLedger()
    ledger.record_decision(example_decision("=1", thread_id="@x", group="+g"), Task(formula, metadata={"a": formula}), MENU)
    export(ledger, tmp_path / "all.csv")
    with (tmp_path / "all.csv").open(newline="") as file:
        cells = [cell for row in csv.reader(file) for cell in row]
    assert not [cell for cell in cells if cell.lstrip().startswith(tuple("=+-@＝＋－＠"))]


def test_a_window_is_exported_alone(ledger, tmp_path):
    assert export(ledger, tmp_path / "late.jsonl", since=NOON + timedelta(seconds=1)).n_decisions == 1
    assert export(ledger, tmp_path / "early.jsonl", until=NOON).n_decisions == 0
    assert export(ledger, tmp_path / "early.parquet", until=NOON).n_decisions == 0
    with pytest.raises(InvalidInput, match="no time zone"):
        export(ledger, tmp_path / "late.jsonl", since=NOON.replace(tzinfo=None))


@pytest.mark.parametrize(("name", "mend"), [("all.xlsx", r"\.jsonl, \.csv, \.parquet"), ("missing/all.csv", "make it first")])
def test_a_file_that_cannot_be_written_is_refused(ledger, tmp_path, name, mend):
    with pytest.raises(InvalidInput, match=mend):
        export(ledger, tmp_path / name)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("suffix", ["jsonl", "csv", "parquet"])
def test_an_export_that_fails_half_way_leaves_the_former_file(ledger, tmp_path, suffix):
    class Failing(MemoryLedger):
        def read(self, **window):
            yield from ledger.read(**window)
            raise LedgerUnavailable("the database went away")

    path = tmp_path / f"all.{suffix}"
    path.write_text("the former one")
    with pytest.raises(LedgerUnavailable):
        export(Failing(), path)
    assert path.read_text() == "the former one"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("suffix", ["jsonl", "csv", "parquet"])
def test_a_long_ledger_takes_no_more_memory_than_a_short_one(tmp_path, suffix, monkeypatch):
    monkeypatch.setattr(exporting, "ROWS_AT_ONCE", 100)
    entry = _one_entry()

    class Long(MemoryLedger):
        def read(self, **window):
            for _ in range(self.n_decisions):
                yield entry.model_copy()

    peaks = []
    for Long.n_decisions in (20, 200, 2_000):  # the first one loads what is loaded once
        tracemalloc.start()
        export(Long(), tmp_path / f"all.{suffix}")
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[2] < 1.5 * peaks[1]


def _one_entry() -> LoggedDecision:
    ledger = MemoryLedger()
    recorded(ledger)
    return ledger.decision("d1")


def test_the_extra_that_is_missing_is_named(ledger, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ImportError, match=r"pip install 'budget-router\[parquet\]'"):
        export(ledger, tmp_path / "all.parquet")


def test_the_command_exports_a_ledger(tmp_path):
    url = f"sqlite:///{tmp_path / 'spend.db'}"
    with SqlLedger(url) as ledger:
        recorded(ledger)
    done = CliRunner().invoke(app, ["export", str(tmp_path / "all.jsonl"), "--ledger", url, "--since", "2026-01-01", "--json"])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout) == {"path": str(tmp_path / "all.jsonl"), "n_decisions": 1}
    (line,) = (tmp_path / "all.jsonl").read_text().splitlines()
    assert LoggedDecision.model_validate_json(line).decision == example_decision()
