"""Every ledger keeps the same promises; the one in a file also keeps its file, and leaves other people's alone."""

import math
import random
import sqlite3
from contextlib import ExitStack, closing
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import insert, select

from budget_router.budget import Budget
from budget_router.errors import BudgetRouterError, ForeignLedger, InvalidInput, LedgerError, LedgerUnavailable, NewerLedger
from budget_router.ids import new_id
from budget_router.memory import MemoryLedger
from budget_router.menu import ExtendedCoT, Menu, SelfConsistency, SingleShot
from budget_router.records import Call, Decision, LoggedDecision, Outcome, PolicyRecord, Sample, Settlement, Solve, Spend
from budget_router.task import Task
from budget_router.testing import (
    LEDGER_PROMISES,
    MENU,
    NOON,
    TASK,
    check_ledger,
    example_call,
    example_decision,
    example_outcome,
    example_policy,
    example_settlement,
    example_solve,
    recorded,
)
from budget_router_sql import SqlLedger, on_sqlite
from budget_router_sql.backend import backend_of
from budget_router_sql.engine import Database
from budget_router_sql.reading import decision_of_call, decisions_of_run
from budget_router_sql.schema import REVISION, erasures, metadata, paces
from tests.schemas import migrate_from_nothing


def url_of(path: Path) -> str:
    return f"sqlite:///{path}"


@pytest.fixture
def path(tmp_path):
    return tmp_path / "spend.db"


@pytest.fixture(params=["memory", "file", "server"])
def make_ledger(request, tmp_path):
    with ExitStack() as stack:
        if request.param == "memory":
            yield MemoryLedger
        elif request.param == "file":
            yield lambda: stack.enter_context(SqlLedger(url_of(tmp_path / f"{new_id()}.db")))
        else:
            postgres = request.getfixturevalue("postgres")
            yield lambda: stack.enter_context(SqlLedger(postgres.url(stack.enter_context(postgres.ledger()))))


# --- what all ledgers promise


@pytest.mark.parametrize("promise", LEDGER_PROMISES, ids=lambda promise: promise.__name__)
def test_ledgers_promise_that(promise, make_ledger):
    promise(make_ledger())


def test_the_exam_names_the_promise_that_a_ledger_breaks():
    class Forgetful(MemoryLedger):
        def close_call(self, call: Call) -> None:
            pass

    with pytest.raises(AssertionError) as failure:
        check_ledger(Forgetful)
    assert failure.value.__notes__ == ["broken promise: all that is recorded is read back equal"]


# --- any record is read back equal

names = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=30)
amounts = st.floats(0, 1e300, allow_subnormal=True)
shares = st.floats(0, 1)
counts = st.integers(0, 2**63 - 1)
zones = st.integers(-14 * 60, 14 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))
times = st.datetimes(datetime(1971, 1, 1), datetime(2100, 1, 1), timezones=zones)  # noqa: DTZ001  # the zone comes with `timezones`
texts = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=200).filter(str.strip)
facts = st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts
sampling = {"model": st.none() | names, "temperature": st.none() | amounts, "instruction": st.none() | names}
menus = st.lists(
    st.builds(SingleShot, name=names, **sampling)
    | st.builds(SelfConsistency, name=names, k=st.integers(1, 1000), **sampling)
    | st.builds(ExtendedCoT, name=names, effort=st.sampled_from(["minimal", "high"]), **sampling),
    min_size=1,
    max_size=4,
    unique_by=lambda strategy: strategy.name,
).map(Menu)
spends = st.builds(
    Spend, prompt_tokens=counts, completion_tokens=counts, nano_usd=st.none() | counts, seconds=amounts, n_calls=counts
)


@st.composite
def logged_decisions(draw) -> LoggedDecision:
    menu = draw(menus)
    weights = draw(st.lists(st.floats(0.01, 1), min_size=len(menu), max_size=len(menu)))
    decision = draw(
        st.builds(
            Decision,
            id=st.builds(new_id),
            task_id=names,
            group=st.none() | names,
            strategy=st.sampled_from(menu.root),
            propensities=st.just({name: weight / sum(weights) for name, weight in zip(menu.names, weights, strict=True)}),
            shadow_price=amounts,
            expected_cost=amounts,
            expected_accuracy=st.none() | shares,
            budget=st.builds(
                Budget, per_task=st.floats(1e-9, 1e9), unit=st.sampled_from(["tokens", "usd"]), group=st.none() | names
            ),
            policy_version=names,
            menu_hash=st.just(menu.hash),
            features=st.lists(st.floats(allow_nan=False, allow_infinity=False), max_size=5).map(tuple),
            features_version=names,
            run_id=st.none() | names,
            thread_id=st.none() | names,
            decided_at=times,
            reason=st.sampled_from(["policy", "forced"]),
        )
    )
    keyed = {"decision_id": st.just(decision.id)}
    calls = st.builds(
        Call,
        id=st.builds(new_id),
        model=names,
        started_at=times,
        prompt_tokens=counts,
        completion_tokens=counts,
        reasoning_tokens=counts,
        cached_tokens=counts,
        nano_usd=st.none() | counts,
        tariff=st.none() | names,
        seconds=amounts,
        status=st.sampled_from(["open", "ok", "error"]),
        source=st.sampled_from(["reported", "counted", "estimated", "cache"]),
        **keyed,
    )
    samples = st.builds(Sample, index=counts, call_id=st.none() | names, answer_key=st.none() | names)
    settlements = st.builds(
        Settlement,
        status=st.sampled_from(["ok", "failed"]),
        samples=st.lists(samples, max_size=4).map(tuple),
        answer_key=st.none() | names,
        agreement=st.none() | shares,
        spend=spends,
        settled_at=times,
        **keyed,
    )
    outcomes = st.builds(
        Outcome, score=shares, source=names, answer_scores=st.dictionaries(names, shares, max_size=3), graded_at=times, **keyed
    )
    return LoggedDecision(
        decision=decision,
        task_text=draw(texts),
        metadata=draw(st.dictionaries(texts, facts, max_size=3)),
        menu=menu,
        calls=tuple(sorted(draw(st.lists(calls, max_size=3)), key=lambda call: (call.started_at, call.id))),
        settlement=draw(st.none() | settlements),
        outcome=draw(st.none() | outcomes),
    )


def record(ledger, logged: LoggedDecision) -> None:
    ledger.record_decision(logged.decision, Task(logged.task_text, metadata=logged.metadata), logged.menu)
    for call in logged.calls:
        ledger.open_call(call) if call.status == "open" else ledger.close_call(call)
    if logged.settlement is not None:
        ledger.record_settlement(logged.settlement)
    if logged.outcome is not None:
        ledger.record_outcome(logged.outcome)


@pytest.fixture(scope="module")
def ledgers(tmp_path_factory, postgres):
    with (
        SqlLedger(url_of(tmp_path_factory.mktemp("any") / "spend.db")) as in_file,
        postgres.ledger() as database,
        SqlLedger(postgres.url(database)) as on_server,
    ):
        yield [MemoryLedger(), in_file, on_server]


@settings(deadline=None, max_examples=60)
@given(logged=logged_decisions())
def test_any_record_that_is_written_is_read_back_equal(ledgers, logged):
    for ledger in ledgers:
        record(ledger, logged)
        record(ledger, logged)
        assert ledger.decision(logged.decision.id) == logged


plain = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | names
evidence = st.dictionaries(
    names, st.recursive(plain, lambda inner: st.lists(inner) | st.dictionaries(names, inner), max_leaves=5)
)


@settings(deadline=None)
@given(
    policy=st.builds(
        PolicyRecord,
        version=st.builds(new_id),
        menu_hash=names,
        manifest=names,
        arrays=st.binary(),
        evidence=evidence,
        created_at=times,
    )
)
def test_any_policy_that_is_saved_is_loaded_equal(ledgers, policy):
    for ledger in ledgers:
        ledger.registry.save(policy)
        assert ledger.registry.load(policy.version) == policy


@settings(deadline=None)
@given(
    solve=st.builds(
        Solve,
        id=st.builds(new_id),
        menu_hash=st.builds(new_id),
        budget_per_task=st.floats(1e-9, 1e9),
        budget_unit=st.sampled_from(["tokens", "usd"]),
        allowed_cost=amounts,
        shadow_price=amounts,
        duality_gap=amounts,
        expected_accuracy=shares,
        expected_cost=amounts,
        n_decisions=counts,
        n_tasks=counts,
        since=st.none() | times,
        until=st.none() | times,
        solved_at=times,
    )
)
def test_any_solve_that_is_recorded_is_read_back_equal(ledgers, solve):
    for ledger in ledgers:
        ledger.record_solve(solve)
        assert ledger.solves(solve.menu_hash) == [solve]


def test_evidence_that_is_no_json_is_refused(path):
    with SqlLedger(url_of(path)) as ledger, pytest.raises(InvalidInput, match="give numbers, text"):
        ledger.registry.save(example_policy(evidence={"model": object()}))


def test_a_manifest_that_no_database_can_hold_is_refused(path):
    with SqlLedger(url_of(path)) as ledger, pytest.raises(InvalidInput, match="surrogates"):
        ledger.registry.save(example_policy(manifest="\ud800"))


def test_a_count_beyond_the_database_is_refused_and_nothing_is_kept(path):
    with SqlLedger(url_of(path)) as ledger:
        recorded(ledger)
        with pytest.raises(InvalidInput, match="2\\*\\*63"):
            ledger.close_call(example_call(prompt_tokens=2**63))
        assert ledger.decision("d1").calls == ()


HARD_TEXTS = ("", "a\0b", "\0", "süd ☃ 🂡", "(?, ?)", "'); DROP TABLE paces; --")
HARD_NUMBERS = (0.1 / 3, -0.0, 5e-324, 1.7976931348623157e308, math.inf, -math.inf, 2**53 + 1.0)
HARD_MOMENTS = (
    datetime.min.replace(tzinfo=UTC),
    datetime.max.replace(tzinfo=UTC),
    datetime(2024, 2, 29, 23, 59, 59, 1, tzinfo=timezone(timedelta(hours=-9, minutes=-30))),
)


@pytest.mark.parametrize("n_rows", [1, 2, 3, on_sqlite.ROWS_AT_ONCE - 1, on_sqlite.ROWS_AT_ONCE, 2 * on_sqlite.ROWS_AT_ONCE + 5])
def test_rows_stand_in_a_file_as_they_were_given(path, n_rows):
    rng = random.Random(n_rows)
    sums = ("spent", "billed", "expected", "chosen", "promised")
    steered = [
        {"account": f"{number:04}", "policy": rng.choice(HARD_TEXTS), "n_tasks": math.inf, "allowed": 5e-324}
        | {name: rng.choice(HARD_NUMBERS) for name in sums}
        for number in range(n_rows)
    ]
    erased = [
        {"task_id": rng.choice(HARD_TEXTS), "n_decisions": rng.choice((0, 2**63 - 1)), "erased_at": rng.choice(HARD_MOMENTS)}
        for _ in range(n_rows)
    ]
    with SqlLedger(url_of(path)) as ledger:
        database = ledger.database
        with database.write() as connection:
            database.backend.insert(connection, paces, steered, unless_there=None)
            database.backend.insert(connection, erasures, erased, unless_there=None)
        with database.read() as connection:
            assert connection.execute(select(paces).order_by(paces.c.account)).mappings().all() == steered
            numbered = connection.execute(select(erasures).order_by(erasures.c.position)).mappings()
            assert [{name: row[name] for name in erased[0]} for row in numbered] == erased


def test_a_statement_of_any_table_fits_into_sqlite_s_limit():
    assert on_sqlite.ROWS_AT_ONCE * max(len(table.c) for table in metadata.tables.values()) <= 32_766


def test_a_moment_is_stored_as_sqlalchemy_stores_it(path):
    with SqlLedger(url_of(path)) as ledger:
        for moment in HARD_MOMENTS:
            said = {"task_id": "t", "n_decisions": 1, "erased_at": moment}
            with ledger.database.write() as connection:
                connection.execute(insert(erasures), said)
                ledger.database.backend.insert(connection, erasures, [said], unless_there=None)
    with closing(sqlite3.connect(path)) as file:
        texts = [text for (text,) in file.execute("SELECT erased_at FROM erasures ORDER BY position")]
    assert texts[::2] == texts[1::2]


# --- the file


def test_a_ledger_that_is_opened_again_knows_all_it_was_told(path):
    with SqlLedger(url_of(path)) as ledger:
        recorded(ledger)
        ledger.close_call(example_call())
        ledger.record_settlement(example_settlement())
        ledger.record_outcome(example_outcome())
        ledger.registry.save(example_policy())
        ledger.registry.promote("p1")
        before, salt = list(ledger.read()), ledger.salt
    with SqlLedger(url_of(path), durability="durable") as ledger:
        assert list(ledger.read()) == before
        assert ledger.salt == salt
        assert ledger.registry.active_version(MENU.hash) == "p1"
        recorded(ledger, example_decision("d2"))


def bytes_on_disk(path: Path) -> bytes:
    return b"".join(file.read_bytes() for file in path.parent.iterdir())


@pytest.mark.parametrize(("store_text", "is_kept"), [("full", True), ("hash", False), ("none", False)])
def test_a_task_s_text_is_on_the_disk_only_where_it_may_be(path, store_text, is_kept):
    secret = "the patient's name is Ada"
    with SqlLedger(url_of(path), store_text=store_text) as ledger:
        ledger.record_decision(example_decision(), Task(secret, metadata={"ward": 4}), MENU)
        assert (path.parent / "spend.db-wal").stat().st_size > 0
        assert (secret.encode() in bytes_on_disk(path)) is is_kept
        assert ledger.decision("d1").task_text == (secret if is_kept else None)
        assert ledger.decision("d1").metadata == {"ward": 4}
    assert (secret.encode() in bytes_on_disk(path)) is is_kept


@pytest.mark.parametrize(("durability", "synchronous"), [("committed", 1), ("durable", 2)])
def test_durability_says_when_the_disk_is_waited_for(path, durability, synchronous):
    database = Database(backend_of(url_of(path)), durability=durability, busy_seconds=1.5)
    asked = {"journal_mode": "wal", "synchronous": synchronous, "foreign_keys": 1, "busy_timeout": 1500}
    with closing(database), database.read() as connection:
        assert {name: connection.exec_driver_sql(f"PRAGMA {name}").scalar() for name in asked} == asked


def test_migrations_lead_to_the_schema_that_a_new_ledger_is_made_at(path, tmp_path):
    SqlLedger(url_of(path)).close()
    with closing(sqlite3.connect(path)) as made:
        assert made.execute("SELECT version_num FROM budget_router_version").fetchall() == [(REVISION,)]
        described = definitions(made)
    database = Database(backend_of(url_of(tmp_path / "migrated.db")), durability="committed", busy_seconds=1)
    with closing(database), database.write() as connection:
        migrate_from_nothing(connection)
    with closing(sqlite3.connect(tmp_path / "migrated.db")) as migrated:
        assert migrated.execute("SELECT version_num FROM budget_router_version").fetchall() == [(REVISION,)]
        assert definitions(migrated) == described


def definitions(connection: sqlite3.Connection) -> dict[str, str]:
    """Every table and index by name, as it was defined."""
    named = "SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL"
    return {name: " ".join(sql.split()) for name, sql in connection.execute(named)}


@pytest.mark.parametrize(
    "falsehood",
    [
        "UPDATE decisions SET propensity = 0",
        "UPDATE decisions SET propensity = 1.5",
        "UPDATE decisions SET task_id = NULL",
        "UPDATE decisions SET menu_hash = 'no such menu'",
        "UPDATE call_closings SET prompt_tokens = -1",
        "UPDATE call_closings SET nano_usd = -1",
        "UPDATE call_closings SET decision_id = 'nobody decided'",
        "UPDATE settlements SET agreement = 2",
        "UPDATE outcomes SET score = 1.01",
        "DELETE FROM decisions",
        "UPDATE solves SET shadow_price = -1",
        "UPDATE solves SET duality_gap = -1",
        "UPDATE solves SET expected_accuracy = 1.01",
        "UPDATE solves SET expected_cost = -1",
        "UPDATE solves SET budget_per_task = 0",
        "UPDATE solves SET n_tasks = -1",
        "UPDATE solves SET policy_version = 'nobody saved'",
        "INSERT INTO leases SELECT name, fence + 1, holder, taken_at, expires_at, NULL FROM leases",
        "INSERT INTO leases SELECT name, 0, holder, taken_at, expires_at, taken_at FROM leases",
    ],
)
def test_the_database_itself_refuses_what_cannot_be_true(path, falsehood):
    with SqlLedger(url_of(path)) as ledger:
        recorded(ledger)
        ledger.close_call(example_call())
        ledger.record_settlement(example_settlement())
        ledger.record_outcome(example_outcome())
        ledger.record_solve(example_solve())
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("INSERT INTO leases VALUES ('work', 1, 'one', '2026-01-01', '2026-01-01', NULL)")
        with pytest.raises(sqlite3.IntegrityError):
            connection.execute(falsehood)


def test_a_reader_that_stops_half_way_holds_up_nobody(path):
    with SqlLedger(url_of(path), busy_seconds=0.1) as ledger:
        recorded(ledger, example_decision("a"), example_decision("b", minutes=1))
        reading = ledger.read()
        assert next(reading).decision.id == "a"
        recorded(ledger, example_decision("c", minutes=2))
        with closing(sqlite3.connect(path)) as connection:
            assert connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0] == 0


def test_a_ledger_that_was_closed_says_so(path):
    ledger = SqlLedger(url_of(path))
    ledger.close()
    ledger.close()
    with pytest.raises(LedgerUnavailable, match="was closed"):
        recorded(ledger)
    with pytest.raises(LedgerUnavailable, match="was closed"):
        list(ledger.read())


# --- files that are not ours to write


def refused(error: type[BudgetRouterError], path: Path, *, match: str) -> None:
    before = path.read_bytes()
    with pytest.raises(error, match=match):
        SqlLedger(url_of(path))
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("n_bytes", [16, 100, 4096, 50_000])
def test_a_file_of_anything_else_is_left_as_it_is(path, n_bytes):
    path.write_bytes(b"not a database. " * (n_bytes // 16))
    refused(ForeignLedger, path, match="not a SQLite database")


def test_somebody_else_s_database_is_left_as_it_is(path):
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE users (name)")
    refused(ForeignLedger, path, match="holds the tables 'users'")


def test_a_ledger_of_a_newer_version_is_left_as_it_is(path):
    SqlLedger(url_of(path)).close()
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("UPDATE budget_router_version SET version_num = '9999'")
    refused(NewerLedger, path, match="schema 9999.*upgrade budget-router")


@pytest.mark.parametrize("question", [decisions_of_run("r"), decision_of_call("c")])
def test_runs_and_calls_are_looked_up_without_reading_a_table_through(path, question):
    with SqlLedger(url_of(path)) as ledger, ledger.database.read() as connection:
        asked = question.compile(connection, compile_kwargs={"literal_binds": True})
        plan = [step for *_, step in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {asked}")]
    assert any("decisions" in step for step in plan)
    assert not any(step.startswith("SCAN") for step in plan), plan


def test_an_empty_file_becomes_a_ledger(path):
    path.touch()
    with SqlLedger(url_of(path)) as ledger:
        recorded(ledger)


def test_a_folder_is_no_ledger(tmp_path):
    with pytest.raises(LedgerUnavailable, match="unable to open"):
        SqlLedger(url_of(tmp_path))


def test_a_folder_that_is_missing_is_not_made(tmp_path):
    with pytest.raises(LedgerUnavailable, match="a folder that exists"):
        SqlLedger(url_of(tmp_path / "missing" / "spend.db"))
    assert list(tmp_path.iterdir()) == []


def test_a_ledger_that_may_only_be_read_is_read(path):
    with SqlLedger(url_of(path)) as ledger:
        recorded(ledger)
    with SqlLedger(f"sqlite:///file:{path}?mode=ro&uri=true") as ledger:
        assert ledger.decision("d1").decision == example_decision()
        with pytest.raises(LedgerUnavailable, match="allow writing"):
            recorded(ledger, example_decision("d2"))


def test_a_new_ledger_that_may_not_be_written_is_refused(path):
    path.touch()
    with pytest.raises(LedgerUnavailable, match="allow writing"):
        SqlLedger(f"sqlite:///file:{path}?mode=ro&uri=true")


def test_a_ledger_held_by_somebody_else_says_so_in_time(path):
    with SqlLedger(url_of(path), busy_seconds=0.05) as ledger, closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(LedgerUnavailable, match=r"locked.*another process holds it"):
            recorded(ledger)
        other.execute("COMMIT")
        recorded(ledger)


def test_a_ledger_with_damaged_pages_says_so(path):
    with SqlLedger(url_of(path)) as ledger:
        recorded(ledger)
    content = path.read_bytes()
    path.write_bytes(content[: 4096 * 2] + b"\xff" * (len(content) - 4096 * 2))
    with pytest.raises(LedgerUnavailable, match=r"malformed.*backup"), SqlLedger(url_of(path)) as ledger:
        list(ledger.read())


def test_a_row_that_was_tampered_with_is_not_read_as_a_record(path):
    with SqlLedger(url_of(path)) as ledger:
        recorded(ledger)
        with closing(sqlite3.connect(path, isolation_level=None)) as connection:
            connection.execute("UPDATE decisions SET budget = '{\"per_task\": -1}'")
        with pytest.raises(LedgerError, match="per_task"):
            ledger.decision("d1")


@pytest.mark.parametrize(
    "url",
    [
        "spend.db",
        "",
        "sqlite://",
        "sqlite:///:memory:",
        "sqlite:///file:x?mode=memory&uri=true",
        "sqlite:///a\0b.db",
        "sqlite+aiosqlite:///spend.db",
        "sqlite://user:s3cret@host/spend.db",
        "postgresql+psycopg2://user:s3cret@host/spend",
        "postgresql://user:s3cret@host/spend?sslpassword=s3cret",
        "postgresql://user:s3cret@host:s3cret/spend",
        "mysql://user:s3cret@host/spend",
    ],
)
def test_a_url_that_names_no_ledger_is_refused_and_no_password_repeated(url):
    with pytest.raises(InvalidInput, match=r"sqlite:///|NUL|service file") as refusal:
        SqlLedger(url)
    assert "s3cret" not in f"{refusal.value!r} {refusal.value.__cause__!r}"


@pytest.mark.parametrize("setting", [{"durability": "eventual"}, {"store_text": "some"}])
def test_settings_that_do_not_exist_are_refused(path, setting):
    with pytest.raises(InvalidInput, match="choose one of"):
        SqlLedger(url_of(path), **setting)
    assert not path.exists()


def test_failures_do_not_repeat_the_text_of_a_task(path):
    with SqlLedger(url_of(path), busy_seconds=0.01) as ledger, closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(LedgerUnavailable) as failure:
            ledger.record_decision(example_decision(decided_at=NOON.astimezone(UTC)), TASK, MENU)
    assert TASK.text not in f"{failure.value} {failure.value.__cause__}"
