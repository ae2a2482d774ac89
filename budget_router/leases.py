"""One works at a time: a lease is held by one process of all that share a ledger, and runs out by itself when that one is killed.

A lease is taken by the clock of whoever keeps the book, renewed while the work lasts, and given back at the end. Every taking has
a number of its own, higher than all before it. Once somebody else has taken a lease that had run out, the former number is over
for good: whoever was paused too long finds that out from `Lease.check`, which is asked before results are written. A lease that
ran out, and that nobody took, is renewed as if nothing had been.

Who is paused after the check, and for longer than the lease lasts, still writes. So what is written under a lease should do no
harm if it is written twice, as a policy that is saved as a candidate does none.
"""

import logging
import os
import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import NamedTuple, Protocol

from budget_router.errors import BudgetRouterError, InvalidInput, LeaseHeld, LeaseLost

LEASE_SECONDS = 60.0
"""How long a killed process keeps the others waiting; long beside a stalled database, short beside a night's refresh."""
MAX_LEASE_SECONDS = 86_400.0
"""Nobody waits for longer than a day for one that was killed."""
_RENEWALS = 3
"""In the time that a lease lasts: two may fail."""

_log = logging.getLogger("budget_router")


class Tenure(NamedTuple):
    """One taking of a lease, by the book's clock."""

    name: str
    fence: int
    """Counts the takings of a lease, from 1."""
    holder: str
    taken_at: datetime
    expires_at: datetime
    """When somebody else may take it, unless it is renewed."""
    ended_at: datetime | None = None
    """When it was given back, or taken by the next one; `None` while neither has happened."""

    def stands(self, now: datetime) -> bool:
        """Whether nobody else may take it."""
        return self.ended_at is None and now < self.expires_at


class LeaseBook(Protocol):
    """Where it stands who holds what; raises LedgerUnavailable."""

    def take(self, name: str, *, holder: str, seconds: float) -> tuple[Tenure, bool]:
        """Begin a tenure unless one stands, all at once; answer with the one that stands then, and whether it has just begun.

        A tenure that has run out is ended by the next one.
        """
        ...

    def renew(self, name: str, fence: int, *, seconds: float) -> bool:
        """Let a tenure last so long from now on, unless it has ended; `False` if it has."""
        ...

    def release(self, name: str, fence: int) -> None:
        """End a tenure; one that has ended stays as it is."""
        ...

    def history(self, name: str) -> Sequence[Tenure]:
        """All tenures of a lease, oldest first."""
        ...


class Lease:
    """A lease that this process has taken."""

    def __init__(self, book: LeaseBook, tenure: Tenure, *, seconds: float) -> None:
        self.tenure = tenure
        """As it was taken."""
        self.book = book
        self._seconds = seconds

    def check(self) -> None:
        """Renew the lease, so that what is written now is written under it.

        Raises:
            LeaseLost: somebody else has taken it; what was worked out must not be written.
            LedgerUnavailable: nobody can tell.
        """
        name, fence, holder, taken_at, *_ = self.tenure
        if not self.book.renew(name, fence, seconds=self._seconds):
            raise LeaseLost(
                f"lease {name!r}, taken by {holder} at {taken_at.isoformat(timespec='seconds')}, was not renewed for "
                f"{self._seconds:g} s, and another took it: write nothing, and run again once that one is done; hold it for "
                "longer if this machine was only busy"
            )

    def keep(self, until: threading.Event) -> None:
        """Renew it from time to time until it is over or lost; a book that is away is asked again."""
        while not until.wait(self._seconds / _RENEWALS):
            try:
                self.check()
            except LeaseLost as error:
                _log.warning("%s", error)
                return
            except BudgetRouterError as error:
                _log.warning("lease %r could not be renewed, and is tried again: %s", self.tenure.name, error)


class Leases:
    """All leases of a ledger, by their names."""

    def __init__(self, book: LeaseBook) -> None:
        self._book = book

    @contextmanager
    def hold(self, name: str, *, holder: str | None = None, seconds: float = LEASE_SECONDS) -> Iterator[Lease]:
        """Take a lease, renew it in the background while the work lasts, and give it back.

        Args:
            name: what only one may do at a time.
            holder: who is told to others; this host and process when not given.
            seconds: after which another may take it where this process was killed or paused.

        Raises:
            LeaseHeld: somebody holds it.
            InvalidInput: `seconds` is not above 0 and at most a day.
            LedgerUnavailable: the book cannot be reached.
        """
        if not 0 < seconds <= MAX_LEASE_SECONDS:
            raise InvalidInput(f"a lease of {seconds:g} s cannot be held: give more than 0 and at most {MAX_LEASE_SECONDS:g}")
        tenure, is_new = self._book.take(name, holder=holder or f"{socket.gethostname()}, process {os.getpid()}", seconds=seconds)
        if not is_new:
            raise held_by(tenure)
        lease, is_over = Lease(self._book, tenure, seconds=seconds), threading.Event()
        heart = threading.Thread(target=lease.keep, args=[is_over], name=f"lease {name}", daemon=True)
        heart.start()
        try:
            yield lease
        finally:
            is_over.set()
            heart.join()
            self._release(tenure)

    def history(self, name: str) -> Sequence[Tenure]:
        """Who took a lease, and when it ended, oldest first."""
        return self._book.history(name)

    def _release(self, tenure: Tenure) -> None:
        try:
            self._book.release(tenure.name, tenure.fence)
        except BudgetRouterError as error:  # the work is done; the lease runs out by itself
            _log.warning("lease %r could not be given back, and runs out by itself: %s", tenure.name, error)


def held_by(tenure: Tenure) -> LeaseHeld:
    """Tell who holds a lease, and what to do."""
    since, until = (moment.isoformat(timespec="seconds") for moment in (tenure.taken_at, tenure.expires_at))
    return LeaseHeld(
        f"{tenure.name!r} is being done by {tenure.holder}, since {since}: let it finish; if it was killed, its lease runs out "
        f"at {until}, and whoever comes then takes over",
        holder=tenure.holder,
        since=tenure.taken_at,
        until=tenure.expires_at,
    )
