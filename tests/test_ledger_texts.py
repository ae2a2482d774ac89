"""What becomes of a task's text: kept, kept as salted counts, not kept, or erased afterwards."""

import sqlite3
import threading
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from budget_router.errors import InvalidInput, LedgerError, LedgerUnavailable
from budget_router.features import STRUCTURE_VERSION, TextProjection, ngram_counts, structural_features
from budget_router.outcomes import OutcomeTable
from budget_router.task import Task
from budget_router.testing import MENU, NOON, TASK, example_decision, example_outcome, example_settlement, recorded
from budget_router_sql import SqlLedger
from budget_router_sql.hashed_text import HashedText
from budget_router_sql.schema import REVISION
from tests.schemas import back_to_the_first_schema

WORDS = [
    "ada",
    "adds",
    "apples",
    "bread",
    "bikes",
    "counts",
    "cakes",
    "costs",
    "days",
    "divides",
    "eggs",
    "every",
    "finds",
    "five",
    "gives",
    "half",
]
HASHED = HashedText("salt")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "spend.db"


def url_of(path: Path) -> str:
    return f"sqlite:///{path}"


def some_texts(n_texts: int) -> list[str]:
    rng = np.random.default_rng(0)
    return [" ".join(rng.choice(WORDS, int(rng.integers(3, 30)))) for _ in range(n_texts)]


# --- hashed


@settings(deadline=None)
@given(text=st.text(max_size=300))
def test_counts_are_read_back_as_they_were_counted(text):
    assert HASHED.counts(HASHED.packed(text)) == dict(ngram_counts(text))


def test_without_the_salt_the_counts_are_of_nothing():
    text = some_texts(1)[0]
    packed = HASHED.packed(text)
    assert packed == HashedText("salt").packed(text)
    read_by_another = HashedText("another salt").counts(packed)
    assert sorted(read_by_another.values()) == sorted(ngram_counts(text).values())
    assert len(read_by_another.keys() & ngram_counts(text).keys()) <= 2


def test_what_is_no_count_is_not_read():
    with pytest.raises(InvalidInput, match="no n-gram counts"):
        HASHED.counts(b"abc")


def test_a_projection_learned_from_hashed_text_is_the_one_learned_from_text(path):
    texts = some_texts(60)
    with SqlLedger(url_of(path), store_text="hash") as ledger:
        for number, text in enumerate(texts):
            known = {"features": structural_features(text), "features_version": STRUCTURE_VERSION}
            decision = example_decision(f"{number}", minutes=number, task_id=f"{number}", **known)
            ledger.record_decision(decision, Task(text), MENU)
            ledger.record_settlement(example_settlement(f"{number}"))
            ledger.record_outcome(example_outcome(f"{number}"))
        logged = list(ledger.read())
        assert ledger.decision("7") == logged[7]
    assert {entry.task_text for entry in logged} == {None}
    table = OutcomeTable.from_log(logged, MENU, unit="tokens")
    assert table.texts is not None
    from_counts, from_text = TextProjection(8).fit(table.texts), TextProjection(8).fit(texts)
    assert from_counts.transform(texts) == pytest.approx(from_text.transform(texts), abs=1e-9)


def test_hashed_text_is_kept_once_and_never_beside_a_decision_that_stood_before(path):
    with SqlLedger(url_of(path)) as ledger:
        recorded(ledger)
    with SqlLedger(url_of(path), store_text="hash") as ledger:
        recorded(ledger)
        recorded(ledger, example_decision("d2"), example_decision("d2"))
        assert ledger.decision("d1").task_ngrams is None
        assert ledger.decision("d2").task_ngrams == dict(ngram_counts(TASK.text))


def test_counts_that_were_tampered_with_are_not_read_as_a_record(path):
    with SqlLedger(url_of(path), store_text="hash") as ledger:
        recorded(ledger)
        with closing(sqlite3.connect(path, isolation_level=None)) as connection:
            connection.execute("UPDATE task_ngrams SET counts = x'00'")
        with pytest.raises(LedgerError, match="no n-gram counts"):
            ledger.decision("d1")


# --- erased


def bytes_on_disk(path: Path) -> bytes:
    return b"".join(file.read_bytes() for file in path.parent.iterdir())


@pytest.mark.parametrize("n_characters", [40, 3000, 30_000])
@pytest.mark.parametrize("store_text", ["full", "hash"])
def test_what_was_forgotten_is_gone_from_the_file_and_its_log(path, store_text, n_characters):
    secrets = {"t1": "the patient's name is Ada. " * (n_characters // 27 + 1), "t2": "the patient's name is Bob. "}
    with SqlLedger(url_of(path), store_text=store_text) as ledger:
        for number in range(60):
            task_id = "t1" if number % 7 == 0 else "t2"
            task = Task(secrets[task_id], metadata={"doctor": f"Dr {task_id} Hyde"})
            ledger.record_decision(example_decision(f"{number}", task_id=task_id, minutes=number), task, MENU)
        packed = HashedText(ledger.salt).packed(secrets["t1"])
        traces = [b"Dr t1 Hyde", *([b"name is Ada"] if store_text == "full" else [packed])]
        assert all(trace in bytes_on_disk(path) for trace in traces)
        assert ledger.forget("t1") == 9
        assert not any(trace in bytes_on_disk(path) for trace in traces)
        assert b"Dr t2 Hyde" in bytes_on_disk(path)
        assert [entry.metadata for entry in ledger.read()].count({}) == 9
    assert not any(trace in bytes_on_disk(path) for trace in traces)


@pytest.mark.parametrize("store_text", ["full", "hash", "none"])
def test_what_is_older_than_a_moment_is_forgotten_and_the_rest_is_not(path, store_text):
    with SqlLedger(url_of(path), store_text=store_text) as ledger:
        for number in range(6):
            said = Task(f"the patient's name is Ada {number} ", metadata={"doctor": f"Dr {number} Hyde"})
            ledger.record_decision(example_decision(f"{number}", task_id=f"t{number % 2}", minutes=number), said, MENU)
        noon_and_four = NOON + timedelta(minutes=4)
        assert ledger.forget_before(noon_and_four) == 4
        assert [entry.metadata for entry in ledger.read()] == [{}] * 4 + [{"doctor": "Dr 4 Hyde"}, {"doctor": "Dr 5 Hyde"}]
        told = [(entry.task_text, entry.task_ngrams) for entry in ledger.read()]
        assert all(text is None and not ngrams for text, ngrams in told[:4])
        assert all((text is not None, bool(ngrams)) == (store_text == "full", store_text == "hash") for text, ngrams in told[4:])
        assert b"Dr 3 Hyde" not in bytes_on_disk(path)
        assert ledger.forget_before(noon_and_four) == 0
        assert ledger.forget_before(noon_and_four + timedelta(minutes=1)) == 1
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT task_id, n_decisions FROM erasures ORDER BY position").fetchall() == [
            ("t0", 2),
            ("t1", 2),
            ("t0", 1),
        ]


def test_a_moment_without_a_zone_forgets_nothing(path):
    with SqlLedger(url_of(path)) as ledger:
        recorded(ledger)
        with pytest.raises(InvalidInput, match="has no time zone"):
            ledger.forget_before(NOON.replace(tzinfo=None))
        assert ledger.decision("d1").task_text == TASK.text


def test_an_erasure_is_itself_recorded(path):
    with SqlLedger(url_of(path)) as ledger:
        recorded(ledger, example_decision("a"), example_decision("b"))
        ledger.forget("t1")
    with closing(sqlite3.connect(path)) as connection:
        ((task_id, n_decisions, erased_at),) = connection.execute("SELECT task_id, n_decisions, erased_at FROM erasures")
    assert (task_id, n_decisions) == ("t1", 2)
    assert erased_at > str(NOON)


def test_a_reader_that_keeps_the_bytes_in_the_log_is_told_of(path):
    with SqlLedger(url_of(path), busy_seconds=0.05) as ledger, closing(sqlite3.connect(path, isolation_level=None)) as reader:
        recorded(ledger)
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM decisions").fetchall()
        with pytest.raises(LedgerUnavailable, match="forget again"):
            ledger.forget("t1")
        reader.execute("COMMIT")
        assert ledger.forget("t1") == 1
        assert TASK.text.encode() not in bytes_on_disk(path)


def test_forgetting_beside_threads_that_record_disturbs_nobody(path):
    with SqlLedger(url_of(path)) as ledger:

        def work(thread: int) -> None:
            for step in range(30):
                recorded(ledger, example_decision(f"{thread}-{step}"))

        threads = [threading.Thread(target=work, args=(thread,)) for thread in range(4)]
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads):
            ledger.forget("t1")
        assert ledger.forget("t1") == 120


def test_a_ledger_of_an_older_version_is_migrated_as_it_is_opened(path):
    with SqlLedger(url_of(path)) as ledger:
        recorded(ledger)
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        back_to_the_first_schema(connection.execute)
    with SqlLedger(url_of(path), store_text="hash") as ledger:
        recorded(ledger, example_decision("d2"))
        assert [logged.task_text for logged in ledger.read()] == [TASK.text, None]
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT version_num FROM budget_router_version").fetchall() == [(REVISION,)]
