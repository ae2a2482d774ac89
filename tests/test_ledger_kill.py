"""Whatever was acknowledged survives a process that is killed, and whatever was not is either whole or absent."""

import random
import sqlite3
import sys
from contextlib import closing, suppress
from pathlib import Path
from subprocess import TimeoutExpired

import pytest
from forks import Started

from budget_router.testing import TASK, example_decision, recorded
from budget_router_sql import SqlLedger

WRITER = """
import sys
from budget_router.ids import new_id
from budget_router.testing import *
from budget_router_sql import SqlLedger

print("awake", flush=True)
with SqlLedger(sys.argv[1]) as ledger:
    while True:
        name = new_id()
        recorded(ledger, example_decision(name))
        print("decision", name, flush=True)
        ledger.open_call(example_call(name, name, status="open"))
        print("opening", name, flush=True)
        ledger.close_call(example_call(name, name))
        print("closing", name, flush=True)
        ledger.record_settlement(example_settlement(name))
        print("settlement", name, flush=True)
        ledger.record_outcome(example_outcome(name))
        print("outcome", name, flush=True)
"""
N_ROUNDS = 4
N_BIRTHS = 3
N_SAMPLES = 3


def killed(writer: Started, *, after_rows: int = 0, after_seconds: float = 0.0) -> set[tuple[str, str]]:
    """Kill a writer with SIGKILL, once it is awake and so much has happened, wherever it is; tell what it had acknowledged."""
    with writer.stdout, writer.stdin:
        assert writer.stdout.readline() == "awake\n"
        text = "".join(writer.stdout.readline() for _ in range(after_rows))
        with suppress(TimeoutExpired):
            writer.wait(after_seconds)
        writer.kill()
        text += writer.stdout.read()
    assert writer.wait() == -9
    whole_lines = text.split("\n")[:-1]  # what follows the last line end was cut in the middle
    return {(kind, name) for kind, name in map(str.split, whole_lines)}


def assert_whole(path: Path, acknowledged: set[tuple[str, str]]) -> int:
    """Check the file and every record of it; tell how many decisions it holds."""
    n_decisions = assert_kept(f"sqlite:///{path}", acknowledged)
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
    return n_decisions


def assert_kept(url: str, acknowledged: set[tuple[str, str]]) -> int:
    """Check every record of a ledger; tell how many decisions it holds."""
    with SqlLedger(url) as ledger:
        found = set()
        for logged in ledger.read():
            name = logged.decision.id
            assert logged.decision == example_decision(name)
            assert (logged.task_text, logged.metadata) == (TASK.text, TASK.metadata)
            found.add(("decision", name))
            for call in logged.calls:
                found.add(("opening", name))
                if call.status == "ok":
                    found.add(("closing", name))
            if logged.settlement:
                assert len(logged.settlement.samples) == N_SAMPLES
                found.add(("settlement", name))
            if logged.outcome:
                found.add(("outcome", name))
        recorded(ledger, example_decision("afterwards"))
    assert acknowledged <= found
    return sum(kind == "decision" for kind, _ in found)


@pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL is POSIX")
def test_every_acknowledged_row_survives_a_killed_writer(tmp_path, apart):
    path, rng = tmp_path / "spend.db", random.Random(2604)
    acknowledged: set[tuple[str, str]] = set()
    for _ in range(N_ROUNDS):
        acknowledged |= killed(
            apart.start(WRITER, f"sqlite:///{path}"), after_rows=rng.randint(1, 500), after_seconds=rng.uniform(0, 0.02)
        )
        assert assert_whole(path, acknowledged) >= sum(kind == "decision" for kind, _ in acknowledged)


@pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL is POSIX")
def test_every_row_that_a_server_acknowledged_survives_a_killed_writer(postgres, apart):
    rng = random.Random(1703)
    with postgres.ledger() as database:
        url, acknowledged = postgres.url(database), set()
        for _ in range(2):
            acknowledged |= killed(apart.start(WRITER, url), after_rows=rng.randint(1, 200), after_seconds=rng.uniform(0, 0.02))
            assert assert_kept(url, acknowledged) >= sum(kind == "decision" for kind, _ in acknowledged)


@pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL is POSIX")
def test_a_ledger_whose_maker_was_killed_at_its_birth_is_opened_all_the_same(tmp_path, apart):
    rng = random.Random(14853)
    for birth in range(N_BIRTHS):
        path = tmp_path / f"{birth}.db"
        rows = killed(apart.start(WRITER, f"sqlite:///{path}"), after_seconds=rng.uniform(0.01, 0.1))
        assert_whole(path, rows)


OPENER = """
import sys
from budget_router.testing import *
from budget_router_sql import SqlLedger

print("awake", flush=True)
sys.stdin.readline()
with SqlLedger(sys.argv[1]) as ledger:
    for step in range(20):
        recorded(ledger, example_decision(f"{sys.argv[2]}-{step}"), example_decision(f"shared-{step}"))
    print(ledger.salt)
"""


def test_processes_that_open_a_new_ledger_at_once_make_one_and_share_it(tmp_path, apart):
    url = f"sqlite:///{tmp_path / 'spend.db'}"
    openers = [apart.start(OPENER, url, str(number)) for number in range(4)]
    for opener in openers:
        assert opener.stdout.readline() == "awake\n"
    for opener in openers:
        opener.stdin.write("go\n")
        opener.stdin.flush()
    salts = {opener.communicate()[0] for opener in openers}
    assert [opener.returncode for opener in openers] == [0] * 4
    assert len(salts) == 1
    with SqlLedger(url) as ledger:
        assert len(list(ledger.read())) == 4 * 20 + 20
