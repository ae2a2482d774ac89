"""A real PostgreSQL for tests, and databases on it that are gone when the test is."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql
from sqlalchemy import make_url

from benchmarks.postgres import served
from budget_router_sql import migrate


class Postgres:
    """A server of this process's own, without a port: it listens on a socket in its folder.

    A ledger is migrated once, as a template; each test gets a copy, which takes a twentieth of a second.
    """

    def __init__(self, uri: str) -> None:
        self.uri = uri
        self._numbers = count()
        self._template: str | None = None

    def url(self, database: str, **parts: Any) -> str:
        """Where a database is, for SqlLedger; `parts` of the URL replace the server's own."""
        return make_url(self.uri).set(database=database, **parts).render_as_string(hide_password=False)

    def execute(self, statement: str, *names: str, database: str = "postgres") -> list[tuple[Any, ...]]:
        """Run a statement as the superuser, outside a transaction; each {} is a name."""
        with psycopg.connect(self.url(database), autocommit=True) as connection:
            done = connection.execute(sql.SQL(statement).format(*map(sql.Identifier, names)))
            return done.fetchall() if done.description else []

    def role(self, *, password: str) -> str:
        """Name of a new role that must prove who it is."""
        name = f"role_{next(self._numbers)}"
        self.execute(f"CREATE ROLE {{}} LOGIN PASSWORD '{password}'", name)
        path = Path(self.execute("SHOW hba_file")[0][0])
        path.write_text(f"local all {name} scram-sha-256\n{path.read_text()}")
        self.execute("SELECT pg_reload_conf()")
        _wait_until(lambda: not self._lets_in(name))
        return name

    def _lets_in(self, role: str) -> bool:
        try:
            psycopg.connect(self.url("postgres", username=role, password="wrong")).close()
        except psycopg.OperationalError:
            return False
        return True

    @contextmanager
    def empty(self) -> Iterator[str]:
        """Name of a database with nothing in it."""
        with self._made("CREATE DATABASE {}") as name:
            yield name

    @contextmanager
    def ledger(self) -> Iterator[str]:
        """Name of a database with a new ledger in it."""
        if self._template is None:
            self.execute("CREATE DATABASE template")
            migrate(self.url("template"))
            self._template = "template"
        with self._made("CREATE DATABASE {} TEMPLATE {}", self._template) as name:
            yield name

    @contextmanager
    def _made(self, statement: str, *names: str) -> Iterator[str]:
        name = f"test_{next(self._numbers)}"
        self.execute(statement, name, *names)
        try:
            yield name
        finally:
            self.execute("DROP DATABASE {} WITH (FORCE)", name)


@contextmanager
def running_postgres() -> Iterator[Postgres]:
    """Start a server, and take it down again."""
    with served() as uri:
        postgres = Postgres(uri)
        postgres.execute("ALTER SYSTEM SET fsync = off")  # no test cuts the power
        postgres.execute("SELECT pg_reload_conf()")
        yield postgres


def _wait_until(happened: Callable[[], bool]) -> None:
    end = time.monotonic() + 30
    while not happened():
        assert time.monotonic() < end
        time.sleep(0.01)
