"""The command line as a user types it."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner
from world import MENU, serve, tasks

from budget_router import Budget, BudgetRouter, load_policy, saved_policies
from budget_router_cli.app import app
from budget_router_sql import SqlLedger

BUDGET = "70:completion_tokens"
LEDGER = ("--ledger", "sqlite:///spend.db")
COMMAND = [sys.executable, "-c", "from budget_router_cli import main; main()"]


def typed(*words: str, folder: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "NO_COLOR": "1", "COLUMNS": "100"}
    return subprocess.run(
        [*COMMAND, *words], cwd=folder, env=environment, capture_output=True, text=True, timeout=300, check=False
    )


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, object]]:
    """What the demo leaves and says; `test_cli_record.py` has one whose seeds are replayed by processes of their own."""
    folder = tmp_path_factory.mktemp("demo") / "here"
    done = CliRunner(env={"LOKY_MAX_CPU_COUNT": "1"}).invoke(app, ["demo", "--seeds", "2", "--out", str(folder), "--json"])
    assert done.exit_code == 0, done.stderr
    return folder, json.loads(done.stdout)


def test_the_demo_buys_more_accuracy_than_the_best_static_mix_at_the_same_spend(told):
    at_budget = next(row for row in told[1]["frontier"] if row["budget"] == 22)

    assert at_budget["accuracy"]["value"] > at_budget["mix_at_spend"]
    assert at_budget["gain"]["low"] <= at_budget["gain"]["value"] <= at_budget["gain"]["high"]


def test_the_demo_leaves_a_page_and_a_ledger(told):
    folder = told[0]

    assert (folder / "report.html").read_text().startswith("<!DOCTYPE html>")
    assert (folder / "spend.db").read_bytes().startswith(b"SQLite format 3\0")


def test_the_demo_says_what_the_gate_makes_of_its_policy(told):
    with SqlLedger(f"sqlite:///{told[0] / 'spend.db'}") as ledger:
        (saved,) = saved_policies(ledger, menu=ledger.latest().menu)

    assert ("the gate would wait" in told[1]["gate"]) is not saved.evidence["verdict"]["is_passed"]


# --- learning again


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ledger with a cold start's log, and no policy yet."""
    path = tmp_path_factory.mktemp("served") / "spend.db"
    with SqlLedger(f"sqlite:///{path}") as ledger:
        serve(BudgetRouter(MENU, Budget.parse(BUDGET), ledger=ledger, seed=1), tasks(300, seed=1), seed=1)
    return path


@pytest.fixture
def refresh_here(served: Path, tmp_path: Path, typed_here):
    """Refreshes a copy of that ledger."""
    shutil.copy(served, tmp_path / "spend.db")

    def type_refresh(*words: str) -> str:
        code, out, error = typed_here("refresh", *LEDGER, "--budget", BUDGET, *words)
        assert code == 0, error
        return out

    return type_refresh


def listed(typed_here) -> list[dict[str, object]]:
    return json.loads(typed_here("policies", *LEDGER, "--json")[1])


def test_a_candidate_that_the_gate_passes_serves_and_one_that_it_does_not_is_kept(refresh_here, typed_here):
    told = json.loads(refresh_here("--json"))
    assert told["promoted"]
    assert told["verdict"]["summary"].startswith("promoted: gain's lower bound +")
    assert [(row["version"], row["active"]) for row in listed(typed_here)] == [(told["version"], True)]

    kept = json.loads(refresh_here("--json", "--seed", "1", "--learner", "imitator", "--later", "0.4"))
    assert not kept["promoted"]
    assert (kept["incumbent"], kept["held_out"]) == (told["version"], "later")
    assert [(row["version"], row["active"]) for row in listed(typed_here)] == [(told["version"], True), (kept["version"], False)]

    stands = json.loads(typed_here("promote", kept["version"], *LEDGER, "--json")[1])
    assert (stands["active"], stands["canary"], stands["share"]) == (kept["version"], None, 0)
    assert [row["role"] for row in listed(typed_here)] == [None, "active"]
    assert typed_here("rollback", *LEDGER)[0] == 0
    assert [row["active"] for row in listed(typed_here)] == [True, False]


def test_refresh_tells_people_what_was_solved_learned_and_said_by_the_gate(refresh_here, tmp_path):
    out = refresh_here("--margin", "90", "--weak-labels", "--out", "policy")
    names = [line[:10].strip() for line in out.splitlines()]
    assert names == ["read", "solved", "candidate", "gain", "evidence", "weak", "gate", "kept"]
    assert re.search(r"gate +not passed: gain's lower bound \+[\d.]+ points < \+90", out)
    assert max(map(len, out.splitlines())) <= 100
    version = out.split("budget-router promote ")[1].strip()
    assert load_policy(tmp_path / "policy").version == version


def test_refresh_shows_its_evidence_in_a_page(refresh_here, tmp_path):
    out = refresh_here("--report", "page.html")
    assert out.splitlines()[-1] == "report    page.html"
    assert (tmp_path / "page.html").read_text().startswith("<!DOCTYPE html>")


def test_an_exported_log_is_learned_from_into_a_folder(served, typed_here, tmp_path):
    (tmp_path / "log").mkdir()
    assert typed_here("export", "log/all.parquet", "--ledger", f"sqlite:///{served}")[0] == 0
    code, out, error = typed_here("refresh", "--ledger", "log", "--budget", BUDGET, "--out", "policy")
    assert code == 0, error
    assert "saved     policy: " in out
    assert load_policy(tmp_path / "policy").menu == MENU

    for log in ("log", "log/all.parquet", "log.jsonl"):
        code, _, error = typed_here("refresh", "--ledger", log, "--budget", BUDGET)
        assert code == 2
        assert "--out FOLDER" in " ".join(error.split())
    code, _, error = typed_here("refresh", "--ledger", "log", "--budget", BUDGET, "--watch")
    assert code == 2
    assert "does not grow" in " ".join(error.split())


@pytest.mark.parametrize("words", [["--watch", "--no-promote"], ["--every", "12h"], ["--watch", "--report", "page.html"]])
def test_what_belongs_to_watching_alone_or_not_to_it_is_misused(typed_here, served, words):
    code, _, error = typed_here("refresh", "--ledger", f"sqlite:///{served}", "--budget", BUDGET, *words)
    assert code == 2
    assert "--watch" in error


def test_refresh_without_promotion_leaves_what_serves_alone(refresh_here, typed_here):
    out = refresh_here("--no-promote")
    assert "gate      passed: " in out
    assert [row["active"] for row in listed(typed_here)] == [False]


# --- slips


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["demo", "--budget", "cheap"], 1, "is not a number"),
        (["demo", "--budget", "1"], 1, "below the cheapest strategy"),
        (["demo", "--budget", "0.002:usd"], 1, "priced in completion tokens"),
        (["demo", "--seed", "-1"], 2, "Invalid value"),
        (["refresh", "--budget", "22"], 2, "Missing option"),
        (["refresh", "--ledger", "sqlite:///nowhere.db", "--budget", "22"], 1, "no ledger at"),
        (["refresh", "--ledger", "nonsense", "--budget", "22"], 1, "InvalidInput"),
        (["policies", "--ledger", "sqlite:///notes.txt"], 1, "ForeignLedger"),
        (["promote", "0", "--ledger", "sqlite:///nowhere.db"], 1, "no ledger at"),
        (["what"], 2, "No such command"),
    ],
)
def test_a_slip_is_told_in_words_on_standard_error(words, code, said, tmp_path, typed_here):
    (tmp_path / "notes.txt").write_text("these are notes, and no database at all " * 50)

    ended, out, error = typed_here(*words)

    assert ended == code
    assert said in " ".join(error.split())
    assert "Traceback" not in error
    assert out == ""
    assert (tmp_path / "notes.txt").read_text().startswith("these are notes")


def test_a_commands_help_ends_with_its_example(typed_here):
    ended, out, _ = typed_here("rollback", "--help")

    assert ended == 0
    assert " ".join(out.split()).endswith("Example: budget-router rollback --ledger sqlite:///spend.db")


def test_a_slip_in_a_terminal_ends_the_process_with_a_failure(tmp_path):
    done = typed("policies", "--ledger", "sqlite:///nowhere.db", folder=tmp_path)
    assert done.returncode == 1
    assert "no ledger at" in done.stderr
