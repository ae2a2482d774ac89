"""The commands that look after the books, as a user types them; golden, so that a table's look is read in review."""

import json

import pytest
from typer.testing import CliRunner

from budget_router.records import Spend
from budget_router.testing import NOON, example_call, example_decision, example_outcome, example_settlement, recorded
from budget_router_cli.app import app
from budget_router_sql import SqlLedger

COMMANDS = ("audit", "spend", "doctor", "roles", "forget")


@pytest.fixture
def url(tmp_path):
    url = f"sqlite:///{tmp_path}/spend.db"
    with SqlLedger(url) as ledger:
        for name in "ab":
            recorded(ledger, example_decision(name, decided_at=NOON))
            call = example_call(f"{name}1", name, nano_usd=120_000, tariff="own")
            ledger.open_call(call)
            ledger.close_call(call)
            ledger.record_settlement(example_settlement(name, spend=Spend.of([call]), samples=()))
        ledger.record_outcome(example_outcome("a"))
    return url


def typed(*words):
    done = CliRunner().invoke(app, list(words), env={"NO_COLOR": "1", "COLUMNS": "100"})
    assert done.exit_code in {0, 1}, done.output
    assert "\x1b" not in done.stdout
    assert max(map(len, done.stdout.splitlines()), default=0) <= 100 or {"roles", "--json", "--help"} & set(words)
    return done.exit_code, done.stdout


def test_spend_is_a_table(url):
    code, told = typed("spend", "--ledger", url)

    assert code == 0
    head, row, *_ = told.splitlines()  # a long name is folded
    assert " ".join(head.split()[-12:]) == "decisions calls tokens in tokens out USD each graded score ± SE"
    assert row.split()[2:] == ["2", "2", "240", "600", "0.00024", "420", "50%", "1.000"]


def test_spend_for_machines(url):
    _, told = typed("spend", "--ledger", url, "--by", "model,day", "--json")

    (row,) = json.loads(told)["rows"]
    assert (row["by"], row["nano_usd"], row["n_graded"]) == (["small-model", "2026-03-01"], 240_000, 1)


def test_audit_proves_with_the_prices_of_a_menu_file(url, tmp_path):
    prices = "[tariff.small-model]\nprompt = 0.5\ncached = 0\ncompletion = 0.366666666\n"
    (tmp_path / "menu.toml").write_text(f'[[strategy]]\nkind = "single_shot"\n{prices}')

    code, told = typed("audit", "--ledger", url, "--menu", str(tmp_path / "menu.toml"))
    assert (code, "the books hold" in told) == (0, True)
    assert "2 of 2 calls priced again" in told

    (tmp_path / "menu.toml").write_text(f'[[strategy]]\nkind = "single_shot"\n{prices.replace("0.5", "0.6")}')
    code, told = typed("audit", "--ledger", url, "--menu", str(tmp_path / "menu.toml"))
    assert (code, "the books do not hold" in told) == (1, True)
    assert "a1, b1" in told


def test_audit_closes_what_was_left_open(url):
    with SqlLedger(url) as ledger:
        ledger.open_call(example_call("lost", "a", nano_usd=None, tariff=None))
    code, told = typed("audit", "--ledger", url)
    assert (code, "lost" in told) == (0, True)

    _, told = typed("audit", "--ledger", url, "--close-open", "--json")

    facts = json.loads(told)
    assert (facts["n_closed"], facts["n_open"], facts["holds"]) == (1, 0, True)
    assert {one["kind"] for one in facts["findings"]} == {"late_calls", "unpriced", "tariff_unknown"}


def test_doctor_tells_what_it_found_and_exits_1_on_a_failure(url, tmp_path):
    code, told = typed("doctor", "--ledger", url)
    assert (code, "schema" in told) == (0, True)

    code, told = typed("doctor", "--ledger", f"sqlite:///{tmp_path}/none.db", "--json")
    assert (code, json.loads(told)["is_healthy"]) == (1, False)


def test_roles_are_sql():
    assert "CREATE ROLE" in typed("roles")[1]
    assert json.loads(typed("roles", "--json")[1])["sql"] == typed("roles")[1]


@pytest.mark.parametrize("command", COMMANDS)
def test_each_has_help_with_an_example(command):
    assert f"Example: budget-router {command}" in " ".join(typed(command, "--help")[1].split())


def test_a_task_or_all_that_is_older_is_forgotten(url):
    assert typed("forget", "t1", "--ledger", url) == (0, "erased what 2 decisions said\n")
    _, told = typed("forget", "--before", "90d", "--ledger", url, "--json")
    assert json.loads(told) == {"n_decisions": 0}


@pytest.mark.parametrize("words", [[], ["t1", "--before", "90d"]])
def test_forgetting_needs_a_task_or_a_span_and_not_both(url, words):
    done = CliRunner().invoke(app, ["forget", *words, "--ledger", url])
    assert done.exit_code == 2
    with SqlLedger(url) as ledger:
        assert ledger.decision("a").task_text
