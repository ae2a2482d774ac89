"""The benchmark of the books: what it makes is a sound ledger, and it measures what it says."""

import sys

import pytest

from benchmarks import books as benchmark
from benchmarks.books_made import MENU, TARIFFS, make
from budget_router import Budget, refresh
from budget_router.testing import NOON
from budget_router_sql import SqlLedger, audit, spend

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="getrusage is POSIX")


def test_every_question_is_asked_of_the_same_books(tmp_path):
    path = tmp_path / "books.db"
    told = benchmark.run(path, 3000, questions=list(benchmark.QUESTIONS), seed=1)
    assert told["n_decisions"] == 3000
    assert set(told["took"]) == set(told["met"]) == {"spend", "audit", "refresh_reads"}
    assert all(one["seconds"] > 0 and one["mb"] > 1 for one in told["took"].values())
    assert benchmark.run(path, 7, questions=["spend"], seed=2)["n_decisions"] == 3000


def test_books_that_are_made_prove_and_teach(tmp_path):
    make(tmp_path / "books.db", 2500)
    with SqlLedger(f"sqlite:///{tmp_path / 'books.db'}") as ledger:
        proof = audit(ledger, tariffs=TARIFFS)
        learned = refresh(ledger, menu=MENU, budget=Budget(per_task=1000))
    assert {one.kind: one.n for one in proof.findings if one.kind != "never_closed"} == {"never_settled": 3}
    assert (proof.n_decisions, proof.n_priced_again) == (2500, proof.calls.n_calls)
    assert learned.n_decisions == 2497


@pytest.mark.parametrize("by", [(), ("group", "strategy"), ("day", "policy_version", "reason"), ("run_id",)])
def test_a_whole_file_is_added_up_as_the_database_adds_a_window(tmp_path, by):
    make(tmp_path / "books.db", 2500)
    with SqlLedger(f"sqlite:///{tmp_path / 'books.db'}") as ledger:
        whole, window = spend(ledger, by=by), spend(ledger, by=by, since=NOON)
    assert (whole.rows, whole.total) == (window.rows, window.total)
    assert whole.total.n_decisions == 2500
