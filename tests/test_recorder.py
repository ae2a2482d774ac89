"""The recorder: every strategy of a menu on every task, cheaply, within a limit, and through kills."""

import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from forks import RUNS_ITS_FIRST_WORD, forks
from langchain_core.messages import AIMessage, BaseMessage

from budget_router import (
    Budget,
    BudgetRouter,
    EarlyStop,
    Escalate,
    ExtendedCoT,
    Menu,
    SelfConsistency,
    SingleShot,
    Tariff,
    Tariffs,
    Task,
    load_policy,
    refresh,
    save_policy,
)
from budget_router.errors import InfeasibleBudget, InvalidInput, NoAnswer, UnknownTariff
from budget_router.strategies import last_number
from budget_router_langchain import LabelledTask, Recording, SpendLimit, meter, record
from budget_router_sql import SqlLedger
from tests.scripted import ScriptedModel, billed

MENU = Menu([SingleShot(max_tokens=20), SelfConsistency(k=3, max_tokens=20), SelfConsistency(k=5, max_tokens=20)])
PLENTY = SpendLimit(total=1e9, unit="tokens")


def tasks(n_tasks: int) -> list[LabelledTask]:
    return [LabelledTask(f"What is {number} + 1?", id=f"t{number}", gold=str(number + 1)) for number in range(n_tasks)]


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[SqlLedger]:
    with SqlLedger(f"sqlite:///{tmp_path}/log.db") as opened:
        yield opened


@pytest.fixture(autouse=True)
def _memory_stays_flat() -> Iterator[None]:
    before = meter.n_live()
    yield
    assert meter.n_live() == before


def test_one_bundle_of_the_largest_vote_prices_every_smaller_one(ledger: SqlLedger) -> None:
    model = ScriptedModel(["1"])

    recording = record(tasks(4), menu=MENU, model=model, ledger=ledger, max_spend=PLENTY)

    assert (recording.n_bundles, recording.n_recorded, recording.is_complete) == (4, 4, True)
    assert len(model.invoice) == 4 * 5
    assert [logged.decision.strategy.name for logged in ledger.read()] == ["self_consistency_5"] * 4


def test_early_stops_and_escalations_are_recorded_as_the_whole_votes_that_price_them(ledger: SqlLedger) -> None:
    careful = SelfConsistency(k=8, early_stop=EarlyStop(threshold=0.9), max_tokens=20)
    thinking = ExtendedCoT(instruction="Think.", max_tokens=50)
    doubtful = Escalate(first=SelfConsistency(k=3, max_tokens=20), then=thinking, agreement=1.0)
    menu = Menu([SingleShot(max_tokens=20), careful, doubtful])
    model = ScriptedModel(lambda messages: "1" if "Think." in str(messages[0].text) else "2")

    recording = record(tasks(12), menu=menu, model=model, ledger=ledger, max_spend=PLENTY)
    result = refresh(ledger, menu=menu, budget=Budget(per_task=200), learner="value")

    assert recording.menu.names == (*menu.names, "self_consistency_8", "extended_cot")
    assert len(model.invoice) == 12 * (8 + 1)
    assert result.n_graded == dict.fromkeys(menu.names, 12)


def test_each_answer_is_graded_against_the_right_one(ledger: SqlLedger) -> None:
    model = ScriptedModel(["It is 1.", "2", "so 1", "no idea", "1.0"])

    record(tasks(1), menu=MENU, model=model, ledger=ledger, max_spend=PLENTY, answer=last_number, max_concurrency=1)

    (logged,) = ledger.read()
    assert logged.outcome is not None
    assert (logged.outcome.score, logged.outcome.source) == (1.0, "gold")
    assert sorted(logged.outcome.answer_scores.values()) == [0.0, 1.0]


def test_a_log_of_several_samplings_is_that_of_a_uniform_policy_and_tells_a_gain(ledger: SqlLedger, tmp_path: Path) -> None:
    menu = Menu([SingleShot(max_tokens=20), ExtendedCoT(instruction="Think.", max_tokens=50)])

    def reply(messages: list[BaseMessage]) -> AIMessage:
        thinks, text = "Think." in str(messages[0].text), str(messages[-1].text)
        number = int(text.split()[2])
        is_right = thinks or number % 2 == 0
        return AIMessage(
            str(number + is_right), usage_metadata={"input_tokens": 10, "output_tokens": 40 if thinks else 4, "total_tokens": 0}
        )

    record(tasks(60), menu=menu, model=ScriptedModel(reply), ledger=ledger, max_spend=PLENTY)
    result = refresh(ledger, menu=menu, budget=Budget(per_task=40))
    save_policy(result.policy, tmp_path / "policy")
    router = BudgetRouter(menu, Budget(per_task=40), policy=load_policy(tmp_path / "policy"))

    assert result.gain.is_conclusive
    assert result.spend.is_conclusive
    assert {logged.decision.propensity for logged in ledger.read()} == {0.5}
    assert router.decide(Task("What is 7 + 1?")).policy_version == result.version


def test_a_limit_is_not_passed_and_leaves_whole_tasks_behind(ledger: SqlLedger) -> None:
    model, limit = ScriptedModel(["1"]), SpendLimit(total=1500, unit="tokens")

    recording = record(tasks(40), menu=MENU, model=model, ledger=ledger, max_spend=limit, max_concurrency=10)

    assert 0 < recording.n_recorded < 40
    assert recording.spent == sum(billed(model)) <= 1500
    assert recording.is_bounded
    assert recording.n_failed == 0
    assert {logged.outcome is not None for logged in ledger.read()} == {True}


def test_a_higher_limit_goes_on_where_the_lower_one_stopped(ledger: SqlLedger) -> None:
    model = ScriptedModel(["1"])
    first = record(tasks(40), menu=MENU, model=model, ledger=ledger, max_spend=SpendLimit(total=1500, unit="tokens"))
    second = record(tasks(40), menu=MENU, model=model, ledger=ledger, max_spend=PLENTY)

    assert first.n_recorded < second.n_recorded == 40
    assert len(model.invoice) == 40 * 5
    assert second.spent == sum(billed(model))


def test_a_limit_in_money_counts_what_the_tariff_says(ledger: SqlLedger) -> None:
    tariffs = Tariffs({"scripted": Tariff(prompt="1", completion="10")})
    limit = SpendLimit(total=0.003, unit="usd")
    model = ScriptedModel(["1"])

    recording = record(tasks(40), menu=MENU, model=model, ledger=ledger, max_spend=limit, tariffs=tariffs, max_concurrency=1)

    prompt, completion = billed(model)
    assert recording.spent == pytest.approx(prompt * 1e-6 + completion * 1e-5)
    assert 0.0015 < recording.spent <= 0.003


def test_calls_of_unknown_length_make_the_limit_a_soft_one_that_says_so(ledger: SqlLedger) -> None:
    recording = record(tasks(1), menu=Menu([SingleShot()]), model=ScriptedModel(["1"]), ledger=ledger, max_spend=PLENTY)

    assert not recording.is_bounded


def test_a_bundle_without_a_reply_is_tried_again_by_the_next_run(ledger: SqlLedger) -> None:
    is_down = True

    def reply(messages: list[BaseMessage]) -> str | BaseException:
        return ConnectionError("down") if is_down and "What is 1 +" in str(messages[-1].text) else "1"

    model = ScriptedModel(reply)
    first = record(tasks(3), menu=MENU, model=model, ledger=ledger, max_spend=PLENTY)
    is_down = False
    second = record(tasks(3), menu=MENU, model=model, ledger=ledger, max_spend=PLENTY)

    assert (first.n_recorded, first.n_failed) == (2, 1)
    assert second.is_complete
    assert len(model.invoice) == 3 * 5


def test_a_model_that_answers_nothing_ends_the_recording(ledger: SqlLedger) -> None:
    model = ScriptedModel([ConnectionError("no key")])

    with pytest.raises(NoAnswer):
        record(tasks(100), menu=MENU, model=model, ledger=ledger, max_spend=PLENTY)

    assert len(model.seen) < 100


def test_an_interrupted_run_loses_nothing_that_was_paid(ledger: SqlLedger) -> None:
    def interrupt(so_far: Recording) -> None:
        if so_far.n_recorded == 2:
            raise KeyboardInterrupt

    model = ScriptedModel(["1"])
    with pytest.raises(KeyboardInterrupt):
        record(tasks(9), menu=MENU, model=model, ledger=ledger, max_spend=PLENTY, progress=interrupt)
    n_before = len(model.invoice)
    recording = record(tasks(9), menu=MENU, model=model, ledger=ledger, max_spend=PLENTY)

    assert n_before < 9 * 5
    assert recording.is_complete
    assert len(model.invoice) == 9 * 5


@pytest.mark.parametrize(
    ("given", "settings", "error", "said"),
    [
        ([], {}, InvalidInput, "no task"),
        ([*tasks(1), *tasks(1)], {}, InvalidInput, "comes twice"),
        ([LabelledTask("2 + 2?", gold="who knows")], {"answer": last_number}, InvalidInput, "finds no answer in 'who knows'"),
        (tasks(1), {"max_spend": SpendLimit(total=10, unit="tokens")}, InfeasibleBudget, "below the cheapest"),
        (tasks(1), {"max_spend": SpendLimit(total=10, unit="usd")}, UnknownTariff, "no price is known for model 'scripted'"),
        (tasks(1), {"max_concurrency": 0}, InvalidInput, "at least one call"),
        (tasks(1), {"menu": Menu([ExtendedCoT(effort="high")])}, InvalidInput, "offers no effort"),
        (tasks(1), {"menu": Menu([SingleShot(model="large")])}, InvalidInput, "not at hand"),
    ],
)
def test_what_cannot_be_recorded_is_refused_before_anything_is_paid(given, settings, error, said, ledger: SqlLedger) -> None:
    model = ScriptedModel(["1"])

    with pytest.raises(error, match=said):
        record(given, **{"menu": MENU, "model": model, "ledger": ledger, "max_spend": PLENTY, **settings})

    assert model.seen == []


def test_another_answer_rule_is_refused_for_a_log_that_was_graded_by_one(ledger: SqlLedger) -> None:
    record(tasks(1), menu=MENU, model=ScriptedModel(["1"]), ledger=ledger, max_spend=PLENTY)

    with pytest.raises(InvalidInput, match="recorded by the 'recorder final_answer', not by the 'recorder last_number'"):
        record(tasks(1), menu=MENU, model=ScriptedModel(["1"]), ledger=ledger, max_spend=PLENTY, answer=last_number)


RECORDER = """
import sys, time
from pathlib import Path
from langchain_core.messages import AIMessage
from budget_router import Menu, SelfConsistency
from budget_router_langchain import LabelledTask, SpendLimit, record
from budget_router_sql import SqlLedger
from tests.scripted import ScriptedModel

folder = Path(sys.argv[1])
invoice = (folder / "invoice.txt").open("a")

def reply(messages):
    invoice.write(messages[-1].text + "\\n")  # billed, whatever becomes of us
    invoice.flush()
    time.sleep(0.002)
    return AIMessage("1", usage_metadata={"input_tokens": 5, "output_tokens": 1, "total_tokens": 6})

tasks = [LabelledTask(f"What is {n} + 1?", gold=str(n + 1)) for n in range(30)]
with SqlLedger(f"sqlite:///{folder / 'log.db'}") as ledger:
    print("awake", flush=True)
    done = record(tasks, menu=Menu([SelfConsistency(k=8, max_tokens=20)]), model=ScriptedModel(reply), ledger=ledger,
                  max_spend=SpendLimit(total=1e6, unit="tokens"), replies=folder / "replies.jsonl", max_concurrency=4)
    print(done.n_recorded, flush=True)
"""
WIDTH, N_KILLS = 4, 2
IN_COMMON = "import budget_router_langchain, budget_router_sql, tests.scripted"


@pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL is POSIX")
def test_a_recording_that_is_killed_loses_and_pays_twice_no_more_than_the_calls_in_flight(tmp_path: Path) -> None:
    invoice = tmp_path / "invoice.txt"
    (tmp_path / "said").mkdir()
    with forks(IN_COMMON, RUNS_ITS_FIRST_WORD, tmp_path / "said") as apart:
        for kill in range(1, N_KILLS + 1):
            with apart.start(RECORDER, str(tmp_path)) as writer:
                assert writer.stdout.readline() == "awake\n"
                while not invoice.exists() or len(invoice.read_text().splitlines()) < 70 * kill:
                    assert writer.poll() is None
                    time.sleep(0.001)
                writer.kill()
            assert writer.returncode == -9
        done = apart(RECORDER, str(tmp_path), folder=tmp_path)
    assert done.returncode == 0, done.stderr

    n_billed = len(invoice.read_text().splitlines())
    with SqlLedger(f"sqlite:///{tmp_path / 'log.db'}") as ledger:
        logged = list(ledger.read())
    calls = [call for one in logged for call in one.calls]
    assert done.stdout.split() == ["awake", "30"]
    assert 30 * 8 <= n_billed <= 30 * 8 + N_KILLS * WIDTH
    assert {len(one.settlement.samples) for one in logged if one.settlement} == {8}
    assert len(logged) == 30
    assert n_billed <= len(calls) <= n_billed + N_KILLS * WIDTH  # an opening may be written whose call was not made any more
    assert sum(call.status == "ok" for call in calls) <= n_billed
    assert sum(call.status == "open" for call in calls) <= N_KILLS * WIDTH
