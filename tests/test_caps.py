"""A hard cap is never passed: in no window, by no interleaving, by no number of processes."""

import sqlite3
from bisect import bisect_right
from contextlib import closing
from datetime import datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from budget_router.budget import Budget
from budget_router.caps import EXPIRES_AFTER, Cap
from budget_router.errors import CapReached, InvalidInput
from budget_router.ids import new_id
from budget_router.memory import MemoryLedger
from budget_router.testing import NOON
from budget_router_sql import SqlLedger

LENGTHS = {"hour": timedelta(hours=1), "day": timedelta(days=1), "month": timedelta(days=31)}


@pytest.fixture(scope="module")
def ledgers(tmp_path_factory, postgres):
    file = f"sqlite:///{tmp_path_factory.mktemp('caps') / 'spend.db'}"
    with SqlLedger(file) as in_file, postgres.ledger() as database, SqlLedger(postgres.url(database)) as on_server:
        yield {"memory": MemoryLedger(), "file": in_file, "server": on_server}


steps = st.lists(
    st.tuples(
        st.sampled_from(["reserve", "claim", "pay", "settle", "vanish", "wait"]),
        st.integers(0, 5),
        st.integers(0, 60),
        st.floats(0, 1),
    ),
    max_size=40,
)


def longest_windows(bills: list[tuple[datetime, int]], length: timedelta) -> int:
    """Most that was billed in any window of this length: one that ends at a bill."""
    times = [at for at, _ in bills]
    sums = [sum(amount for _, amount in bills[bisect_right(times, at - length) : place + 1]) for place, at in enumerate(times)]
    return max(sums, default=0)


def played(caps, cap: Cap, length: timedelta, script) -> list[tuple[datetime, int]]:
    """What a provider bills while workers reserve, call, settle and vanish as they please, and time goes on in leaps."""
    now, bills, calls, prefix = NOON, [], {}, new_id()
    for number, (what, who, amount, share) in enumerate(script):
        decision_id = f"{prefix} {who}"
        open_calls = [call_id for call_id, (of, _) in calls.items() if of == decision_id]
        if what == "wait":
            now += share * (length if amount % 3 else EXPIRES_AFTER)
        elif what in {"reserve", "claim"}:
            call_id = f"{prefix} call {number}"
            try:
                if what == "reserve":
                    caps.reserve(cap, decision_id, amount, now=now)
                else:
                    caps.claim(cap, decision_id, call_id, amount, now=now)
                    calls[call_id] = decision_id, amount
            except CapReached:
                pass
        elif what == "settle":
            caps.settle(decision_id, 0, now=now)
        elif open_calls:
            _, most = calls.pop(open_calls[0])
            billed = round(most * share)
            bills.append((now, billed))
            if what == "pay":
                caps.pay(decision_id, open_calls[0], billed, now=now)
    return bills


@pytest.mark.parametrize(("where", "n_examples"), [("memory", 200), ("file", 30), ("server", 15)])
def test_no_window_ever_passes_the_cap(ledgers, where, n_examples):
    @settings(deadline=None, max_examples=n_examples)
    @given(script=steps, window=st.sampled_from([*LENGTHS, "run", "thread"]), limit=st.integers(1, 150))
    def check(script, window, limit):
        cap = Cap.of(Budget(per_task=1, hard_cap=limit, window=window, group=new_id()), run="run")
        caps = ledgers[where].caps
        length = LENGTHS.get(window, timedelta(days=10_000))
        assert longest_windows(played(caps, cap, LENGTHS.get(window, timedelta(days=1)), script), length) <= limit

    check()


def test_what_a_cap_is_charged_with_can_be_told_again_from_its_book(tmp_path):
    path, cap = tmp_path / "spend.db", Cap.of(Budget(per_task=1, hard_cap=100, window="run"), run="run")
    with SqlLedger(f"sqlite:///{path}") as ledger:
        ledger.caps.reserve(cap, "a", 50, now=NOON)
        ledger.caps.claim(cap, "a", "a1", 20, now=NOON)
        ledger.caps.pay("a", "a1", 7, now=NOON)
        ledger.caps.settle("a", 7, now=NOON)
        ledger.caps.reserve(cap, "b", 30, now=NOON)
    with closing(sqlite3.connect(path)) as connection:
        book = connection.execute("SELECT event, reservation_id, amount FROM cap_events ORDER BY position").fetchall()
        paid = connection.execute("SELECT sum(paid) FROM cap_buckets").fetchone()
        held = connection.execute("SELECT held FROM cap_accounts").fetchone()
    assert book == [("reserved", "a", 50), ("claimed", "a1", 20), ("paid", "a1", 7), ("settled", "a", 0), ("reserved", "b", 30)]
    assert (paid, held) == ((7,), (30,))


# --- what may be capped


@pytest.mark.parametrize(
    ("fields", "match"),
    [
        ({"hard_cap": 100}, "go together"),
        ({"window": "day"}, "go together"),
        ({"hard_cap": 100, "window": "day", "unit": "seconds"}, "cannot be capped"),
        ({"hard_cap": 0.5, "window": "day", "unit": "tokens"}, "whole tokens"),
        ({"hard_cap": 1e-10, "window": "day", "unit": "usd"}, "nano-USD"),
        ({"hard_cap": 1e300, "window": "day"}, "2\\*\\*62"),
        ({"hard_cap": -1, "window": "day"}, "greater than 0"),
        ({"hard_cap": 1, "window": "week"}, "'hour', 'day', 'month', 'run' or 'thread'"),
    ],
)
def test_a_cap_that_cannot_be_kept_is_refused(fields, match):
    with pytest.raises(InvalidInput, match=match):
        Budget(per_task=1, **fields)


def test_a_cap_is_counted_without_a_float_between():
    assert [Budget(per_task=1, unit="usd", hard_cap=cap, window="day").counted_cap for cap in (0.29, 1.1, 200)] == [
        290_000_000,
        1_100_000_000,
        200_000_000_000,
    ]
