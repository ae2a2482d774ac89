"""The audit proves the books that hold, and names what is wrong in those that do not, on a file and on a server."""

import sqlite3
from contextlib import ExitStack, closing
from datetime import timedelta

import pytest
from sqlalchemy import create_engine, text

from budget_router.errors import InvalidInput
from budget_router.records import Sample, Spend
from budget_router.tariffs import Tariff, Tariffs
from budget_router.testing import NOON, example_call, example_decision, example_outcome, example_settlement, recorded
from budget_router_sql import SqlLedger, audit, close_open

TARIFFS = Tariffs({"small-model": Tariff(prompt="0.15", completion="0.6", cached="0.0375")})


class Books:
    """A ledger at an address, and a way past it for what it would refuse."""

    def __init__(self, url):
        self.url = url
        self.ledger = SqlLedger(url)

    def vote(self, name, *, n_calls=3, closed=3, lie=None):
        """Decide, call, settle: `closed` of the calls were billed before the end."""
        recorded(self.ledger, example_decision(name, decided_at=NOON))
        calls = [billed(f"{name}{place}", name) for place in range(n_calls)]
        for call in calls:
            self.ledger.open_call(call.model_copy(update={"prompt_tokens": 0, "completion_tokens": 0, "nano_usd": None}))
        for call in calls[:closed]:
            self.ledger.close_call(call)
        told = Spend.of(calls[:closed]).model_copy(update=lie)
        samples = tuple(Sample(index=place, call_id=call.id) for place, call in enumerate(calls[:closed]))
        self.ledger.record_settlement(
            example_settlement(name, spend=told, samples=samples, settled_at=NOON + timedelta(seconds=9))
        )
        return calls

    def tamper(self, statement):
        if self.url.startswith("sqlite"):
            with closing(sqlite3.connect(self.url.removeprefix("sqlite:///"), isolation_level=None)) as connection:
                connection.execute("PRAGMA ignore_check_constraints = ON")
                connection.execute(statement)
            return
        engine = create_engine(self.url.replace("postgresql://", "postgresql+psycopg://"))
        with engine.begin() as connection:
            connection.execute(text("SET session_replication_role = replica"))  # no foreign keys
            connection.execute(text(statement))
        engine.dispose()

    def found(self, **options):
        return {one.kind: one.names for one in audit(self.ledger, tariffs=TARIFFS, **options).findings}


def billed(call_id, decision_id, *, seconds=2.0, completion_tokens=301, **fields):
    bill = TARIFFS.bill("small-model", prompt_tokens=121, completion_tokens=completion_tokens, cached_tokens=100)
    facts = {"prompt_tokens": 121, "completion_tokens": completion_tokens, "nano_usd": bill.nano_usd, "tariff": bill.tariff}
    return example_call(call_id, decision_id, seconds=seconds, **{**facts, **fields})


@pytest.fixture(params=["file", "server"])
def books(request, tmp_path):
    with ExitStack() as stack:
        if request.param == "file":
            url = f"sqlite:///{tmp_path}/spend.db"
        else:
            postgres = request.getfixturevalue("postgres")
            url = postgres.url(stack.enter_context(postgres.ledger()))
        made = Books(url)
        stack.callback(made.ledger.close)
        yield made


def test_books_that_hold_are_proved(books):
    for name in "abc":
        books.vote(name)
    books.ledger.record_outcome(example_outcome("a"))

    proof = audit(books.ledger, tariffs=TARIFFS)

    assert (proof.holds, proof.findings) == (True, ())
    assert (proof.n_decisions, proof.n_open, proof.n_priced_again) == (3, 0, 9)
    assert proof.calls == proof.settled
    assert (proof.calls.n_calls, proof.calls.prompt_tokens, proof.calls.completion_tokens) == (9, 9 * 121, 9 * 301)
    assert (
        proof.calls.nano_usd
        == 9 * TARIFFS.bill("small-model", prompt_tokens=121, completion_tokens=301, cached_tokens=100).nano_usd
    )


def test_an_empty_ledger_holds(books):
    assert audit(books.ledger).holds


@pytest.mark.parametrize(
    "lie", [{"completion_tokens": 1}, {"nano_usd": 5}, {"nano_usd": None}, {"n_calls": 2}, {"prompt_tokens": 0}]
)
def test_a_settlement_that_is_not_the_sum_of_its_calls_is_named(books, lie):
    books.vote("right")
    books.vote("wrong", lie=lie)

    assert books.found() == {"settlement_differs": ("wrong",)}
    assert not audit(books.ledger, tariffs=TARIFFS).holds


def test_calls_that_ended_after_the_settlement_are_told_of_with_their_sum(books):
    calls = books.vote("slow", closed=2)
    late = calls[2].model_copy(update={"seconds": 60.0, "completion_tokens": 1000, "nano_usd": 612_901})
    books.ledger.close_call(late.model_copy(update={"nano_usd": priced(late)}))

    proof = audit(books.ledger, tariffs=TARIFFS)

    assert proof.holds
    assert [(one.kind, one.names) for one in proof.findings] == [("late_calls", ("slow",))]
    assert (proof.late.prompt_tokens, proof.late.completion_tokens, proof.late.nano_usd) == (121, 1000, priced(late))
    assert proof.calls.nano_usd == proof.settled.nano_usd + proof.late.nano_usd


def priced(call):
    told = {"prompt_tokens": call.prompt_tokens, "completion_tokens": call.completion_tokens, "cached_tokens": call.cached_tokens}
    return TARIFFS.bill(call.model, **told).nano_usd


def test_all_of_a_decision_s_calls_may_be_late(books):
    calls = books.vote("slow", n_calls=2, closed=0)
    for call in calls:
        books.ledger.close_call(call.model_copy(update={"seconds": 60.0}))

    assert books.found() == {"late_calls": ("slow",)}


def test_a_call_that_ended_early_and_is_not_in_the_settlement_is_no_late_one(books):
    calls = books.vote("odd", closed=2)
    books.ledger.close_call(calls[2])

    assert books.found() == {"settlement_differs": ("odd",)}


def test_money_that_is_not_tariff_times_tokens_is_named(books):
    books.vote("a")
    books.tamper("UPDATE call_closings SET nano_usd = nano_usd + 1 WHERE id = 'a1'")
    books.tamper("UPDATE settlements SET nano_usd = nano_usd + 1 WHERE decision_id = 'a'")

    assert books.found() == {"price_differs": ("a1",)}


def test_a_price_is_rounded_half_even_as_it_was_billed(books):
    half = Tariffs({"small-model": Tariff(prompt="0.0005", completion="0")})  # half a nano-USD a token
    recorded(books.ledger, example_decision("d"))
    for n_tokens in range(8):
        call = billed(f"c{n_tokens}", "d", prompt_tokens=n_tokens, cached_tokens=0)
        bill = half.bill("small-model", prompt_tokens=n_tokens, completion_tokens=0)
        books.ledger.close_call(call.model_copy(update={"nano_usd": bill.nano_usd}))
    books.ledger.close_call(billed("up", "d", prompt_tokens=1, cached_tokens=0, nano_usd=1))
    books.ledger.close_call(billed("down", "d", prompt_tokens=3, cached_tokens=0, nano_usd=1))

    wrong = next(one for one in audit(books.ledger, tariffs=half).findings if one.kind == "price_differs")

    assert wrong.names == ("down", "up")


@pytest.mark.parametrize("model", ["gpt-4o-mini", "claude-sonnet-4-5", "deepseek-chat"])
@pytest.mark.parametrize("prompt_tokens", [1000, 300_001])
def test_listed_prices_are_checked_long_prompts_and_cheap_hours_included(tmp_path, model, prompt_tokens):
    books = Books(f"sqlite:///{tmp_path}/spend.db")
    recorded(books.ledger, example_decision("d"))
    tokens = {"prompt_tokens": prompt_tokens, "completion_tokens": 33, "cached_tokens": 7}
    bill = Tariffs().bill(model, **tokens, at=NOON)
    for name, more in (("right", 0), ("wrong", 1)):
        told = {"model": model, "nano_usd": bill.nano_usd + more, "tariff": bill.tariff}
        books.ledger.close_call(billed(name, "d", **tokens, reasoning_tokens=0, **told))

    proof = audit(books.ledger)
    books.ledger.close()

    assert [one.names for one in proof.findings if one.kind == "price_differs"] == [("wrong",)]
    assert proof.n_priced_again == 2


def test_a_tariff_that_is_not_known_here_is_told_of_and_proves_nothing(books):
    books.vote("a")
    recorded(books.ledger, example_decision("b"))
    books.ledger.close_call(billed("old", "b", tariff="genai-prices 0.0.1, prices of 2024-01-01"))
    books.ledger.close_call(billed("free", "b", tariff="cache", nano_usd=0))
    books.ledger.close_call(billed("unknown", "b", tariff=None, nano_usd=None))

    proof = audit(books.ledger)
    told = {one.kind: one for one in proof.findings}

    assert proof.holds
    assert sorted(told["tariff_unknown"].names) == [
        "small-model by genai-prices 0.0.1, prices of 2024-01-01",
        "small-model by own",
    ]
    assert (told["tariff_unknown"].n, told["unpriced"].names, proof.n_priced_again) == (4, ("unknown",), 1)


@pytest.mark.parametrize(
    ("tampering", "kind", "names"),
    [
        ("DELETE FROM decisions WHERE id = 'b'", "settlement_of_no_decision", ("b",)),
        ("DELETE FROM decisions WHERE id = 'b'", "call_of_no_decision", ("b0", "b1", "b2")),
        ("DELETE FROM decisions WHERE id = 'b'", "grade_of_no_decision", ("b",)),
        ("DELETE FROM settlements WHERE decision_id = 'b'", "samples_of_no_settlement", ("b", "b", "b")),
        ("DELETE FROM settlements WHERE decision_id = 'b'", "never_settled", ("b",)),
        ("DELETE FROM menus", "decision_of_no_menu", ("a", "b", "c")),
        ("UPDATE samples SET call_id = 'a0' WHERE decision_id = 'b' AND place = 1", "sample_of_no_call", ("b",)),
        ("UPDATE call_openings SET decision_id = 'a' WHERE id = 'b1'", "under_two_decisions", ("b1",)),
        ("DELETE FROM call_openings WHERE id = 'b1'", "never_opened", ("b1",)),
        ("DELETE FROM call_closings WHERE id = 'b1'", "never_closed", ("b1",)),
        ("DELETE FROM call_closings WHERE id = 'b1'", "settlement_differs", ("b",)),
        ("DELETE FROM call_closings WHERE decision_id = 'b'", "calls_missing", ("b",)),
        ("UPDATE call_closings SET reasoning_tokens = 302 WHERE id = 'b1'", "odd_counts", ("b1",)),
    ],
)
def test_what_is_missing_or_doubled_is_named(books, tampering, kind, names):
    for name in "abc":
        books.vote(name)
    books.ledger.record_outcome(example_outcome("b"))
    books.tamper(tampering)

    assert books.found()[kind] == names


@pytest.mark.parametrize(
    ("tampering", "kind", "name"),
    [
        ("UPDATE call_closings SET completion_tokens = -1 WHERE id = 'b1'", "impossible_call", "b1"),
        ("UPDATE decisions SET propensity = 0 WHERE id = 'b'", "impossible_decision", "b"),
        ("UPDATE settlements SET agreement = 2 WHERE decision_id = 'b'", "impossible_settlement", "b"),
        ("UPDATE outcomes SET score = 1.5", "impossible_grade", "b"),
        ("DELETE FROM decisions WHERE id = 'b'", "rows_missing", "decisions 2 to 2"),
    ],
)
def test_a_file_that_was_tampered_with_past_its_checks_is_seen_through(tmp_path, tampering, kind, name):
    books = Books(f"sqlite:///{tmp_path}/spend.db")
    for each in "abc":
        books.vote(each)
    books.ledger.record_outcome(example_outcome("b"))
    books.tamper(tampering)

    assert books.found()[kind] == (name,)
    books.ledger.close()


def test_numbers_that_a_server_left_out_mean_nothing(postgres):
    with postgres.ledger() as name:
        books = Books(postgres.url(name))
        books.vote("a")
        books.tamper("SELECT nextval('decisions_position_seq')")
        books.vote("b")

        assert books.found() == {}
        books.ledger.close()


def test_findings_are_counted_all_and_named_up_to_a_number(books):
    for name in "abc":
        books.vote(name, lie={"nano_usd": 1})

    (found,) = audit(books.ledger, tariffs=TARIFFS, most=2).findings

    assert (found.n, found.names) == (3, ("a", "b"))
    assert found.nano_usd == audit(books.ledger).calls.nano_usd - 3


def test_what_has_only_begun_is_not_told_of(books):
    books.vote("a", closed=2)

    assert set(books.found()) == {"never_closed"}
    assert books.found(open_for=timedelta(days=50_000)) == {}
    assert audit(books.ledger).n_open == 1
    with pytest.raises(InvalidInput, match="not negative"):
        audit(books.ledger, open_for=timedelta(hours=-1))


# --- closing what was left open


def test_calls_that_were_left_open_are_booked_as_estimated_and_once(books):
    books.vote("a", closed=2)
    recorded(books.ledger, example_decision("crashed"))
    books.ledger.open_call(billed("lost", "crashed", prompt_tokens=5000))

    closed = close_open(books.ledger, tariffs=TARIFFS)
    again = close_open(books.ledger, tariffs=TARIFFS)

    assert {call.id for call in closed} == {"a2", "lost"}
    assert {(call.status, call.source, call.completion_tokens) for call in closed} == {("error", "estimated", 0)}
    by_id = {call.id: call for call in closed}
    assert by_id["lost"].prompt_tokens == 5000
    assert 0 < by_id["a2"].prompt_tokens < 20  # the task's own text
    assert by_id["a2"].nano_usd == 150 * by_id["a2"].prompt_tokens
    assert again == ()
    proof = audit(books.ledger, tariffs=TARIFFS)
    assert proof.holds
    assert {one.kind: one.names for one in proof.findings} == {"late_calls": ("a",), "never_settled": ("crashed",)}
    assert proof.calls.nano_usd == proof.settled.nano_usd + proof.late.nano_usd + proof.unsettled.nano_usd


def test_a_call_that_may_still_run_is_left_open(books):
    books.vote("a", closed=2)

    assert close_open(books.ledger, open_for=timedelta(days=50_000)) == ()


def test_a_text_that_was_not_kept_is_not_counted(tmp_path):
    with SqlLedger(f"sqlite:///{tmp_path}/spend.db", store_text="none") as ledger:
        recorded(ledger, example_decision("d"))
        ledger.open_call(
            billed(
                "c", "d", prompt_tokens=0, completion_tokens=0, nano_usd=None, tariff=None, cached_tokens=0, reasoning_tokens=0
            )
        )

        (closed,) = close_open(ledger)

    assert (closed.prompt_tokens, closed.nano_usd, closed.tariff) == (0, None, None)
