"""Coroutines wait for the ledger without a thread, nothing waits for them, and what they leave behind is booked."""

import asyncio
import os
import signal
import sqlite3
import sys
import threading
from contextlib import closing
from datetime import timedelta
from multiprocessing import get_context

import pytest
from langchain_core.messages import AIMessage
from langgraph.graph import START, StateGraph
from typing_extensions import TypedDict

from benchmarks.graphs_work import Provider
from budget_router import Budget, BudgetRouter, Menu, SelfConsistency, SingleShot, Task
from budget_router.errors import NoAnswer, UnknownDecision
from budget_router.records import Spend
from budget_router.testing import MENU as OFFERED
from budget_router.testing import TASK, example_decision, example_settlement
from budget_router_langchain import budgeted
from budget_router_langchain.beginning import Beginning
from budget_router_langchain.executor import execution_of, prepared
from budget_router_langgraph import BudgetNode, budgeted_reasoner
from budget_router_sql import SqlLedger, audit, close_open, writer
from tests.commits import commits_of
from tests.scripted import ScriptedModel

MENU = Menu([SingleShot(), SelfConsistency(k=3)])
NEVER = 3600.0
"""Seconds between two looks at what else there is: none falls into a test."""


@pytest.fixture
def path(tmp_path):
    return tmp_path / "spend.db"


@pytest.fixture(params=["committed", "durable"])
def ledger(request, path):
    with SqlLedger(f"sqlite:///{path}", durability=request.param) as ledger:
        yield ledger


def router_of(ledger, menu=MENU, **settings) -> BudgetRouter:
    """A router that has made its first decision, for which it loads a tokenizer in a thread."""
    router = BudgetRouter(
        menu, Budget(per_task=1e6), ledger=ledger, reload_seconds=NEVER, share_seconds=NEVER, seed=7, **settings
    )
    router.decide(Task("warm"))
    return router


class State(TypedDict, total=False):
    question: str
    answer: str


def graph_of(node):
    graph = StateGraph(State)
    graph.add_node("reason", node)
    graph.add_edge(START, "reason")
    return graph.compile()


async def test_coroutines_that_record_at_once_share_commits(ledger):
    commits = commits_of(ledger)
    decisions = [example_decision(f"{number}", minutes=number) for number in range(100)]
    standing = await asyncio.gather(*(ledger.arecord_decision(one, TASK, OFFERED) for one in decisions))
    assert standing == decisions
    assert len(commits) < 20
    assert [logged.decision for logged in ledger.read()] == decisions


async def test_of_records_that_share_a_commit_each_stands_for_itself(ledger):
    kept, refused = await asyncio.gather(
        ledger.arecord_decision(example_decision(), TASK, OFFERED),
        ledger.arecord_settlement(example_settlement("nobody decided")),
        return_exceptions=True,
    )
    assert kept == ledger.decision("d1").decision
    assert isinstance(refused, UnknownDecision)


@pytest.fixture
def lingering(monkeypatch) -> None:
    """What nobody waits for is written with what somebody does, however busy the machine is."""
    monkeypatch.setattr(writer, "LINGER_SECONDS", 60)


@pytest.mark.usefixtures("lingering")
async def test_a_node_is_two_commits_and_its_call_is_opened_with_the_decision(ledger):
    app = graph_of(budgeted_reasoner(router_of(ledger), ScriptedModel(["Answer: 9"]), strategy="single_shot"))
    commits = commits_of(ledger)
    await app.ainvoke({"question": "9?"})
    logged = ledger.latest()
    assert len(commits) == 2
    assert [call.status for call in logged.calls] == ["ok"]
    assert logged.settlement is not None
    assert audit(ledger).holds


@pytest.mark.usefixtures("lingering")
async def test_each_sample_of_a_vote_is_opened_with_the_decision(ledger):
    model = ScriptedModel(["Answer: 9"])
    commits = commits_of(ledger)
    chain = budgeted(router_of(ledger, Menu([SelfConsistency(k=3)])))(model)
    commits.clear()
    await chain.ainvoke("9?")
    assert len(commits) == 2
    assert [call.status for call in ledger.latest().calls] == ["ok"] * 3


async def test_the_event_loop_goes_on_while_another_process_writes(ledger, path):
    router, turns = router_of(ledger), 0
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        deciding = asyncio.create_task(router.adecide(TASK, decision_id="held up"))
        for turns in range(100):  # noqa: B007  # so many turns of the loop
            await asyncio.sleep(0)
        assert turns == 99
        assert not deciding.done()
        other.execute("ROLLBACK")
        assert (await deciding).id == "held up"
    assert ledger.decision("held up").decision == deciding.result()


async def test_a_connection_that_did_not_wait_waits_again_for_whoever_takes_it_next(path):
    with SqlLedger(f"sqlite:///{path}", busy_seconds=5) as ledger, closing(sqlite3.connect(path, isolation_level=None)) as other:
        await ledger.arecord_decision(example_decision("first"), TASK, OFFERED)
        other.execute("BEGIN IMMEDIATE")
        deciding = asyncio.create_task(ledger.arecord_decision(example_decision("second"), TASK, OFFERED))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        other.execute("ROLLBACK")
        await deciding
        with ledger._database._engine.connect() as one, ledger._database._engine.connect() as another:
            patience = {connection.exec_driver_sql("PRAGMA busy_timeout").scalar_one() for connection in (one, another)}
    assert patience == {5000}


async def test_a_retry_finds_the_decision_that_stands_and_opens_nothing_with_it(ledger):
    router = router_of(ledger)
    first = await router.adecide(TASK, decision_id="once")
    asked = []

    def opens(decision):
        asked.append(decision)
        return []

    again = await router.adecide(TASK, decision_id="once", opens=opens)
    assert again == first
    assert asked[0] is not again


@pytest.mark.parametrize("ledger", ["durable"], indirect=True)
async def test_a_settlement_is_paced_though_nobody_waits_for_it_any_more(ledger, path):
    router, told = router_of(ledger), []
    decision = await router.adecide(TASK)
    router.watchers.append(_Settled(told))
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        settling = asyncio.create_task(router.asettle(decision, Spend(prompt_tokens=5)))
        await asyncio.sleep(0)
        settling.cancel()
        with pytest.raises(asyncio.CancelledError):
            await settling
        other.execute("ROLLBACK")
    assert [settlement.decision_id for settlement in told] == [decision.id]
    ledger.record_settlement(example_settlement(decision.id))  # comes after it
    assert ledger.decision(decision.id).settlement.spend.prompt_tokens == 5


class _Settled:
    def __init__(self, told):
        self.told = told

    def decided(self, decision, *, began, is_new): ...

    def opened(self, call, *, provider, operation): ...

    def closed(self, call): ...

    def settled(self, decision, settlement, *, is_first):
        self.told.append(settlement)


# --- calls that were opened with a decision and never made


class Refusing(ScriptedModel):
    """Fails before LangChain hears of a call."""

    async def ainvoke(self, *_, **__):
        raise ValueError("no connection was ever made")


async def test_a_call_that_was_never_made_is_closed_and_bills_nothing(ledger):
    reasoner = budgeted_reasoner(router_of(ledger), Refusing(["Answer: 9"]), strategy="single_shot")
    with pytest.raises(NoAnswer):
        await reasoner.ainvoke({"question": "9?"})
    logged = ledger.latest()
    (call,) = logged.calls
    assert (call.status, call.source, call.prompt_tokens, call.nano_usd) == ("error", "cache", 0, 0)
    assert (logged.settlement.status, logged.settlement.spend.prompt_tokens) == ("failed", 0)
    assert audit(ledger).holds
    assert close_open(ledger, open_for=timedelta(0)) == ()


@pytest.mark.parametrize("ledger", ["durable"], indirect=True)
async def test_who_is_cancelled_while_it_decides_leaves_no_open_call(ledger, path):
    reasoner = budgeted_reasoner(router_of(ledger), ScriptedModel(["Answer: 9"]), strategy="single_shot")
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        reasoning = asyncio.create_task(reasoner.ainvoke({"question": "9?"}))
        await asyncio.sleep(0)
        reasoning.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reasoning
        other.execute("ROLLBACK")
    ledger._writer.drain()
    assert [(call.status, call.source) for call in ledger.latest().calls] == [("error", "cache")]


async def test_a_call_that_was_given_up_is_not_made_any_more(ledger):
    router = router_of(ledger)
    begun, free = asyncio.Event(), asyncio.Event()

    class Late(ScriptedModel):
        async def ainvoke(self, *given, **named):
            begun.set()
            await free.wait()
            return await super().ainvoke(*given, **named)

    model = Late(["Answer: 9"])
    beginning = Beginning(lambda one: execution_of(router, one, prepared(model), "9?", config=None, answer=lambda text: text))
    with beginning:
        decision = await router.adecide(TASK, strategy="single_shot", opens=beginning.opens)
    execution = beginning.of(decision)
    running = asyncio.create_task(execution.arun())
    await begun.wait()
    execution.let_go()
    free.set()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert model.invoice == []


# --- killed


class Deadly(Provider):
    """Kills its process once the request stands on the provider's invoice."""

    async def _agenerate(self, messages, *_, run_manager=None, **__):
        self._billed(run_manager)
        os.kill(os.getpid(), signal.SIGKILL)


def reason_until_killed(url: str, invoice: str) -> None:
    with SqlLedger(url) as ledger:
        reasoner = budgeted_reasoner(router_of(ledger), Deadly(invoice=invoice), strategy="single_shot")
        asyncio.run(reasoner.ainvoke({"question": "How many are left?"}))


@pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL is POSIX")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")  # the child needs none of its parent's threads
def test_a_call_stands_in_the_books_before_the_provider_hears_of_it(tmp_path):
    url, invoice = f"sqlite:///{tmp_path}/spend.db", tmp_path / "invoice"
    process = get_context("fork").Process(target=reason_until_killed, args=(url, str(invoice)), daemon=True)
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    with SqlLedger(url) as ledger:
        logged = ledger.latest()
        assert [(call.id, call.status) for call in logged.calls] == [(invoice.read_text().strip(), "open")]
        (call,) = close_open(ledger, open_for=timedelta(0))
        assert (call.model, call.source) == ("Deadly", "estimated")
        assert call.prompt_tokens > 0


# --- whose work is done where


async def test_what_the_user_gave_is_read_in_a_thread_and_a_key_is_not(ledger):
    router, threads = router_of(ledger), []

    def question(state):
        threads.append(threading.current_thread())
        return state["question"]

    for node in (BudgetNode(router, question), budgeted_reasoner(router, ScriptedModel(["Answer: 9"]), task_from=question)):
        await node.ainvoke({"question": "9?"})
    assert threading.main_thread() not in threads
    assert len(threads) == 2


async def test_an_answer_rule_of_the_users_is_read_in_a_thread(ledger):
    threads = []

    def rule(text):
        threads.append(threading.current_thread())
        return text

    reasoner = budgeted_reasoner(router_of(ledger), ScriptedModel([AIMessage("9")]), answer=rule)
    await reasoner.ainvoke({"question": "9?"})
    assert threads
    assert threading.main_thread() not in threads
