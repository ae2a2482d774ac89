"""One refresher works at a time, in whatever process it is, and however it ends; what all ledgers promise: test_ledgers."""

import logging
import os
import signal
import sys
import time
from contextlib import contextmanager

import pytest
from world import MENU, serve, tasks

from benchmarks.ledger_work import processes
from budget_router import Budget, BudgetRouter, MemoryLedger, refresh
from budget_router.errors import LeaseHeld, LeaseLost, LedgerUnavailable
from budget_router.leases import Lease, Leases
from budget_router.memory_leases import MemoryLeaseBook
from budget_router_sql import SqlLedger

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL and SIGSTOP are POSIX")

BUDGET = Budget(per_task=110, unit="completion_tokens")
NAME = f"refresh {MENU.hash}"
PATIENCE = 60


@pytest.fixture(scope="module", params=["file", "server"])
def url(request, tmp_path_factory):
    """Of a ledger that can be learned from."""
    with request.getfixturevalue("postgres").ledger() as database:
        folder = tmp_path_factory.mktemp("leases")
        place = (
            f"sqlite:///{folder / 'spend.db'}" if request.param == "file" else request.getfixturevalue("postgres").url(database)
        )
        with SqlLedger(place, durability="queued") as ledger:
            serve(BudgetRouter(MENU, BUDGET, ledger=ledger, seed=1), tasks(50, seed=1), seed=1)
        yield place


def refresh_once_told(url, pipe, learner, lease_seconds):
    """Begin a refresh, say so, and go on when told; then say what came of it."""

    class Slow(SqlLedger):
        def evidence(self, **window):
            pipe.send("reading")
            pipe.recv()
            return super().evidence(**window)

    with Slow(url) as ledger:
        try:
            pipe.send(refresh(ledger, menu=MENU, budget=BUDGET, learner=learner, lease_seconds=lease_seconds).version)
        except LeaseLost as error:
            pipe.send(f"lost: {error}")


@contextmanager
def refresher(url, *, learner="value", lease_seconds):
    """Another process in the middle of a refresh, and the pipe to it."""
    context = processes()
    here, there = context.Pipe()
    worker = context.Process(target=refresh_once_told, args=(url, there, learner, lease_seconds), daemon=True)
    worker.start()
    try:
        assert said(here) == "reading"
        yield worker, here
    finally:
        worker.kill()
        worker.join()


def said(pipe):
    assert pipe.poll(PATIENCE)
    return pipe.recv()


def test_of_two_refreshers_one_works_and_the_other_is_told_who_does(url):
    with SqlLedger(url) as ledger, refresher(url, lease_seconds=30) as (worker, pipe):
        with pytest.raises(LeaseHeld, match=rf"being done by .*, process {worker.pid}, since 20.*let it finish") as refusal:
            refresh(ledger, menu=MENU, budget=BUDGET)
        assert (refusal.value.until - refusal.value.since).total_seconds() == pytest.approx(30)
        n_before = len(ledger.solves(MENU.hash))
        pipe.send("go")
        version = said(pipe)
        solve = ledger.solves(MENU.hash)[-1]
        assert len(ledger.solves(MENU.hash)) == n_before + 1
        assert (solve.policy_version, solve.budget_per_task, solve.n_tasks) == (version, 110, 50)
        worker.join()
        assert refresh(ledger, menu=MENU, budget=BUDGET).version == version
        assert ledger.solves(MENU.hash)[-1].shadow_price == solve.shadow_price


def test_a_refresher_that_is_killed_leaves_the_next_one_able_to_run(url):
    with SqlLedger(url) as ledger, refresher(url, lease_seconds=2.5) as (worker, _):
        os.kill(worker.pid, signal.SIGKILL)
        worker.join()
        with pytest.raises(LeaseHeld, match=f"process {worker.pid}"):
            refresh(ledger, menu=MENU, budget=BUDGET)
        time.sleep(2.6)
        refresh(ledger, menu=MENU, budget=BUDGET)
        killed, mine = ledger.leases.history(NAME)[-2:]
        assert killed.holder.endswith(f"process {worker.pid}")
        assert mine.holder.endswith(f"process {os.getpid()}")
        assert killed.expires_at <= killed.ended_at == mine.taken_at


def test_a_refresher_that_was_paused_for_too_long_finds_out_and_saves_nothing(url):
    with SqlLedger(url) as ledger, refresher(url, learner="imitator", lease_seconds=0.5) as (worker, pipe):
        os.kill(worker.pid, signal.SIGSTOP)
        time.sleep(0.7)
        refresh(ledger, menu=MENU, budget=BUDGET)
        solves, versions = ledger.solves(MENU.hash), ledger.registry.versions(MENU.hash)
        pipe.send("go")
        os.kill(worker.pid, signal.SIGCONT)
        assert f"lost: lease {NAME!r}, taken by" in (told := said(pipe))
        assert f"process {worker.pid}" in told
        assert (ledger.solves(MENU.hash), ledger.registry.versions(MENU.hash)) == (solves, versions)


def test_a_queued_ledger_answers_for_its_lease_and_its_solve_at_once(url):
    with SqlLedger(url, durability="queued") as queued, SqlLedger(url) as other:
        with queued.leases.hold("work", holder="the queued one"), pytest.raises(LeaseHeld, match="the queued one"):
            other.leases.hold("work").__enter__()
        version = refresh(queued, menu=MENU, budget=BUDGET).version
        assert other.solves(MENU.hash)[-1].policy_version == version


def test_a_solve_s_numbers_are_those_of_its_refresh():
    ledger = MemoryLedger()
    serve(BudgetRouter(MENU, BUDGET, ledger=ledger, seed=1), tasks(50, seed=1), seed=1)
    stingy = Budget(per_task=1e-3, unit="completion_tokens")
    for budget in (BUDGET, stingy):
        result = refresh(ledger, menu=MENU, budget=budget)
        solve = ledger.solves(MENU.hash)[-1]
        allocation = result.allocation
        assert (solve.shadow_price, solve.duality_gap, solve.expected_cost) == (
            allocation.lam,
            allocation.duality_gap,
            allocation.spend,
        )
        assert solve.duality_gap == pytest.approx(solve.shadow_price * (solve.allowed_cost - solve.expected_cost))
        assert (solve.policy_version, solve.n_decisions) == (result.version, result.n_decisions)
        assert (solve.budget_per_task, solve.budget_unit) == (budget.per_task, "completion_tokens")
    assert solve.allowed_cost > stingy.per_task


def test_a_book_that_is_away_for_a_moment_costs_no_lease(caplog):
    class Shaky(MemoryLeaseBook):
        n_renewals = 0

        def renew(self, name, fence, *, seconds):
            self.n_renewals += 1
            if self.n_renewals == 1:
                raise LedgerUnavailable("away")
            return super().renew(name, fence, seconds=seconds)

        def release(self, name, fence):
            raise LedgerUnavailable("away")

    book = Shaky()
    with caplog.at_level(logging.WARNING, "budget_router"), Leases(book).hold("work", holder="one", seconds=0.3) as lease:
        assert isinstance(lease, Lease)
        time.sleep(0.45)
        with pytest.raises(LeaseHeld):
            Leases(book).hold("work").__enter__()
    assert [record.message.split(",")[0].split(":")[0] for record in caplog.records] == [
        "lease 'work' could not be renewed",
        "lease 'work' could not be given back",
    ]
