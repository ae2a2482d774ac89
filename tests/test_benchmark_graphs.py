"""The benchmark of graphs: it kills, compares with the invoice, and measures what it says."""

import sys

import pytest

from benchmarks import graphs as benchmark
from benchmarks.graphs_work import run_on
from budget_router import Task
from budget_router_sql import SqlLedger

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL is POSIX")


def test_runs_are_killed_and_crowds_counted(monkeypatch):
    monkeypatch.setattr(benchmark, "THREAD_CALL_SECONDS", 0.01)
    told = benchmark.run(n_runs=1, n_threads=4, n_steps=2, seed=3)
    assert told["killed"]["n_runs"] == 1
    assert told["killed"]["n_invoiced"] >= benchmark.N_REQUESTS
    assert (told["crowd"]["n_decisions"], told["crowd"]["n_calls"], told["crowd"]["n_lost_or_doubled"]) == (8, 8, 0)
    assert told["met"]["decisions_are_the_same"]
    assert told["met"]["invoice_is_booked_once"]
    assert told["crowd"]["budgeted_ms"] > told["crowd"]["plain_ms"] > 0


def test_what_is_missing_from_the_books_is_seen(tmp_path):
    run_on(tmp_path)
    assert not any(benchmark._books(tmp_path)[0][name] for name in ("other decisions", "not booked", "executed again"))
    with (tmp_path / "invoice").open("a") as invoice:
        invoice.write("a request of which nobody knows\n".replace(" ", "-"))
    assert benchmark._books(tmp_path)[0]["not booked"] == 1
    with SqlLedger(f"sqlite:///{tmp_path}/spend.db") as ledger:
        (first, *_) = ledger.read()
        ledger.record_decision(first.decision.model_copy(update={"id": "another"}), Task(first.task_text), first.menu)
    assert benchmark._books(tmp_path)[0]["other decisions"] == 1
