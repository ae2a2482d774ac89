"""The audit proves what hard caps are charged with by their book, and names what was set aside and never settled."""

from datetime import timedelta

import pytest
from hypothesis import example, given, settings

from budget_router.budget import Budget
from budget_router.caps import EXPIRES_AFTER, Cap
from budget_router.ids import new_id
from budget_router.records import now
from budget_router_sql import SqlLedger, audit
from tests.test_books_audit import Books
from tests.test_caps import LENGTHS, played, steps


@pytest.fixture(params=["file", "server"])
def books(request, tmp_path):
    if request.param == "file":
        made = Books(f"sqlite:///{tmp_path / 'spend.db'}")
        yield made
        made.ledger.close()
        return
    postgres = request.getfixturevalue("postgres")
    with postgres.ledger() as database:
        made = Books(postgres.url(database))
        yield made
        made.ledger.close()


def capped(limit=100, window="day"):
    return Cap.of(Budget(per_task=1, hard_cap=limit, window=window), run="run")


def worked(caps, *, at=None):
    """One decision that is over, one whose call is under way, one that has reserved alone."""
    at = at or now()
    for name in ("over", "calling", "reserved"):
        caps.reserve(capped(), name, 30, now=at)
    for name in ("over", "calling"):
        caps.claim(capped(), name, f"{name}-call", 20, now=at)
    caps.pay("over", "over-call", 7, now=at)
    caps.settle("over", 9, now=at)


def found(books):
    return {one.kind: one.names for one in audit(books.ledger).findings if "cap" in one.kind or "reservation" in one.kind}


def test_counters_that_the_book_adds_up_to_hold(books):
    worked(books.ledger.caps)
    assert found(books) == {}
    assert audit(books.ledger).holds


@pytest.mark.parametrize(
    ("statement", "names"),
    [
        ("UPDATE cap_accounts SET held = held - 1", 1),
        ("UPDATE cap_buckets SET paid = paid + 1", 1),
        ("DELETE FROM cap_buckets", 1),
        ("UPDATE cap_reservations SET amount = 1 WHERE id = 'reserved'", ("reserved",)),
        ("UPDATE cap_reservations SET paid = 0 WHERE id = 'over-call'", ("over-call",)),
        ("DELETE FROM cap_reservations WHERE id = 'calling-call'", ("calling-call",)),
        ("DELETE FROM cap_events WHERE event = 'claimed' AND reservation_id = 'calling-call'", ("calling", "calling-call")),
        ("UPDATE cap_events SET amount = 8 WHERE event = 'paid'", 2),
    ],
)
def test_a_counter_that_somebody_turned_is_named(books, statement, names):
    worked(books.ledger.caps)
    books.tamper(statement)
    told = found(books)["cap_miscounted"]
    assert told == names if isinstance(names, tuple) else len(told) == names
    assert not audit(books.ledger).holds


def test_what_was_set_aside_and_never_settled_is_named_before_and_after_it_is_free_again(books):
    caps = books.ledger.caps
    worked(caps, at=now() - EXPIRES_AFTER - timedelta(seconds=1))
    unsettled = {"reservation_unsettled": ("calling", "calling-call", "reserved")}
    assert found(books) == unsettled
    assert caps.left(capped()) == 100 - 9 - 20  # what the call may have billed is taken for billed
    assert found(books) == unsettled
    assert audit(books.ledger).holds

    caps.settle("calling", 5)
    assert found(books) == {"reservation_unsettled": ("calling-call", "reserved")}


@pytest.fixture(scope="module")
def ledgers(tmp_path_factory, postgres):
    file = f"sqlite:///{tmp_path_factory.mktemp('caps') / 'spend.db'}"
    with SqlLedger(file) as in_file, postgres.ledger() as database, SqlLedger(postgres.url(database)) as on_server:
        yield {"file": in_file, "server": on_server}


@pytest.mark.parametrize(("where", "n_examples"), [("file", 20), ("server", 10)])
def test_whatever_workers_do_the_counters_are_what_the_book_adds_up_to(ledgers, where, n_examples):
    @settings(deadline=None, max_examples=n_examples)
    @given(script=steps)
    @example(script=[("claim", 5, 18, 0.1), ("reserve", 5, 27, 0.1)])  # set aside for a decision that had claimed before
    def check(script):
        for window in (*LENGTHS, "run"):
            cap = Cap.of(Budget(per_task=1, hard_cap=90, window=window, group=new_id()), run="run")
            played(ledgers[where].caps, cap, LENGTHS.get(window, timedelta(days=1)), script)
        assert audit(ledgers[where]).holds

    check()
