"""Leases in the ledger's database: one row for each taking, of which only the end is ever moved.

A row for each renewal would grow by the heartbeat, and one row for each lease would forget who held it before. So a taking is a
row that stays, renewing moves its `expires_at`, and its end is written once. That two hold a lease at a time is refused by the
database itself: of each name, one row at most has no end. Whoever takes a lease over ends the former row first, under its lock,
so a renewal that comes late finds the end, whatever the clocks say.
"""

from collections.abc import Sequence
from datetime import timedelta

from sqlalchemy import Connection, bindparam, select, update
from sqlalchemy.dialects.postgresql import insert

from budget_router.leases import Tenure
from budget_router_sql.engine import Database
from budget_router_sql.schema import leases

_OF = leases.c.name == bindparam("of")
_TENURES = select(*(leases.c[name] for name in Tenure._fields)).where(_OF)
_LATEST = _TENURES.order_by(leases.c.fence.desc()).limit(1).with_for_update()
_HISTORY = _TENURES.order_by(leases.c.fence)
_BEGUN = insert(leases).on_conflict_do_nothing().returning(leases.c.fence)
_GOING_ON = update(leases).where(_OF, leases.c.fence == bindparam("numbered"), leases.c.ended_at.is_(None))
_CHANGED = _GOING_ON.returning(leases.c.fence)


class SqlLeaseBook:
    """The book of leases; never queued, never spooled: what does not stand there is not held."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def take(self, name: str, *, holder: str, seconds: float) -> tuple[Tenure, bool]:
        """Begin a tenure unless one stands, in one transaction, by the database's clock."""
        with self._database.write() as connection:
            while True:  # each time round, another has taken it
                row = connection.execute(_LATEST, {"of": name}).first()
                latest = None if row is None else Tenure(*row)
                at = self._database.backend.now(connection)  # now that its row is ours
                if latest is not None and latest.stands(at):
                    return latest, False
                if latest is not None:
                    _changed(connection, latest, ended_at=at)
                fence = 1 if latest is None else latest.fence + 1
                tenure = Tenure(name, fence, holder, at, at + timedelta(seconds=seconds))
                if connection.execute(_BEGUN, tenure._asdict()).first() is not None:
                    return tenure, True

    def renew(self, name: str, fence: int, *, seconds: float) -> bool:
        """Let a tenure last so long from now on, unless it has ended; `False` if it has."""
        with self._database.write() as connection:
            until = self._database.backend.now(connection) + timedelta(seconds=seconds)
            renewed = _CHANGED.values(expires_at=until)
            return connection.execute(renewed, {"of": name, "numbered": fence}).first() is not None

    def release(self, name: str, fence: int) -> None:
        """End a tenure; one that has ended stays as it is."""
        with self._database.write() as connection:
            ended = _GOING_ON.values(ended_at=self._database.backend.now(connection))
            connection.execute(ended, {"of": name, "numbered": fence})

    def history(self, name: str) -> Sequence[Tenure]:
        """All tenures of a lease, oldest first."""
        with self._database.read() as connection:
            return [Tenure(*row) for row in connection.execute(_HISTORY, {"of": name})]


def _changed(connection: Connection, tenure: Tenure, **values: object) -> None:
    connection.execute(_GOING_ON.values(values), {"of": tenure.name, "numbered": tenure.fence})
