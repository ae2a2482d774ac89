"""Under a hard cap: what does not fit is not decided, and what was not set aside is not called."""

import asyncio
import sqlite3
from contextlib import closing
from uuid import uuid4

import pytest
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.messages import HumanMessage
from langchain_core.runnables import RunnableLambda
from langchain_core.tools import tool

from budget_router import (
    Budget,
    BudgetRouter,
    Escalate,
    MemoryLedger,
    Menu,
    SelfConsistency,
    SingleShot,
    Spend,
    Tariff,
    Tariffs,
    Task,
)
from budget_router.capping import Patience
from budget_router.caps import Cap
from budget_router.costs import TEMPLATE_TOKENS, upper_bound
from budget_router.errors import CapReached, InvalidInput, LedgerUnavailable, Unbounded, UnknownTariff
from budget_router.menu import EarlyStop, ExtendedCoT
from budget_router.outcomes import OutcomeTable
from budget_router_langchain import Booking, aexecute, execute, meter
from budget_router_langchain.sent import Sent
from budget_router_sql import SqlLedger
from tests.scripted import ScriptedModel, SeveralModel

TEXT = "What is 27 + 41?"
PROMPT = len(TEXT) + TEMPLATE_TOKENS
ONE, FIVE = PROMPT + 50, 5 * (PROMPT + 50)
"""Most tokens of a single shot and of a vote of five."""
MENU = Menu(
    [
        SingleShot(max_tokens=50, typical_completion_tokens=5),
        SelfConsistency(k=5, max_tokens=50, typical_completion_tokens=5),
    ]
)
TASK = Task(TEXT)


def capped(hard_cap, *, ledger=None, menu=MENU, **fields):
    options = {name: fields.pop(name) for name in ("patience", "tariffs", "model", "ask") if name in fields}
    one = Budget(**{"per_task": 1000, "hard_cap": hard_cap, "window": "day", **fields})
    return BudgetRouter(menu, one, ledger=MemoryLedger() if ledger is None else ledger, seed=1, exploration=0, **options)


def left(router, run="run"):
    cap = Cap.of(router.budgets[None], run=run)
    return router.ledger.caps.left(cap)


# --- the bound


@pytest.mark.parametrize(
    ("strategy", "most"),
    [
        (SingleShot(max_tokens=50), PROMPT + 50),
        (SingleShot(max_tokens=50, instruction="Süß"), PROMPT + 5 + 50),
        (SelfConsistency(k=5, max_tokens=50), 5 * (PROMPT + 50)),
        (SelfConsistency(k=9, max_tokens=50, early_stop=EarlyStop(threshold=0.9)), 9 * (PROMPT + 50)),
        (
            Escalate(first=SelfConsistency(k=2, max_tokens=10), then=ExtendedCoT(max_tokens=300), agreement=1),
            2 * (PROMPT + 10) + PROMPT + 300,
        ),
    ],
)
def test_the_bound_holds_whatever_the_answers_are(strategy, most):
    assert upper_bound(strategy, TEXT, unit="tokens", tariffs=Tariffs()) == most


def test_the_bound_in_money_is_whole_nano_usd_and_counts_the_dearer_of_prompt_and_cache():
    tariffs = Tariffs({"m": Tariff(prompt="1", completion="2", cached="3")})
    assert upper_bound(MENU.root[0], TEXT, unit="usd", tariffs=tariffs, model="m") == 1000 * (3 * PROMPT + 2 * 50)


@pytest.mark.parametrize("menu", [Menu([SingleShot()]), Menu([SingleShot(max_tokens=5), ExtendedCoT(effort="high")])])
def test_a_strategy_without_max_tokens_is_bound_by_its_typical_length(menu):
    router = capped(10**6, menu=menu, per_task=5000)
    name = menu.names[-1]
    decision = router.decide(TASK, strategy=name)
    typical = menu[name].typical_completion_tokens
    assert decision.strategy == menu[name]
    assert left(router) == 10**6 - PROMPT - 4 * typical


OPEN = Menu([SelfConsistency(k=5, typical_completion_tokens=10), SingleShot(typical_completion_tokens=10)])


@pytest.mark.parametrize(("times", "longest"), [(4, None), (3.9, 20), (2, 20), (1.9, 10), (1, 10)])
def test_max_tokens_are_set_from_what_is_left(times, longest):
    router = capped(PROMPT + round(times * 10), menu=OPEN)
    decision = router.decide(TASK)
    while decision.reason == "policy" and longest:
        decision = router.decide(TASK)
    assert decision.strategy.name == "single_shot"
    assert decision.strategy.max_tokens == longest
    assert decision.propensities["single_shot"] == 1 or longest is None
    assert left(router) == router.budgets[None].hard_cap - PROMPT - (longest or 40)


def test_below_the_typical_length_nothing_is_decided():
    with pytest.raises(CapReached):
        capped(PROMPT + 9, menu=OPEN).decide(TASK)


def test_what_was_cut_shorter_tells_nothing_of_the_strategy_of_its_name():
    router = capped(PROMPT + 20, menu=OPEN)
    decision = router.decide(TASK, strategy="single_shot")
    router.settle(decision, Spend(prompt_tokens=1, n_calls=1))
    router.grade(decision.id, score=0)
    assert decision.reason == "forced"
    assert OPEN.priced_by(decision.strategy) == []


@pytest.mark.parametrize(("hard_cap", "own", "sent"), [(10_000, None, 40), (10_000, 30, 30), (PROMPT + 20, None, 20)])
def test_calls_are_sent_with_what_was_reserved_for_them(run, hard_cap, own, sent):
    router, model = capped(hard_cap, menu=OPEN), ScriptedModel(["68"], max_tokens=own)
    asked = []

    class Heard(BaseCallbackHandler):
        def on_chat_model_start(self, *_, metadata, **__):
            asked.append(metadata["ls_max_tokens"])

    run(router, router.decide(TASK, strategy="single_shot"), model, TEXT, config={"callbacks": [Heard()]})
    assert asked == [sent]
    assert left(router) == hard_cap - sum(line["prompt"] + line["completion"] for line in model.invoice)


def test_a_cap_in_usd_needs_a_known_price():
    with pytest.raises(UnknownTariff):
        capped(1, unit="usd", model="nobody-knows-it")


# --- decisions


def test_a_decision_reserves_its_most_and_frees_what_it_did_not_bill():
    router = capped(1000)
    decision = router.decide(TASK, strategy="self_consistency_5")
    assert left(router) == 1000 - FIVE
    router.settle(decision, Spend(prompt_tokens=60, completion_tokens=40, n_calls=5))
    assert left(router) == 900


def test_on_shortage_the_cheapest_strategy_is_taken_and_told_apart():
    router = capped(2 * ONE)
    decision = router.decide(TASK)
    while decision.reason == "policy" and decision.strategy.name == "single_shot":
        router.settle(decision, Spend())
        decision = router.decide(TASK)
    assert (decision.reason, decision.strategy.name) == ("capped", "single_shot")
    assert decision.propensities == {"single_shot": 1.0, "self_consistency_5": 0.0}
    router.settle(decision, Spend(prompt_tokens=1, n_calls=1))
    assert OutcomeTable.from_log(router.ledger.read(), MENU, unit="tokens").is_forced[-1]


def test_what_not_even_the_cheapest_fits_is_refused_and_nothing_is_written():
    router = capped(ONE - 1)
    with pytest.raises(CapReached, match="raise hard_cap") as refused:
        router.decide(TASK)
    assert refused.value.left == ONE - 1
    assert list(router.ledger.read()) == []


@pytest.mark.parametrize("forced", [None, "self_consistency_5"])
def test_a_budget_that_refuses_and_a_strategy_that_was_forced_take_no_other(forced):
    router = capped(2 * ONE, on_shortage="refuse" if forced is None else "cheapest")

    def decide_often():
        for _ in range(50):
            router.settle(router.decide(TASK, strategy=forced), Spend())

    with pytest.raises(CapReached):
        decide_often()


def test_a_budget_that_waits_is_served_once_another_settles():
    slept = []

    def sleep(seconds):
        slept.append(seconds)
        if len(slept) == 3:
            router.settle(first, Spend(prompt_tokens=1, n_calls=1))

    router = capped(FIVE + 10, on_shortage="wait", patience=Patience(seconds=10, sleep=sleep))
    first = router.decide(TASK, strategy="self_consistency_5")
    assert router.decide(TASK, strategy="self_consistency_5").reason == "forced"
    assert slept == [0.05, 0.1, 0.2]


def test_patience_ends():
    slept = []
    router = capped(FIVE, on_shortage="wait", patience=Patience(seconds=2, sleep=slept.append))
    router.decide(TASK, strategy="self_consistency_5")
    with pytest.raises(CapReached):
        router.decide(TASK, strategy="self_consistency_5")
    assert sum(slept) == pytest.approx(2)


def asked_for(answers, **fields):
    """A router that asks, its cap used up but for a single shot; and what it has asked."""
    shortfalls, replies = [], iter(answers)

    def ask(shortfall):
        shortfalls.append(shortfall)
        return next(replies)

    router = capped(FIVE + ONE, on_shortage="ask", ask=ask, menu=Menu(reversed(MENU.root)), **fields)
    router.decide(TASK, strategy="self_consistency_5")
    return router, shortfalls


def decided_short(router):
    """The first decision that a vote was drawn for; what fits is given back."""
    while True:
        decision = router.decide(TASK)
        if decision.reason == "capped":
            return decision
        router.settle(decision, Spend())


@pytest.mark.parametrize("answer", ["cheapest", "single_shot"])
def test_a_budget_that_asks_takes_what_is_answered(answer):
    router, shortfalls = asked_for([answer])
    decision = decided_short(router)
    assert (decision.strategy.name, decision.propensity) == ("single_shot", 1)
    (shortfall,) = shortfalls
    assert (shortfall.wanted, shortfall.needs, shortfall.left) == ("self_consistency_5", FIVE, ONE)
    assert shortfall.fitting == ("single_shot",)
    assert str(shortfall) == f"self_consistency_5 may bill {FIVE} tokens, and the cap has {ONE} left: single_shot would fit"


@pytest.mark.parametrize("answer", ["refuse", "self_consistency_5", "wait"])
def test_an_answer_that_does_not_help_refuses_the_task(answer):
    router, _ = asked_for([answer], patience=Patience(seconds=1, sleep=lambda _: None))
    with pytest.raises(CapReached):
        decided_short(router)
    assert left(router) == ONE


def test_an_answer_that_names_no_strategy_is_refused():
    router, _ = asked_for(["yes"])
    with pytest.raises(InvalidInput, match="no strategy 'yes' on the menu"):
        decided_short(router)


def test_nobody_is_asked_about_a_strategy_that_was_forced():
    router, shortfalls = asked_for([])
    with pytest.raises(CapReached):
        router.decide(TASK, strategy="self_consistency_5")
    assert shortfalls == []


def test_who_is_asked_about_a_decision_finds_the_same_strategy_drawn_again():
    router, shortfalls = asked_for(["refuse"] * 100)
    for number in range(50):
        for _ in range(2):
            try:
                router.settle(router.decide(TASK, decision_id=f"d{number}"), Spend())
            except CapReached:
                continue
    assert len(shortfalls) > 10
    assert len(shortfalls) % 2 == 0


def test_a_budget_that_asks_needs_somebody_to_ask():
    with pytest.raises(InvalidInput, match="nobody to ask: give it ask="):
        capped(1000, on_shortage="ask")


def test_a_retry_reserves_nothing_more():
    router = capped(FIVE)
    one = router.decide(TASK, strategy="self_consistency_5", decision_id="d")
    assert router.decide(TASK, decision_id="d") == one
    assert left(router) == 0


def test_each_thread_has_a_cap_of_its_own():
    router = capped(FIVE, window="thread")
    for thread_id in ("a", "b"):
        router.decide(TASK, strategy="self_consistency_5", thread_id=thread_id)
        with pytest.raises(CapReached):
            router.decide(TASK, strategy="self_consistency_5", thread_id=thread_id, run_id="another")
    router.decide(TASK, strategy="self_consistency_5", run_id="of no thread")


def test_each_run_has_a_cap_of_its_own_in_whatever_thread():
    router = capped(FIVE, window="run")
    for run_id in ("a", "b"):
        router.decide(TASK, strategy="self_consistency_5", run_id=run_id, thread_id="thread")
        with pytest.raises(CapReached, match="per run"):
            router.decide(TASK, strategy="self_consistency_5", run_id=run_id, thread_id="thread")
    router.decide(TASK, strategy="self_consistency_5", thread_id="thread")


def test_a_decision_that_cannot_be_recorded_gives_its_reservation_back():
    class Away(MemoryLedger):
        def record_decision(self, *_):
            raise LedgerUnavailable("away")

    router = capped(FIVE, ledger=Away())
    with pytest.raises(LedgerUnavailable):
        router.decide(TASK)
    assert left(router) == FIVE


def test_a_capped_group_fails_closed_and_others_go_on_where_the_ledger_is_away(tmp_path):
    with SqlLedger(f"sqlite:///{tmp_path}/a.db", spool=tmp_path / "spool.db", busy_seconds=0.1) as ledger:
        free, bound = Budget(per_task=1000), Budget(per_task=1000, group="capped", hard_cap=10_000, window="day")
        router = BudgetRouter(MENU, free, budgets=[bound], ledger=ledger, reload_seconds=1e9)
        with closing(sqlite3.connect(tmp_path / "a.db", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            router.decide(TASK)
            with pytest.raises(LedgerUnavailable):
                router.decide(Task(TEXT, group="capped"))


def test_a_queued_ledger_writes_what_is_set_aside_at_once(tmp_path):
    url = f"sqlite:///{tmp_path}/a.db"
    with SqlLedger(url, durability="queued") as queued, SqlLedger(url) as other:
        router = capped(1000, ledger=queued)
        router.decide(TASK, strategy="self_consistency_5")
        assert other.caps.left(Cap.of(router.budgets[None], run="")) == 1000 - FIVE


# --- calls


@pytest.fixture(params=["sync", "async"])
def run(request):
    if request.param == "sync":
        return execute
    return lambda *given, **settings: asyncio.run(aexecute(*given, **settings))


@pytest.mark.parametrize("kind", [ScriptedModel, SeveralModel])
def test_what_an_execution_billed_is_charged_and_nothing_else(run, kind):
    router, model = capped(1000), kind(["68"])
    run(router, router.decide(TASK, strategy="self_consistency_5"), model, TEXT)
    assert left(router) == 1000 - sum(line["prompt"] + line["completion"] for line in model.invoice)


def test_a_longer_prompt_than_the_task_is_topped_up_or_not_sent(run):
    router, model = capped(2 * ONE), ScriptedModel(["68"])
    prompt = TEXT + "x" * ONE
    receipt = run(router, router.decide(TASK, strategy="single_shot"), model, prompt)
    assert receipt.text == "68"
    with pytest.raises(CapReached):
        run(router, router.decide(TASK, strategy="single_shot"), model, prompt)
    assert len(model.invoice) == 1


def test_a_vote_ends_with_the_first_call_that_the_cap_refuses(run):
    router, model = capped(FIVE), ScriptedModel(["68"])
    with pytest.raises(CapReached):
        run(router, router.decide(TASK, strategy="self_consistency_5"), model, TEXT + " x" * 200, max_concurrency=1)
    assert len(model.invoice) == 1
    (logged,) = router.ledger.read()
    assert logged.settlement.status == "failed"
    assert left(router) == FIVE - sum(line["prompt"] + line["completion"] for line in model.invoice)


def metered(router, work):
    """Run a node of a user's own, whatever it calls, under one decision."""
    run_id = uuid4()
    meter.bind(run_id, Booking(router, router.decide(TASK, strategy="single_shot")), holds=True)
    try:
        return RunnableLambda(work).invoke(TEXT, {"run_id": run_id})
    finally:
        meter.end(run_id)


def test_whatever_a_user_s_node_calls_is_held_by_the_cap():
    inner, router = ScriptedModel(["68"], max_tokens=50), capped(3 * ONE)

    def work(text):
        while True:
            inner.invoke(text * 9)

    with pytest.raises(CapReached):
        metered(router, work)
    assert sum(line["prompt"] + line["completion"] for line in inner.invoice) == 3 * ONE - left(router)
    assert len(inner.invoice) > 1


def test_a_call_that_nothing_bounds_is_not_made():
    inner = ScriptedModel(["68"])
    with pytest.raises(Unbounded, match="set max_tokens on the model"):
        metered(capped(10_000), inner.invoke)
    assert inner.invoice == []


def test_a_call_that_was_cut_off_counts_as_the_most_that_it_may_have_billed():
    router, model = capped(1000), ScriptedModel([TimeoutError("late")])
    with pytest.raises(Exception, match="all 1 samples"):
        execute(router, router.decide(TASK, strategy="single_shot"), model, TEXT)
    assert left(router) == 1000 - ONE


def test_a_call_that_was_refused_costs_nothing():
    router, model = capped(1000), ScriptedModel([ValueError("400")])
    with pytest.raises(Exception, match="all 1 samples"):
        execute(router, router.decide(TASK, strategy="single_shot"), model, TEXT)
    assert left(router) == 1000


# --- what is sent


def test_tools_and_all_that_is_said_count_byte_by_byte():
    @tool
    def add(a: int, b: int) -> int:
        """Add."""
        return a + b

    plain = Sent([HumanMessage("süß")], {"model": "m", "temperature": 0.5}, {})
    assert plain.prompt_tokens == TEMPLATE_TOKENS + 5
    with_tools = plain._replace(params={"tools": [{"name": "add", "description": add.description}]})
    assert with_tools.prompt_tokens > plain.prompt_tokens + 1000


@pytest.mark.parametrize(
    "sent",
    [
        Sent([HumanMessage([{"type": "image_url", "image_url": {"url": "https://a.b/c.png"}}])], {}, {}),
        Sent([HumanMessage("go on")], {"previous_response_id": "r1"}, {}),
    ],
)
def test_what_no_length_tells_is_refused(sent):
    with pytest.raises(Unbounded):
        assert sent.prompt_tokens


def test_generations_are_counted_by_whoever_asks_for_more():
    sent = Sent("?", {"max_completion_tokens": 40, "n": 3}, {"ls_max_tokens": 50})
    assert (sent.completion_tokens(1), sent.completion_tokens(8)) == (150, 400)
