"""What many tests share: a server and processes too dear to start for each, the two doors of a graph, and a hand that types."""

import asyncio
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from forks import RUNS_ITS_FIRST_WORD, Forks, forks

if TYPE_CHECKING:
    from tests.postgres import Postgres


@pytest.fixture(scope="session")
def postgres() -> "Iterator[Postgres]":
    """A PostgreSQL server, one for all tests of a process."""
    from tests.postgres import running_postgres  # its driver is not there where the oldest frameworks are tested

    with running_postgres() as server:
        yield server


@pytest.fixture(scope="session")
def apart(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Forks]:
    """Runs a script, and its arguments, in a process of its own that has imported the storage; warnings are errors there."""
    common = "import budget_router_sql, budget_router.testing, budget_router.paces, psycopg"
    with forks(common, RUNS_ITS_FIRST_WORD, tmp_path_factory.mktemp("apart"), PYTHONWARNINGS="error") as apart:
        yield apart


@pytest.fixture(params=["sync", "async"])
def call(request: pytest.FixtureRequest) -> Callable[..., Any]:
    """Invoke a graph by either of its doors."""
    if request.param == "sync":
        return lambda graph, *given, **settings: graph.invoke(*given, **settings)
    return lambda graph, *given, **settings: asyncio.run(graph.ainvoke(*given, **settings))


@pytest.fixture
def typed_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str, str]]:
    """Types into this process, which has all that a command imports; what was said, and with which code it ended."""

    from budget_router_cli import main  # its framework is not there where the oldest frameworks are tested

    def type_here(*words: str) -> tuple[int, str, str]:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "argv", ["budget-router", *words])
        monkeypatch.setenv("COLUMNS", "100")
        with pytest.raises(SystemExit) as ended:
            main()
        said = capsys.readouterr()
        return int(ended.value.code or 0), said.out, said.err

    return type_here
