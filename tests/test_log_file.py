"""A log that was exported is read, learned from and looked into where it lies."""

import json
from datetime import timedelta

import pytest
from world import MENU, serve, tasks

from budget_router import Budget, BudgetRouter, LogFile, MemoryLedger, export, refresh
from budget_router.errors import InvalidInput, UnknownDecision
from budget_router.testing import MENU as EXAMPLE_MENU
from budget_router.testing import NOON, TASK, example_call, example_decision, example_outcome, example_settlement, recorded


@pytest.fixture
def ledger():
    ledger = MemoryLedger()
    recorded(
        ledger, *(example_decision(f"d{hour}", minutes=60 * hour, thread_id=f"t{hour % 2}", run_id="r") for hour in range(4))
    )
    ledger.close_call(example_call("c1", "d1"))
    ledger.record_settlement(example_settlement("d1"))
    ledger.record_outcome(example_outcome("d1"))
    return ledger


@pytest.fixture
def log(ledger, tmp_path):
    export(ledger, tmp_path / "log.jsonl")
    return LogFile(tmp_path / "log.jsonl")


def test_it_answers_what_the_ledger_answers_that_it_was_exported_from(log, ledger):
    window = {"since": NOON + timedelta(hours=1), "until": NOON + timedelta(hours=3)}
    assert list(log.read(**window)) == list(ledger.read(**window))
    assert list(log.evidence()) == list(ledger.evidence())
    assert log.decision("d2") == ledger.decision("d2")
    assert log.latest() == ledger.latest()
    assert log.latest(thread_id="t0") == ledger.latest(thread_id="t0")
    assert log.of_run("r") == ledger.of_run("r")
    assert log.of_call("c1") == ledger.of_call("c1")


@pytest.mark.parametrize(
    "look", [lambda log: log.decision("x"), lambda log: log.latest(thread_id="x"), lambda log: log.of_call("x")]
)
def test_what_it_does_not_hold_is_told(log, look):
    with pytest.raises(UnknownDecision, match=r"stands in log\.jsonl"):
        look(log)
    assert log.of_run("x") == []


@pytest.mark.parametrize(
    "write",
    [
        lambda log: log.record_decision(example_decision("d9"), TASK, EXAMPLE_MENU),
        lambda log: log.record_outcome(example_outcome("d1")),
        lambda log: log.record_settlement(example_settlement("d1")),
        lambda log: log.close_call(example_call("c2", "d1")),
        lambda log: log.forget("t"),
    ],
)
def test_nothing_is_written_into_it(log, write):
    before = log.path.read_bytes()
    with pytest.raises(InvalidInput, match="only read"):
        write(log)
    assert log.path.read_bytes() == before


def test_a_line_that_is_none_of_ours_is_named(log):
    lines = log.path.read_text().splitlines()
    entry = json.loads(lines[2])
    entry["decision"]["propensities"] = {"single_shot": 2.0}
    log.path.write_text("\n".join([*lines[:2], json.dumps(entry), lines[3]]))
    with pytest.raises(InvalidInput, match=r"line 3 of log\.jsonl"):
        list(log.read())


def test_lines_out_of_order_are_refused(log):
    first, *others = log.path.read_text().splitlines()
    log.path.write_text("\n".join([*others, first]))
    with pytest.raises(InvalidInput, match="line 4"):
        list(log.read())


def test_a_log_that_is_not_there_is_told(tmp_path):
    with pytest.raises(InvalidInput, match="export"):
        LogFile(tmp_path / "none.jsonl")


def test_a_policy_learned_from_it_is_the_one_learned_from_the_ledger(tmp_path):
    ledger, budget = MemoryLedger(), Budget(per_task=110, unit="completion_tokens")
    serve(BudgetRouter(MENU, budget, ledger=ledger, seed=1), tasks(120, seed=1), seed=1)
    export(ledger, tmp_path / "log.jsonl")

    learned = refresh(LogFile(tmp_path / "log.jsonl"), menu=MENU, budget=budget)

    assert learned.version == refresh(ledger, menu=MENU, budget=budget).version
