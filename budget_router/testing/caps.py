"""What every ledger promises of hard caps: nothing is spent that was not set aside, and nothing set aside is lost."""

# ruff: noqa: S101, D103  # an exam asserts, and its names are its sentences

from datetime import timedelta

from budget_router.budget import Budget, Window
from budget_router.caps import EXPIRES_AFTER, Cap
from budget_router.errors import CapReached, InvalidInput
from budget_router.ledger import Ledger
from budget_router.testing.examples import NOON
from budget_router.testing.ledger import N_EACH, N_THREADS, at_once, promise, refuses


def example_cap(limit: int = 100, *, window: Window = "hour", group: str = "support", run: str = "run") -> Cap:
    """A cap in tokens."""
    cap = Cap.of(Budget(per_task=1, hard_cap=limit, window=window, group=group), run=run)
    assert cap is not None
    return cap


CAP = example_cap()


@promise
def what_is_reserved_is_not_given_twice(ledger: Ledger) -> None:
    caps = ledger.caps
    assert caps.left(CAP, now=NOON) == 100
    caps.reserve(CAP, "a", 60, now=NOON)
    refuses(lambda: caps.reserve(CAP, "b", 41, now=NOON), CapReached)
    assert caps.left(CAP, now=NOON) == 40
    caps.reserve(CAP, "b", 40, now=NOON)
    assert caps.left(CAP, now=NOON) == 0


@promise
def a_refusal_says_what_was_asked_what_is_left_and_when_more_comes_free(ledger: Ledger) -> None:
    ledger.caps.reserve(CAP, "a", 60, now=NOON)
    refused = refuses(lambda: ledger.caps.reserve(CAP, "b", 50, now=NOON), CapReached)
    assert (refused.asked, refused.left, refused.free_at) == (50, 40, NOON + EXPIRES_AFTER)
    assert "'support'" in str(refused)
    assert "raise hard_cap" in str(refused)


@promise
def a_decision_reserves_once_and_settles_once(ledger: Ledger) -> None:
    caps = ledger.caps
    for _ in range(2):
        caps.reserve(CAP, "a", 60, now=NOON)
    assert caps.left(CAP, now=NOON) == 40
    for counted in (25, 60):
        caps.settle("a", counted, now=NOON)
    caps.reserve(CAP, "a", 60, now=NOON)
    assert caps.left(CAP, now=NOON) == 75


@promise
def a_call_claims_out_of_its_decision_and_then_out_of_the_cap(ledger: Ledger) -> None:
    caps = ledger.caps
    caps.reserve(CAP, "a", 50, now=NOON)
    for _ in range(2):
        caps.claim(CAP, "a", "a1", 30, now=NOON)
    assert caps.left(CAP, now=NOON) == 50
    caps.claim(CAP, "a", "a2", 60, now=NOON)
    assert caps.left(CAP, now=NOON) == 10
    refuses(lambda: caps.claim(CAP, "a", "a3", 11, now=NOON), CapReached)
    assert caps.left(CAP, now=NOON) == 10


@promise
def what_a_call_did_not_bill_is_free_again(ledger: Ledger) -> None:
    caps = ledger.caps
    caps.reserve(CAP, "a", 50, now=NOON)
    caps.claim(CAP, "a", "a1", 30, now=NOON)
    for counted in (12, 30):
        caps.pay("a", "a1", counted, now=NOON)
    assert caps.left(CAP, now=NOON) == 100 - 20 - 12
    caps.settle("a", 12, now=NOON)
    assert caps.left(CAP, now=NOON) == 100 - 12


@promise
def what_nobody_knows_counts_as_the_most_that_it_may_have_been(ledger: Ledger) -> None:
    caps = ledger.caps
    caps.reserve(CAP, "a", 50, now=NOON)
    caps.claim(CAP, "a", "a1", 30, now=NOON)
    caps.pay("a", "a1", None, now=NOON)
    caps.settle("a", None, now=NOON)
    assert caps.left(CAP, now=NOON) == 50


@promise
def a_call_that_outlives_its_decision_keeps_its_claim(ledger: Ledger) -> None:
    caps = ledger.caps
    caps.reserve(CAP, "a", 50, now=NOON)
    caps.claim(CAP, "a", "late", 30, now=NOON)
    caps.settle("a", 0, now=NOON)
    assert caps.left(CAP, now=NOON) == 70
    caps.pay("a", "late", 9, now=NOON)
    assert caps.left(CAP, now=NOON) == 91


@promise
def what_is_billed_beyond_all_bounds_is_charged_all_the_same(ledger: Ledger) -> None:
    caps = ledger.caps
    caps.reserve(CAP, "a", 50, now=NOON)
    caps.claim(CAP, "a", "a1", 50, now=NOON)
    caps.pay("a", "a1", 130, now=NOON)
    assert caps.left(CAP, now=NOON) == -30
    refuses(lambda: caps.reserve(CAP, "b", 1, now=NOON), CapReached)


@promise
def a_call_that_nobody_claimed_is_paid_out_of_its_decision(ledger: Ledger) -> None:
    caps = ledger.caps
    caps.reserve(CAP, "a", 50, now=NOON)
    caps.pay("a", "a1", 20, now=NOON)
    assert caps.left(CAP, now=NOON) == 50
    caps.settle("a", 20, now=NOON)
    assert caps.left(CAP, now=NOON) == 80


@promise
def a_decision_that_reserved_nothing_is_charged_nothing(ledger: Ledger) -> None:
    ledger.caps.pay("unknown", "call", 20, now=NOON)
    ledger.caps.settle("unknown", 20, now=NOON)
    assert ledger.caps.left(CAP, now=NOON) == 100


@promise
def what_vanishes_frees_what_it_never_called_for(ledger: Ledger) -> None:
    caps = ledger.caps
    caps.reserve(CAP, "a", 50, now=NOON)
    caps.claim(CAP, "a", "open", 20, now=NOON + timedelta(minutes=5))
    caps.claim(CAP, "a", "paid", 10, now=NOON + timedelta(minutes=5))
    caps.pay("a", "paid", 4, now=NOON + timedelta(minutes=5))
    assert caps.left(CAP, now=NOON + EXPIRES_AFTER) == 100 - 20 - 20 - 4  # a call renews it
    late = NOON + timedelta(minutes=5) + EXPIRES_AFTER
    assert caps.left(CAP, now=late) == 100 - 20 - 4
    caps.pay("a", "open", 1, now=late)
    caps.settle("a", 24, now=late)
    assert caps.left(CAP, now=late) == 100 - 20 - 4


@promise
def what_expired_and_was_billed_after_all_is_charged(ledger: Ledger) -> None:
    ledger.caps.reserve(CAP, "a", 50, now=NOON)
    assert ledger.caps.left(CAP, now=NOON + EXPIRES_AFTER) == 100
    ledger.caps.settle("a", 30, now=NOON + EXPIRES_AFTER)
    assert ledger.caps.left(CAP, now=NOON + EXPIRES_AFTER) == 70


@promise
def a_bill_leaves_its_window_and_not_before(ledger: Ledger) -> None:
    lengths: list[tuple[Window, timedelta]] = [
        ("hour", timedelta(hours=1)),
        ("day", timedelta(days=1)),
        ("month", timedelta(days=31)),
    ]
    for window, length in lengths:
        cap = example_cap(window=window)
        ledger.caps.reserve(cap, window, 50, now=NOON)
        ledger.caps.settle(window, 50, now=NOON)
        assert ledger.caps.left(cap, now=NOON + length) == 50
        assert ledger.caps.left(cap, now=NOON + length * 1.02) == 100


@promise
def time_does_not_go_back_for_a_cap(ledger: Ledger) -> None:
    ledger.caps.left(CAP, now=NOON + timedelta(minutes=90))
    ledger.caps.reserve(CAP, "a", 50, now=NOON)
    ledger.caps.settle("a", 50, now=NOON)
    assert ledger.caps.left(CAP, now=NOON + timedelta(minutes=140)) == 50


@promise
def runs_groups_and_windows_are_apart(ledger: Ledger) -> None:
    apart = [example_cap(window="run", run="one"), example_cap(window="run", run="two"), CAP, example_cap(group="sales")]
    for number, cap in enumerate(apart):
        ledger.caps.reserve(cap, f"{number}", 90, now=NOON)
        ledger.caps.settle(f"{number}", 80, now=NOON)
    assert [ledger.caps.left(cap, now=NOON) for cap in apart] == [20] * 4
    assert ledger.caps.left(apart[0], now=NOON + timedelta(days=1000)) == 20


@promise
def counts_that_are_none_are_refused(ledger: Ledger) -> None:
    for wrong in (-1, 2**62):
        refuses(lambda wrong=wrong: ledger.caps.reserve(CAP, "a", wrong), InvalidInput)  # type: ignore[misc]  # an int
    ledger.caps.reserve(CAP, "a", 0)
    assert ledger.caps.left(CAP) == 100


@promise
def threads_that_hammer_one_cap_never_pass_it(ledger: Ledger) -> None:
    limit = N_THREADS * N_EACH * 2
    cap = example_cap(limit)

    def work(thread: int) -> int:
        billed = 0
        for step in range(N_EACH):
            name = f"{thread}-{step}"
            try:
                ledger.caps.reserve(cap, name, 7, now=NOON)
                ledger.caps.claim(cap, name, f"{name} call", 9, now=NOON)
            except CapReached:
                ledger.caps.settle(name, 0, now=NOON)
                continue
            billed += 5
            ledger.caps.pay(name, f"{name} call", 5, now=NOON)
            ledger.caps.settle(name, 5, now=NOON)
        return billed

    billed = sum(at_once(work))
    assert limit - 9 * N_THREADS < billed <= limit
    assert ledger.caps.left(cap, now=NOON) == limit - billed
