"""A log in Parquet: exact, read a stretch at a time, and refused where it is not what was written."""

import sys
import tracemalloc
from datetime import timedelta
from types import SimpleNamespace

import pyarrow as pa
import pytest
from pyarrow import parquet

from budget_router import MemoryLedger, ParquetLog, export
from budget_router.errors import ForeignLedger, InvalidInput, UnknownDecision
from budget_router.exported import exporting, parquet_parts
from budget_router.testing import NOON, evidence, example_decision, example_settlement, recorded
from budget_router_sql import SqlLedger


@pytest.fixture(autouse=True)
def three_rows_at_once(monkeypatch):
    for module in (exporting, parquet_parts):
        monkeypatch.setattr(module, "ROWS_AT_ONCE", 3)


@pytest.fixture
def ledger():
    """Twenty settled decisions, one each hour."""
    ledger = MemoryLedger()
    recorded(ledger, *(example_decision(f"d{hour:02}", minutes=60 * hour, task_id=f"t{hour}") for hour in range(20)))
    for hour in range(20):
        ledger.record_settlement(example_settlement(f"d{hour:02}"))
    return ledger


@pytest.fixture
def path(ledger, tmp_path):
    return export(ledger, tmp_path / "log.parquet").path


def names(evidence):
    return [one.decision_id for one in evidence]


class Exported(MemoryLedger):
    """A ledger whose evidence is read from the file that it is exported to."""

    path = None

    def _log(self, window):
        log = ParquetLog(export(SimpleNamespace(read=self.read), self.path).path)
        assert list(log.read(**window)) == list(self.read(**window))
        return log

    def evidence(self, **window):
        return self._log(window).evidence(**window)

    def acts(self, **window):
        return self._log(window).acts(**window)


@pytest.mark.parametrize(
    "promise",
    [
        evidence.evidence_tells_what_the_records_tell,
        evidence.acts_tell_what_was_expected_too,
        evidence.the_end_of_time_is_read_too,
        evidence.evidence_of_nothing_is_none,
    ],
)
def test_it_tells_what_the_ledger_tells_that_was_exported(promise, tmp_path):
    ledger = Exported()
    ledger.path = tmp_path / "log.parquet"
    promise(ledger)


@pytest.mark.parametrize("store_text", ["full", "hash", "none"])
def test_texts_are_as_the_database_kept_them(store_text, tmp_path):
    with SqlLedger(f"sqlite:///{tmp_path / 'spend.db'}", store_text=store_text) as ledger:
        recorded(ledger, *(example_decision(f"d{number}", minutes=number) for number in range(5)))
        ledger.record_settlement(example_settlement("d3"))
        log = ParquetLog(export(ledger, tmp_path / "log.parquet").path)
        assert list(log.evidence()) == list(ledger.evidence())
        assert list(log.read()) == list(ledger.read())


def test_parts_hold_each_decision_of_the_window_once(path, ledger):
    since, until = NOON + timedelta(hours=4), NOON + timedelta(hours=16)
    parts = ParquetLog(path).parts(6, since=since, until=until)
    assert [[int(name[1:]) for name in names(part.evidence())] for part in parts] == [
        [4, 5, 6, 7, 8],
        [9, 10, 11, 12, 13, 14],
        [15],
    ]
    assert ParquetLog(path).parts(6, since=NOON + timedelta(days=1)) == []
    with pytest.raises(InvalidInput, match="no time zone"):
        ParquetLog(path).parts(6, since=since.replace(tzinfo=None))


def test_only_the_stretches_of_the_window_are_read(path):
    whole = path.read_bytes()
    first = parquet.ParquetFile(path).metadata.row_group(0).column(0)
    path.write_bytes(whole[: first.data_page_offset] + bytes(40) + whole[first.data_page_offset + 40 :])
    log = ParquetLog(path)
    assert len(list(log.evidence(since=NOON + timedelta(hours=3)))) == 17
    with pytest.raises(InvalidInput, match=r"log\.parquet is no log in Parquet, or damaged .*: export the log again"):
        list(log.evidence())


def test_a_folder_is_one_log_whatever_its_files_are_called(ledger, tmp_path):
    middle, end = NOON + timedelta(hours=7), NOON + timedelta(hours=50)
    export(ledger, tmp_path / "b.parquet", until=middle)
    export(ledger, tmp_path / "a.parquet", since=middle)
    export(ledger, tmp_path / "c.parquet", since=end)
    (tmp_path / ".d.parquet.unfinished").write_text("half")
    (tmp_path / "_metadata.parquet").write_text("somebody else's")
    log = ParquetLog(tmp_path)
    assert list(log.read()) == list(ledger.read())
    assert log.latest() == ledger.latest()
    assert log.decision("d03") == ledger.decision("d03")


def test_files_that_overlap_are_refused(ledger, tmp_path):
    export(ledger, tmp_path / "old.parquet", until=NOON + timedelta(hours=7))
    export(ledger, tmp_path / "new.parquet", since=NOON + timedelta(hours=5))
    with pytest.raises(InvalidInput, match=r"new\.parquet begins before old\.parquet ends"):
        ParquetLog(tmp_path)


def test_an_empty_log_says_nothing(ledger, tmp_path):
    log = ParquetLog(export(ledger, tmp_path / "log.parquet", until=NOON).path)
    assert list(log.read()) == list(log.evidence()) == log.parts(5) == []
    with pytest.raises(UnknownDecision, match=r"stands in log\.parquet"):
        log.latest()


def test_what_is_no_log_is_told_with_its_mend(path, tmp_path):
    half = tmp_path / "half.parquet"
    half.write_bytes(path.read_bytes()[:-100])
    foreign = tmp_path / "foreign.parquet"
    parquet.write_table(pa.table({"a": [1]}), foreign)
    (tmp_path / "text.parquet").write_text("no table at all")
    (tmp_path / "empty").mkdir()
    for name, found in {
        "half.parquet": r"half\.parquet is no log in Parquet, or damaged",
        "text.parquet": r"text\.parquet is no log in Parquet, or damaged",
        "foreign.parquet": "foreign.parquet has no column 'decision_id'",
        "empty": "name a .parquet file that export wrote, or a folder of them",
        "none.parquet": "name a .parquet file that export wrote, or a folder of them",
    }.items():
        with pytest.raises(InvalidInput, match=found):
            ParquetLog(tmp_path / name)


def rewritten(path, **columns):
    """The file with other values in some columns of its sixth row, as another program would write it."""
    rows = parquet.read_table(path).to_pylist()
    rows[5].update(columns)
    parquet.write_table(pa.Table.from_pylist(rows, parquet.read_schema(path)), path, row_group_size=3)
    return ParquetLog(path)


@pytest.mark.parametrize(
    ("column", "value", "found"),
    [
        ("score", 2.0, "score"),
        ("propensities", '{"single_shot": 2.0}', "propensities"),
        ("metadata", "{", "JSON"),
        ("metadata", "[]", "metadata"),
        ("features", None, "features"),
        ("task_id", None, "task_id"),
        ("menu", "[]", "menu"),
        ("prompt_tokens", -1, "prompt_tokens"),
    ],
)
def test_a_row_that_is_none_of_ours_is_named(path, column, value, found):
    graded = {"graded_at": NOON, "score": 1.0, "score_source": "user", "answer_scores": "{}"}
    log = rewritten(path, **graded | {column: value})
    with pytest.raises(InvalidInput, match=rf"row 6 of log\.parquet.*{found}"):
        list(log.evidence())


def test_rows_out_of_order_are_refused(path):
    with pytest.raises(InvalidInput, match=r"of log\.parquet was decided before the one above it: sort by decided_at"):
        list(rewritten(path, decided_at=NOON).evidence())
    with pytest.raises(InvalidInput, match=r"a row group of log\.parquet was decided before"):
        rewritten(path, decided_at=NOON + timedelta(days=1))


def test_a_table_that_another_program_wrote_anew_is_read_as_it_was(path, ledger):
    table = parquet.read_table(path)
    names = table.schema.names[::-1]
    other = table.select(names).append_column("theirs", pa.array(range(20)))
    text = [field.with_type(pa.large_string()) if field.type == pa.string() else field for field in other.schema]
    parquet.write_table(other.cast(pa.schema(text)), path, row_group_size=7)
    assert list(ParquetLog(path).read()) == list(ledger.read())


def test_a_file_that_was_written_anew_is_not_read_as_the_old_one(path, ledger):
    (part,) = ParquetLog(path).parts(100)
    export(ledger, path, since=NOON + timedelta(hours=1))
    with pytest.raises(ForeignLedger, match="begin again where it was written anew"):
        list(part.evidence())
    path.unlink()
    with pytest.raises(ForeignLedger, match="no file at"):
        list(part.evidence())


def test_a_long_log_takes_no_more_memory_than_a_short_one(tmp_path, monkeypatch):
    for module in (exporting, parquet_parts):
        monkeypatch.setattr(module, "ROWS_AT_ONCE", 50)
    ledger = MemoryLedger()
    recorded(ledger)
    ledger.record_settlement(example_settlement())
    entry, peaks = ledger.decision("d1"), []
    for n_decisions in (50, 200, 1_000):  # the first one loads what is loaded once
        export(SimpleNamespace(read=lambda n=n_decisions, **_: (entry for _ in range(n))), tmp_path / "log.parquet")
        tracemalloc.start()
        assert sum(1 for _ in ParquetLog(tmp_path / "log.parquet").evidence()) == n_decisions
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[2] < 1.5 * peaks[1]


def test_the_extra_that_is_missing_is_named(path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ImportError, match=r"pip install 'budget-router\[parquet\]'"):
        ParquetLog(path)
