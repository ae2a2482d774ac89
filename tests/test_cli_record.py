"""`record` and `train` as a user types them; LangChain makes a scripted model of every name."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest
from forks import Forks, forks
from typer.testing import CliRunner

from budget_router import Budget, BudgetRouter, SelfConsistency, Task, load_policy
from budget_router.errors import InvalidInput
from budget_router_cli.app import app
from budget_router_cli.menu_file import read_menu
from budget_router_cli.task_file import read_tasks

SCRIPTED = """
import langchain.chat_models
from tests.scripted import ScriptedModel

def answer(messages):
    number = int(messages[-1].text.split()[2])
    thinks = "Think" in messages[0].text
    return f"{'one by one, ' * 5 if thinks else ''}{number + (1 if thinks or number % 2 else 2)}"

langchain.chat_models.init_chat_model = lambda name: ScriptedModel(answer, model_name=name.partition(":")[2])
from budget_router_cli import main
import budget_router_cli.story, budget_router.policies, sklearn.tree  # what its commands load
from budget_router.tokens import local_encoding
local_encoding()
"""
MENU = """
[[strategy]]
kind = "single_shot"
max_tokens = 30

[[strategy]]
kind = "self_consistency"
k = 3
max_tokens = 30

[[strategy]]
kind = "extended_cot"
instruction = "Think."
max_tokens = 60

[tariff.tiny]  # USD per million tokens
prompt = 0.1
completion = 0.4
"""


@pytest.fixture(scope="module")
def typed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Forks]:
    scratch = tmp_path_factory.mktemp("said")
    with forks(SCRIPTED, "sys.argv.insert(0, 'budget-router'); main()", scratch, NO_COLOR="1", COLUMNS="100") as run:
        yield run


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("record")
    (place / "menu.toml").write_text(MENU)
    lines = [{"text": f"What is {number} + 1?", "gold": number + 1, "metadata": {"kind": "sum"}} for number in range(30)]
    (place / "tasks.jsonl").write_text("\n".join(map(json.dumps, lines)))
    return place


def test_a_menu_is_recorded_in_two_goes_trained_on_and_served(typed: Forks, folder: Path) -> None:
    command = ["record", "tasks.jsonl", "--model", "openai:tiny", "--menu", "menu.toml", "--out", "log.db", "--answer", "number"]
    part = typed(*command, "--max-spend", "0.0003:usd", "--json", folder=folder)
    whole = typed(*command, "--max-spend", "1:usd", folder=folder)
    trained = typed("train", "log.db", "--budget", "0.00002:usd", "--out", "policy", "--json", folder=folder)

    assert (part.returncode, whole.returncode, trained.returncode) == (0, 0, 0), part.stderr + whole.stderr + trained.stderr
    first = json.loads(part.stdout)
    assert (first["n_bundles"], first["is_complete"], first["added_to_menu"]) == (60, False, [])
    assert 0 < first["spent"] <= 0.0003
    assert "60 of 60 votes on 30 tasks" in whole.stdout
    assert json.loads(trained.stdout)["n_graded"] == {"single_shot": 30, "self_consistency_3": 30, "extended_cot": 30}
    offered = read_menu(folder / "menu.toml")
    budget = Budget(per_task=0.00002, unit="usd")
    router = BudgetRouter(
        offered.menu, budget, policy=load_policy(folder / "policy"), tariffs=offered.tariffs, model="tiny", exploration=0
    )
    assert router.decide(Task("What is 8 + 1?")).policy_version == json.loads(trained.stdout)["version"]


def test_the_demo_tells_its_story_on_a_recorded_log_in_a_table_that_fits_a_terminal(typed: Forks, folder: Path) -> None:
    lines = [{"text": f"What is {n} + 1?", "gold": n + 1, "metadata": {"kind": "odd" if n % 2 else "even"}} for n in range(60)]
    (folder / "many.jsonl").write_text("\n".join(map(json.dumps, lines)))
    recorded = typed(
        *("record", "many.jsonl", "--model", "openai:tiny", "--menu", "menu.toml", "--out", "many.db", "--answer", "number"),
        *("--max-spend", "1:usd"),
        folder=folder,
    )
    told = typed(
        *("demo", "--log", "many.db", "--answer", "number", "--budget", "6:completion_tokens", "--seeds", "2", "--out", "story"),
        folder=folder,
    )

    assert (recorded.returncode, told.returncode) == (0, 0), recorded.stderr + told.stderr
    assert max(map(len, told.stdout.splitlines())) <= 200  # the verdict is one sentence; the table is narrower
    assert "learned policy" in told.stdout
    assert "At 6 completion tokens per task" in " ".join(told.stdout.split())
    assert "\x1b" not in told.stdout
    assert "many.db" in (folder / "story" / "report.html").read_text()


class LocalServer(BaseHTTPRequestHandler):
    """Speaks as much of OpenAI's chat completions as llama.cpp's server does: `n` is one of its settings."""

    asked: ClassVar[list[dict[str, Any]]] = []

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.asked.append(asked)
        number = int(asked["messages"][-1]["content"].split()[2])
        n = asked.get("n") or 1
        reply = {"role": "assistant", "content": f"Answer: {number + 1}"}
        body = {
            "id": "1",
            "object": "chat.completion",
            "created": 1,
            "model": asked["model"],
            "choices": [{"index": index, "finish_reason": "stop", "message": reply} for index in range(n)],
            "usage": {"prompt_tokens": 9, "completion_tokens": 4 * n, "total_tokens": 9 + 4 * n},
        }
        whole = json.dumps(body).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(whole)))
        self.end_headers()
        self.wfile.write(whole)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


def test_a_local_server_that_speaks_openais_protocol_is_recorded_from_by_its_address(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = [
        "record",
        "tasks.jsonl",
        "--model",
        "openai:tiny",
        "--menu",
        "menu.toml",
        "--out",
        "local.db",
        "--answer",
        "number",
    ]
    monkeypatch.chdir(folder)
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    with ThreadingHTTPServer(("127.0.0.1", 0), LocalServer) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("OPENAI_BASE_URL", f"http://127.0.0.1:{server.server_port}/v1")
        done = CliRunner().invoke(app, [*command, "--max-spend", "1:usd", "--json"])
        server.shutdown()

    assert done.exit_code == 0, done.stderr
    told = json.loads(done.stdout)
    assert (told["n_recorded"], told["is_complete"]) == (60, True)
    assert told["spent"] == pytest.approx(30 * (9 * 1e-7 + 12 * 4e-7) + 30 * (9 * 1e-7 + 4 * 4e-7))
    assert sorted(asked.get("n") or 1 for asked in LocalServer.asked) == [1] * 30 + [3] * 30


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--menu", "nowhere.toml", "--max-spend", "1:usd"], "nowhere.toml cannot be read as a menu"),
        (["--menu", "menu.toml", "--max-spend", "1:seconds"], "SpendLimit: unit"),
        (["--menu", "menu.toml", "--max-spend", "much"], "is not a number"),
    ],
)
def test_a_slip_is_told_before_anything_is_paid(words: list[str], said: str, typed: Forks, folder: Path) -> None:
    done = typed("record", "tasks.jsonl", "--model", "openai:tiny", "--out", "slip.db", *words, folder=folder)

    assert done.returncode == 1
    assert said in " ".join(done.stderr.split())
    assert not (folder / "slip.db").exists()


@pytest.mark.parametrize(
    ("menu", "said"),
    [
        ("[[strategy]]\nkind = 'vote'", "Input tag 'vote'"),
        ("[[strategy]]\nkind = 'self_consistency'", "k: Field required"),
        ("[[strategies]]\nkind = 'single_shot'", "unknown table 'strategies'"),
        ("[strategy]\nkind = 'single_shot'", "under \\[\\[strategy\\]\\]"),
        ("[[strategy]]\nkind = 'single_shot'\n[tariff]\ntiny = 3", "tariff 'tiny' is 3"),
        ("[[strategy", "cannot be read as a menu"),
        ("", "needs at least one strategy"),
    ],
)
def test_a_menu_file_that_is_wrong_names_the_mend(menu: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "menu.toml").write_text(menu)

    with pytest.raises(InvalidInput, match=said):
        read_menu(tmp_path / "menu.toml")


def test_a_menu_file_may_hold_every_kind_of_strategy(tmp_path: Path) -> None:
    (tmp_path / "menu.toml").write_text(
        """
        [[strategy]]
        kind = "self_consistency"
        k = 8
        early_stop = { threshold = 0.9, window = 2 }

        [[strategy]]
        kind = "escalate"
        agreement = 1.0
        first = { kind = "self_consistency", k = 3 }
        then = { kind = "extended_cot", effort = "high", model = "large" }
        """
    )

    careful, doubtful = read_menu(tmp_path / "menu.toml").menu

    assert isinstance(careful, SelfConsistency)
    assert careful.name == "self_consistency_8_stop_90_by_2"
    assert doubtful.name == "escalate_self_consistency_3_extended_cot_high_large_100"


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ('{"text": "2 + 2?", "gold": "4"}\n{"text": "2 + 2?"}', "line 2: write an object"),
        ('{"text": "2 + 2?", "gold": "4", "note": "!"}', "line 1: LabelledTask: note"),
        ('{"text": " ", "gold": "4"}', "line 1: task: text is empty"),
        ("2 + 2? 4", "line 1: no JSON"),
        ("\n\n", "holds no task"),
    ],
)
def test_a_task_file_that_is_wrong_names_the_line(lines: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "tasks.jsonl").write_text(lines)

    with pytest.raises(InvalidInput, match=said):
        read_tasks(tmp_path / "tasks.jsonl")
