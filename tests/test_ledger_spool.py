"""While the database is away records go to a spool, and are replayed once it is back."""

import logging
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

from budget_router import Budget, BudgetRouter, Spend
from budget_router.errors import ForeignLedger, LedgerUnavailable
from budget_router.testing import MENU, TASK, example_call, example_decision, example_outcome, example_settlement, recorded
from budget_router_sql import SqlLedger, migrate
from budget_router_sql.batches import Batches
from budget_router_sql.entries import closed
from budget_router_sql.spilling import Spilling
from budget_router_sql.spool import Spool


@pytest.fixture
def database(postgres):
    with postgres.ledger() as name:
        yield name


@pytest.fixture
def url(postgres, database):
    return postgres.url(database)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "spool.db"


@contextmanager
def outage(postgres, database: str):
    """The server takes no connection to the database, and ends those that stand."""
    postgres.execute("ALTER DATABASE {} ALLOW_CONNECTIONS false", database)
    postgres.execute(f"SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = '{database}'")
    yield
    postgres.execute("ALTER DATABASE {} ALLOW_CONNECTIONS true", database)


def wait_until_back(ledger: SqlLedger) -> None:
    replayer = ledger._spilling._replayer
    if replayer is not None:
        replayer.join(30)
    assert not ledger._spilling.is_away


@pytest.mark.parametrize("durability", ["durable", "queued"])
def test_a_worker_that_loses_the_database_goes_on_and_nothing_is_lost(postgres, database, url, path, caplog, durability):
    caplog.set_level(logging.WARNING)
    with SqlLedger(url, durability=durability, spool=path, busy_seconds=1) as ledger:
        recorded(ledger, example_decision("before", minutes=0))
        with outage(postgres, database):
            for number in range(20):
                name = f"{number:02}"
                assert ledger.record_decision(example_decision(name, minutes=1), TASK, MENU) == example_decision(name, minutes=1)
                ledger.open_call(example_call(name, name))
                ledger.close_call(example_call(name, name))
                ledger.record_settlement(example_settlement(name))
            ledger.record_outcome(example_outcome("before"))
            ledger._writer.drain()
            assert "the database is away, records go to the spool" in caplog.text
            with pytest.raises(LedgerUnavailable):
                ledger.decision("before")
        wait_until_back(ledger)
        recorded(ledger, example_decision("after", minutes=2))
        logged = list(ledger.read())
        assert [entry.decision.id for entry in logged] == ["before", *(f"{number:02}" for number in range(20)), "after"]
        assert logged[0].outcome == example_outcome("before")
        assert [entry.calls for entry in logged[1:-1]] == [(example_call(f"{n:02}", f"{n:02}"),) for n in range(20)]
        assert all(entry.settlement for entry in logged[1:-1])
    assert "the database is back, and has all that was spooled" in caplog.text
    assert "s3cr" not in caplog.text


SPOOLER = """
import sys
from budget_router.testing import *
from budget_router_sql import SqlLedger

ledger = SqlLedger(sys.argv[1], durability="durable", spool=sys.argv[2], busy_seconds=1)
print("open", flush=True)
sys.stdin.readline()
recorded(ledger, example_decision("d1"), example_decision("d2"))
ledger.close_call(example_call())
print("acknowledged", flush=True)
sys.stdin.readline()
"""


@pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL is POSIX")
def test_a_worker_starts_while_the_database_is_away_if_its_spool_knows_the_ledger(postgres, database, url, path, caplog):
    with SqlLedger(url, spool=path) as ledger:
        salt = ledger.salt
    with outage(postgres, database):
        with pytest.raises(LedgerUnavailable):
            SqlLedger(url, spool=path.with_name("another.db"), busy_seconds=1)
        late = SqlLedger(url, spool=path, busy_seconds=1)
        assert late.salt == salt
        router = BudgetRouter(MENU, Budget(per_task=5000), ledger=late)
        decision = router.decide(TASK)
        router.settle(decision, Spend(prompt_tokens=10, completion_tokens=20))
    wait_until_back(late)
    assert late.decision(decision.id).settlement.spend.prompt_tokens == 10
    late.close()


def test_what_was_spooled_goes_to_no_ledger_but_its_own(postgres, database, url, path, caplog):
    SqlLedger(url, spool=path).close()
    with outage(postgres, database):
        late = SqlLedger(url, spool=path, busy_seconds=1)
        recorded(late)
        postgres.execute("DROP DATABASE {} WITH (FORCE)", database)
        postgres.execute("CREATE DATABASE {}", database)
        migrate(url)
    deadline = time.monotonic() + 20
    while "not the ledger that they are for" not in caplog.text and time.monotonic() < deadline:
        time.sleep(0.1)
    assert late._spilling.is_away
    late.close()
    with SqlLedger(url) as other:
        assert list(other.read()) == []


def test_what_a_killed_worker_had_spooled_is_replayed_by_the_next_once(postgres, database, url, path, caplog, apart):
    with apart.start(SPOOLER, url, str(path)) as worker:
        assert worker.stdout.readline() == "open\n"
        with outage(postgres, database):
            worker.stdin.write("go\n")
            worker.stdin.flush()
            assert worker.stdout.readline() == "acknowledged\n"
            worker.kill()
    for _ in range(2):
        with SqlLedger(url, spool=path) as ledger:
            assert [entry.calls for entry in ledger.read()] == [(example_call(),), ()]
    assert caplog.text.count("3 entries wait in the spool") == 1


def test_a_record_that_the_database_refuses_in_the_end_is_laid_aside(postgres, database, url, path, caplog):
    with SqlLedger(url, spool=path, busy_seconds=1) as ledger:
        with outage(postgres, database):
            ledger.close_call(example_call("stray", "nobody decided"))
            recorded(ledger)
        wait_until_back(ledger)
        assert len(list(ledger.read())) == 1
        ((why,),) = ledger._spilling._spool._file.execute("SELECT why FROM refused").fetchall()
    assert "no decision 'nobody decided'" in why
    assert "a spooled record was refused, and is kept in the spool" in caplog.text


def test_a_task_is_forgotten_once_the_spool_is_empty(postgres, database, url, path):
    with SqlLedger(url, spool=path, busy_seconds=1) as ledger:
        with outage(postgres, database):
            recorded(ledger)
            with pytest.raises(LedgerUnavailable, match="forget once they are replayed"):
                ledger.forget("t1")
        wait_until_back(ledger)
        assert ledger.forget("t1") == 1


def test_a_spool_holds_no_text_that_the_ledger_may_not(postgres, database, url, path):
    with SqlLedger(url, store_text="none", spool=path, busy_seconds=1) as ledger, outage(postgres, database):
        recorded(ledger)
        on_disk = b"".join(file.read_bytes() for file in path.parent.iterdir())
        assert b"self_consistency_5" in on_disk
        assert TASK.text.encode() not in on_disk


def test_without_a_spool_a_database_that_is_away_is_told_of(postgres, database, url):
    with (
        SqlLedger(url, busy_seconds=1) as ledger,
        outage(postgres, database),
        pytest.raises(LedgerUnavailable, match="not currently accepting connections"),
    ):
        recorded(ledger)


class Away(Batches):
    """A database that is away for good."""

    def __init__(self) -> None:
        pass

    def write(self, entries):
        raise LedgerUnavailable("it is away")


def test_a_full_spool_refuses_and_keeps_what_it_has(path, caplog):
    spool = Spool(path, salt="salt", is_durable=False, n_most=3)
    spilling = Spilling(Away(), spool, name="the ledger", retry_seconds=60)
    spilling.write([closed(example_call("1")), closed(example_call("2"))])
    with pytest.raises(LedgerUnavailable, match="holds 2 entries of at most 3: bring the database back"):
        spilling.write([closed(example_call("3")), closed(example_call("4"))])
    spilling.write([closed(example_call("3"))])
    assert [entry.row["id"] for _, entry in spool.waiting(10)] == ["1", "2", "3"]
    spilling.close()
    assert "3 entries wait in the spool" in caplog.text


def test_a_spool_is_of_one_ledger(path):
    Spool(path, salt="salt", is_durable=True).close()
    with pytest.raises(ForeignLedger, match="belongs to another ledger"):
        Spool(path, salt="another", is_durable=True)


@pytest.mark.parametrize("made", ["folder", "text"])
def test_a_file_that_is_no_spool_is_refused(path, made):
    path.mkdir() if made == "folder" else path.write_text("not a database. " * 100)
    with pytest.raises(LedgerUnavailable, match="cannot be opened"):
        Spool(path, salt="salt", is_durable=True)


def test_a_spool_on_a_full_disk_says_so(path):
    spool = Spool(path, salt="salt", is_durable=True)
    spool._file.execute("PRAGMA query_only = ON")
    with pytest.raises(LedgerUnavailable, match="make room on its disk"):
        spool.keep([closed(example_call())])
    spool.close()
