"""The benchmark of the ledger: it counts what was lost, and measures what it says."""

import sqlite3
import sys
from contextlib import closing

import pytest

from benchmarks import ledger as benchmark
from budget_router.records import now
from budget_router.testing import TASK, example_call, example_decision, example_settlement, recorded
from budget_router_sql import SqlLedger

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL is POSIX")


def test_nothing_is_lost_to_kills_and_everything_is_measured(postgres):
    told = benchmark.run(postgres.uri, sqlite_kills=1, postgresql_kills=1, n_rows=400, n_decisions=60, seed=1)
    for name, n_kills in (("sqlite", 1), ("postgresql", 1)):
        facts = told["kills"][name]
        assert (facts["n_kills"], facts["n_lost"], facts["n_partial"]) == (n_kills, 0, 0)
        assert facts["n_acknowledged"] > 0
    assert told["met"]["nothing_lost"]
    assert told["met"]["audit_is_clean"]
    assert min(told["rows_per_second"].values()) > 0
    assert set(told["met"]) == {"nothing_lost", "audit_is_clean", *benchmark.BARS}


def test_what_stands_in_part_is_seen(tmp_path):
    since, path = now(), tmp_path / "spend.db"
    with SqlLedger(f"sqlite:///{path}") as ledger:
        recorded(ledger, *(example_decision(name, decided_at=now()) for name in "abc"))
        ledger.open_call(example_call("a", "a"))
        for name in "ab":
            ledger.record_settlement(example_settlement(name))
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("DELETE FROM samples WHERE decision_id = 'b' AND place = 2")
        connection.execute("UPDATE decisions SET task_text = ? WHERE id = 'c'", (TASK.text[:5],))
    found, n_partial = benchmark.standing(f"sqlite:///{path}", since)
    assert n_partial == 2
    assert {kind for kind, name in found if name == "a"} == {"decision", "opening", "settlement"}
