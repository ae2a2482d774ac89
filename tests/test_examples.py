import json
import runpy
from collections.abc import Iterator
from datetime import timedelta
from importlib.metadata import metadata
from pathlib import Path
from uuid import uuid4
from xml.etree import ElementTree

import pytest
from forks import Forks, forks
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph.state import CompiledStateGraph
from packaging.requirements import Requirement

from budget_router_sql import SqlLedger
from tests.postgres import Postgres

SERVER = Path(__file__).parent.parent / "examples" / "langgraph_server"
EXAMPLES = sorted((Path(__file__).parent.parent / "examples").glob("*.py"))


IN_COMMON = """
import runpy, langgraph.graph, langchain_core.prompts, budget_router_langgraph, budget_router_sql
from budget_router.tokens import local_encoding
local_encoding()
"""


@pytest.fixture(scope="module")
def run_apart(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Forks]:
    """Runs an example in a process of its own, where warnings are errors and only known types stand in checkpoints."""
    run = "sys.path.insert(0, os.path.dirname(sys.argv[0])); runpy.run_path(sys.argv[0], run_name='__main__')"
    scratch = tmp_path_factory.mktemp("said")
    with forks(IN_COMMON, run, scratch, LANGGRAPH_STRICT_MSGPACK="true", PYTHONWARNINGS="error") as run_apart:
        yield run_apart


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_every_example_runs_offline_under_strict_checkpoints_and_without_a_warning(
    example: Path, tmp_path: Path, run_apart: Forks
) -> None:
    done = run_apart(str(example), folder=tmp_path)

    assert done.returncode == 0, done.stderr
    assert done.stdout
    assert "Deserializing unregistered" not in done.stderr


def test_a_month_of_production_is_lived_through_and_drawn(tmp_path: Path, run_apart: Forks) -> None:
    """Of its first days: until the first policy was learned, and judged by the gate."""
    script = Path(__file__).parent.parent / "examples" / "production_log" / "month.py"
    done = run_apart(str(script), "--days", "8", "--per-day", "30", "--picture", "month.svg", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "weekly: " in done.stdout
    assert "240 tasks cost " in done.stdout
    picture = ElementTree.fromstring((tmp_path / "month.svg").read_text())  # our own
    assert any(text.startswith("which strategy") for text in picture.itertext())
    with SqlLedger(f"sqlite:///{tmp_path / 'month.db'}") as ledger:
        moments = [logged.decision.decided_at for logged in ledger.read()]
    assert (len(moments), moments[-1] - moments[0] > timedelta(days=7.9)) == (240, True)


def test_a_server_keeps_the_books_of_the_month_as_well(tmp_path: Path, run_apart: Forks, postgres: Postgres) -> None:
    script = Path(__file__).parent.parent / "examples" / "production_log" / "month.py"
    with postgres.ledger() as database:
        url = postgres.url(database)
        words = ("--ledger", url, "--days", "2", "--per-day", "10", "--picture", "month.svg")
        done = run_apart(str(script), *words, folder=tmp_path)
        assert done.returncode == 0, done.stderr
        with SqlLedger(url) as ledger:
            assert len(list(ledger.read())) == 20


def test_a_server_keeps_checkpoints_and_books_alike(tmp_path: Path, run_apart: Forks, postgres: Postgres) -> None:
    script = Path(__file__).parent.parent / "examples" / "checkpointers.py"
    with postgres.empty() as database:
        url = postgres.url(database, drivername="postgresql")
        done = run_apart(str(script), url, folder=tmp_path)
        assert done.returncode == 0, done.stderr
        assert "billed 2 calls by two workers" in done.stdout
        assert "Deserializing unregistered" not in done.stderr
        with SqlLedger(url) as ledger:
            assert [len(entry.calls) for entry in ledger.read()] == [2]
        assert postgres.execute("SELECT count(*) > 0 FROM checkpoints", database=database) == [(True,)]


def test_the_servers_graph_is_found_by_its_file_compiles_and_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As LangGraph's server does: it reads the file, imports what it names, and brings a checkpointer of its own."""
    told = json.loads((SERVER / "langgraph.json").read_text())
    monkeypatch.setenv("LEDGER_URL", f"sqlite:///{tmp_path}/spend.db")
    assert set(told) <= {"dependencies", "graphs", "env", "python_version"}
    assert all((SERVER / folder).is_dir() for folder in told["dependencies"])
    for place in told["graphs"].values():
        file, _, name = place.partition(":")
        module = runpy.run_path(str(SERVER / file))
        agent = module[name]
        assert isinstance(agent, CompiledStateGraph)
        assert agent.checkpointer is None

        served = agent.copy({"checkpointer": InMemorySaver()})
        thread = {"configurable": {"thread_id": "t-1"}, "run_id": uuid4()}
        reply = served.invoke({"messages": [("user", "What is 27 + 41?")]}, thread)["messages"][-1]
        (outcome,) = module["router"].grade(run_id=str(thread["run_id"]), score=1.0)
        assert reply.text == "Answer: 68"
        assert outcome.decision_id == reply.response_metadata["budget_router"]["decision_id"]
        module["ledger"].close()


def test_the_server_installs_what_its_graph_imports() -> None:
    (wanted,) = map(Requirement, (SERVER / "requirements.txt").read_text().splitlines())
    offered = metadata("budget-router")
    assert wanted.name == offered["Name"]
    assert wanted.extras <= set(offered.get_all("Provides-Extra") or [])
