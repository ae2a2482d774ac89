"""What is too dear to start for every test."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.postgres import Postgres


@pytest.fixture(scope="session")
def postgres() -> "Iterator[Postgres]":
    """A PostgreSQL server, one for all tests of a process."""
    from tests.postgres import running_postgres  # its driver is not there where the oldest frameworks are tested

    with running_postgres() as server:
        yield server
