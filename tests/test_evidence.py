"""What is learned from is read by columns, in stretches: nothing is missing, what is wrong is named, rows do not mix."""

import gc
import sqlite3
import threading
from contextlib import closing
from datetime import timedelta
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import Column, Double, MetaData, Table, create_engine, event, insert, select

from budget_router.errors import LedgerError
from budget_router.evidence import Evidence
from budget_router.menu import EarlyStop, Escalate, ExtendedCoT, Menu, SelfConsistency, SingleShot
from budget_router.outcomes import OutcomeTable
from budget_router.records import Spend
from budget_router.testing import NOON, example_decision, example_settlement, recorded
from budget_router.testing.evidence import evidence_tells_what_the_records_tell
from budget_router_sql import SqlLedger, evidence
from budget_router_sql.joined import LongText, joined, parted
from budget_router_sql.uncollected import Uncollected
from tests.test_outcomes import logged

law = settings(derandomize=True, deadline=None, max_examples=40)

MENU = Menu(
    [
        SingleShot(),
        SelfConsistency(k=3),
        SelfConsistency(k=5),
        SelfConsistency(k=5, early_stop=EarlyStop(threshold=0.9), name="early"),
        ExtendedCoT(effort="high"),
        Escalate(first=SelfConsistency(k=3), then=ExtendedCoT(effort="high"), agreement=1.0),
    ]
)


@pytest.fixture
def ledger(tmp_path):
    with SqlLedger(f"sqlite:///{tmp_path / 'spend.db'}") as ledger:
        yield ledger


def settled(ledger, n_decisions):
    names = [f"d{number:03}" for number in range(n_decisions)]
    recorded(ledger, *(example_decision(name, minutes=number) for number, name in enumerate(names)))
    for name in names:
        ledger.record_settlement(example_settlement(name))


def tamper(path, statement):
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        assert connection.execute(statement).rowcount == 1


@pytest.mark.parametrize("at_once", [1, 7, 60, 61])
def test_wherever_stretches_end_nothing_is_missing_and_no_record_is_made(monkeypatch, ledger, at_once):
    monkeypatch.setattr(evidence, "AT_ONCE", at_once)
    monkeypatch.setattr(evidence, "assembled", None)  # the way that is taken where rows are not as they were written
    evidence_tells_what_the_records_tell(ledger)
    assert len(list(ledger.acts())) == 48


@pytest.mark.parametrize(
    ("statement", "named"),
    [
        ("UPDATE decisions SET propensities = '{\"single_shot\": 0.3}' WHERE id = 'd013'", "propensities add up"),
        ("UPDATE decisions SET propensities = '[1]' WHERE id = 'd013'", "propensities|dict|object"),
        ("UPDATE decisions SET features = '[1, ' WHERE id = 'd013'", "features|EOF|JSON"),
        ("UPDATE decisions SET metadata = 'x' || char(30) || 'y' WHERE id = 'd013'", "JSON"),
        ("UPDATE decisions SET strategy_settings = '{}' WHERE id = 'd013'", "kind|tag"),
    ],
)
def test_a_row_that_was_tampered_with_is_named(monkeypatch, tmp_path, ledger, statement, named):
    monkeypatch.setattr(evidence, "AT_ONCE", 10)
    settled(ledger, 30)
    tamper(tmp_path / "spend.db", statement)
    reading = ledger.evidence()
    assert [next(reading).task_id for _ in range(10)] == ["t1"] * 10  # the stretch before it is read
    with pytest.raises(LedgerError, match=named):
        list(reading)


def test_who_stops_reading_leaves_no_thread_and_no_view_behind(monkeypatch, tmp_path, ledger):
    monkeypatch.setattr(evidence, "AT_ONCE", 5)
    settled(ledger, 100)
    before = set(threading.enumerate())
    reading = ledger.evidence()
    next(reading)
    reading.close()
    assert set(threading.enumerate()) <= before
    with closing(sqlite3.connect(tmp_path / "spend.db", isolation_level=None)) as other:
        assert other.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0] == 0  # a view would hinder it


def test_a_slow_reader_hinders_no_writer_and_sees_no_end_too_early(monkeypatch, ledger):
    monkeypatch.setattr(evidence, "AT_ONCE", 5)
    settled(ledger, 40)
    reading = ledger.evidence()
    seen = [next(reading)]
    recorded(ledger, example_decision("later", minutes=1000))
    ledger.record_settlement(example_settlement("later"))
    assert len(seen + list(reading)) == 41


def test_rows_that_the_database_finds_in_another_order_are_told_oldest_first(monkeypatch, tmp_path, ledger):
    monkeypatch.setattr(evidence, "AT_ONCE", 20)
    names = [f"d{number:02}" for number in range(30)]
    for minutes, name in zip(reversed(range(30)), names, strict=True):
        recorded(ledger, example_decision(name, minutes=minutes, task_id=name))
        ledger.record_settlement(example_settlement(name))
    with closing(sqlite3.connect(tmp_path / "spend.db", isolation_level=None)) as connection:
        connection.execute("DROP INDEX which_decisions_fall_in_a_window")
    assert [one.task_id for one in ledger.evidence()] == names[::-1]


@pytest.mark.parametrize("read", [SqlLedger.evidence, SqlLedger.acts])
def test_what_a_window_takes_to_read_is_its_share_of_the_whole(monkeypatch, ledger, read):
    monkeypatch.setattr(evidence, "AT_ONCE", 16)
    settled(ledger, 160)
    steps = Steps(ledger)
    ends = [NOON + timedelta(minutes=16 * number) for number in range(11)]
    whole = steps.of(read(ledger))
    parts = [steps.of(read(ledger, since=since, until=until)) for since, until in pairwise(ends)]
    assert whole > 160  # of hundreds
    assert max(parts) < 1.25 * whole / len(parts)


class Steps:
    """Counts what a file's database does, by hundreds of its machine's instructions."""

    def __init__(self, ledger):
        self._n_hundreds = 0
        with ledger.database.read() as connection:
            event.listen(connection.engine.pool, "checkout", self._watch)

    def of(self, reading):
        before = self._n_hundreds
        assert list(reading)
        return self._n_hundreds - before

    def _watch(self, connection, *_):
        connection.set_progress_handler(self._count, 100)

    def _count(self):
        self._n_hundreds += 1


@pytest.mark.parametrize("is_on", [True, False])
def test_the_garbage_collector_waits_until_the_last_of_several_is_done(is_on):
    reading = Uncollected()
    try:
        (gc.enable if is_on else gc.disable)()
        with reading:
            with reading:
                pass
            assert not gc.isenabled()
        assert gc.isenabled() is is_on
    finally:
        gc.enable()


# --- columns of a file in one text each


@law
@given(st.lists(st.tuples(st.none() | st.floats(allow_nan=False), st.none() | st.text("a\x1e\x1f\0é", max_size=3)), max_size=20))
def test_numbers_are_told_to_the_last_digit_and_texts_whatever_stands_in_them(rows):
    table = Table("told", MetaData(), Column("number", Double), Column("text", LongText))
    question = select(table.c.number, table.c.text)
    with create_engine("sqlite://").begin() as connection:
        table.create(connection)
        for number, text in rows:
            connection.execute(insert(table), {"number": number, "text": text})
        numbers, texts = parted(question, connection.execute(joined(question)).one())
    assert list(zip(numbers, texts, strict=True)) == rows
    assert {type(number) for number in numbers} <= {float, type(None)}


# --- a table of many


@st.composite
def entries(draw):
    strategy = draw(st.sampled_from(MENU.names))
    n_samples = draw(st.integers(0, MENU[strategy].n_samples))
    answers = draw(st.lists(st.sampled_from(["4", "5", None]), min_size=n_samples, max_size=n_samples))
    weights = draw(st.sampled_from([(0.5, 0.1, 0.1, 0.1, 0.1, 0.1), (0.1, 0.1, 0.1, 0.1, 0.1, 0.5)]))
    return logged(
        strategy,
        answers,
        menu=MENU,
        propensities=dict(zip(MENU.names, weights, strict=True)),
        answer_scores=draw(st.sampled_from([{"4": 1.0, "5": 0.0}, {"4": 0.5}, {"4": 0.0, "5": 1.0}])),
        score=draw(st.sampled_from([0.0, 0.5, 1.0])),
        graded=draw(st.booleans()),
        status=draw(st.sampled_from(["ok", "ok", "failed"])),
        spend=Spend(prompt_tokens=draw(st.integers(1, 500)), completion_tokens=draw(st.integers(1, 500)), nano_usd=5, n_calls=1),
        task_id=draw(st.sampled_from(["a", "b", "c"])),
        reason=draw(st.sampled_from(["policy", "forced", "capped"])),
    )


@law
@given(st.lists(entries(), min_size=2, max_size=12))
def test_what_a_decision_tells_does_not_hang_on_those_beside_it(many):
    together = OutcomeTable.from_log(many, MENU, unit="tokens")
    alone = [OutcomeTable.from_log([entry], MENU, unit="tokens") for entry in many]
    for column in ("structure", "accuracy", "standard_error", "observed_prob", "cost", "is_forced", "doubt"):
        np.testing.assert_array_equal(getattr(together, column), np.concatenate([getattr(one, column) for one in alone]), column)
    for part in together.stages._fields[1:]:  # the first names the columns
        apart = np.concatenate([getattr(one.stages, part) for one in alone])
        np.testing.assert_array_equal(getattr(together.stages, part), apart, part)
    assert together.task_ids == tuple(one.task_ids[0] for one in alone)


def test_a_decision_that_is_not_settled_tells_nothing():
    assert Evidence.of(logged(settled=False)) is None
