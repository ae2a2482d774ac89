"""What every ledger promises of leases: one works at a time, and whoever lost a lease finds out."""

# ruff: noqa: S101, D103  # an exam asserts, and its names are its sentences

import time
from functools import partial
from threading import Barrier

from budget_router.errors import InvalidInput, LeaseHeld, LeaseLost
from budget_router.leases import Lease
from budget_router.ledger import Ledger
from budget_router.testing.ledger import N_THREADS, at_once, promise, refuses

SHORT = 0.15
"""Seconds of a lease that is to be renewed, or to run out."""


def _take(ledger: Ledger, name: str = "work", *, holder: str = "one", seconds: float = 60.0) -> None:
    with ledger.leases.hold(name, holder=holder, seconds=seconds):
        pass


def _abandoned(ledger: Ledger, *, holder: str = "killed") -> Lease:
    """A lease whose holder does not renew it any more, and that has run out."""
    with ledger.leases.hold("work", holder=holder, seconds=SHORT) as lease:
        book = lease.book
    tenure, is_new = book.take("work", holder=holder, seconds=SHORT)
    assert is_new
    time.sleep(1.5 * SHORT)
    return Lease(book, tenure, seconds=SHORT)


@promise
def a_lease_that_is_held_is_refused_and_says_by_whom(ledger: Ledger) -> None:
    with ledger.leases.hold("work", holder="one") as lease:
        refusal = refuses(lambda: _take(ledger, holder="other"), LeaseHeld)
        assert "'work'" in str(refusal)
        assert "one" in str(refusal)
        assert refusal.holder == "one"
        assert refusal.since == lease.tenure.taken_at < refusal.until
        _take(ledger, "other work", holder="other")
        lease.check()


@promise
def a_lease_is_free_once_the_work_is_done_or_has_failed(ledger: Ledger) -> None:
    _take(ledger, holder="one")
    failure = None
    try:
        with ledger.leases.hold("work", holder="other"):
            raise ZeroDivisionError
    except ZeroDivisionError as error:
        failure = error
    assert failure is not None
    _take(ledger, holder="third")


@promise
def who_took_a_lease_stays_visible(ledger: Ledger) -> None:
    for holder in ("one", "other"):
        _take(ledger, holder=holder)
    with ledger.leases.hold("work", holder="third"):
        past = ledger.leases.history("work")
    assert [(tenure.fence, tenure.holder, tenure.ended_at is None) for tenure in past] == [
        (1, "one", False),
        (2, "other", False),
        (3, "third", True),
    ]
    assert all(tenure.ended_at and tenure.taken_at <= tenure.ended_at < tenure.expires_at for tenure in past[:2])
    assert list(ledger.leases.history("unknown")) == []


@promise
def a_lease_is_renewed_for_as_long_as_the_work_lasts(ledger: Ledger) -> None:
    with ledger.leases.hold("work", holder="one", seconds=4 * SHORT) as lease:
        time.sleep(8 * SHORT)
        refuses(lambda: _take(ledger, holder="other"), LeaseHeld)
        lease.check()


@promise
def a_lease_that_nobody_renews_runs_out(ledger: Ledger) -> None:
    _abandoned(ledger)
    with ledger.leases.hold("work", holder="next") as lease:
        assert lease.tenure.fence == 3
    assert [tenure.holder for tenure in ledger.leases.history("work")] == ["killed", "killed", "next"]


@promise
def who_lost_a_lease_finds_out_and_harms_nobody(ledger: Ledger) -> None:
    lost = _abandoned(ledger, holder="paused")
    with ledger.leases.hold("work", holder="next") as lease:
        refuses(lost.check, LeaseLost)
        lost.book.release("work", lost.tenure.fence)
        refuses(lambda: _take(ledger, holder="third"), LeaseHeld)
        lease.check()
    refuses(lost.check, LeaseLost)


@promise
def a_lease_that_ran_out_and_that_nobody_took_goes_on(ledger: Ledger) -> None:
    late = _abandoned(ledger, holder="paused")
    late.check()
    refuses(lambda: _take(ledger, holder="other", seconds=SHORT), LeaseHeld)


@promise
def of_threads_that_take_a_lease_at_once_one_holds_it(ledger: Ledger) -> None:
    all_tried = Barrier(N_THREADS)

    def work(thread: int) -> bool:
        try:
            with ledger.leases.hold("work", holder=f"thread {thread}"):
                all_tried.wait()
                return True
        except LeaseHeld:
            all_tried.wait()
            return False

    for n_times in (1, 2):
        assert sum(at_once(work)) == 1
        assert len(ledger.leases.history("work")) == n_times


@promise
def a_lease_lasts_for_some_time_and_not_for_ever(ledger: Ledger) -> None:
    for seconds in (0.0, -1.0, float("nan"), float("inf"), 86_401.0):
        refuses(partial(_take, ledger, seconds=seconds), InvalidInput)
    assert list(ledger.leases.history("work")) == []
