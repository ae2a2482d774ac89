"""Each role on a real server may do its work, and nothing beyond it."""

import psycopg
import pytest
from sqlalchemy import make_url

from budget_router import Budget, BudgetRouter, Menu, SingleShot, Spend, Task
from budget_router.errors import CapReached, LedgerUnavailable
from budget_router.paces import Key
from budget_router.sums import Sums
from budget_router.testing import (
    MENU,
    example_call,
    example_decision,
    example_outcome,
    example_policy,
    example_settlement,
    example_solve,
    recorded,
)
from budget_router_sql import SqlLedger, audit, roles, spend
from budget_router_sql.schema import metadata


@pytest.fixture(scope="module")
def database(postgres):
    with postgres.ledger() as name:
        with psycopg.connect(postgres.url(name), autocommit=True) as owner:
            for _ in range(2):  # run again, it changes nothing
                owner.execute(roles())
        with SqlLedger(postgres.url(name)) as ledger:
            recorded(ledger)
            ledger.open_call(example_call())
            ledger.close_call(example_call())
            ledger.record_settlement(example_settlement())
            ledger.record_outcome(example_outcome())
        yield name


@pytest.fixture(scope="module")
def url_of(postgres, database):
    def made(kind):
        login = postgres.role(password="word")
        postgres.execute(f"GRANT budget_router_{kind} TO {{}}", login)
        return postgres.url(database, username=login, password="word")

    urls = {kind: made(kind) for kind in ("writer", "trainer", "reader")}
    return urls.__getitem__


def test_a_writer_serves(url_of):
    with SqlLedger(url_of("writer"), store_text="hash") as ledger:
        recorded(ledger, example_decision("w"))
        recorded(ledger, example_decision("w"))  # again, as a retry does
        ledger.open_call(example_call("w1", "w"))
        ledger.close_call(example_call("w1", "w"))
        ledger.record_settlement(example_settlement("w"))
        ledger.record_outcome(example_outcome("w"))
        assert ledger.decision("w").outcome == example_outcome("w")
        assert ledger.registry.active_version(example_decision().menu_hash) is None
        for attempt in (
            lambda: ledger.forget("t1"),
            lambda: ledger.registry.save(example_policy("by a writer")),
            lambda: ledger.record_solve(example_solve()),
            lambda: ledger.leases.hold("refresh").__enter__(),
        ):
            with pytest.raises(LedgerUnavailable, match=r"permission denied.*grant the role"):
                attempt()


def test_writers_pace_together(url_of):
    key = Key("support", "a policy")
    with SqlLedger(url_of("writer")) as one, SqlLedger(url_of("writer")) as other:
        for ledger in (one, other):
            ledger.paces.follow(key, Sums())
            ledger.paces.add(key, Sums(1, 100, 80))
            ledger.paces.exchange()
        assert other.paces.sums(key).spent == 160


def test_a_writer_keeps_hard_caps(url_of):
    budget = Budget(per_task=100, hard_cap=1000, window="day")
    with SqlLedger(url_of("writer")) as ledger:
        router = BudgetRouter(Menu([SingleShot(max_tokens=10, typical_completion_tokens=10)]), budget, ledger=ledger)
        router.settle(router.decide(Task("2 + 2?")), Spend(completion_tokens=5, n_calls=1))
        with pytest.raises(CapReached):
            _ = [router.decide(Task("2 + 2?")) for _ in range(100)]


def test_a_trainer_learns_and_writes_nothing_into_the_books(url_of):
    with SqlLedger(url_of("trainer")) as ledger:
        assert "d1" in {logged.decision.id for logged in ledger.read() if logged.task_text}
        ledger.registry.save(example_policy("by a trainer"))
        ledger.registry.promote("by a trainer")
        with ledger.leases.hold("refresh", seconds=30) as lease:
            lease.check()
            ledger.record_solve(example_solve(policy_version="by a trainer"))
        with ledger.leases.hold("refresh"):  # taken from a row that ended
            assert [tenure.ended_at is None for tenure in ledger.leases.history("refresh")] == [False, True]
        assert ledger.solves(MENU.hash) == [example_solve(policy_version="by a trainer")]
        for attempt in (lambda: recorded(ledger, example_decision("t")), lambda: ledger.forget("t1")):
            with pytest.raises(LedgerUnavailable, match="permission denied"):
                attempt()


def test_a_reader_proves_and_counts_and_sees_no_text(url_of):
    with SqlLedger(url_of("reader")) as ledger:
        assert audit(ledger).n_decisions >= 1
        assert spend(ledger, by=["group", "model", "day"]).total.n_graded >= 1
        for attempt in (
            lambda: ledger.decision("d1"),
            lambda: recorded(ledger, example_decision("r")),
            lambda: ledger.registry.save(example_policy("by a reader")),
        ):
            with pytest.raises(LedgerUnavailable, match="permission denied"):
                attempt()


@pytest.mark.parametrize("kind", ["writer", "trainer", "reader"])
def test_nobody_changes_or_deletes_a_row(url_of, kind):
    place = make_url(url_of(kind)).render_as_string(hide_password=False)
    with psycopg.connect(place, autocommit=True) as connection:
        for table in metadata.tables:
            for statement in (f"DELETE FROM {table}", f"TRUNCATE {table}", f"DROP TABLE {table}"):
                with pytest.raises(psycopg.errors.InsufficientPrivilege):
                    connection.execute(statement)
            (column, *_) = metadata.tables[table].columns.keys()
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(f'UPDATE {table} SET "{column}" = "{column}"')


@pytest.mark.parametrize(
    "column", ["decisions.task_text", "decisions.metadata", "task_ngrams.counts", "samples.answer_key", "policies.arrays"]
)
def test_a_reader_is_refused_what_tasks_and_answers_say(url_of, column):
    table, name = column.split(".")
    with psycopg.connect(url_of("reader")) as connection, pytest.raises(psycopg.errors.InsufficientPrivilege):
        connection.execute(f"SELECT {name} FROM {table}")


def test_every_table_of_the_ledger_has_been_thought_of():
    granted = roles()

    assert [table for table in metadata.tables if f" {table}" not in granted] == []
