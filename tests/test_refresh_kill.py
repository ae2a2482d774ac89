"""A refresh that is killed with SIGKILL, wherever it is, leaves what serves as it was, and the next one finishes."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest
from world import MENU

from budget_router.policies.artifact import policy_from
from budget_router_sql import SqlLedger

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL is POSIX")

HOST = """
import os, signal, sys, threading, time
sys.path.insert(0, sys.argv[2])
from world import MENU, serve, tasks
from functools import partial
from budget_router import Budget, BudgetRouter, Refresher, refresh
from budget_router.errors import LeaseHeld
from budget_router_sql import SqlLedger

BUDGET = Budget(per_task=110, unit="completion_tokens")
began = {}

def die():
    os.kill(os.getpid(), signal.SIGKILL)

def die_after(seconds):
    until = time.process_time() + seconds
    while time.process_time() < until:
        time.sleep(0.001)
    die()

def learn(seed, *, until="", seconds=None):
    def reached(step):
        began[step] = time.process_time()
        if step == until and seconds is None:
            die()
        if step == until:
            threading.Thread(target=die_after, args=[seconds], daemon=True).start()

    class Mortal(SqlLedger):
        def evidence(self, **window):
            reached("reading")
            return super().evidence(**window)

        def record_solve(self, solve):
            reached("saved")
            super().record_solve(solve)
            reached("solved")

    with Mortal(sys.argv[1]) as ledger:
        refresher = Refresher(ledger, budget=BUDGET, learn=partial(refresh, seed=seed, lease_seconds=0.3))
        while True:
            try:
                tick = refresher.refresh_now()
            except LeaseHeld:
                time.sleep(0.02)
            else:
                tick.result.promote()  # whatever the gate says of so few tasks
                return

with SqlLedger(sys.argv[1], durability="queued") as ledger:
    serve(BudgetRouter(MENU, BUDGET, ledger=ledger, seed=1), tasks(100, seed=1), seed=1)
learn(0)  # makes all imports
learn(0)
print(began["saved"] - began["reading"], flush=True)
for line in sys.stdin:
    seed, until, *seconds = line.split()
    child = os.fork()
    if child == 0:
        learn(int(seed), until=until, seconds=float(seconds[0]) if seconds else None)
        os._exit(0)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""
"""Refreshes in processes of their own, with all imports made, that kill themselves at a step, or after some work from there."""
PARTS = (0.1, 0.7)
"""Of the work between the first row that is read and the candidate that is saved."""


@pytest.fixture
def url(tmp_path):
    return f"sqlite:///{tmp_path / 'spend.db'}"


@pytest.fixture
def host(url):
    """With a ledger whose policy was learned by one refresh, and serves."""
    command = [sys.executable, "-c", HOST, url, str(Path(__file__).parent)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as host:
        yield host
        host.kill()


def exit_code(host, *words):
    host.stdin.write(" ".join(map(str, words)) + "\n")
    host.stdin.flush()
    return int(host.stdout.readline())


def test_a_refresh_killed_anywhere_leaves_what_serves_and_the_next_one_finishes(host, url):
    seconds = float(host.stdout.readline())
    deaths = [*(("reading", seconds * part) for part in PARTS), ("saved",), ("solved",)]
    with SqlLedger(url) as ledger:
        serving = ledger.registry.active_version(MENU.hash)
        for seed, death in enumerate(deaths, 1):
            assert exit_code(host, seed, *death) == -signal.SIGKILL
            assert ledger.registry.active_version(MENU.hash) == serving
            for version in ledger.registry.versions(MENU.hash):
                policy_from(ledger.registry.load(version), MENU, unit="completion_tokens")
        n_solves = len(ledger.solves(MENU.hash))
        assert exit_code(host, len(deaths) + 1, "never") == 0
        *_, last = ledger.solves(MENU.hash)
        assert len(ledger.solves(MENU.hash)) == n_solves + 1
        assert ledger.registry.active_version(MENU.hash) == last.policy_version
        tenures = ledger.leases.history(f"refresh {MENU.hash}")
        assert len(tenures) == len(deaths) + 3
        assert all(tenure.ended_at is not None for tenure in tenures)
