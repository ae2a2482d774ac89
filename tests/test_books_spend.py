"""Who spent what, and what it bought: sums by the database, the same on a file and on a server."""

from contextlib import ExitStack
from datetime import UTC, datetime, timedelta

import pytest

from budget_router.errors import InvalidInput
from budget_router.records import Spend
from budget_router.testing import MENU, NOON, example_call, example_decision, example_outcome, example_settlement, recorded
from budget_router_sql import SqlLedger, spend


@pytest.fixture(params=["file", "server"])
def ledger(request, tmp_path):
    with ExitStack() as stack:
        url = f"sqlite:///{tmp_path}/spend.db"
        if request.param == "server":
            postgres = request.getfixturevalue("postgres")
            url = postgres.url(stack.enter_context(postgres.ledger()))
        ledger = stack.enter_context(SqlLedger(url))
        vote = MENU["self_consistency_5"]
        for place, (name, group, hours) in enumerate([("a", "x", 0), ("b", "x", 13), ("c", "y", 13), ("d", None, 14)]):
            decided = {"strategy": MENU["single_shot"] if place == 0 else vote, "policy_version": f"p{place // 2}"}
            recorded(ledger, example_decision(name, group=group, decided_at=NOON + timedelta(hours=hours), **decided))
        close = ledger.close_call
        close(example_call("a1", "a", nano_usd=100, model="small"))
        close(example_call("b1", "b", nano_usd=200, model="small"))
        close(example_call("b2", "b", nano_usd=400, model="large", tariff="list 2026-02"))
        close(example_call("c1", "c", nano_usd=None, tariff=None, model="odd"))
        ledger.record_settlement(example_settlement("d", spend=Spend(prompt_tokens=7, nano_usd=9, n_calls=2), samples=()))
        for name, score, minutes in (("a", 0.0, 0), ("a", 1.0, 5), ("b", 0.0, 0), ("d", 0.5, 0)):
            ledger.record_outcome(example_outcome(name, score=score, graded_at=NOON + timedelta(minutes=minutes)))
        yield ledger


def by(report):
    return {row.by: row for row in report.rows}


def test_the_total_is_the_sum_of_all_calls_and_of_settlements_without_calls(ledger):
    total = spend(ledger, by=[]).total

    assert (total.n_decisions, total.n_calls) == (4, 6)
    assert (total.prompt_tokens, total.completion_tokens, total.nano_usd) == (4 * 120 + 7, 4 * 300, 709)
    assert (total.n_unpriced, total.nano_usd_per_decision) == (1, None)
    assert total.tokens_per_decision == (4 * 420 + 7) / 4


def test_the_latest_grade_of_each_decision_counts_with_its_standard_error(ledger):
    total = spend(ledger, by=[]).total  # 1, 0 and 0.5

    assert (total.n_graded, total.graded_share, total.score) == (3, 0.75, pytest.approx(0.5))
    assert total.standard_error == pytest.approx(0.5 / 3**0.5)
    row = by(spend(ledger))["x", "single_shot"]
    assert (row.score, row.standard_error) == (1.0, None)
    assert by(spend(ledger))["y", "self_consistency_5"].score is None


def test_an_unknown_price_is_not_told_as_zero(ledger):
    assert by(spend(ledger, by=["group"]))["y",].nano_usd is None
    assert by(spend(ledger, by=["group"]))["x",].nano_usd_per_decision == 350


def test_the_dearest_come_first_and_days_in_their_order(ledger):
    assert [row.by for row in spend(ledger, by=["group"]).rows] == [("x",), ("y",), (None,)]
    days = spend(ledger, by=["day", "policy_version"]).rows
    assert [row.by for row in days] == [("2026-03-01", "p0"), ("2026-03-02", "p0"), ("2026-03-02", "p1")]
    assert [row.by for row in spend(ledger, by=["group"], most=1).rows] == [("x",)]


def test_a_decision_counts_under_each_model_it_called(ledger):
    rows = by(spend(ledger, by=["model", "tariff"]))

    assert rows["small", "list 2026-01"].n_decisions == 2
    assert rows["large", "list 2026-02"].nano_usd == 400
    assert rows[None, None].prompt_tokens == 7


def test_a_window_holds_its_start_and_not_its_end(ledger):
    start = NOON + timedelta(hours=13)
    report = spend(ledger, by=["group"], since=start, until=start + timedelta(hours=1))

    assert set(by(report)) == {("x",), ("y",)}
    assert report.total.n_decisions == 2
    assert spend(ledger, since=datetime(2030, 1, 1, tzinfo=UTC)).rows == ()


def test_a_report_is_a_frame(ledger):
    frame = spend(ledger, by=["group"]).frame()

    assert list(frame["group"])[:2] == ["x", "y"]
    assert list(frame["n_decisions"]) == [2, 1, 1]


def test_a_report_draws_whom_it_names_in_money_where_every_price_is_known(ledger):
    drawn = spend(ledger, by=["group"]).plot()

    words = [text.get_text() for text in drawn.axes[0].texts]
    assert {"x", "y"} <= set(words)
    assert any(word in {"Spend, USD", "Spend, tokens"} for word in words)


@pytest.mark.parametrize("asked", [{"by": ["task_text"]}, {"since": datetime(2026, 1, 1)}])  # noqa: DTZ001  # that is the slip
def test_slips_are_told(tmp_path, asked):
    with SqlLedger(f"sqlite:///{tmp_path}/spend.db") as ledger, pytest.raises(InvalidInput, match=r"choose among|no time zone"):
        spend(ledger, **asked)
