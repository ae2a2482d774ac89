"""The doctor says of each thing whether it is well, and of what is not, the mend."""

import sqlite3
from contextlib import closing

import pytest

from budget_router.errors import InvalidInput
from budget_router.testing import example_policy, recorded
from budget_router_sql import SqlLedger, doctor
from budget_router_sql.doctor import is_within


def told(url):
    return {line.what: line for line in doctor(url).lines}


@pytest.fixture
def path(tmp_path):
    with SqlLedger(f"sqlite:///{tmp_path}/spend.db") as ledger:
        recorded(ledger)
    (tmp_path / "spend.db").chmod(0o600)
    return tmp_path / "spend.db"


def test_a_ledger_that_is_well(path):
    checkup = doctor(f"sqlite:///{path}")

    assert checkup.is_healthy
    assert [line.what for line in checkup.lines if line.health != "ok" and line.what not in {"tokenizer", "versions"}] == []
    assert all(line.mend for line in checkup.lines if line.health != "ok")
    assert list(checkup.frame()["what"]) == [line.what for line in checkup.lines]


def test_a_file_that_is_missing_is_not_made(tmp_path):
    line = told(f"sqlite:///{tmp_path}/spend.db")["database"]

    assert (line.health, "no file" in line.found, bool(line.mend)) == ("fail", True, True)
    assert list(tmp_path.iterdir()) == []


def test_what_is_no_ledger_is_told_and_left_alone(tmp_path):
    (tmp_path / "notes.txt").write_text("no database at all " * 50)

    assert told(f"sqlite:///{tmp_path}/notes.txt")["database"].health == "fail"
    assert (tmp_path / "notes.txt").read_text().startswith("no database")


def test_a_file_of_a_newer_version_and_one_that_others_may_read(path):
    path.chmod(0o644)
    assert told(f"sqlite:///{path}")["files"].mend == f"chmod 600 {path}*"
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("UPDATE budget_router_version SET version_num = '9999'")

    line = told(f"sqlite:///{path}")["schema"]

    assert (line.health, line.mend) == ("fail", "upgrade budget-router")


def test_a_policy_that_cannot_be_read_fails(path):
    with SqlLedger(f"sqlite:///{path}") as ledger:
        ledger.registry.save(example_policy())
        ledger.registry.promote("p1")

    line = told(f"sqlite:///{path}")["policy"]

    assert line.health == "fail"
    assert line.found.startswith("p1: ")


def test_a_server_that_nobody_has_migrated_fails_and_its_password_is_not_told(postgres):
    with postgres.empty() as name:
        line = told(postgres.url(name, password="s3cret"))["schema"]

    assert (line.health, "budget-router migrate" in line.mend, "s3cret" in repr(line)) == ("fail", True, False)


def test_a_server_without_fsync_fails_and_its_clock_is_told(postgres):
    with postgres.ledger() as name:  # the tests' own server runs without
        lines = told(postgres.url(name))

    assert (lines["durability"].health, lines["clock"].health, lines["schema"].health) == ("fail", "ok", "ok")


def test_a_server_that_does_not_answer_fails():
    line = told("postgresql://user:s3cret@127.0.0.1:1/spend")["database"]

    assert (line.health, bool(line.mend), "s3cret" in repr(line)) == ("fail", True, False)


def test_a_url_that_cannot_be_read_is_a_slip():
    with pytest.raises(InvalidInput):
        doctor("nonsense")


@pytest.mark.parametrize(
    ("version", "bounds", "is_in"),
    [
        ("2.0.30", "a>=2.0.30,<3", True),
        ("3.0.0", "a<3,>=2", False),
        ("2.9.1+cpu", "a<3", True),
        ("26.1", "a>=3", True),
        ("1", "a", True),
    ],
)
def test_versions_are_compared_by_their_numbers(version, bounds, is_in):
    assert is_within(version, bounds) is is_in
