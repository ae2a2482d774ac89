"""The benchmark of the books: what it makes is a sound ledger, and it measures what it says."""

import sys

import pytest

from benchmarks import books as benchmark
from benchmarks.books_made import MENU, TARIFFS, make
from budget_router import Budget, refresh
from budget_router.testing import NOON
from budget_router_sql import SqlLedger, audit, spend

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="getrusage is POSIX")

N_DECISIONS = 1500


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    path = tmp_path_factory.mktemp("books") / "books.db"
    make(path, N_DECISIONS)
    return path


def test_every_question_is_asked_of_the_same_books(tmp_path):
    told = benchmark.run(tmp_path / "books.db", 300, questions=list(benchmark.QUESTIONS), seed=1)
    assert told["n_decisions"] == 300
    assert set(told["took"]) == set(told["met"]) == {"spend", "audit", "refresh_reads"}
    assert all(one["seconds"] > 0 and one["mb"] > 1 for one in told["took"].values())


def test_books_that_are_there_are_taken_as_they_are(path):
    assert benchmark.run(path, 7, questions=[], seed=2)["n_decisions"] == N_DECISIONS


def test_books_that_are_made_prove_and_teach(path):
    with SqlLedger(f"sqlite:///{path}") as ledger:
        proof = audit(ledger, tariffs=TARIFFS)
        learned = refresh(ledger, menu=MENU, budget=Budget(per_task=1000))
    found = {one.kind: one.n for one in proof.findings if one.kind != "never_closed"}
    assert found.keys() == {"never_settled"}
    assert (proof.n_decisions, proof.n_priced_again) == (N_DECISIONS, proof.calls.n_calls)
    assert learned.n_decisions == N_DECISIONS - found["never_settled"]


@pytest.mark.parametrize("by", [(), ("group", "strategy"), ("day", "policy_version", "reason"), ("run_id",)])
def test_a_whole_file_is_added_up_as_the_database_adds_a_window(path, by):
    with SqlLedger(f"sqlite:///{path}") as ledger:
        whole, window = spend(ledger, by=by), spend(ledger, by=by, since=NOON)
    assert (whole.rows, whole.total) == (window.rows, window.total)
    assert whole.total.n_decisions == N_DECISIONS
