"""A ledger on a PostgreSQL server: migrated by command, safe to share, and plain about what went wrong."""

import logging
import sys
import threading
import traceback
from contextlib import closing
from typing import Any

import psycopg
import pytest
from sqlalchemy import create_engine, inspect
from typer.testing import CliRunner

from budget_router.errors import BudgetRouterError, ForeignLedger, InvalidInput, LedgerUnavailable, NewerLedger, OlderLedger
from budget_router.testing import (
    MENU,
    TASK,
    example_call,
    example_decision,
    example_outcome,
    example_settlement,
    recorded,
)
from budget_router_cli.app import app
from budget_router_sql import Migration, SqlLedger, migrate
from budget_router_sql.backend import backend_of
from budget_router_sql.engine import Database
from budget_router_sql.schema import REVISION, VERSION_TABLE
from tests.schemas import back_to_the_first_schema, migrate_from_nothing

SECRET = "s3cr:t/%"


@pytest.fixture
def empty(postgres):
    with postgres.empty() as name:
        yield name


@pytest.fixture
def database(postgres):
    with postgres.ledger() as name:
        yield name


@pytest.fixture
def url(postgres, database):
    return postgres.url(database)


# --- whose database it is, and at which schema


def test_a_server_that_nobody_migrated_is_refused_with_the_command_that_does(postgres, empty):
    url = postgres.url(empty)
    with pytest.raises(OlderLedger, match=r"holds no ledger yet: run budget-router migrate --ledger postgresql\+psycopg://"):
        SqlLedger(url)
    assert postgres.execute("SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace", database=empty) == []


def test_the_command_makes_a_ledger_that_workers_then_open(postgres, empty):
    url = postgres.url(empty)
    done = [CliRunner().invoke(app, ["migrate", "--ledger", url]) for _ in range(2)]
    assert [one.output for one in done] == [f"at schema {REVISION}, made anew\n", f"at schema {REVISION} already\n"]
    with SqlLedger(url) as ledger:
        recorded(ledger)
        assert ledger.decision("d1").decision == example_decision()


def test_a_ledger_may_share_a_database_from_a_schema_of_its_own(postgres, empty):
    postgres.execute("CREATE TABLE users (name text)", database=empty)
    postgres.execute("CREATE SCHEMA team", database=empty)
    for attempt in (SqlLedger, migrate):
        with pytest.raises(ForeignLedger, match=r"holds the tables 'users' and no ledger: name another database, or a schema"):
            attempt(postgres.url(empty))
    url = postgres.url(empty, query={**dict(_query(postgres.url(empty))), "options": "-csearch_path=team"})
    assert migrate(url) == Migration(None, REVISION)
    with SqlLedger(url) as ledger:
        recorded(ledger)
    assert postgres.execute("SELECT count(*) FROM team.decisions", database=empty) == [(1,)]


def _query(url: str) -> dict[str, Any]:
    return dict(backend_of(url).url.query)


def test_a_ledger_of_an_older_version_waits_for_the_command(postgres, database, url):
    with SqlLedger(url) as ledger:
        recorded(ledger)
    back_to_the_first_schema(lambda statement: postgres.execute(statement, database=database))
    with pytest.raises(OlderLedger, match=rf"is at schema 0001, this version needs {REVISION}: run budget-router migrate"):
        SqlLedger(url)
    assert migrate(url) == Migration("0001", REVISION)
    with SqlLedger(url, store_text="hash") as ledger:
        recorded(ledger, example_decision("d2", minutes=1))
        assert [logged.task_text for logged in ledger.read()] == [TASK.text, None]


def test_a_ledger_of_a_newer_version_is_left_as_it_is(postgres, database, url):
    postgres.execute(f"UPDATE {VERSION_TABLE} SET version_num = '9999'", database=database)
    for attempt in (SqlLedger, migrate):
        with pytest.raises(NewerLedger, match=r"schema 9999.*upgrade budget-router"):
            attempt(url)


MIGRATOR = """
import sys
from budget_router_sql import SqlLedger, migrate

print("awake", flush=True)
sys.stdin.readline()
migrate(sys.argv[1])
with SqlLedger(sys.argv[1]) as ledger:
    print(ledger.salt)
"""


def test_processes_that_migrate_at_once_make_one_ledger(postgres, empty, apart):
    migrators = [apart.start(MIGRATOR, postgres.url(empty)) for _ in range(2)]
    for migrator in migrators:
        assert migrator.stdout.readline() == "awake\n"
    for migrator in migrators:
        migrator.stdin.write("go\n")
        migrator.stdin.flush()
    salts = {migrator.communicate()[0] for migrator in migrators}
    assert [migrator.returncode for migrator in migrators] == [0] * 2
    assert len(salts) == 1


def test_migrations_lead_to_the_schema_that_a_new_ledger_is_made_at(postgres, empty, url):
    engine = create_engine(backend_of(postgres.url(empty)).url)
    with engine.begin() as connection:
        migrate_from_nothing(connection)
    engine.dispose()
    made, migrated = _described(url), _described(postgres.url(empty))
    assert VERSION_TABLE in made
    assert made == migrated


def _described(url: str) -> dict[str, object]:
    """All that the server knows of every table."""
    engine = create_engine(backend_of(url).url)
    try:
        seen = inspect(engine)
        return {
            table: [
                [{**column, "type": str(column["type"])} for column in seen.get_columns(table)],
                seen.get_pk_constraint(table),
                sorted(seen.get_foreign_keys(table), key=lambda one: str(one["name"])),
                sorted(seen.get_unique_constraints(table), key=lambda one: str(one["name"])),
                sorted(seen.get_check_constraints(table), key=lambda one: str(one["name"])),
                sorted(seen.get_indexes(table), key=lambda one: str(one["name"])),
            ]
            for table in seen.get_table_names()
        }
    finally:
        engine.dispose()


# --- what it promises


@pytest.mark.parametrize(("durability", "synchronous_commit"), [("committed", "local"), ("durable", "on")])
def test_durability_says_whose_disk_is_waited_for(url, durability, synchronous_commit):
    opened = Database(backend_of(url), durability=durability, busy_seconds=1.5)
    asked = {"synchronous_commit": synchronous_commit, "lock_timeout": "1500ms", "TimeZone": "UTC"}
    with closing(opened), opened.write() as connection:
        assert {name: connection.exec_driver_sql(f"SHOW {name}").scalar() for name in asked} == asked


def test_limits_that_a_role_was_given_stand(postgres, database, url):
    postgres.execute("ALTER DATABASE {} SET statement_timeout = '7s'", database)
    opened = Database(backend_of(url), durability="committed", busy_seconds=1)
    with closing(opened), opened.write() as connection:
        assert connection.exec_driver_sql("SHOW statement_timeout").scalar() == "7s"


def test_the_database_itself_refuses_what_cannot_be_true(postgres, database, url):
    with SqlLedger(url) as ledger:
        recorded(ledger)
        ledger.close_call(example_call())
        ledger.record_settlement(example_settlement())
        ledger.record_outcome(example_outcome())
    for falsehood in (
        "UPDATE decisions SET propensity = 1.5",
        "UPDATE decisions SET menu_hash = 'no such menu'",
        "UPDATE call_closings SET nano_usd = -1",
        "UPDATE settlements SET agreement = 2",
        "UPDATE outcomes SET score = 1.01",
        "DELETE FROM decisions",
    ):
        with pytest.raises(psycopg.IntegrityError):
            postgres.execute(falsehood, database=database)


def test_a_count_beyond_the_database_is_refused_and_nothing_is_kept(url):
    with SqlLedger(url) as ledger:
        recorded(ledger)
        with pytest.raises(InvalidInput, match="out of range"):
            ledger.close_call(example_call(prompt_tokens=2**63))
        assert ledger.decision("d1").calls == ()


def test_a_refusal_does_not_repeat_the_text_of_a_task(postgres, database, url):
    postgres.execute("ALTER TABLE decisions ADD CONSTRAINT short CHECK (length(task_text) < 3)", database=database)
    with SqlLedger(url) as ledger, pytest.raises(InvalidInput, match="short") as refusal:
        recorded(ledger)
    assert TASK.text not in "".join(traceback.format_exception(refusal.value))


# --- when it does not answer


def test_a_server_that_is_not_there_is_named_with_the_mend():
    with pytest.raises(LedgerUnavailable, match=r"(?s)refused.*start the server, or correct host, port"):
        SqlLedger("postgresql+psycopg://user@127.0.0.1:1/spend", busy_seconds=1)


def test_a_database_that_is_not_there_is_named_with_the_mend(postgres):
    with pytest.raises(LedgerUnavailable, match=r'"nowhere" does not exist.*create that role or database'):
        SqlLedger(postgres.url("nowhere"))


@pytest.fixture
def role(postgres):
    return postgres.role(password=SECRET)


@pytest.mark.parametrize("place", ["user", "query"])
def test_no_password_is_shown_in_an_error_a_name_or_a_log(postgres, database, role, place, caplog):
    caplog.set_level(logging.DEBUG)
    shown = []
    for password in (SECRET, "wr0ng"):
        given = {"password": password} if place == "user" else {"query": {**_query(postgres.url("x")), "password": password}}
        postgres.execute("GRANT SELECT ON ALL TABLES IN SCHEMA public TO {}", role, database=database)
        try:
            with SqlLedger(postgres.url(database, username=role, **given)) as ledger:
                shown += [repr(ledger), repr(ledger._database._engine)]  # what a log of SQLAlchemy's would name
                recorded(ledger)
        except BudgetRouterError as error:
            shown.append("".join(traceback.format_exception(error)))
    assert [("correct the user or the password" in text, "grant the role" in text) for text in shown[2:]] == [
        (False, True),
        (True, False),
    ]
    for hidden in (SECRET, SECRET.replace("/", "%2F").replace("%", "%25", 1), "s3cr", "wr0ng"):
        assert hidden not in " ".join([*shown, caplog.text])


def test_a_role_that_may_only_read_reads(postgres, database, url, role):
    with SqlLedger(url) as ledger:
        recorded(ledger)
    postgres.execute("GRANT SELECT ON ALL TABLES IN SCHEMA public TO {}", role, database=database)
    with SqlLedger(postgres.url(database, username=role, password=SECRET)) as ledger:
        assert [logged.decision for logged in ledger.read()] == [example_decision()]
        with pytest.raises(LedgerUnavailable, match=r"permission denied.*grant the role what it needs"):
            recorded(ledger, example_decision("d2"))


def test_a_connection_that_is_lost_in_the_middle_keeps_nothing_of_the_write(postgres, database, url):
    opened = Database(backend_of(url), durability="committed", busy_seconds=1)
    with closing(opened):

        def write() -> None:
            with opened.write() as connection:
                connection.exec_driver_sql("INSERT INTO menus VALUES ('m', '[]')")
                _end_all_connections(postgres, database)
                connection.exec_driver_sql("INSERT INTO menus VALUES ('n', '[]')")

        with pytest.raises(LedgerUnavailable, match="the server ended the connection: retry"):
            write()
        assert postgres.execute("SELECT * FROM menus", database=database) == []


def _end_all_connections(postgres, database: str) -> None:
    others = f"FROM pg_stat_activity WHERE datname = '{database}' AND pid <> pg_backend_pid()"
    postgres.execute(f"SELECT pg_terminate_backend(pid, 5000) {others}")


def test_connections_that_were_lost_between_two_writes_are_not_noticed(postgres, database, url):
    with SqlLedger(url) as ledger:
        recorded(ledger)
        _end_all_connections(postgres, database)
        recorded(ledger, example_decision("d2"))
        assert len(list(ledger.read())) == 2


def test_a_statement_that_takes_too_long_says_what_to_raise(postgres, database, url):
    postgres.execute("ALTER DATABASE {} SET statement_timeout = '50ms'", database)
    with SqlLedger(url) as ledger, _held(url), pytest.raises(LedgerUnavailable, match="raise statement_timeout"):
        recorded(ledger)


def test_a_ledger_held_by_somebody_else_says_so_in_time(url):
    with (
        SqlLedger(url, busy_seconds=0.05) as ledger,
        _held(url),
        pytest.raises(LedgerUnavailable, match="another process holds a lock"),
    ):
        recorded(ledger)


class _held:  # noqa: N801  # reads as a state
    """The decisions, locked by another connection."""

    def __init__(self, url: str) -> None:
        self._engine = create_engine(backend_of(url).url)

    def __enter__(self) -> None:
        self._connection = self._engine.connect()
        self._connection.exec_driver_sql("LOCK TABLE decisions")

    def __exit__(self, *_: object) -> None:
        self._connection.close()
        self._engine.dispose()


def test_the_driver_that_is_missing_is_named_with_its_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(ImportError, match=r"pip install 'budget-router\[postgres\]'"):
        SqlLedger("postgresql+psycopg://localhost/spend")


def test_writers_that_decide_the_same_on_two_connections_agree(url):
    with SqlLedger(url) as one, SqlLedger(url) as other:
        barrier, standing = threading.Barrier(2), []

        def decide(ledger: SqlLedger, task_id: str) -> None:
            for step in range(20):
                barrier.wait()
                standing.append((step, ledger.record_decision(example_decision(f"{step}", task_id=task_id), TASK, MENU).task_id))

        threads = [threading.Thread(target=decide, args=pair) for pair in ((one, "one"), (other, "other"))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(set(standing)) == 20


@pytest.mark.parametrize("store_text", ["full", "hash"])
def test_what_is_older_than_a_moment_is_forgotten(url, store_text):
    with SqlLedger(url, store_text=store_text) as ledger:
        recorded(ledger, *(example_decision(f"{number}", minutes=number) for number in range(4)))
        later = ledger.decision("2").decision.decided_at
        assert (ledger.forget_before(later), ledger.forget_before(later)) == (2, 0)
        assert [bool(entry.task_text or entry.task_ngrams) for entry in ledger.read()] == [False, False, True, True]
