"""The command line as a user types it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from budget_router_cli import main

COMMAND = [sys.executable, "-c", "from budget_router_cli import main; main()"]


def typed(*words: str, folder: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "NO_COLOR": "1", "COLUMNS": "100"}
    return subprocess.run(
        [*COMMAND, *words], cwd=folder, env=environment, capture_output=True, text=True, timeout=120, check=False
    )


@pytest.fixture
def typed_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    """Types into this process, which has all that a command imports; what was said, and with which code it ended."""

    def type_here(*words: str) -> tuple[int, str, str]:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "argv", ["budget-router", *words])
        monkeypatch.setenv("COLUMNS", "100")
        with pytest.raises(SystemExit) as ended:
            main()
        said = capsys.readouterr()
        return int(ended.value.code or 0), said.out, said.err

    return type_here


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, object]]:
    folder = tmp_path_factory.mktemp("demo")
    done = typed("demo", "--seeds", "2", "--out", "here", "--json", folder=folder)
    assert done.returncode == 0, done.stderr
    return folder, json.loads(done.stdout)


def test_the_demo_buys_more_accuracy_than_the_best_static_mix_at_the_same_spend(told):
    at_budget = next(row for row in told[1]["frontier"] if row["budget"] == 22)

    assert at_budget["accuracy"]["value"] > at_budget["mix_at_spend"]
    assert at_budget["gain"]["low"] <= at_budget["gain"]["value"] <= at_budget["gain"]["high"]


def test_the_demo_leaves_a_page_and_a_ledger(told):
    folder = told[0] / "here"

    assert (folder / "report.html").read_text().startswith("<!DOCTYPE html>")
    assert (folder / "spend.db").read_bytes().startswith(b"SQLite format 3\0")


def test_refresh_learns_again_from_the_demos_ledger_and_policies_lists_both(told):
    url = "sqlite:///here/spend.db"
    done = typed(
        "refresh",
        *("--ledger", url, "--budget", "22:completion_tokens", "--learner", "imitator", "--weak-labels", "--json"),
        folder=told[0],
    )
    assert done.returncode == 0, done.stderr
    refreshed = json.loads(done.stdout)
    assert set(refreshed["n_weak"].values()) == {0}  # the demo grades every task that it learns from
    assert refreshed["weak_doubts"] == []

    listed = json.loads(typed("policies", "--ledger", url, "--json", folder=told[0]).stdout)

    assert refreshed["n_decisions"] == 584  # 159 or 160 tasks three times, and the 107 or 106 unseen ones
    assert [row["active"] for row in listed] == [False, True]
    assert listed[-1]["version"] == refreshed["version"]

    promoted = typed("promote", listed[0]["version"], "--ledger", url, folder=told[0])
    assert promoted.returncode == 0
    listed = json.loads(typed("policies", "--ledger", url, "--json", folder=told[0]).stdout)
    assert [row["active"] for row in listed] == [True, False]


def test_refresh_without_promotion_leaves_the_active_policy_alone(told):
    url = "sqlite:///here/spend.db"
    before = typed("policies", "--ledger", url, folder=told[0]).stdout

    done = typed("refresh", "--ledger", url, "--budget", "30:completion_tokens", "--seed", "5", "--no-promote", folder=told[0])

    assert done.returncode == 0, done.stderr
    active = [line for line in before.splitlines() if " active " in line]
    assert [
        line for line in typed("policies", "--ledger", url, folder=told[0]).stdout.splitlines() if " active " in line
    ] == active


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


@pytest.mark.parametrize("command", ["demo", "record", "train", "refresh", "policies", "promote", "rollback"])
def test_every_command_has_help_with_an_example(command, typed_here):
    ended, out, _ = typed_here(command, "--help")

    assert ended == 0
    assert f"Example: budget-router {command}" in " ".join(out.split())


def test_a_slip_in_a_terminal_ends_the_process_with_a_failure(tmp_path):
    done = typed("policies", "--ledger", "sqlite:///nowhere.db", folder=tmp_path)
    assert done.returncode == 1
    assert "no ledger at" in done.stderr
