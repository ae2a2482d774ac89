"""`solve`, `frontier`, `evaluate` and `explain` as a user types them, on one small ledger."""

import json

import numpy as np
import pytest
from typer.testing import CliRunner
from world import MENU, serve, tasks

from budget_router import Budget, BudgetRouter
from budget_router.outcomes import OutcomeTable
from budget_router.policies import ValuePolicy
from budget_router.policies.artifact import record_of
from budget_router_cli.app import app
from budget_router_sql import SqlLedger

BUDGET = "70:completion_tokens"
COMMANDS = ("init", "solve", "frontier", "evaluate", "explain")


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    """Of a ledger with a policy, learned from the first eighty tasks, and sixty later ones."""
    url = f"sqlite:///{tmp_path_factory.mktemp('learned')}/spend.db"
    with SqlLedger(url) as ledger:
        router = BudgetRouter(MENU, Budget.parse(BUDGET), ledger=ledger, seed=1)
        serve(router, tasks(80, seed=1), seed=1)
        table = OutcomeTable.from_evidence(ledger.evidence(), MENU, unit="completion_tokens")
        policy = ValuePolicy().fit(table, rng=np.random.default_rng(0))
        ledger.registry.save(record_of(policy, evidence={}))
        ledger.registry.promote(policy.version)
        serve(BudgetRouter(MENU, Budget.parse(BUDGET), ledger=ledger, seed=2), tasks(60, seed=2), seed=2)
    return url


@pytest.fixture
def told(typed_here, url):
    """What a command told of that ledger; plain, and no wider than a page."""

    def tell(*words):
        code, out, error = typed_here(*words, "--ledger", url)
        assert code == 0, error
        assert "\x1b" not in out + error
        assert max(map(len, out.splitlines())) <= 100 or "--json" in words
        return out

    return tell


def test_solve_tells_the_price_and_what_each_strategy_gets(told):
    out = told("solve", "--budget", BUDGET)
    assert [line[:10].strip() for line in out.splitlines()[:4]] == ["read", "solved", "spend", "accuracy"]
    assert [line.split()[0] for line in out.splitlines()[-3:]] == list(MENU.names)


def test_solve_for_machines(told):
    facts = json.loads(told("solve", "--budget", BUDGET, "--json"))
    assert facts["duality_gap"] == pytest.approx(facts["shadow_price"] * (70 - facts["spend"]))
    assert sum(facts["shares"].values()) == pytest.approx(1)
    assert (facts["n_decisions"], facts["seed"]) == (140, 0)


def test_frontier_is_a_table_of_budgets_beside_the_strategies(told):
    out = told("frontier", "--budgets", "60,90")
    head, first, second, *fixed = out.splitlines()[2:]
    assert head.startswith("completion tokens per task")
    assert (first.split()[0], second.split()[0]) == ("60", "90")
    assert [line.split()[2] for line in fixed if line] == list(MENU.names)


def test_evaluate_tells_of_later_decisions_only(told):
    out = told("evaluate", "--budget", BUDGET)
    assert "judged on 60 decisions on 60 tasks, 60 of them graded" in " ".join(out.split())
    assert "gain in accuracy" in out
    assert "in-sample" not in out


def test_evaluate_says_loudly_when_it_flatters(told):
    assert told("evaluate", "--budget", BUDGET, "--in-sample").startswith("in-sample: some of these decisions trained it")
    assert json.loads(told("evaluate", "--budget", BUDGET, "--in-sample", "--json"))["is_in_sample"] is True


def test_explain_tells_of_the_latest_decision_in_words(told, url):
    out = told("explain")
    with SqlLedger(url) as ledger:
        decision = ledger.latest().decision
    assert out.startswith(f"decision {decision.id}\n")
    assert f"→ {decision.strategy.name} (executed" in out
    assert "It was graded" in out

    facts = json.loads(told("explain", decision.id, "--json"))
    assert (facts["id"], facts["doubt"]) == (decision.id, "")
    assert " ".join(facts["sentences"][-1].split()) in " ".join(out.split())


def test_a_log_in_a_file_is_explained_as_far_as_it_tells(told, typed_here):
    told("export", "log.jsonl")
    code, out, _ = typed_here("explain", "--ledger", "log.jsonl")
    assert code == 0
    assert "cannot be asked again" in " ".join(out.split())


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["solve", "--budget", "cheap"], 1, "is not a number"),
        (["frontier", "--budgets", "few"], 1, "are not numbers: write them as 400,800,1600"),
        (["evaluate", "0", "--budget", BUDGET], 1, "ArtifactError"),
        (["evaluate", "--budget", BUDGET, "--since", "1d"], 1, "(--in-sample)"),
        (["explain", "nothing"], 1, "UnknownDecision"),
        (["solve"], 2, "Missing option '--budget'"),
    ],
)
def test_a_slip_is_told_in_words(words, code, said, typed_here, url):
    ended, out, error = typed_here(*words, "--ledger", url)
    assert (ended, out) == (code, "")
    assert said in " ".join(error.split())
    assert "Traceback" not in error


@pytest.mark.parametrize("command", COMMANDS)
def test_each_has_help_with_an_example(command, typed_here):
    code, out, _ = typed_here(command, "--help")
    assert code == 0
    assert f"Example: budget-router {command}" in " ".join(out.split())
    assert max(map(len, out.splitlines())) <= 100


def test_the_shell_completes_commands(monkeypatch):
    monkeypatch.setenv("_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION", "1")
    script = CliRunner().invoke(app, ["--show-completion", "bash"], prog_name="budget-router").stdout
    assert "_BUDGET_ROUTER_COMPLETE=complete_bash" in script

    asked = {"_BUDGET_ROUTER_COMPLETE": "complete_bash", "COMP_WORDS": "budget-router evaluate --in", "COMP_CWORD": "2"}
    assert CliRunner().invoke(app, [], prog_name="budget-router", env=asked).stdout.split() == ["--in-sample"]
