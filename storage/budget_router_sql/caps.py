"""Accounts of hard caps in the ledger's database: whoever touches one holds its row, or the whole file, until all is written."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any, TypeVar

from sqlalchemy import Connection, Insert, bindparam, func, insert, select, update
from sqlalchemy.dialects.postgresql import insert as insert_or
from sqlalchemy.exc import DBAPIError

from budget_router.caps import Event, Reservation, Shelf
from budget_router.errors import LedgerUnavailable
from budget_router_sql.engine import Database
from budget_router_sql.schema import cap_accounts, cap_buckets, cap_events, cap_reservations

N_ATTEMPTS = 5
"""At a piece of work in whose way another writer gets."""
_BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)

T = TypeVar("T")

_ACCOUNT = select(cap_accounts.c.held, cap_accounts.c.latest).where(cap_accounts.c.account == bindparam("of"))
_NEW_ACCOUNT = insert_or(cap_accounts).on_conflict_do_nothing(index_elements=["account"])
_TOUCHED = update(cap_accounts).where(cap_accounts.c.account == bindparam("of"))
_RESERVATION = select(*[cap_reservations.c[name] for name in Reservation._fields])
_BY_ID = _RESERVATION.where(cap_reservations.c.id == bindparam("of"))
_PAID_BY = select(func.coalesce(func.sum(cap_reservations.c.paid), 0)).where(cap_reservations.c.decision_id == bindparam("of"))
_OPEN = (cap_reservations.c.account == bindparam("of"), cap_reservations.c.state == "open")
_OVERDUE = (
    _RESERVATION.where(*_OPEN, cap_reservations.c.expires_at <= bindparam("now", type_=cap_reservations.c.expires_at.type))
).order_by(cap_reservations.c.expires_at)
_NEXT_EXPIRY = select(func.min(cap_reservations.c.expires_at)).where(*_OPEN)
_CHANGED = update(cap_reservations).where(cap_reservations.c.id == bindparam("of"))
_SINCE = (cap_buckets.c.account == bindparam("of"), cap_buckets.c.bucket >= bindparam("since"))
_PAID_SINCE = select(func.coalesce(func.sum(cap_buckets.c.paid), 0)).where(*_SINCE)
_OLDEST_SINCE = select(func.min(cap_buckets.c.bucket)).where(*_SINCE)
_PAY = insert_or(cap_buckets)
_PAID: Insert = _PAY.on_conflict_do_update(
    index_elements=["account", "bucket"], set_={"paid": cap_buckets.c.paid + _PAY.excluded.paid}
)
_NOTED = insert(cap_events)
_KEPT = insert(cap_reservations)


class SqlShelf:
    """One account while its row is locked."""

    def __init__(self, connection: Connection, account: str, now: Callable[[], datetime]) -> None:
        self._connection = connection
        self._account = account
        self._known: dict[str, Reservation | None] = {}
        self.now = now
        row = connection.execute(_ACCOUNT.with_for_update(), {"of": account}).first()
        if row is None:
            connection.execute(_NEW_ACCOUNT, {"account": account, "held": 0, "latest": _BEGINNING})
            row = connection.execute(_ACCOUNT.with_for_update(), {"of": account}).one()
        self.held: int = row.held
        self.latest: datetime = row.latest

    def find(self, reservation_id: str) -> Reservation | None:
        """What stands under an id."""
        if reservation_id not in self._known:
            self._known[reservation_id] = found(self._connection, reservation_id)
        return self._known[reservation_id]

    def paid_by(self, decision_id: str) -> int:
        """What a decision and its calls have paid so far."""
        return int(self._connection.execute(_PAID_BY, {"of": decision_id}).scalar_one())

    def overdue(self, now: datetime) -> Sequence[Reservation]:
        """Open reservations that end at `now` or before, the first of them first."""
        rows = self._connection.execute(_OVERDUE, {"of": self._account, "now": now}).all()
        overdue = [Reservation(*row) for row in rows]
        self._known |= {one.id: one for one in overdue}
        return overdue

    def next_expiry(self) -> datetime | None:
        """When the first open reservation ends by itself."""
        return self._connection.execute(_NEXT_EXPIRY, {"of": self._account}).scalar()

    def keep(self, reservation: Reservation) -> None:
        """Put a reservation down under its id, in the place of what stands there."""
        row = reservation._asdict()
        if self.find(reservation.id) is None:
            self._connection.execute(_KEPT, row)
        else:
            changed = {name: row[name] for name in ("state", "amount", "paid", "expires_at")}
            self._connection.execute(_CHANGED, {"of": reservation.id, **changed})
        self._known[reservation.id] = reservation

    def paid_since(self, bucket: int) -> int:
        """What was paid into this bucket and all later ones."""
        return int(self._connection.execute(_PAID_SINCE, {"of": self._account, "since": bucket}).scalar_one())

    def oldest_since(self, bucket: int) -> int | None:
        """The first bucket from this one on that anything was paid into."""
        return self._connection.execute(_OLDEST_SINCE, {"of": self._account, "since": bucket}).scalar()

    def pay(self, bucket: int, amount: int) -> None:
        """Add to a bucket."""
        self._connection.execute(_PAID, {"account": self._account, "bucket": bucket, "paid": amount})

    def note(self, event: Event, reservation: Reservation, amount: int, at: datetime) -> None:
        """Write into the book of record."""
        facts = {"reservation_id": reservation.id, "decision_id": reservation.decision_id, "account": reservation.account}
        self._connection.execute(_NOTED, {"event": event, "amount": amount, "at": at, **facts})

    def close(self) -> None:
        """Write what the account is charged with now."""
        self._connection.execute(_TOUCHED, {"of": self._account, "held": self.held, "latest": self.latest})


class SqlShelves:
    """All accounts of a ledger's database; never queued, never spooled: what does not stand there is not set aside."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def within(self, account: str, work: Callable[[Shelf], T]) -> T:
        """Do something with an account in one transaction; one that another writer got in the way of is done again."""
        for _ in range(N_ATTEMPTS - 1):
            try:
                return self._done(account, work)
            except LedgerUnavailable as error:
                if not (isinstance(error.__cause__, DBAPIError) and self._database.backend.is_passing(error.__cause__)):
                    raise
        return self._done(account, work)

    def find(self, reservation_id: str) -> Reservation | None:
        """What stood under an id a moment ago."""
        with self._database.read() as connection:
            return found(connection, reservation_id)

    def _done(self, account: str, work: Callable[[Shelf], T]) -> T:
        with self._database.write() as connection:
            shelf = SqlShelf(connection, account, lambda: self._database.backend.now(connection))
            done = work(shelf)
            shelf.close()
            return done


def found(connection: Connection, reservation_id: str) -> Reservation | None:
    """The reservation of an id."""
    row: Any = connection.execute(_BY_ID, {"of": reservation_id}).first()  # Any: a row of many columns
    return None if row is None else Reservation(*row)
