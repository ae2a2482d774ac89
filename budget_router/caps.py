"""Hard caps: the most that may be billed within a window is kept by setting it aside before anything is paid.

What a decision may cost at most is *reserved*. A call *claims* its own most out of that, or out of what the cap has left; once it
ends, what it billed is *paid* into the bucket of that moment, and the rest of its claim is free again. A decision *settles*, and
what it had reserved beyond is free. So at any moment a cap is charged with all that is set aside, whenever that was, and with all
that was paid within the window, the whole bucket in which the window begins included.

Therefore no window passes the cap. Take what was billed in any window, and the last moment at or before its end at which a part
of it was set aside. Then each other part was either still set aside, or paid within the window, and what was charged fitted.

Who vanishes frees nothing at once: what was reserved comes free when it expires, and a claim that nobody ended is taken for
billed in full. The thinking is written once, for every place where the rows are kept (`Shelves`).
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal, NamedTuple, Protocol, TypeVar

from budget_router.budget import Budget, Unit, Window
from budget_router.errors import CapReached, InvalidInput
from budget_router.records import usd

EXPIRES_AFTER = timedelta(minutes=15)
"""Time from a decision's last call to its reservation's end, where nobody settles it; beyond the longest call."""

ENDLESS: frozenset[Window] = frozenset({"run", "thread"})
"""Windows without a length: each run, or thread, has an account of its own, and what it paid stays charged."""
_WINDOWS: dict[Window, tuple[timedelta, timedelta]] = {
    "hour": (timedelta(hours=1), timedelta(minutes=1)),
    "day": (timedelta(days=1), timedelta(minutes=15)),
    "month": (timedelta(days=31), timedelta(hours=6)),
}
"""Length of each window, and of its buckets: as many as make the last one small beside the whole."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

Event = Literal["reserved", "claimed", "paid", "settled", "expired"]
T = TypeVar("T")


class Cap(NamedTuple):
    """One account that is capped."""

    account: str
    """Whose it is: group, unit and window, and the thread or run where the cap is of one."""
    limit: int
    """In whole tokens or nano-USD, as is all that is charged."""
    unit: Unit
    window: Window
    group: str | None

    @classmethod
    def of(cls, budget: Budget, *, run: str) -> "Cap | None":
        """The cap of a budget; `run` names the thread or run that a decision is part of."""
        if budget.counted_cap is None or budget.window is None:
            return None
        whose = [budget.group, budget.unit, budget.window, *([run] if budget.window in ENDLESS else [])]
        account = json.dumps(whose, ensure_ascii=False)
        return cls(account, budget.counted_cap, budget.unit, budget.window, budget.group)

    def shown(self, counted: int) -> str:
        """What was counted, with its unit."""
        return f"{usd(counted):g} usd" if self.unit == "usd" else f"{counted:,} {self.unit.replace('_', ' ')}"


class Reservation(NamedTuple):
    """What is set aside under one id: for a decision as a whole, or for a call of it."""

    id: str
    decision_id: str
    account: str
    window: Window
    is_call: bool
    state: Literal["open", "expired", "over"]
    amount: int
    """Set aside now; zero once it is not open any more."""
    paid: int
    expires_at: datetime


class Shelf(Protocol):
    """The rows of one account, for as long as nobody else may touch them; all of it is kept, or nothing."""

    held: int
    """Sum of all that is set aside."""
    latest: datetime
    """Latest moment at which it was touched: time goes on, whatever a clock says."""

    def now(self) -> datetime:
        """The present moment, by the one clock that all who share the account go by."""
        ...

    def find(self, reservation_id: str) -> Reservation | None:
        """What stands under an id."""
        ...

    def paid_by(self, decision_id: str) -> int:
        """What a decision and its calls have paid so far."""
        ...

    def overdue(self, now: datetime) -> Sequence[Reservation]:
        """Open reservations that end at `now` or before, the first of them first."""
        ...

    def next_expiry(self) -> datetime | None:
        """When the first open reservation ends by itself."""
        ...

    def keep(self, reservation: Reservation) -> None:
        """Put a reservation down under its id, in the place of what stands there."""
        ...

    def paid_since(self, bucket: int) -> int:
        """What was paid into this bucket and all later ones."""
        ...

    def oldest_since(self, bucket: int) -> int | None:
        """The first bucket from this one on that anything was paid into."""
        ...

    def pay(self, bucket: int, amount: int) -> None:
        """Add to a bucket."""
        ...

    def note(self, event: Event, reservation: Reservation, amount: int, at: datetime) -> None:
        """Write into the book of record, where nothing is ever changed."""
        ...


class Shelves(Protocol):
    """Where accounts are kept; raises LedgerUnavailable."""

    def within(self, account: str, work: Callable[[Shelf], T]) -> T:
        """Do something with an account while nobody else may touch it; it may be done again from the start."""
        ...

    def find(self, reservation_id: str) -> Reservation | None:
        """What stood under an id a moment ago."""
        ...


@dataclass(frozen=True)
class Caps:
    """The caps of one ledger. Every method may raise LedgerUnavailable, and is idempotent by the ids that it is given.

    `now` is for those who keep the time themselves; all who share a cap then have to go by the same clock.
    """

    shelves: Shelves
    expires_after: timedelta = EXPIRES_AFTER

    def reserve(self, cap: Cap, decision_id: str, most: int, *, now: datetime | None = None) -> None:
        """Set aside the most that a decision may cost; raises CapReached when what is left does not suffice."""
        _check_count(most)

        def work(shelf: Shelf) -> CapReached | None:
            moment = self._begun(shelf, now)
            if shelf.find(decision_id):
                return None
            wanted = Reservation(decision_id, decision_id, cap.account, cap.window, False, "open", most, 0, moment)
            return self._set_aside(shelf, cap, wanted, most, moment, event="reserved")

        _raise(self.shelves.within(cap.account, work))

    def claim(self, cap: Cap, decision_id: str, call_id: str, most: int, *, now: datetime | None = None) -> None:
        """Set aside the most that a call may cost, out of its decision's reservation first.

        Raises CapReached when that and what is left of the cap do not suffice: the call must not be made.
        """
        _check_count(most)

        def work(shelf: Shelf) -> CapReached | None:
            moment = self._begun(shelf, now)
            if shelf.find(call_id):
                return None
            whole = shelf.find(decision_id)
            reserved = min(whole.amount, most) if whole else 0
            wanted = Reservation(call_id, decision_id, cap.account, cap.window, True, "open", most, 0, moment)
            refused = self._set_aside(shelf, cap, wanted, most - reserved, moment, event="claimed")
            if whole and whole.state == "open" and refused is None:
                shelf.keep(whole._replace(amount=whole.amount - reserved, expires_at=moment + self.expires_after))
            return refused

        _raise(self.shelves.within(cap.account, work))

    def pay(self, decision_id: str, call_id: str, counted: int | None, *, now: datetime | None = None) -> None:
        """End a call's claim with what it billed; `None`, as where a price is unknown, counts as the most that it may have.

        What was never claimed is taken out of the decision's reservation. A decision that reserved nothing pays nothing.
        """
        decided = self.shelves.find(decision_id) or self.shelves.find(call_id)
        if decided is None:
            return

        def work(shelf: Shelf) -> None:
            moment = self._begun(shelf, now)
            claim, whole = shelf.find(call_id), shelf.find(decision_id)
            if claim is None and whole is not None:
                amount = whole.amount if counted is None else min(counted, whole.amount)
                claim = whole._replace(id=call_id, is_call=True, state="open", amount=amount, paid=0)
                shelf.keep(whole._replace(amount=whole.amount - amount))
            if claim is not None and claim.state == "open":
                self._end(shelf, claim, claim.amount if counted is None else counted, moment, event="paid")

        self.shelves.within(decided.account, work)

    def settle(self, decision_id: str, counted: int | None, *, now: datetime | None = None) -> None:
        """End a decision's reservation with all that it billed; what its calls have paid is not paid twice.

        A call that is still under way keeps its claim until it is paid. `None` counts as all that is still reserved.
        """
        decided = self.shelves.find(decision_id)
        if decided is None or decided.state == "over":
            return

        def work(shelf: Shelf) -> None:
            moment = self._begun(shelf, now)
            whole = shelf.find(decision_id)
            if whole is not None and whole.state != "over":
                unpaid = whole.amount if counted is None else max(counted - shelf.paid_by(decision_id), 0)
                self._end(shelf, whole, unpaid, moment, event="settled")

        self.shelves.within(decided.account, work)

    def left(self, cap: Cap, *, now: datetime | None = None) -> int:
        """What may still be set aside."""

        def work(shelf: Shelf) -> int:
            return _left(shelf, cap, self._begun(shelf, now))

        return self.shelves.within(cap.account, work)

    def _begun(self, shelf: Shelf, now: datetime | None) -> datetime:
        """Bring an account up to the present moment."""
        shelf.latest = moment = max(shelf.latest, now or shelf.now())
        for one in shelf.overdue(moment):
            self._end(shelf, one, one.amount if one.is_call else 0, moment, event="expired")
        return moment

    def _set_aside(
        self, shelf: Shelf, cap: Cap, wanted: Reservation, more: int, moment: datetime, *, event: Event
    ) -> CapReached | None:
        """Keep a reservation if the cap has so much more left for it."""
        left = _left(shelf, cap, moment)
        if more > max(left, 0):
            return _refusal(shelf, cap, more, left, moment)
        shelf.held += more
        shelf.keep(wanted._replace(expires_at=moment + self.expires_after))
        shelf.note(event, wanted, wanted.amount, moment)
        return None

    def _end(self, shelf: Shelf, one: Reservation, paid: int, moment: datetime, *, event: Event) -> None:
        shelf.held -= one.amount
        if paid:
            shelf.pay(_bucket(one.window, moment), paid)
        state: Literal["expired", "over"] = "expired" if event == "expired" else "over"
        shelf.keep(one._replace(state=state, amount=0, paid=one.paid + paid))
        shelf.note(event, one, paid, moment)


def _left(shelf: Shelf, cap: Cap, moment: datetime) -> int:
    return cap.limit - shelf.held - shelf.paid_since(_first_bucket(cap.window, moment))


def _refusal(shelf: Shelf, cap: Cap, asked: int, left: int, moment: datetime) -> CapReached:
    expiry, oldest = shelf.next_expiry(), shelf.oldest_since(_first_bucket(cap.window, moment))
    leaves = None
    if oldest is not None and cap.window not in ENDLESS:
        length, size = _WINDOWS[cap.window]
        leaves = _EPOCH + size * (oldest + 1) + length
    free_at = min((time for time in (expiry, leaves) if time is not None), default=None)
    of = f"group {cap.group!r}" if cap.group else "the budget"
    more = f", more comes free by {free_at:%Y-%m-%d %H:%M:%S} UTC" if free_at else ""
    return CapReached(
        f"{of} has {cap.shown(max(left, 0))} left of its cap of {cap.shown(cap.limit)} per {cap.window}, and this may cost "
        f"{cap.shown(asked)}{more}: wait, raise hard_cap, or lower max_tokens and the number of samples",
        asked=asked,
        left=left,
        free_at=free_at,
    )


def _bucket(window: Window, moment: datetime) -> int:
    return 0 if window in ENDLESS else (moment - _EPOCH) // _WINDOWS[window][1]


def _first_bucket(window: Window, moment: datetime) -> int:
    """The one in which the window that ends at this moment begins."""
    return 0 if window in ENDLESS else _bucket(window, moment - _WINDOWS[window][0])


def _check_count(most: int) -> None:
    if not 0 <= most < 2**62:
        raise InvalidInput(f"{most} are to be set aside: caps are counted in whole tokens or nano-USD, from 0 up to 2**62")


def _raise(refused: CapReached | None) -> None:
    if refused is not None:
        raise refused
