import asyncio
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage
from langchain_core.runnables import RunnableConfig, RunnableLambda

from budget_router import (
    Budget,
    BudgetRouter,
    EarlyStop,
    Escalate,
    ExtendedCoT,
    MemoryLedger,
    Menu,
    SelfConsistency,
    SingleShot,
    Tariff,
    Tariffs,
    Task,
)
from budget_router.errors import InvalidInput, LedgerUnavailable, NoAnswer
from budget_router.ledger import Ledger
from budget_router.menu import Strategy
from budget_router.outcomes import OutcomeTable
from budget_router.records import Call, Decision, LoggedDecision, Settlement, hash_text
from budget_router.strategies import last_number
from budget_router_langchain import Booking, Receipt, aexecute, execute, meter
from budget_router_sql import SqlLedger
from tests.scripted import BadRequest, ScriptedModel, SeveralModel, billed, booked

Executor = Callable[..., Receipt]


@pytest.fixture(params=["memory", "sql"])
def ledger(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Ledger]:
    if request.param == "memory":
        yield MemoryLedger()
    else:
        with SqlLedger(f"sqlite:///{tmp_path}/spend.db") as opened:
            yield opened


@pytest.fixture(params=["sync", "async"])
def run(request: pytest.FixtureRequest) -> Executor:
    if request.param == "sync":
        return execute
    return lambda *given, **settings: asyncio.run(aexecute(*given, **settings))


@pytest.fixture(autouse=True)
def _memory_stays_flat() -> Iterator[None]:
    before = meter.n_live()
    yield
    assert meter.n_live() == before


def decided(ledger: Ledger, strategy: Strategy, **settings: Any) -> tuple[BudgetRouter, Decision]:
    router = BudgetRouter(Menu([strategy]), Budget(per_task=1e6), ledger=ledger, **settings)
    return router, router.decide(Task("2 + 2?"))


def logged(router: BudgetRouter, decision: Decision) -> LoggedDecision:
    return router.ledger.decision(decision.id)


def test_a_vote_gives_the_majoritys_answer_and_its_receipt(run: Executor, ledger: Ledger) -> None:
    router, decision = decided(ledger, SelfConsistency(k=5))
    model = ScriptedModel(["So\nAnswer: 4", "Answer: 5", "Answer: 4", "no idea\nat all", "Answer: 4"])

    receipt = run(router, decision, model, "2 + 2?")

    assert (receipt.answer, receipt.agreement) == ("4", 0.6)
    assert sorted(map(str, receipt.answers)) == ["4", "4", "4", "5", "None"]
    assert "Answer: 4" in receipt.text
    assert (receipt.decision_id, receipt.strategy) == (decision.id, "self_consistency_5")


def test_the_ledgers_calls_equal_the_invoice(run: Executor, ledger: Ledger) -> None:
    router, decision = decided(ledger, SelfConsistency(k=5))
    model = ScriptedModel(["Answer: 4"])

    receipt = run(router, decision, model, [SystemMessage("Be brief."), HumanMessage("2 + 2?")])

    book = logged(router, decision)
    assert booked(book.calls) == billed(model) == (receipt.spend.prompt_tokens, receipt.spend.completion_tokens)
    assert receipt.spend.n_calls == len(book.calls) == len(model.invoice) == 5
    assert {call.status for call in book.calls} == {"ok"}


def test_the_settlement_names_the_call_and_the_answer_of_each_sample(run: Executor, ledger: Ledger) -> None:
    router, decision = decided(ledger, SelfConsistency(k=3))
    receipt = run(router, decision, ScriptedModel(["Answer: 4"]), "2 + 2?")

    book = logged(router, decision)
    assert book.settlement is not None
    assert {sample.call_id for sample in book.settlement.samples} == {call.id for call in book.calls}
    assert {sample.answer_key for sample in book.settlement.samples} == {hash_text("4", salt=ledger.salt)}
    assert (book.settlement.status, book.settlement.agreement, book.settlement.spend) == ("ok", 1.0, receipt.spend)


def test_known_tariffs_price_the_spend(run: Executor, ledger: Ledger) -> None:
    router, decision = decided(ledger, SingleShot(), tariffs=Tariffs({"scripted": Tariff(prompt="1", completion="10")}))
    receipt = run(router, decision, ScriptedModel(["Answer: 4"]), "2 + 2?")

    assert receipt.spend.nano_usd == 3 * 1_000 + 2 * 10_000


def test_the_vote_goes_on_without_samples_that_failed_and_their_calls_are_booked(run: Executor, ledger: Ledger) -> None:
    router, decision = decided(ledger, SelfConsistency(k=4))
    model = ScriptedModel(["Answer: 4", ValueError("overloaded"), "Answer: 4", TimeoutError()])

    receipt = run(router, decision, model, "2 + 2?")

    statuses = sorted(call.status for call in logged(router, decision).calls)
    assert statuses == ["error", "error", "ok", "ok"]
    assert (receipt.answers, receipt.spend.n_calls) == (("4", "4"), 4)
    assert receipt.spend.completion_tokens == billed(model)[1]
    assert receipt.spend.prompt_tokens > billed(model)[0]  # the one that timed out may have been billed: its prompt is estimated


def test_when_every_sample_fails_the_spend_is_settled_as_failed(run: Executor, ledger: Ledger) -> None:
    router, decision = decided(ledger, SelfConsistency(k=3))
    with pytest.raises(NoAnswer, match="all 3 samples"):
        run(router, decision, ScriptedModel([ValueError("overloaded")]), "2 + 2?")

    book = logged(router, decision)
    assert book.settlement is not None
    assert (book.settlement.status, len(book.calls)) == ("failed", 3)


def test_a_rule_that_fails_after_the_samples_were_paid_leaves_them_settled(run: Executor, ledger: Ledger) -> None:
    router, decision = decided(ledger, SelfConsistency(k=3))
    model = ScriptedModel(["Answer: 4"])

    with pytest.raises(InvalidInput, match="gave a int"):
        run(router, decision, model, "2 + 2?", answer=lambda _: 4)

    settlement = logged(router, decision).settlement
    assert settlement is not None
    assert (settlement.status, settlement.spend.completion_tokens) == ("failed", billed(model)[1])


def test_the_answer_rule_is_the_callers(run: Executor, ledger: Ledger) -> None:
    router, decision = decided(ledger, SingleShot())
    assert run(router, decision, ScriptedModel(["2 and 2 make 4 things"]), "?", answer=last_number).answer == "4"


def test_a_strategys_settings_and_instruction_reach_the_model(run: Executor, ledger: Ledger) -> None:
    router, decision = decided(ledger, ExtendedCoT(instruction="Think step by step.", temperature=0.7))
    model = ScriptedModel(["Answer: 4"], temperature=0.0)

    run(router, decision, model, "2 + 2?")

    assert model.seen == [[SystemMessage("Think step by step."), HumanMessage("2 + 2?")]]
    assert model.invoice[0]["temperature"] == 0.7


def test_a_strategy_runs_on_the_model_that_it_names(run: Executor, ledger: Ledger) -> None:
    router, decision = decided(ledger, SingleShot(model="large"))
    small, large = ScriptedModel(["small"]), ScriptedModel(["large"], model_name="large-1")

    assert run(router, decision, small, "?", models={"large": large}).answer == "large"
    assert (small.invoice, logged(router, decision).calls[0].model) == ([], "large-1")


@pytest.mark.parametrize("strategy", [SingleShot(model="large"), ExtendedCoT(effort="high")])
def test_what_cannot_be_executed_is_refused_before_anything_is_paid(run: Executor, ledger: Ledger, strategy: Strategy) -> None:
    router, decision = decided(ledger, strategy)
    model = ScriptedModel(["4"])

    with pytest.raises(InvalidInput, match=r"large|effort"):
        run(router, decision, model, "?", models={"tiny": model})

    book = logged(router, decision)
    assert (model.invoice, book.calls) == ([], ())
    assert book.settlement is not None
    assert book.settlement.status == "failed"


def test_samples_are_drawn_side_by_side(ledger: Ledger) -> None:
    together = threading.Barrier(4, timeout=5)
    router, decision = decided(ledger, SelfConsistency(k=4))
    receipt = execute(router, decision, ScriptedModel(["Answer: 4"], delay=together.wait), "2 + 2?")

    assert receipt.agreement == 1.0


async def test_samples_are_drawn_side_by_side_in_the_event_loop(ledger: Ledger) -> None:
    together = asyncio.Barrier(4)
    router, decision = decided(ledger, SelfConsistency(k=4))

    receipt = await asyncio.wait_for(
        aexecute(router, decision, ScriptedModel(["Answer: 4"], adelay=together.wait), "2 + 2?"), timeout=5
    )
    assert receipt.agreement == 1.0


@pytest.mark.parametrize("limit", [{"max_concurrency": 2}, {"config": {"max_concurrency": 2}}])
def test_no_more_samples_than_allowed_are_drawn_at_once(run: Executor, ledger: Ledger, limit: dict[str, Any]) -> None:
    at_once, most, lock = 0, 0, threading.Lock()

    def count() -> None:
        nonlocal at_once, most
        with lock:
            at_once += 1
            most = max(most, at_once)
        threading.Event().wait(0.005)
        with lock:
            at_once -= 1

    async def acount() -> None:
        nonlocal at_once, most
        at_once += 1
        most = max(most, at_once)
        await asyncio.sleep(0)
        at_once -= 1

    router, decision = decided(ledger, SelfConsistency(k=6))
    model = ScriptedModel(["Answer: 4"], delay=count if run is execute else lambda: None, adelay=acount)
    run(router, decision, model, "2 + 2?", **limit)

    assert most == 2


async def test_what_a_cancelled_execution_spent_is_booked(ledger: Ledger) -> None:
    router, decision = decided(ledger, SelfConsistency(k=3))
    turns = iter(range(3))
    hanging = asyncio.Event()

    async def answer_once_then_hang() -> None:
        if next(turns) > 0:
            hanging.set()
            await asyncio.Event().wait()

    model = ScriptedModel(["Answer: 4"], adelay=answer_once_then_hang)
    task = asyncio.ensure_future(aexecute(router, decision, model, "2 + 2?"))
    await hanging.wait()
    while not any(call.status == "ok" for call in logged(router, decision).calls):
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    book = logged(router, decision)
    assert book.settlement is not None
    assert (book.settlement.status, len(book.calls)) == ("failed", 3)
    assert sorted(call.status for call in book.calls) == ["error", "error", "ok"]
    assert book.settlement.spend.completion_tokens == billed(model)[1]


def test_a_keyboard_interrupt_is_booked_and_goes_on(ledger: Ledger) -> None:
    router, decision = decided(ledger, SelfConsistency(k=3))
    with pytest.raises(KeyboardInterrupt):
        execute(router, decision, ScriptedModel(["Answer: 4", KeyboardInterrupt(), "Answer: 4"]), "2 + 2?")

    book = logged(router, decision)
    assert book.settlement is not None
    assert book.settlement.status == "failed"


def test_an_outer_binding_does_not_pay_for_the_executors_samples(run: Executor, ledger: Ledger) -> None:
    router, outer = decided(ledger, SingleShot())
    inner = router.decide(Task("an inner task"))

    def inside(given: str, config: RunnableConfig) -> Receipt:
        run_id = config["callbacks"].parent_run_id  # type: ignore[union-attr]  # a manager inside a run
        assert isinstance(run_id, UUID)
        meter.bind(run_id, Booking(router, outer))
        return run(router, inner, ScriptedModel(["Answer: 4"]), given)

    RunnableLambda(inside).invoke("2 + 2?")

    assert (len(logged(router, outer).calls), len(logged(router, inner).calls)) == (0, 1)


class Refusing(MemoryLedger):
    """A ledger whose database goes away at one kind of write."""

    def __init__(self, at: str) -> None:
        super().__init__()
        self.at = at

    def open_call(self, call: Call) -> None:
        if self.at == "open_call":
            raise LedgerUnavailable("the database did not answer")
        super().open_call(call)

    def record_settlement(self, settlement: Settlement) -> None:
        if self.at == "settle":
            raise LedgerUnavailable("the database did not answer")
        super().record_settlement(settlement)


def test_no_sample_is_drawn_when_the_ledger_cannot_open_its_call(run: Executor) -> None:
    router, decision = decided(Refusing("open_call"), SelfConsistency(k=3))
    model = ScriptedModel(["Answer: 4"])

    with pytest.raises(LedgerUnavailable):
        run(router, decision, model, "2 + 2?")

    assert model.invoice == []
    assert logged(router, decision).settlement is not None


def test_a_refused_settlement_does_not_hide_why_the_execution_failed(run: Executor, caplog: pytest.LogCaptureFixture) -> None:
    router, decision = decided(Refusing("settle"), SelfConsistency(k=3))
    with pytest.raises(NoAnswer):
        run(router, decision, ScriptedModel([ValueError("overloaded")]), "2 + 2?")

    assert "settlement was refused" in caplog.text


def test_a_reply_of_blocks_is_read_as_its_text(run: Executor, ledger: Ledger) -> None:
    router, decision = decided(ledger, SingleShot())
    reply = AIMessage([{"type": "thinking", "thinking": "hm"}, {"type": "text", "text": "Answer: 4"}])

    receipt = run(router, decision, ScriptedModel([reply]), "2 + 2?")
    assert receipt.answer == "4"
    assert type(receipt.text) is str


EARLY = SelfConsistency(k=10, early_stop=EarlyStop(threshold=0.85))
DOUBT = Escalate(first=SelfConsistency(k=3), then=SingleShot(model="large", instruction="Think."), agreement=1.0)


def test_a_vote_that_stops_early_pays_for_what_it_drew(run: Executor, ledger: Ledger) -> None:
    router, decision = decided(ledger, EARLY)
    model = ScriptedModel(["Answer: 4"])

    receipt = run(router, decision, model, "2 + 2?")

    book = logged(router, decision)
    assert (receipt.answers, receipt.spend.n_calls) == (("4", "4"), 2)
    assert booked(book.calls) == billed(model) == (receipt.spend.prompt_tokens, receipt.spend.completion_tokens)


def test_a_vote_that_is_not_sure_goes_on(run: Executor, ledger: Ledger) -> None:
    router, decision = decided(ledger, EARLY)
    receipt = run(router, decision, ScriptedModel(["Answer: 4", "Answer: 5", ValueError("overloaded"), "Answer: 5"]), "2 + 2?")

    assert receipt.answers == ("4", "5", "5", "4", "5", "5", "4", "5")  # of ten drawn two failed


def test_doubtful_answers_are_put_to_the_other_model_and_both_are_booked_once(run: Executor, ledger: Ledger) -> None:
    router, decision = decided(ledger, DOUBT)
    small = ScriptedModel(["Answer: 4", "Answer: 5", "Answer: 4"])
    large = ScriptedModel(["Answer: 6"], model_name="large-1")

    receipt = run(router, decision, small, "2 + 2?", models={"large": large})

    book = logged(router, decision)
    assert (receipt.answer, receipt.agreement, receipt.spend.n_calls) == ("6", 1.0, 4)
    assert (len(small.invoice), large.seen) == (3, [[SystemMessage("Think."), HumanMessage("2 + 2?")]])
    assert sorted(call.model for call in book.calls) == ["large-1", "scripted", "scripted", "scripted"]
    assert receipt.spend.completion_tokens == billed(small)[1] + billed(large)[1] == booked(book.calls)[1]
    assert book.settlement is not None
    assert [sample.index for sample in book.settlement.samples] == [0, 1, 2, 3]


def test_answers_that_agree_are_not_escalated(run: Executor, ledger: Ledger) -> None:
    router, decision = decided(ledger, DOUBT)
    large = ScriptedModel(["Answer: 6"])
    receipt = run(router, decision, ScriptedModel(["Answer: 4"]), "2 + 2?", models={"large": large})

    assert (receipt.answer, receipt.spend.n_calls, large.invoice) == ("4", 3, [])


def test_a_second_stage_that_cannot_be_run_is_refused_before_the_first_is_paid(run: Executor, ledger: Ledger) -> None:
    router, decision = decided(ledger, DOUBT)
    small = ScriptedModel(["Answer: 4"])
    with pytest.raises(InvalidInput, match="runs on model 'large', which is not at hand"):
        run(router, decision, small, "2 + 2?")
    assert small.invoice == []


def test_an_escalation_whose_second_stage_fails_keeps_the_first_answer_and_books_the_failure(
    run: Executor, ledger: Ledger
) -> None:
    router, decision = decided(ledger, DOUBT)
    small, large = ScriptedModel(["Answer: 4", "Answer: 5", "Answer: 4"]), ScriptedModel([TimeoutError()])
    receipt = run(router, decision, small, "2 + 2?", models={"large": large})

    assert (receipt.answer, receipt.spend.n_calls) == ("4", 4)
    assert sorted(call.status for call in logged(router, decision).calls) == ["error", "ok", "ok", "ok"]


def test_the_log_of_an_escalation_tells_its_first_stage_apart(run: Executor, ledger: Ledger) -> None:
    menu = Menu([SingleShot(), DOUBT])
    router = BudgetRouter(menu, Budget(per_task=1e6), ledger=ledger)
    decision = router.decide(Task("2 + 2?"), strategy=DOUBT.name)
    small, large = ScriptedModel(["Answer: 4", "Answer: 5", "Answer: 4"]), ScriptedModel(["so\nAnswer: 4"])
    receipt = run(router, decision, small, "2 + 2?", models={"large": large})
    router.grade(decision.id, score=1.0, answer_scores={"4": 1.0, "5": 0.0})

    table = OutcomeTable.from_log([logged(router, decision)], menu, unit="tokens")
    assert table.accuracy.tolist() == [[pytest.approx(2 / 3), 1.0]]
    assert table.cost.tolist() == [[sum(billed(small)) / 3, receipt.spend.in_unit("tokens")]]


# --- several samples in one request

FOUR = SelfConsistency(k=4)


def test_where_the_class_offers_it_a_vote_is_one_request_and_bills_its_prompt_once(run: Executor, ledger: Ledger) -> None:
    router, decision = decided(ledger, FOUR)
    model = SeveralModel(["Answer: 4", "so\nAnswer: 5", "Answer: 4", "Answer: 4"], n=2)

    receipt = run(router, decision, model, "2 + 2?")

    book = logged(router, decision)
    assert (receipt.answers, receipt.answer, receipt.agreement) == (("4", "5", "4", "4"), "4", 0.75)
    assert [line["n"] for line in model.invoice] == [4]
    assert booked(book.calls) == billed(model) == (3, 9) == (receipt.spend.prompt_tokens, receipt.spend.completion_tokens)
    assert book.settlement is not None
    assert [sample.call_id for sample in book.settlement.samples] == [book.calls[0].id] * 4


def test_unreported_usage_of_one_request_counts_its_prompt_once_and_every_reply(run: Executor, ledger: Ledger) -> None:
    one, four = (decided(ledger, SelfConsistency(k=k)) for k in (1, 4))
    spends = [
        run(*each, SeveralModel(["Answer: 4"], reports_usage=False), "How much is 2 + 2, and why is that so?").spend
        for each in (one, four)
    ]
    assert spends[0].prompt_tokens == spends[1].prompt_tokens
    assert spends[1].completion_tokens > 3 * spends[0].completion_tokens


@pytest.mark.parametrize(("n_most", "requests"), [(3, [3, 1]), (1, [1, 1, 1, 1]), (0, [1, 1, 1, 1])])
def test_what_one_request_did_not_bring_is_asked_for_singly(
    run: Executor, ledger: Ledger, n_most: int, requests: list[int]
) -> None:
    router, decision = decided(ledger, FOUR)
    model = SeveralModel(["Answer: 4", "Answer: 5", "Answer: 4", "Answer: 4"], n_most=n_most)

    receipt = run(router, decision, model, "2 + 2?")

    calls = logged(router, decision).calls
    assert sorted(receipt.answers, key=str) == ["4", "4", "4", "5"]
    assert [line["n"] for line in model.invoice] == requests
    assert booked(calls) == billed(model)
    assert [call.status for call in calls].count("error") == (n_most == 0)


def test_a_round_that_was_refused_as_one_request_is_not_asked_for_so_again(run: Executor, ledger: Ledger) -> None:
    router, decision = decided(ledger, SelfConsistency(k=6, early_stop=EarlyStop(threshold=0.99, window=2)))
    model = SeveralModel(["Answer: 4", "Answer: 5"], n_most=0)
    run(router, decision, model, "2 + 2?")
    assert [call.status for call in logged(router, decision).calls].count("error") == 1


def test_a_vote_that_stops_early_asks_for_a_window_at_a_time(run: Executor, ledger: Ledger) -> None:
    router, decision = decided(ledger, SelfConsistency(k=6, early_stop=EarlyStop(threshold=0.9, window=2)))
    model = SeveralModel(["Answer: 4", "Answer: 5", "Answer: 4", "Answer: 4", "Answer: 4"])
    run(router, decision, model, "2 + 2?")
    assert [line["n"] for line in model.invoice] == [2, 2]


def test_at_a_window_of_one_each_sample_is_a_request(run: Executor, ledger: Ledger) -> None:
    router, decision = decided(ledger, EARLY)
    model = SeveralModel(["Answer: 4"])
    run(router, decision, model, "2 + 2?")
    assert [line["n"] for line in model.invoice] == [1, 1]


@pytest.mark.parametrize("error", [TimeoutError("slow"), ValueError("overloaded")])
def test_one_request_that_fails_fails_all_its_samples_and_is_booked_once(run: Executor, ledger: Ledger, error: Exception) -> None:
    router, decision = decided(ledger, FOUR)
    with pytest.raises(NoAnswer, match="all 4 samples"):
        run(router, decision, SeveralModel([error]), "2 + 2?")
    assert [call.status for call in logged(router, decision).calls] == ["error"]


def test_a_single_request_that_is_refused_is_a_failure(run: Executor, ledger: Ledger) -> None:
    router, decision = decided(ledger, SingleShot())
    with pytest.raises(NoAnswer) as failure:
        run(router, decision, SeveralModel([BadRequest("too long")]), "2 + 2?")
    assert isinstance(failure.value.__cause__, BadRequest)


def test_a_model_that_streams_gives_whole_generations_when_it_is_asked_for_several(ledger: Ledger) -> None:
    class Streaming(SeveralModel):
        streaming: bool = True

        def _stream(self, *given: Any, **settings: Any) -> Any:
            raise AssertionError("a stream mixes generations up")

    router, decision = decided(ledger, FOUR)
    assert execute(router, decision, Streaming(["Answer: 4"]), "2 + 2?").agreement == 1.0


def test_a_model_behind_the_responses_api_is_asked_four_times(run: Executor, ledger: Ledger) -> None:
    class Responses(SeveralModel):
        use_responses_api: bool | None = True

    router, decision = decided(ledger, FOUR)
    model = Responses(["Answer: 4"])
    run(router, decision, model, "2 + 2?")
    assert [line["n"] for line in model.invoice] == [1, 1, 1, 1]


def test_a_graded_vote_of_one_request_prices_smaller_ones_with_the_whole_prompt(run: Executor, ledger: Ledger) -> None:
    menu = Menu([SingleShot(), SelfConsistency(k=2), FOUR])
    router = BudgetRouter(menu, Budget(per_task=1e6), ledger=ledger)
    decision = router.decide(Task("2 + 2?"), strategy=FOUR.name)
    run(router, decision, SeveralModel(["Answer: 4"]), "2 + 2?")
    router.grade(decision.id, score=1.0, answer_scores={"4": 1.0})
    table = OutcomeTable.from_log([logged(router, decision)], menu, unit="tokens")
    assert table.cost.tolist() == [[5.0, 7.0, 11.0]]


def test_tools_that_the_majority_asks_for_are_the_answer(run: Executor, ledger: Ledger) -> None:
    def asking(city: str) -> AIMessage:
        return AIMessage("", tool_calls=[{"name": "weather", "args": {"city": city}, "id": f"call {city}"}])

    router, decision = decided(ledger, SelfConsistency(k=3))
    receipt = run(router, decision, SeveralModel([asking("Rome"), asking("Paris"), asking("Paris")]), "Is it sunny?")
    assert (receipt.answer, receipt.agreement) == ('[{"arguments":{"city":"Paris"},"name":"weather"}]', pytest.approx(2 / 3))
    assert receipt.output.tool_calls[0]["args"] == {"city": "Paris"}
