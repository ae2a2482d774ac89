"""Promises are futures in every way that anybody asks, though most of them are never made whole."""

import asyncio
import threading
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, as_completed, wait

import pytest

from budget_router.errors import InvalidInput
from budget_router_sql.promises import Promise, keep

OTHERWISE = "otherwise"
ANSWERS = {"otherwise": None, "answer": "another", "error": InvalidInput("refused")}


@pytest.fixture
def told() -> threading.Condition:
    return threading.Condition()


def said(future: Future) -> object:
    """What a kept future holds, or raises."""
    return future.exception() or future.result()


def expected(answer: object) -> object:
    return OTHERWISE if answer is None else answer


@pytest.mark.parametrize("answer", ANSWERS.values(), ids=ANSWERS)
def test_a_promise_holds_what_it_was_told(told, answer):
    promise = Promise(told, OTHERWISE)
    assert not promise.done()
    keep(told, [(promise, answer)])
    assert promise.done()
    assert said(promise) == expected(answer)


def test_a_refusal_is_raised_where_the_result_is_asked_for(told):
    promise = Promise(told, OTHERWISE)
    keep(told, [(promise, InvalidInput("refused"))])
    with pytest.raises(InvalidInput, match="refused"):
        promise.result()


def test_what_is_promised_cannot_be_called_back(told):
    promise = Promise(told, OTHERWISE)
    assert (promise.cancel(), promise.cancelled(), promise.running(), promise.done()) == (False,) * 4
    keep(told, [(promise, None)])
    assert promise.result() == OTHERWISE


@pytest.mark.parametrize("ask", [Promise.result, Promise.exception], ids=["result", "exception"])
def test_who_waits_in_vain_hears_of_it(told, ask):
    with pytest.raises(TimeoutError):
        ask(Promise(told, OTHERWISE), timeout=0)


def test_who_waits_for_one_promise_goes_on_waiting_when_another_is_kept(told):
    kept, other = Promise(told, OTHERWISE), Promise(told, OTHERWISE)
    with ThreadPoolExecutor(2) as pool:
        waiting = [pool.submit(one.result, 30) for one in (kept, other)]
        keep(told, [(kept, None)])
        assert waiting[0].result() == OTHERWISE
        assert not waiting[1].done()
        keep(told, [(other, "another")])
        assert waiting[1].result() == "another"


@pytest.mark.parametrize("answer", ANSWERS.values(), ids=ANSWERS)
@pytest.mark.parametrize("is_before", [True, False], ids=["asked before", "asked after"])
def test_who_asked_to_be_called_back_is(told, answer, is_before):
    promise, heard = Promise(told, OTHERWISE), []
    if is_before:
        promise.add_done_callback(lambda one: heard.append(said(one)))
        assert heard == []
    keep(told, [(promise, answer)])
    if not is_before:
        promise.add_done_callback(lambda one: heard.append(said(one)))
    assert heard == [expected(answer)]


def test_promises_and_other_futures_are_waited_for_together(told):
    promises = [Promise(told, number) for number in range(4)]
    other: Future[int] = Future()
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(wait, [*promises, other], 30, FIRST_COMPLETED)
        each = pool.submit(lambda: [one.result() for one in as_completed([*promises, other], 30)])
        keep(told, [(promises[0], None), (promises[1], None)])
        assert first.result().done
        other.set_result(4)
        keep(told, [(promise, None) for promise in promises[2:]])
        assert sorted(each.result()) == [0, 1, 2, 3, 4]
    assert wait(promises, 0).done == set(promises)


@pytest.mark.parametrize("answer", ANSWERS.values(), ids=ANSWERS)
async def test_a_coroutine_awaits_a_promise(told, answer):
    promise = Promise(told, OTHERWISE)
    awaited = asyncio.wrap_future(promise)
    keeping = threading.Thread(target=keep, args=(told, [(promise, answer)]))
    keeping.start()
    assert await asyncio.gather(awaited, return_exceptions=True) == [expected(answer)]
    keeping.join()


def test_promises_that_are_asked_for_more_while_they_are_kept_tell_it_once(told):
    heard: list[int] = []
    for _ in range(50):
        promises = [Promise(told, number) for number in range(20)]

        def ask(promises: list[Promise[int]] = promises) -> None:
            for promise in promises:
                promise.add_done_callback(lambda one: heard.append(one.result()))

        asking = threading.Thread(target=ask)
        asking.start()
        keep(told, [(promise, None) for promise in promises])
        asking.join()
    assert sorted(heard) == sorted([*range(20)] * 50)
