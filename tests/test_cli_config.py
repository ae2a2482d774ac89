"""What is told once: by `init`, in budget-router.toml, in the environment; and who goes before whom."""

import json
import tomllib

import pytest
from world import MENU, tasks

from budget_router import Budget, BudgetRouter, Escalate, ExtendedCoT, Menu, SelfConsistency
from budget_router_cli.first_files import init
from budget_router_cli.menu_file import read_menu
from budget_router_sql import SqlLedger

BUDGET = Budget(per_task=70, unit="completion_tokens")
SECRET = "postgresql+psycopg://owner:hunter2@127.0.0.1:1/spend"


@pytest.fixture
def configured(tmp_path):
    """Writes a configuration file where the commands are typed."""
    return lambda text, folder=tmp_path: (folder / "budget-router.toml").write_text(text)


@pytest.fixture(autouse=True)
def untold(monkeypatch):
    for name in ("LEDGER", "BUDGET", "MENU", "CONFIG"):
        monkeypatch.delenv(f"BUDGET_ROUTER_{name}", raising=False)


def a_ledger(path, *, n_tasks=1, menu=MENU, budget=BUDGET):
    with SqlLedger(f"sqlite:///{path}") as ledger:
        for task in tasks(n_tasks, seed=1):
            BudgetRouter(menu, budget, ledger=ledger, seed=1).decide(task)


# --- init


def test_init_writes_a_configuration_and_a_menu_that_the_commands_read(typed_here, tmp_path):
    code, out, _ = typed_here("init", "--budget", "0.002:usd", "--json")

    assert code == 0
    assert json.loads(out)["written"] == ["budget-router.toml", "menu.toml"]
    told = tomllib.loads((tmp_path / "budget-router.toml").read_text())
    assert told == {"ledger": "sqlite:///spend.db", "budget": "0.002:usd", "menu": "menu.toml"}
    assert len(read_menu(tmp_path / "menu.toml").menu) == 3
    a_ledger(tmp_path / "spend.db")
    assert typed_here("policies")[0] == 0


def test_init_never_overwrites(typed_here, tmp_path):
    (tmp_path / "menu.toml").write_text("# mine")
    code, out, _ = typed_here("init")
    assert (code, [line.split()[:2] for line in out.splitlines()[:2]]) == (
        0,
        [["wrote", "budget-router.toml"], ["kept", "menu.toml,"]],
    )
    assert (tmp_path / "menu.toml").read_text() == "# mine"


def test_init_takes_budget_and_menu_from_the_one_ledger_in_the_folder(tmp_path):
    vote, thought = SelfConsistency(k=3, early_stop={"threshold": 0.9, "window": 2}), ExtendedCoT(instruction='Say "so".')
    menu = Menu([vote, Escalate(first=SelfConsistency(k=2, name="pair"), then=thought, agreement=1.0, name="again")])
    a_ledger(tmp_path / "agents.db", menu=menu, budget=Budget(per_task=900))

    done = init(tmp_path)

    assert (done.is_found, done.ledger, done.budget) == (True, "sqlite:///agents.db", "900:tokens")
    assert read_menu(tmp_path / "menu.toml").menu == menu


@pytest.mark.parametrize(
    ("words", "said"), [(["--budget", "cheap"], "is not a number"), (["--ledger", SECRET], "holds a password")]
)
def test_init_refuses_what_is_no_budget_and_what_is_a_secret(words, said, typed_here, tmp_path):
    code, out, error = typed_here("init", *words)
    assert (code, out) == (1, "")
    assert said in " ".join(error.split())
    assert "hunter2" not in error
    assert not list(tmp_path.iterdir())


# --- who goes before whom


def test_the_command_line_goes_before_the_environment_and_that_before_the_file(typed_here, configured, monkeypatch):
    def missing(*words):
        return typed_here("policies", *words)[2]

    configured('ledger = "sqlite:///of-file.db"')
    assert "of-file.db" in missing()
    monkeypatch.setenv("BUDGET_ROUTER_LEDGER", "sqlite:///of-environment.db")
    assert "of-environment.db" in missing()
    assert "of-line.db" in missing("--ledger", "sqlite:///of-line.db")


def test_a_file_in_a_parent_folder_counts_and_its_paths_are_its_own(typed_here, configured, tmp_path, monkeypatch):
    configured('ledger = "sqlite:///spend.db"\n[export]\nsince = "1d"')
    a_ledger(tmp_path / "spend.db")
    (tmp_path / "below").mkdir()
    monkeypatch.setattr(type(tmp_path), "cwd", classmethod(lambda _: tmp_path / "below"))

    code, out, error = typed_here("export", "all.jsonl", "--json")

    assert (code, json.loads(out or "{}").get("n_decisions")) == (0, 1), error


def test_a_table_tells_one_command_and_no_other(typed_here, configured, tmp_path):
    a_ledger(tmp_path / "spend.db", n_tasks=3)
    configured('ledger = "sqlite:///spend.db"\n[spend]\nby = "strategy"\nmost = 1')

    told = json.loads(typed_here("spend", "--json")[1])

    assert (told["by"], len(told["rows"])) == (["strategy"], 1)


def test_another_file_is_named_by_config(typed_here, tmp_path):
    (tmp_path / "other.toml").write_text('ledger = "sqlite:///other.db"')
    assert "other.db" in typed_here("--config", "other.toml", "policies")[2]
    assert "nowhere.toml cannot be read" in typed_here("--config", "nowhere.toml", "policies")[2]


def test_what_nobody_tells_is_asked_for_by_all_its_names(typed_here):
    code, _, error = typed_here("policies")
    assert code == 2
    assert "Missing option '--ledger'" in error
    assert "BUDGET_ROUTER_LEDGER" in error


# --- slips


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('ledgr = "x"', "'ledgr' is no option that commands share: did you mean 'ledger'?"),
        ("[refrsh]\nseed = 1", "'refrsh' is no command: did you mean 'refresh'?"),
        ("[refresh]\nlerner = 'value'", "'[refresh] lerner' is no option of refresh: did you mean 'learner'?"),
        ("ledger = ['a', 'b']", "'ledger' is a list: write one value"),
        ("ledger = ", "cannot be read as a configuration"),
    ],
)
def test_what_a_file_says_wrong_is_told_with_the_mend(text, said, typed_here, configured):
    configured(text)
    code, out, error = typed_here("policies")
    assert (code, out) == (1, "")
    assert said in " ".join(error.split())


def test_underscores_are_as_good_as_dashes(typed_here, configured, tmp_path):
    configured('ledger = "sqlite:///none.db"\n[refresh]\nweak_labels = true')
    assert "no ledger at" in typed_here("policies")[2]


def test_a_password_in_a_url_is_never_shown(typed_here, configured):
    configured(f'ledger = "{SECRET}"\nbudget = "1:usd"')
    for words in (["policies"], ["policies", "--help"], ["solve"], ["doctor"], ["evaluate", "--json"]):
        _, out, error = typed_here(*words)
        assert "hunter2" not in out + error
