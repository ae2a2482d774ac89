"""Accounts of hard caps in plain dicts: those of one process, gone with it."""

import threading
from collections import defaultdict
from collections.abc import Callable
from datetime import UTC, datetime
from typing import NamedTuple, TypeVar

from budget_router.caps import Event, Reservation, Shelf
from budget_router.records import now

T = TypeVar("T")


class Noted(NamedTuple):
    """A line of the book of record."""

    event: Event
    reservation_id: str
    amount: int
    at: datetime


class MemoryShelf:
    """One account; only opened reservations stand in `open`, so that what is over costs nothing."""

    def __init__(self, everywhere: dict[str, Reservation], paid: dict[str, int]) -> None:
        self.held = 0
        self.latest = datetime.min.replace(tzinfo=UTC)
        self.book: list[Noted] = []
        self._everywhere = everywhere
        self._paid = paid
        self._open: dict[str, Reservation] = {}
        self._buckets: dict[int, int] = defaultdict(int)

    def now(self) -> datetime:
        """The machine's time."""
        return now()

    def find(self, reservation_id: str) -> Reservation | None:
        """What stands under an id."""
        return self._everywhere.get(reservation_id)

    def paid_by(self, decision_id: str) -> int:
        """What a decision and its calls have paid so far."""
        return self._paid[decision_id]

    def overdue(self, now: datetime) -> list[Reservation]:
        """Open reservations that end at `now` or before, the first of them first."""
        return sorted((one for one in self._open.values() if one.expires_at <= now), key=lambda one: one.expires_at)

    def next_expiry(self) -> datetime | None:
        """When the first open reservation ends by itself."""
        return min((one.expires_at for one in self._open.values()), default=None)

    def keep(self, reservation: Reservation) -> None:
        """Put a reservation down under its id, in the place of what stands there."""
        before = self._everywhere.get(reservation.id)
        self._paid[reservation.decision_id] += reservation.paid - (before.paid if before else 0)
        self._everywhere[reservation.id] = reservation
        if reservation.state == "open":
            self._open[reservation.id] = reservation
        else:
            self._open.pop(reservation.id, None)

    def paid_since(self, bucket: int) -> int:
        """What was paid into this bucket and all later ones."""
        for place in [place for place in self._buckets if place < bucket]:  # of no window that is yet to come
            del self._buckets[place]
        return sum(self._buckets.values())

    def oldest_since(self, bucket: int) -> int | None:
        """The first bucket from this one on that anything was paid into."""
        return min((place for place in self._buckets if place >= bucket), default=None)

    def pay(self, bucket: int, amount: int) -> None:
        """Add to a bucket."""
        self._buckets[bucket] += amount

    def note(self, event: Event, reservation: Reservation, amount: int, at: datetime) -> None:
        """Write into the book of record."""
        self.book.append(Noted(event, reservation.id, amount, at))


class MemoryShelves:
    """All accounts, under one lock."""

    def __init__(self) -> None:
        self._reservations: dict[str, Reservation] = {}
        self._paid: dict[str, int] = defaultdict(int)
        self._accounts: dict[str, MemoryShelf] = {}
        self._lock = threading.Lock()

    def within(self, account: str, work: Callable[[Shelf], T]) -> T:
        """Do something with an account while nobody else may touch it."""
        with self._lock:
            shelf = self._accounts.setdefault(account, MemoryShelf(self._reservations, self._paid))
            return work(shelf)

    def find(self, reservation_id: str) -> Reservation | None:
        """What stood under an id a moment ago."""
        return self._reservations.get(reservation_id)
