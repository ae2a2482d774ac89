"""What many tests share: a server that is too dear to start for each, and the two doors of a graph."""

import asyncio
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.postgres import Postgres


@pytest.fixture(scope="session")
def postgres() -> "Iterator[Postgres]":
    """A PostgreSQL server, one for all tests of a process."""
    from tests.postgres import running_postgres  # its driver is not there where the oldest frameworks are tested

    with running_postgres() as server:
        yield server


@pytest.fixture(params=["sync", "async"])
def call(request: pytest.FixtureRequest) -> Callable[..., Any]:
    """Invoke a graph by either of its doors."""
    if request.param == "sync":
        return lambda graph, *given, **settings: graph.invoke(*given, **settings)
    return lambda graph, *given, **settings: asyncio.run(graph.ainvoke(*given, **settings))
