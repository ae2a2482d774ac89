import asyncio
import gc
import threading
from collections.abc import Iterator
from uuid import UUID, uuid4

import pytest
from langchain_core.caches import InMemoryCache
from langchain_core.callbacks import CallbackManager
from langchain_core.language_models import FakeListLLM
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.output_parsers import StrOutputParser
from langchain_core.runnables import Runnable, RunnableConfig, RunnableLambda, RunnableParallel

from budget_router.errors import LedgerUnavailable
from budget_router.records import Call
from budget_router.tokens import count_tokens
from budget_router_langchain import Sent, meter
from tests.scripted import ScriptedModel, StreamingModel, billed, booked

PARSER = StrOutputParser()


class Book:
    """A listener that writes down what it is told."""

    decision_id = "d1"

    def __init__(self, *, refuses_opening: bool = False, refuses_closing: bool = False) -> None:
        self.opened_calls: list[Call] = []
        self.calls: list[Call] = []
        self.refuses_opening = refuses_opening
        self.refuses_closing = refuses_closing

    def opened(self, call: Call, sent: Sent) -> None:
        if self.refuses_opening:
            raise LedgerUnavailable("the ledger did not answer")
        self.opened_calls.append(call)

    def closed(self, call: Call) -> None:
        if self.refuses_closing:
            raise LedgerUnavailable("the ledger did not answer")
        self.calls.append(call)


@pytest.fixture
def book() -> Book:
    return Book()


@pytest.fixture(autouse=True)
def _memory_stays_flat() -> Iterator[None]:
    before = meter.n_live()
    yield
    assert meter.n_live() == before


def bound(book: Book, chain: Runnable) -> Runnable:
    """The chain inside a run that the book pays for."""

    def enter(given: object, config: RunnableConfig) -> object:
        meter.bind(_run_of(config), book)
        return chain.invoke(given, config)

    async def aenter(given: object, config: RunnableConfig) -> object:
        meter.bind(_run_of(config), book)
        return await chain.ainvoke(given, config)

    return RunnableLambda(enter, aenter)


def _run_of(config: RunnableConfig) -> UUID:
    run_id = config["callbacks"].parent_run_id
    assert run_id is not None
    return run_id


def test_a_call_is_opened_and_closed_with_what_the_provider_reported(book: Book) -> None:
    usage = {
        "input_tokens": 100,
        "output_tokens": 40,
        "total_tokens": 140,
        "input_token_details": {"cache_read": 60},
        "output_token_details": {"reasoning": 30},
    }
    model = ScriptedModel([AIMessage("four", usage_metadata=usage)])

    bound(book, model).invoke("2 + 2?")

    (opened,), (call,) = book.opened_calls, book.calls
    assert (opened.status, opened.model, opened.decision_id) == ("open", "scripted", "d1")
    assert (call.prompt_tokens, call.completion_tokens, call.reasoning_tokens, call.cached_tokens) == (100, 40, 30, 60)
    assert (call.id, call.status, call.source) == (opened.id, "ok", "reported")
    assert call.seconds >= 0


def test_a_call_without_reported_usage_is_counted(book: Book) -> None:
    bound(book, ScriptedModel(["the answer is four"], reports_usage=False)).invoke("2 + 2?")

    (call,) = book.calls
    assert call.completion_tokens == count_tokens("the answer is four").n_tokens
    assert call.prompt_tokens == count_tokens("Human: 2 + 2?").n_tokens
    assert call.source == count_tokens("x").source


def test_a_tool_call_is_counted_as_written_text(book: Book) -> None:
    reply = AIMessage("", tool_calls=[{"name": "search", "args": {"q": "capital of France"}, "id": "1"}])
    bound(book, ScriptedModel([reply], reports_usage=False)).invoke("?")

    assert book.calls[0].completion_tokens >= 5


def test_several_generations_of_one_request_are_billed_once(book: Book) -> None:
    model = ScriptedModel(["four"])
    bound(book, model.bind(n=5)).invoke("2 + 2?")

    assert booked(book.calls) == billed(model)


def test_a_plain_language_model_is_metered(book: Book) -> None:
    bound(book, FakeListLLM(responses=["the answer is four"])).invoke("2 + 2?")

    (call,) = book.calls
    assert (call.status, call.completion_tokens) == ("ok", count_tokens("the answer is four").n_tokens)


def test_a_reply_from_langchains_cache_is_not_billed(book: Book) -> None:
    chain = bound(book, ScriptedModel(["four"], cache=InMemoryCache()))
    chain.invoke("2 + 2?")
    chain.invoke("2 + 2?")

    first, second = book.calls
    assert (first.source, second.source) == ("reported", "cache")
    assert second.prompt_tokens == second.completion_tokens == 0


def test_a_call_without_a_bound_ancestor_is_none_of_ours(book: Book) -> None:
    model = ScriptedModel(["four"])
    bound(book, RunnableLambda(lambda _: "nothing called")).invoke("2 + 2?")
    model.invoke("2 + 2?")

    assert book.opened_calls == []


def test_a_call_belongs_to_its_nearest_bound_ancestor() -> None:
    outer, inner = Book(), Book()
    model = ScriptedModel(["four"])

    bound(outer, model | PARSER | bound(inner, model)).invoke("2 + 2?")

    assert (len(outer.calls), len(inner.calls)) == (1, 1)


def test_attribution_holds_through_parallel_batch_lambda_retry_and_fallback(book: Book) -> None:
    model = ScriptedModel(["four"])
    failing = ScriptedModel([ValueError("no")])
    retried = ScriptedModel([ValueError("no"), "four"]).with_retry(wait_exponential_jitter=False)
    inside = RunnableLambda(lambda given: model.batch([given, given]))

    bound(book, RunnableParallel(a=model, b=inside, c=failing.with_fallbacks([model]), d=retried)).invoke("2 + 2?")

    assert [call.status for call in book.calls].count("error") == 2
    assert [call.status for call in book.calls].count("ok") == 5


async def test_attribution_holds_in_coroutines(book: Book) -> None:
    model = ScriptedModel(["four"])

    async def inside(given: str) -> object:
        return await asyncio.gather(model.ainvoke(given), asyncio.to_thread(model.invoke, given), model.abatch([given] * 2))

    await bound(book, RunnableLambda(inside)).ainvoke("2 + 2?")

    assert booked(book.calls) == billed(model)
    assert len(book.calls) == 4


def test_concurrent_runs_are_kept_apart() -> None:
    model = ScriptedModel(["four"])
    books = [Book() for _ in range(20)]
    RunnableParallel({str(i): bound(book, model) for i, book in enumerate(books)}).invoke("2 + 2?")

    assert [len(book.calls) for book in books] == [1] * 20


def test_a_call_that_the_handler_hears_of_twice_is_booked_once(book: Book) -> None:
    run_id = uuid4()
    meter.bind(run_id, book)
    for _ in range(2):
        meter.on_chat_model_start({}, [[HumanMessage("?")]], run_id=run_id)
    for _ in range(2):
        meter.on_llm_error(ValueError("no"), run_id=run_id)
    meter.end(run_id)

    assert (len(book.opened_calls), len(book.calls)) == (1, 1)


def test_a_failed_call_is_closed_as_an_error(book: Book) -> None:
    with pytest.raises(ValueError, match="no"):
        bound(book, ScriptedModel([ValueError("no")])).invoke("2 + 2?")

    (call,) = book.calls
    assert (call.status, call.prompt_tokens, call.completion_tokens) == ("error", 0, 0)


def test_a_timeout_is_booked_with_its_estimated_prompt(book: Book) -> None:
    with pytest.raises(TimeoutError):
        bound(book, ScriptedModel([TimeoutError()])).invoke("2 + 2?")

    assert (book.calls[0].status, book.calls[0].source) == ("error", "estimated")
    assert book.calls[0].prompt_tokens > 0


def test_a_stream_that_breaks_is_booked_with_what_it_wrote(book: Book) -> None:
    chain = bound(book, RunnableLambda(lambda given: list(StreamingModel(["one two three four"], breaks_after=2).stream(given))))
    with pytest.raises(ConnectionError):
        chain.invoke("2 + 2?")

    (call,) = book.calls
    assert (call.status, call.completion_tokens) == ("error", count_tokens("one two ").n_tokens)
    assert call.prompt_tokens > 0


def test_a_stream_is_booked_with_its_reported_usage(book: Book) -> None:
    model = StreamingModel(["one two three four"])
    bound(book, RunnableLambda(lambda given: list(model.stream(given)))).invoke("2 + 2?")

    assert booked(book.calls) == billed(model)


async def test_a_cancelled_call_is_closed_when_its_run_ends(book: Book) -> None:
    started = asyncio.Event()

    async def never() -> None:
        started.set()
        await asyncio.Event().wait()

    task = asyncio.ensure_future(bound(book, ScriptedModel(["four"], adelay=never)).ainvoke("2 + 2?"))
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    (call,) = book.calls
    assert (call.status, call.source) == ("error", "estimated")
    assert call.prompt_tokens > 0


def test_a_call_that_cannot_be_opened_in_the_ledger_is_not_made() -> None:
    model = ScriptedModel(["four"])
    with pytest.raises(LedgerUnavailable):
        bound(Book(refuses_opening=True), model).invoke("2 + 2?")

    assert model.invoice == []


def test_a_paid_reply_reaches_the_user_even_if_the_ledger_refuses_its_closing(caplog: pytest.LogCaptureFixture) -> None:
    reply = bound(Book(refuses_closing=True), ScriptedModel(["four"])).invoke("2 + 2?")

    assert reply.text == "four"
    assert "closing was refused" in caplog.text
    assert '"completion_tokens":1' in caplog.text


def test_an_unreadable_usage_does_not_cost_the_user_the_reply(book: Book, caplog: pytest.LogCaptureFixture) -> None:
    run_id = uuid4()
    meter.bind(run_id, book)
    meter.on_chat_model_start({}, [[HumanMessage("?")]], run_id=run_id)
    meter.on_llm_end(object(), run_id=run_id)  # type: ignore[arg-type]  # that is the point
    meter.end(run_id)

    assert book.calls[0].source == "estimated"
    assert "cannot be read" in caplog.text


def test_a_released_run_pays_no_more_but_its_open_calls_still_close(book: Book) -> None:
    run_id, call_id, later = uuid4(), uuid4(), uuid4()
    meter.on_chain_start({}, "?", run_id=run_id)
    meter.bind(run_id, book)
    meter.on_chat_model_start({}, [[HumanMessage("?")]], run_id=call_id, parent_run_id=run_id)
    meter.unbind(run_id, "d1")
    meter.on_chat_model_start({}, [[HumanMessage("?")]], run_id=later, parent_run_id=run_id)
    meter.on_llm_error(ValueError("no"), run_id=call_id)
    meter.on_chain_end({}, run_id=run_id)

    assert [call.id for call in book.calls] == [str(call_id)]


def test_every_callback_manager_gets_the_one_meter() -> None:
    assert meter in CallbackManager.configure().handlers


def test_memory_stays_flat_over_many_runs_that_fail(book: Book) -> None:
    before = meter.n_live()
    chain = bound(book, ScriptedModel(["four", ValueError("no")]) | PARSER)
    chain.batch(["2 + 2?"] * 100, return_exceptions=True)
    gc.collect()

    assert meter.n_live() == before
    assert len(book.calls) == 100


def test_a_stream_that_is_left_open_is_booked_with_what_it_had_brought_when_its_run_ends(book: Book) -> None:
    left_open = []

    def inside(given: str) -> None:
        left_open.append(StreamingModel(["one two three four"]).stream(given))
        next(left_open[0])

    bound(book, RunnableLambda(inside)).invoke("2 + 2?")

    (call,) = book.calls
    assert (call.status, call.completion_tokens) == ("error", count_tokens("one ").n_tokens)
    left_open[0].close()
    assert len(book.calls) == 1


def test_a_call_that_takes_no_config_belongs_to_the_run_around_it(book: Book) -> None:
    model = ScriptedModel(["four"])
    bound(book, RunnableLambda(lambda given: model.generate([[HumanMessage(given)]]).generations[0][0].text)).invoke("2 + 2?")

    assert booked(book.calls) == billed(model)


async def test_a_thread_that_outlives_its_cancelled_run_is_booked_with_what_it_billed(book: Book) -> None:
    asked, go_on = threading.Event(), threading.Event()

    def wait() -> None:
        asked.set()
        go_on.wait()

    model = ScriptedModel(["four"], delay=wait)
    task = asyncio.ensure_future(
        bound(book, RunnableLambda(lambda _: None, lambda g: asyncio.to_thread(model.invoke, g))).ainvoke("?")
    )
    await asyncio.to_thread(asked.wait)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert book.calls == []
    go_on.set()
    while not book.calls:
        await asyncio.sleep(0)

    assert (book.calls[0].status, book.calls[0].source) == ("ok", "reported")
    assert booked(book.calls) == billed(model)


def test_a_call_that_comes_after_its_run_has_ended_is_booked_all_the_same(book: Book) -> None:
    model = ScriptedModel(["four"])
    late: list[RunnableConfig] = []

    def inside(given: str, config: RunnableConfig) -> None:
        late.append(config)

    bound(book, RunnableLambda(inside)).invoke("2 + 2?")
    model.invoke("2 + 2?", late[0])

    assert booked(book.calls) == billed(model)


def test_a_run_whose_end_nobody_reports_is_forgotten_with_its_root() -> None:
    root, step = uuid4(), uuid4()
    meter.on_chain_start({}, "?", run_id=root)
    meter.on_chain_start({}, "?", run_id=step, parent_run_id=root)
    meter.on_chain_end({}, run_id=root)

    assert not meter.is_running(step)


def test_a_run_that_starts_under_one_that_has_ended_is_not_waited_for_and_its_calls_are_booked(book: Book) -> None:
    root, step, call = uuid4(), uuid4(), uuid4()
    meter.on_chain_start({}, "?", run_id=root)
    meter.bind(root, book)
    meter.on_chain_end({}, run_id=root)
    meter.on_chain_start({}, "?", run_id=step, parent_run_id=root)
    meter.on_chat_model_start({}, [[HumanMessage("?")]], run_id=call, parent_run_id=step)
    meter.on_llm_error(ValueError("no"), run_id=call)

    assert not meter.is_running(step)
    assert [booked.id for booked in book.calls] == [str(call)]
