"""Parts of a ledger, for other processes to read: each opens the database for itself, and writes nothing there."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from hashlib import sha256

from sqlalchemy import select

from budget_router.errors import ForeignLedger
from budget_router.evidence import Evidence
from budget_router_sql.backend import Backend, backend_of
from budget_router_sql.engine import BUSY_SECONDS, Database
from budget_router_sql.evidence import settled
from budget_router_sql.hashed_text import HashedText
from budget_router_sql.migrate import standing_revision
from budget_router_sql.on_sqlite import Sqlite
from budget_router_sql.reading import Window
from budget_router_sql.schema import REVISION, meta


@dataclass(frozen=True)
class SqlPart:
    """Decisions of one window of a ledger."""

    url: str = field(repr=False)
    """With its password."""
    mark: str
    """Tells ledgers apart."""
    window: Window

    def evidence(self) -> Iterator[Evidence]:
        """What the settled ones tell, oldest first; raises ForeignLedger where the URL leads this process to something else."""
        backend = backend_of(self.url)
        if isinstance(backend, Sqlite) and backend.file is not None and not backend.file.exists():
            raise self._astray(backend)  # opened, there would be one
        database = Database(backend, durability="committed", busy_seconds=BUSY_SECONDS)
        try:
            if standing_revision(backend, busy_seconds=BUSY_SECONDS) != REVISION:
                raise self._astray(backend)
            with database.read() as connection:
                salt = connection.execute(select(meta.c.value).where(meta.c.key == "salt")).scalar_one()
            if mark_of(salt) != self.mark:
                raise self._astray(backend)
            yield from settled(database, HashedText(salt), self.window)
        finally:
            database.close()

    def _astray(self, backend: Backend) -> ForeignLedger:
        return ForeignLedger(
            f"{backend.shown_url} leads a worker to another ledger, or to none: name a server, or a file in a folder that all "
            "workers have"
        )


def mark_of(salt: str) -> str:
    """Tells a ledger from others, and nothing of its secret."""
    return sha256(f"mark of {salt}".encode()).hexdigest()[:16]
