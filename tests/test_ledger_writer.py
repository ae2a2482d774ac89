"""Group commit: what waits together is written together, and what is only queued is written in the end."""

import asyncio
import signal
import sqlite3
import sys
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from budget_router import Budget, BudgetRouter
from budget_router.errors import InvalidInput, LedgerUnavailable, UnknownDecision
from budget_router.records import Sample, Spend
from budget_router.testing import (
    LEDGER_PROMISES,
    MENU,
    NOON,
    TASK,
    example_call,
    example_decision,
    example_outcome,
    example_settlement,
    recorded,
)
from budget_router.testing.ledger import what_nobody_decided_is_refused
from budget_router_sql import SqlLedger
from budget_router_sql import writer as writing
from budget_router_sql.entries import Entry, closed, decided, noted, opened
from budget_router_sql.hashed_text import HashedText
from budget_router_sql.writer import Writer
from tests.commits import commits_of


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "spend.db"


def url_of(path: Path) -> str:
    return f"sqlite:///{path}"


@pytest.fixture(params=["file", "server"])
def url(request, path):
    if request.param == "file":
        yield url_of(path)
    else:
        postgres = request.getfixturevalue("postgres")
        with postgres.ledger() as database:
            yield postgres.url(database)


@contextmanager
def held_up(ledger: SqlLedger):
    """Nothing is written meanwhile: the writing thread waits in the middle of a batch."""
    free, is_held, write = threading.Event(), threading.Event(), ledger._writer._write

    def wait_and_write(entries):
        is_held.set()
        assert free.wait(30)
        return write(entries)

    ledger._writer._write = wait_and_write
    first = ledger.submit_decision(example_decision("held"), TASK, MENU)
    assert is_held.wait(30)
    try:
        yield
    finally:
        ledger._writer._write = write
        free.set()
    first.result()


# --- what waits together


def test_writes_that_wait_together_share_a_commit(url):
    with SqlLedger(url, durability="durable") as ledger:
        commits = commits_of(ledger)
        with held_up(ledger):
            handed_in: list[Future] = []
            for number in range(100):
                handed_in.append(ledger.submit_decision(example_decision(f"{number}", minutes=number), TASK, MENU))
                handed_in.append(ledger.submit(example_call(f"{number}", f"{number}")))
        assert {future.result() for future in handed_in[1::2]} == {None}
        assert [future.result().id for future in handed_in[::2]] == [f"{number}" for number in range(100)]
        assert len(commits) == 2
        assert [len(logged.calls) for logged in ledger.read()] == [0, *[1] * 100]


def test_threads_that_wait_are_all_answered(url):
    with SqlLedger(url) as ledger, ThreadPoolExecutor(8) as pool:
        with held_up(ledger):
            standing = [pool.submit(ledger.record_decision, example_decision(f"{n}"), TASK, MENU) for n in range(8)]
        assert {future.result().id for future in standing} == {f"{n}" for n in range(8)}


async def test_coroutines_share_a_commit(path):
    with SqlLedger(url_of(path), durability="durable") as ledger:
        commits = commits_of(ledger)

        async def decide(number: int) -> str:
            decision = example_decision(f"{number}", minutes=number)
            standing = await asyncio.wrap_future(ledger.submit_decision(decision, TASK, MENU))
            await asyncio.wrap_future(ledger.submit(example_call(f"{number}", f"{number}")))
            return standing.id

        with held_up(ledger):
            deciding = asyncio.gather(*map(decide, range(100)))
            await asyncio.sleep(0)
        assert await deciding == [f"{number}" for number in range(100)]
        assert len(commits) < 20
        assert sum(len(logged.calls) for logged in ledger.read()) == 100


def test_what_is_wrong_in_a_batch_fails_alone(url):
    with SqlLedger(url) as ledger:
        recorded(ledger)
        with held_up(ledger):
            good = ledger.submit(example_call("good"))
            too_large = ledger.submit(example_call("large", prompt_tokens=2**63))
            half = ledger.submit(example_call("half").model_copy(update={"model": "\ud800"}))
            never = ledger.submit(example_call("never").model_copy(update={"started_at": "noon"}))
            unknown = ledger.submit(example_call("stray", "nobody decided"))
            ended = ledger.submit(example_settlement())
            decision = ledger.submit_decision(example_decision("d2"), TASK, MENU)
            graded = ledger.submit(example_outcome("d2"))
        for refused in (too_large, half, never):
            with pytest.raises(InvalidInput):
                refused.result()
        with pytest.raises(UnknownDecision, match="nobody decided"):
            unknown.result()
        assert [one.result() for one in (good, ended, graded)] == [None] * 3
        assert decision.result() == example_decision("d2")
        logged = ledger.decision("d1")
        assert (logged.calls, logged.settlement) == ((example_call("good"),), example_settlement())
        assert ledger.decision("d2").outcome == example_outcome("d2")


def test_a_batch_of_more_rows_than_a_statement_takes_is_kept_whole(url):
    calls = [example_call(f"{number}", prompt_tokens=number, seconds=number / 3) for number in range(450)]
    with SqlLedger(url) as ledger:
        recorded(ledger)
        ledger.close_call(calls[300])
        with held_up(ledger):
            waiting = [ledger.submit(call) for call in [*calls, example_call("7", prompt_tokens=0)]]
        assert [one.result() for one in waiting] == [None] * 451
        kept = ledger.decision("d1").calls
        assert sorted(kept, key=lambda call: call.prompt_tokens) == calls


def test_of_one_batch_too_the_first_counts(url):
    with SqlLedger(url, store_text="hash") as ledger:
        with held_up(ledger):
            first = ledger.submit_decision(example_decision(task_id="first"), TASK, MENU)
            second = ledger.submit_decision(example_decision(task_id="second"), TASK, MENU)
            ends = [ledger.submit(example_settlement(status=status)) for status in ("ok", "failed")]
            calls = [ledger.submit(example_call(completion_tokens=n)) for n in (1, 2)]
        assert [one.result() for one in (*ends, *calls)] == [None] * 4
        assert first.result().task_id == second.result().task_id == "first"
        logged = ledger.decision("d1")
        assert (logged.settlement, [call.completion_tokens for call in logged.calls]) == (example_settlement(), [1])


@pytest.mark.parametrize("n_new", [0, 1], ids=["all stand", "some stand"])
def test_of_a_batch_whose_decisions_stand_each_is_answered_with_its_first(url, n_new):
    names = ["stands", *["new"] * n_new]
    sampled = (Sample(index=0, answer_key="68"),)
    with SqlLedger(url, store_text="hash") as ledger:
        recorded(ledger, example_decision("stands", task_id="first"))
        ledger.record_settlement(example_settlement("stands", samples=sampled))
        with held_up(ledger):
            decided = [ledger.submit_decision(example_decision(name, task_id="second"), TASK, MENU) for name in names]
            settled = [ledger.submit(example_settlement(name, status="failed", samples=sampled)) for name in names]
        assert [one.result().task_id for one in decided] == ["first", *["second"] * n_new]
        assert [one.result() for one in settled] == [None] * len(names)
        ends = [ledger.decision(name).settlement for name in names]
        assert [(end.status, end.samples) for end in ends] == [("ok", sampled), *[("failed", sampled)] * n_new]


def test_a_batch_that_the_database_does_not_take_is_refused_to_each(path):
    with SqlLedger(url_of(path), busy_seconds=0.05) as ledger, closing(sqlite3.connect(path, isolation_level=None)) as other:
        recorded(ledger)
        other.execute("BEGIN IMMEDIATE")
        waiting = [ledger.submit(example_call(f"{number}")) for number in range(3)]
        errors = [future.exception() for future in waiting]
        assert [type(error) for error in errors] == [LedgerUnavailable] * 3
        assert len({id(error) for error in errors}) == 3
        other.execute("ROLLBACK")
        ledger.close_call(example_call("0"))
        assert len(ledger.decision("d1").calls) == 1


# --- what is only queued


@pytest.mark.parametrize("promise", LEDGER_PROMISES, ids=lambda promise: promise.__name__)
def test_a_queueing_ledger_promises_that(promise, path):
    if promise is what_nobody_decided_is_refused:
        pytest.skip("a queue refuses nothing, it logs")
    with SqlLedger(url_of(path), durability="queued") as ledger:
        promise(ledger)


def test_a_queueing_ledger_returns_before_the_database_has_answered(path):
    with (
        SqlLedger(url_of(path), durability="queued", busy_seconds=0.05) as ledger,
        closing(sqlite3.connect(path, isolation_level=None)) as other,
    ):
        other.execute("BEGIN IMMEDIATE")
        assert ledger.record_decision(example_decision(), TASK, MENU) == example_decision()
        assert ledger.record_decision(example_decision(task_id="again"), TASK, MENU) == example_decision()
        ledger.close_call(example_call())
        other.execute("ROLLBACK")
        assert ledger.decision("d1").calls == (example_call(),)


def test_a_reader_does_not_wait_for_a_queue_whose_database_is_away(path):
    with (
        SqlLedger(url_of(path), durability="queued", busy_seconds=0.05) as ledger,
        closing(sqlite3.connect(path, isolation_level=None)) as other,
    ):
        recorded(ledger)
        assert ledger.decision("d1").calls == ()
        other.execute("BEGIN IMMEDIATE")
        ledger.close_call(example_call())
        assert ledger.decision("d1").calls == ()
        other.execute("ROLLBACK")


def test_what_nobody_waits_for_gathers_and_who_waits_hurries_it(path, monkeypatch):
    monkeypatch.setattr(writing, "LINGER_SECONDS", 60)
    with SqlLedger(url_of(path), durability="queued") as ledger:
        commits = commits_of(ledger)
        for _ in range(2):
            assert list(ledger.read(until=NOON)) == []
            recorded(ledger, *(example_decision(f"{number}", minutes=number) for number in range(100)))
        assert len(list(ledger.read())) == 100
        assert len(commits) <= 2
        assert ledger.submit(example_call("c", "1")).result() is None


def test_what_a_queue_cannot_keep_is_told_in_the_log(path, caplog):
    with SqlLedger(url_of(path), durability="queued") as ledger:
        ledger.close_call(example_call("stray", "nobody decided"))
        ledger.record_decision(example_decision(), TASK, MENU)
        assert ledger.decision("d1").calls == ()
    assert "a queued record was refused: no decision 'nobody decided'" in caplog.text


def test_a_closing_that_may_wait_is_one_commit_with_its_settlement(url, monkeypatch):
    monkeypatch.setattr(writing, "LINGER_SECONDS", 60)
    with SqlLedger(url, durability="durable") as ledger:
        recorded(ledger)
        for name in ("c1", "c2"):
            ledger.open_call(example_call(name))
        commits = commits_of(ledger)
        for name in ("c1", "c2"):
            ledger.close_call_soon(example_call(name))
        ledger.record_settlement(example_settlement())
        assert len(commits) == 1
        logged = ledger.decision("d1")
    assert [call.status for call in logged.calls] == ["ok", "ok"]
    assert logged.settlement is not None


def test_a_closing_without_a_settlement_is_written_by_itself(url):
    with SqlLedger(url) as ledger:
        recorded(ledger)
        ledger.close_call_soon(example_call())
    with SqlLedger(url) as again:
        assert [call.status for call in again.decision("d1").calls] == ["ok"]


def test_a_closing_is_settled_soon_only_where_no_hard_cap_counts_it(path, monkeypatch):
    monkeypatch.setattr(writing, "LINGER_SECONDS", 60)
    seen = {}
    with SqlLedger(url_of(path)) as ledger:
        for name, cap in (("capped", {"hard_cap": 1e6, "window": "day"}), ("free", {})):
            router = BudgetRouter(MENU, Budget(per_task=800, **cap), ledger=ledger)
            decision = router.decide(TASK, decision_id=name)
            router.open_call(example_call(name, name, status="open"))
            router.close_call(example_call(name, name), settles_soon=True)
            seen[name] = [ledger.decision(name).calls[0].status]
            router.settle(decision, Spend())
            seen[name] += [ledger.decision(name).calls[0].status]
    assert seen == {"capped": ["ok", "ok"], "free": ["open", "ok"]}


class Gate:
    """A database that writes once it is let."""

    def __init__(self) -> None:
        self.is_open = threading.Event()
        self.is_away = False
        self.written: list[Entry] = []

    def write(self, entries):
        assert self.is_open.wait(30)
        if self.is_away:
            raise LedgerUnavailable("it is away")
        self.written += entries
        return [None] * len(entries)


def queueing(gate: Gate, n_queued: int) -> Writer:
    return Writer(gate.write, name="the ledger", n_queued=n_queued)


ENTRY = closed(example_call())


def test_who_finds_the_queue_full_waits_and_nothing_is_dropped(caplog):
    gate = Gate()
    writer = queueing(gate, 10)

    def hand_in() -> None:
        for _ in range(100):
            writer.enqueue(lambda: ENTRY)

    handing_in = threading.Thread(target=hand_in)
    handing_in.start()
    while "callers wait too, none is dropped" not in caplog.text:
        assert handing_in.is_alive()
    gate.is_open.set()
    handing_in.join()
    writer.close()
    assert len(gate.written) == 100


def test_a_full_queue_refuses_while_the_database_is_away_and_loses_nothing(caplog, monkeypatch):
    monkeypatch.setattr(writing, "RETRY_SECONDS", 0.01)
    gate = Gate()
    gate.is_away = True
    gate.is_open.set()
    writer = queueing(gate, 10)
    for _ in range(10):
        writer.enqueue(lambda: ENTRY)
    while writer._stuck is None:
        pass
    n_taken = 10

    def fill() -> None:
        nonlocal n_taken
        for _ in range(1000):
            writer.enqueue(lambda: ENTRY)
            n_taken += 1

    with pytest.raises(LedgerUnavailable, match="10 records wait already, and the database is away"):
        fill()
    gate.is_away = False
    assert writer.drain()
    assert len(gate.written) == n_taken
    assert caplog.text.count("waits in memory, the database is away") == 1
    writer.close()


@pytest.mark.parametrize("error", [LedgerUnavailable("it is away"), KeyboardInterrupt()], ids=["away", "interrupted"])
def test_what_nobody_waits_for_outlasts_who_took_it_along(error, monkeypatch):
    monkeypatch.setattr(writing, "LINGER_SECONDS", 60)
    gate, is_first = Gate(), True
    gate.is_open.set()

    def write(entries):
        nonlocal is_first
        if is_first:
            is_first = False
            raise error
        return gate.write(entries)

    writer = Writer(write, name="the ledger")
    writer.enqueue(lambda: ENTRY)
    other = noted(example_settlement())
    with pytest.raises(type(error)):
        writer.write(other, None)
    assert gate.written == []
    writer.write(other, None)
    assert gate.written == [ENTRY, other]
    writer.close()


def test_what_is_left_as_a_ledger_is_closed_is_counted(caplog, monkeypatch):
    monkeypatch.setattr(writing, "DRAIN_SECONDS", 0.05)
    gate = Gate()
    gate.is_away = True
    gate.is_open.set()
    writer = queueing(gate, 10)
    for _ in range(3):
        writer.enqueue(lambda: ENTRY)
    writer.close()
    assert "3 records were never written, the database is away (it is away)" in caplog.text
    with pytest.raises(LedgerUnavailable, match="was closed"):
        writer.submit(ENTRY, None)


def test_a_fault_of_ours_is_told_to_who_waits_and_the_thread_goes_on():
    faults = [RuntimeError("a fault"), None]

    def write(entries):
        fault = faults.pop(0)
        if fault:
            raise fault
        return [None] * len(entries)

    writer = Writer(write, name="the ledger")
    with pytest.raises(RuntimeError, match="a fault"):
        writer.submit(ENTRY, None).result()
    assert writer.submit(ENTRY, None).result() is None
    writer.close()


# --- the ends of a process

QUEUER = """
import os, sys
from budget_router.testing import *
from budget_router_sql import SqlLedger

ledger = SqlLedger(sys.argv[1], durability="queued")
recorded(ledger, *(example_decision(str(number), minutes=number) for number in range(300)))
print("handed in", flush=True)
if sys.argv[2] == "exit":
    sys.exit()
while True:
    sys.stdin.readline()
"""


@pytest.mark.skipif(sys.platform == "win32", reason="signals are POSIX")
@pytest.mark.parametrize(("end", "code"), [("exit", 0), ("SIGTERM", -signal.SIGTERM)])
def test_a_process_that_ends_writes_what_it_had_queued(path, end, code, apart):
    with apart.start(QUEUER, url_of(path), end) as queuer:
        assert queuer.stdout.readline() == "handed in\n"
        if end == "SIGTERM":
            queuer.terminate()
        assert queuer.wait(60) == code
    with SqlLedger(url_of(path)) as ledger:
        assert len(list(ledger.read())) == 300


def test_a_handler_of_somebody_else_for_sigterm_stays(path):
    def theirs(*_: object) -> None:
        raise AssertionError

    before = signal.signal(signal.SIGTERM, theirs)
    try:
        with SqlLedger(url_of(path), durability="queued"):
            assert signal.getsignal(signal.SIGTERM) is theirs
    finally:
        signal.signal(signal.SIGTERM, before)


FORKER = """
import os, sys
from budget_router.testing import *
from budget_router_sql import SqlLedger

with SqlLedger(sys.argv[1]) as ledger:
    recorded(ledger, example_decision("before", minutes=0))
    child = os.fork()
    recorded(ledger, example_decision("child" if child == 0 else "parent", minutes=1))
    if child == 0:
        ledger.close()
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    assert {logged.decision.id for logged in ledger.read()} == {"before", "child", "parent"}
"""


@pytest.mark.skipif(not hasattr(writing.os, "fork"), reason="fork is POSIX")
def test_a_ledger_goes_on_in_a_forked_worker(url, tmp_path, apart):
    apart(FORKER, url, folder=tmp_path).check_returncode()


# --- as text


@pytest.mark.parametrize("store_text", ["full", "hash", "none"])
def test_any_entry_is_read_back_from_text(store_text):
    for entry in (
        decided(example_decision(decided_at=NOON), TASK, MENU, store_text=store_text, hashed=HashedText("salt")),
        opened(example_call()),
        closed(example_call(nano_usd=None)),
        noted(example_settlement()),
        noted(example_outcome()),
    ):
        assert Entry.from_json(entry.to_json()) == entry
        assert (TASK.text in entry.to_json()) is (store_text == "full" and entry.decision_id == "d1" and bool(entry.before))
