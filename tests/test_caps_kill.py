"""Processes that are killed under one hard cap: it is never passed by what a provider bills, and nothing is lost for good."""

import os
import random
import sys
import time
from collections import defaultdict
from datetime import timedelta
from pathlib import Path

import pytest

from benchmarks.caps_work import MAX_TOKENS, MENU, PROMPT_TOKENS, TASK, budget
from benchmarks.ledger_work import processes
from budget_router import Budget, BudgetRouter, Call, Spend
from budget_router.caps import EXPIRES_AFTER, Cap
from budget_router.errors import CapReached
from budget_router.records import now
from budget_router_sql import SqlLedger, audit

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL is POSIX")

N_WORKERS, N_ROUNDS = 3, 2
LIMIT = 10 * (PROMPT_TOKENS + MAX_TOKENS)
"""Reached on the way: what the killed leave behind counts in full."""
CALL = PROMPT_TOKENS + MAX_TOKENS


def work(url: str, path: str, seed: int) -> None:
    """Decide, call and settle until killed; what is done, and what the provider bills, is written into a file line by line."""
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def tell(*words: object) -> None:
        os.write(file, (" ".join(map(str, words)) + "\n").encode())  # in one piece, and there whatever becomes of us

    rng = random.Random(seed)
    with SqlLedger(url, busy_seconds=60) as ledger:
        router = BudgetRouter(MENU, Budget(per_task=1000), budgets=[budget(LIMIT)], ledger=ledger, seed=seed)
        router.decide(TASK)  # what is done once is done
        tell("awake", os.getpid())
        for number in range(sys.maxsize):
            decision_id = f"{os.getpid()}-{number}"
            tell("deciding", decision_id)
            try:
                decision = router.decide(TASK.model_copy(update={"group": "hammered"}), decision_id=decision_id)
            except CapReached:
                tell("refused", decision_id)
                time.sleep(0.02)
                continue
            tell("decided", decision_id)
            calls = []
            for sample in range(decision.strategy.n_samples):
                call = Call(id=f"{decision_id}/{sample}", decision_id=decision_id, model="m", status="open")
                tell("claiming", call.id)
                router.claim(decision, call, prompt_tokens=PROMPT_TOKENS, completion_tokens=MAX_TOKENS)
                router.open_call(call)
                counts = {"prompt_tokens": rng.randint(1, PROMPT_TOKENS), "completion_tokens": rng.randint(0, MAX_TOKENS)}
                tell("billed", call.id, sum(counts.values()))
                calls.append(router.close_call(call.model_copy(update={**counts, "status": "ok"})))
                tell("closed", call.id)
            tell("settling", decision_id)
            router.settle(decision, Spend.of(calls))
            tell("settled", decision_id)


def told(path: Path) -> str:
    """What was written so far."""
    return path.read_text() if path.exists() else ""


def killed_at_work(url: str, path: Path, seed: int) -> None:
    """Let processes work, and kill each with SIGKILL wherever it is."""
    rng, context, n_before = random.Random(seed), processes(), told(path).count("\n")
    workers = [context.Process(target=work, args=(url, str(path), seed + place), daemon=True) for place in range(N_WORKERS)]
    for worker in workers:
        worker.start()
    until, n_lines = time.monotonic() + 30, rng.randint(15, 40)
    while told(path).count("\n") < n_before + n_lines or any(f"awake {worker.pid}\n" not in told(path) for worker in workers):
        assert time.monotonic() < until
        time.sleep(0.005)
    for worker in workers:
        time.sleep(rng.uniform(0, 0.05))
        worker.kill()
    for worker in workers:
        worker.join()
        assert worker.exitcode == -9


def lines(path: Path) -> dict[str, dict[str, int]]:
    """What was told: by its word, each id, and how much."""
    by_word: dict[str, dict[str, int]] = defaultdict(dict)
    for line in path.read_text().splitlines():
        word, name, *amount = line.split()
        by_word[word][name] = int(amount[0]) if amount else 0
    return by_word


@pytest.mark.parametrize("where", ["file", "server"])
def test_killed_processes_never_pass_the_cap_and_what_they_held_comes_free(where, tmp_path, postgres):
    with postgres.ledger() as database:
        url = f"sqlite:///{tmp_path / 'spend.db'}" if where == "file" else postgres.url(database)
        SqlLedger(url).close()
        for number in range(N_ROUNDS):
            killed_at_work(url, tmp_path / "told", seed=10 * number)
        done = lines(tmp_path / "told")
        billed, cut_off = sum(done["billed"].values()), done["claiming"].keys() - done["closed"].keys()
        assert 0 < billed <= LIMIT

        with SqlLedger(url) as ledger:
            cap, later = Cap.of(budget(LIMIT), run=""), now() + EXPIRES_AFTER + timedelta(minutes=1)
            assert audit(ledger).holds
            charged = LIMIT - ledger.caps.left(cap, now=later)
            assert billed <= charged <= billed + CALL * len(cut_off)

            proof = audit(ledger)
            assert proof.holds
            names = next((set(one.names) for one in proof.findings if one.kind == "reservation_unsettled"), set())
            decided, ended = done["decided"].keys(), done["settled"].keys() | done["refused"].keys()
            assert decided - done["settling"].keys() <= names
            assert names <= (done["deciding"].keys() - ended) | cut_off
