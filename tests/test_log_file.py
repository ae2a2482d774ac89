"""A log that was exported is read, learned from and looked into where it lies."""

import json
from datetime import timedelta

import pytest
from world import MENU, serve, tasks

from budget_router import Budget, BudgetRouter, LogFile, MemoryLedger, ParquetLog, export, refresh
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


LOGS = {"log.jsonl": LogFile, "log.parquet": ParquetLog}


@pytest.fixture(params=LOGS)
def log(ledger, tmp_path, request):
    export(ledger, tmp_path / request.param)
    return LOGS[request.param](tmp_path / request.param)


@pytest.fixture
def lines(ledger, tmp_path):
    export(ledger, tmp_path / "log.jsonl")
    return LogFile(tmp_path / "log.jsonl")


def test_it_answers_what_the_ledger_answers_that_it_was_exported_from(log, ledger):
    window = {"since": NOON + timedelta(hours=1), "until": NOON + timedelta(hours=3)}
    assert list(log.read(**window)) == list(ledger.read(**window))
    assert [one._replace(features=tuple(one.features), samples=list(one.samples)) for one in log.evidence()] == list(
        ledger.evidence()
    )
    assert log.decision("d2") == ledger.decision("d2")
    assert log.latest() == ledger.latest()
    assert log.latest(thread_id="t0") == ledger.latest(thread_id="t0")
    assert log.of_run("r") == ledger.of_run("r")
    assert log.of_call("c1") == ledger.of_call("c1")
    graded_at = ledger.decision("d1").outcome.graded_at
    for since in (None, graded_at, graded_at + timedelta(seconds=1)):
        assert log.n_outcomes(since=since) == ledger.n_outcomes(since=since)


@pytest.mark.parametrize(
    "look", [lambda log: log.decision("x"), lambda log: log.latest(thread_id="x"), lambda log: log.of_call("x")]
)
def test_what_it_does_not_hold_is_told(log, look):
    with pytest.raises(UnknownDecision, match=r"stands in log\.(jsonl|parquet)"):
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


def test_a_line_that_is_none_of_ours_is_named(lines):
    written = lines.path.read_text().splitlines()
    entry = json.loads(written[2])
    entry["decision"]["propensities"] = {"single_shot": 2.0}
    lines.path.write_text("\n".join([*written[:2], json.dumps(entry), written[3]]))
    with pytest.raises(InvalidInput, match=r"line 3 of log\.jsonl"):
        list(lines.read())


def test_lines_out_of_order_are_refused(lines):
    first, *others = lines.path.read_text().splitlines()
    lines.path.write_text("\n".join([*others, first]))
    with pytest.raises(InvalidInput, match="line 4"):
        list(lines.read())


@pytest.mark.parametrize("name", LOGS)
def test_a_log_that_is_not_there_is_told(tmp_path, name):
    with pytest.raises(InvalidInput, match="export"):
        LOGS[name](tmp_path / "other" / name)


def test_a_policy_learned_from_it_is_the_one_learned_from_the_ledger(tmp_path):
    ledger, budget = MemoryLedger(), Budget(per_task=110, unit="completion_tokens")
    serve(BudgetRouter(MENU, budget, ledger=ledger, seed=1), tasks(120, seed=1), seed=1)
    export(ledger, tmp_path / "log.jsonl")

    learned = refresh(LogFile(tmp_path / "log.jsonl"), menu=MENU, budget=budget)

    assert learned.version == refresh(ledger, menu=MENU, budget=budget).version
