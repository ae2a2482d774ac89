"""The exam that every ledger sits: each promise of `budget_router.ledger` as one function that fails where it is broken.

    from budget_router.testing import check_ledger

    check_ledger(lambda: MyLedger(...))

A promise is given a fresh, empty ledger. `LEDGER_PROMISES` lists them one by one, for a test runner to name.
"""

# ruff: noqa: S101, D103  # an exam asserts, and its names are its sentences

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta, timezone
from threading import Barrier
from typing import TypeVar

from budget_router.errors import ArtifactError, BudgetRouterError, InvalidInput, UnknownDecision
from budget_router.ledger import Gathering, Ledger, gathers
from budget_router.menu import Menu, SingleShot
from budget_router.records import Decision, Sample, Spend
from budget_router.task import Task
from budget_router.testing.examples import (
    MENU,
    NOON,
    TASK,
    example_call,
    example_decision,
    example_outcome,
    example_policy,
    example_settlement,
    recorded,
)

N_THREADS = 8
N_EACH = 25

T = TypeVar("T")
Refusal = TypeVar("Refusal", bound=BudgetRouterError)


LEDGER_PROMISES: list[Callable[[Ledger], None]] = []


def promise(exam: Callable[[Ledger], None]) -> Callable[[Ledger], None]:
    """Count a function among the promises of every ledger."""
    LEDGER_PROMISES.append(exam)
    return exam


def check_ledger(make_ledger: Callable[[], Ledger]) -> None:
    """Put every promise to a fresh ledger; raises AssertionError that names the first one it breaks."""
    for exam in LEDGER_PROMISES:
        try:
            exam(make_ledger())
        except AssertionError as error:
            error.add_note(f"broken promise: {exam.__name__.replace('_', ' ')}")
            raise


@promise
def all_that_is_recorded_is_read_back_equal(ledger: Ledger) -> None:
    recorded(ledger)
    ledger.close_call(example_call())
    ledger.record_settlement(example_settlement())
    ledger.record_outcome(example_outcome())
    logged = ledger.decision("d1")
    assert logged.decision == example_decision()
    assert logged.metadata == TASK.metadata
    assert [type(fact) for fact in logged.metadata.values()] == [type(fact) for fact in TASK.metadata.values()]
    assert logged.task_text in {TASK.text, None}
    assert logged.menu == MENU
    assert logged.menu.hash == MENU.hash
    assert logged.calls == (example_call(),)
    assert logged.settlement == example_settlement()
    assert logged.outcome == example_outcome()
    assert list(ledger.read()) == [logged]


@promise
def a_decision_alone_has_no_calls_no_end_and_no_grade(ledger: Ledger) -> None:
    recorded(ledger)
    logged = ledger.decision("d1")
    assert (logged.calls, logged.settlement, logged.outcome) == ((), None, None)


@promise
def coroutines_that_a_ledger_gathers_record_as_threads_do(ledger: Ledger) -> None:
    if gathers(ledger):
        asyncio.run(_recorded_in_coroutines(ledger))


async def _recorded_in_coroutines(ledger: Gathering) -> None:
    opened = example_call("c1", status="open")
    decisions = [example_decision(number, minutes=minutes) for minutes, number in enumerate(("d1", "d2", "d3"))]
    record = [ledger.arecord_decision(one, TASK, MENU, opens=[opened] if one.id == "d1" else ()) for one in decisions]
    assert await asyncio.gather(*record) == decisions
    assert ledger.decision("d1").calls == (opened,)
    again = example_decision("d1", task_id="again")
    assert await ledger.arecord_decision(again, TASK, MENU, opens=[example_call("c2", status="open")]) == decisions[0]
    ledger.close_call_soon(example_call("c1"))
    await ledger.arecord_settlement(example_settlement("d1"))
    await ledger.arecord_settlement(example_settlement("d1", status="failed"))
    logged = ledger.decision("d1")
    assert (logged.calls, logged.settlement) == ((example_call("c1"),), example_settlement("d1"))


@promise
def the_decision_given_first_stands(ledger: Ledger) -> None:
    first, second = example_decision(task_id="first"), example_decision(task_id="second", reason="forced")
    assert ledger.record_decision(first, TASK, MENU) == first
    assert ledger.record_decision(second, Task("Another."), MENU) == first
    assert [logged.decision for logged in ledger.read()] == [first]
    assert ledger.decision("d1").metadata == TASK.metadata


@promise
def a_decision_is_kept_only_with_the_menu_it_was_made_from(ledger: Ledger) -> None:
    refuses(lambda: ledger.record_decision(example_decision(), TASK, Menu([SingleShot()])), InvalidInput)
    assert list(ledger.read()) == []


@promise
def the_ledger_keeps_the_task_as_it_was(ledger: Ledger) -> None:
    task = Task("What is 27 + 41?", metadata={"turn": 3})
    ledger.record_decision(example_decision(), task, MENU)
    task.metadata["turn"] = 4
    assert ledger.decision("d1").metadata == {"turn": 3}


@promise
def a_call_stays_open_until_it_is_closed(ledger: Ledger) -> None:
    recorded(ledger)
    opened = example_call(status="open", completion_tokens=0, nano_usd=None)
    ledger.open_call(opened)
    assert ledger.decision("d1").calls == (opened,)
    ledger.close_call(example_call())
    assert ledger.decision("d1").calls == (example_call(),)


@promise
def the_first_closing_of_a_call_counts(ledger: Ledger) -> None:
    recorded(ledger)
    ledger.open_call(example_call(status="open"))
    ledger.close_call(example_call(completion_tokens=300))
    ledger.close_call(example_call(completion_tokens=999, status="error"))
    ledger.open_call(example_call(status="open"))
    assert ledger.decision("d1").calls == (example_call(completion_tokens=300),)


@promise
def a_call_that_was_never_opened_is_kept(ledger: Ledger) -> None:
    recorded(ledger)
    ledger.close_call(example_call())
    assert ledger.decision("d1").calls == (example_call(),)


@promise
def a_call_that_was_only_opened_reads_as_open(ledger: Ledger) -> None:
    recorded(ledger)
    ledger.open_call(example_call(status="ok"))
    assert [call.status for call in ledger.decision("d1").calls] == ["open"]


@promise
def a_call_is_not_closed_as_open(ledger: Ledger) -> None:
    recorded(ledger)
    refuses(lambda: ledger.close_call(example_call(status="open")), InvalidInput)


@promise
def an_unknown_price_is_not_read_back_as_free(ledger: Ledger) -> None:
    recorded(ledger)
    ledger.close_call(example_call(nano_usd=None, tariff=None))
    ledger.record_settlement(example_settlement(spend=Spend(n_calls=1)))
    logged = ledger.decision("d1")
    assert logged.calls[0].nano_usd is None
    assert logged.settlement is not None
    assert logged.settlement.spend.nano_usd is None


@promise
def calls_are_told_in_the_order_they_started(ledger: Ledger) -> None:
    recorded(ledger)
    late = example_call("a", started_at=NOON + timedelta(seconds=2))
    early = example_call("b", started_at=NOON)
    between = example_call("c", started_at=NOON + timedelta(seconds=1), status="open")
    ledger.close_call(late)
    ledger.close_call(early)
    ledger.open_call(between)
    assert ledger.decision("d1").calls == (early, between, late)


@promise
def the_first_settlement_counts(ledger: Ledger) -> None:
    recorded(ledger)
    ledger.record_settlement(example_settlement())
    ledger.record_settlement(example_settlement(status="failed", samples=(Sample(index=0),) * 5))
    assert ledger.decision("d1").settlement == example_settlement()


@promise
def the_latest_outcome_counts(ledger: Ledger) -> None:
    recorded(ledger)
    ledger.record_outcome(example_outcome(score=0.25))
    ledger.record_outcome(example_outcome(score=0.5, graded_at=NOON + timedelta(days=2)))
    assert _score(ledger) == 0.5
    ledger.record_outcome(example_outcome(score=0.75, graded_at=NOON + timedelta(days=1)))
    assert _score(ledger) == 0.5


@promise
def of_two_outcomes_of_one_moment_the_one_recorded_last_counts(ledger: Ledger) -> None:
    recorded(ledger)
    ledger.record_outcome(example_outcome(score=1.0))
    ledger.record_outcome(example_outcome(score=0.0))
    assert _score(ledger) == 0.0


@promise
def an_outcome_given_again_does_not_undo_its_correction(ledger: Ledger) -> None:
    recorded(ledger)
    ledger.record_outcome(example_outcome(score=1.0))
    ledger.record_outcome(example_outcome(score=0.0))
    ledger.record_outcome(example_outcome(score=1.0, graded_at=NOON.astimezone(timezone(timedelta(hours=2)))))
    assert _score(ledger) == 0.0


@promise
def what_nobody_decided_is_refused(ledger: Ledger) -> None:
    recorded(ledger, example_decision("another"))
    attempts: list[Callable[[], object]] = [
        lambda: ledger.open_call(example_call(status="open")),
        lambda: ledger.close_call(example_call()),
        lambda: ledger.record_settlement(example_settlement()),
        lambda: ledger.record_outcome(example_outcome()),
        lambda: ledger.decision("d1"),
        lambda: ledger.latest(thread_id="unknown"),
        lambda: ledger.of_call("c1"),
    ]
    for attempt in attempts:
        refuses(attempt, UnknownDecision)
    logged = ledger.decision("another")
    assert (logged.calls, logged.settlement, logged.outcome) == ((), None, None)


@promise
def decisions_are_read_oldest_first(ledger: Ledger) -> None:
    recorded(ledger, *(example_decision(f"d{minutes}", minutes=minutes) for minutes in (3, 1, 2)))
    assert _ids(ledger) == ["d1", "d2", "d3"]


@promise
def decisions_of_one_moment_are_read_as_they_were_recorded(ledger: Ledger) -> None:
    recorded(ledger, *(example_decision(name) for name in "bca"))
    assert _ids(ledger) == ["b", "c", "a"]
    assert ledger.latest(thread_id="thread").decision.id == "a"


@promise
def a_window_holds_its_start_and_not_its_end(ledger: Ledger) -> None:
    recorded(ledger, *(example_decision(f"d{minutes}", minutes=minutes) for minutes in range(5)))
    start, end = NOON + timedelta(minutes=1), NOON + timedelta(minutes=3)
    assert _ids(ledger, since=start, until=end) == ["d1", "d2"]
    assert _ids(ledger, since=end) == ["d3", "d4"]
    assert _ids(ledger, until=start) == ["d0"]
    assert _ids(ledger, since=end, until=start) == []


@promise
def time_zones_are_understood(ledger: Ledger) -> None:
    elsewhere = timezone(timedelta(hours=-8))
    recorded(ledger, example_decision("b", minutes=1), example_decision("a", decided_at=NOON.astimezone(elsewhere)))
    assert _ids(ledger) == ["a", "b"]
    assert _ids(ledger, since=(NOON + timedelta(minutes=1)).astimezone(elsewhere)) == ["b"]
    assert ledger.decision("a").decision.decided_at == NOON
    refuses(lambda: ledger.read(since=NOON.replace(tzinfo=None)), InvalidInput)


@promise
def a_long_ledger_is_read_whole_and_in_order(ledger: Ledger) -> None:
    n_decisions, n_of_one_moment = 1250, 400  # more than a batch, and moments that straddle its end
    for position in range(n_decisions):
        recorded(ledger, example_decision(f"{position:05}", minutes=position // n_of_one_moment))
    ledger.close_call(example_call(decision_id="01234"))
    read = list(ledger.read())
    assert [logged.decision.id for logged in read] == [f"{position:05}" for position in range(n_decisions)]
    assert [logged.decision.id for logged in read if logged.calls] == ["01234"]


@promise
def what_is_recorded_while_reading_disturbs_nobody(ledger: Ledger) -> None:
    recorded(ledger, example_decision("a"), example_decision("b", minutes=1))
    reading = ledger.read(until=NOON + timedelta(minutes=2))
    assert next(reading).decision.id == "a"
    recorded(ledger, example_decision("later", minutes=3))
    assert [logged.decision.id for logged in reading] == ["b"]


@promise
def the_latest_decision_of_a_thread_is_found(ledger: Ledger) -> None:
    recorded(ledger, example_decision("new", minutes=2), example_decision("old", minutes=1))
    recorded(ledger, example_decision("other", minutes=3, thread_id="other"), example_decision("none", minutes=4, thread_id=None))
    assert ledger.latest(thread_id="thread") == ledger.decision("new")
    assert ledger.latest() == ledger.decision("none")


@promise
def the_decisions_of_a_run_are_found_oldest_first(ledger: Ledger) -> None:
    recorded(ledger, example_decision("late", minutes=2), example_decision("b"), example_decision("a"))
    recorded(ledger, example_decision("other", run_id="run 2"), example_decision("none", run_id=None))
    ledger.record_outcome(example_outcome("late"))
    assert ledger.of_run("run") == [ledger.decision(name) for name in ("b", "a", "late")]
    assert [logged.decision.id for logged in ledger.of_run("run 2")] == ["other"]
    assert ledger.of_run("unknown") == []


@promise
def a_call_finds_its_decision_opened_or_closed(ledger: Ledger) -> None:
    recorded(ledger, example_decision("a"), example_decision("b"))
    ledger.open_call(example_call("opened", "a", status="open"))
    ledger.close_call(example_call("closed", "b"))
    assert ledger.of_call("opened") == ledger.decision("a")
    assert ledger.of_call("closed") == ledger.decision("b")


@promise
def what_a_task_said_can_be_forgotten(ledger: Ledger) -> None:
    recorded(ledger, example_decision("a"), example_decision("b", minutes=1), example_decision("other", task_id="t2", minutes=2))
    ledger.close_call(example_call(decision_id="a"))
    before = list(ledger.read())
    assert ledger.forget("t1") == 2
    erased = [entry.model_copy(update={"task_text": None, "task_ngrams": None, "metadata": {}}) for entry in before[:2]]
    assert list(ledger.read()) == [*erased, before[2]]
    recorded(ledger, example_decision("a"))
    assert ledger.decision("a") == erased[0]
    assert (ledger.forget("t1"), ledger.forget("unknown")) == (2, 0)


@promise
def the_salt_is_made_once(ledger: Ledger) -> None:
    assert len(ledger.salt) >= 16
    assert ledger.salt == ledger.salt


@promise
def a_policy_is_loaded_as_it_was_saved_first(ledger: Ledger) -> None:
    ledger.registry.save(example_policy())
    ledger.registry.save(example_policy(manifest="{}", arrays=b""))
    assert ledger.registry.load("p1") == example_policy()
    assert ledger.registry.versions(MENU.hash) == ["p1"]


@promise
def versions_of_a_menu_are_told_oldest_first(ledger: Ledger) -> None:
    registry = ledger.registry
    registry.save(example_policy("z", created_at=NOON + timedelta(minutes=1)))
    registry.save(example_policy("y"))
    registry.save(example_policy("x"))
    registry.save(example_policy("w", menu_hash="another"))
    assert registry.versions(MENU.hash) == ["y", "x", "z"]
    assert registry.versions("unknown") == []


@promise
def each_menu_has_its_own_active_policy(ledger: Ledger) -> None:
    registry = ledger.registry
    registry.save(example_policy("mine"))
    registry.save(example_policy("other", menu_hash="another"))
    assert registry.active_version(MENU.hash) is None
    registry.promote("mine")
    registry.promote("other")
    assert (registry.active_version(MENU.hash), registry.active_version("another")) == ("mine", "other")


@promise
def an_earlier_policy_can_be_promoted_again(ledger: Ledger) -> None:
    registry = ledger.registry
    for version in ("p1", "p2"):
        registry.save(example_policy(version))
    for version in ("p1", "p2", "p2", "p1"):
        registry.promote(version)
        assert registry.active_version(MENU.hash) == version
    assert registry.promoted(MENU.hash) == ["p1", "p2", "p1"]


@promise
def a_policy_that_was_never_saved_is_refused(ledger: Ledger) -> None:
    refuses(lambda: ledger.registry.promote("nowhere"), ArtifactError)
    refuses(lambda: ledger.registry.load("nowhere"), ArtifactError)
    assert ledger.registry.active_version(MENU.hash) is None


@promise
def threads_that_record_at_once_lose_nothing(ledger: Ledger) -> None:
    def work(thread: int) -> None:
        for step in range(N_EACH):
            name = f"{thread}-{step}"
            recorded(ledger, example_decision(name, thread_id=f"thread {thread}", minutes=step))
            ledger.open_call(example_call(name, name, status="open"))
            ledger.close_call(example_call(name, name))
            ledger.record_settlement(example_settlement(name))
            ledger.record_outcome(example_outcome(name))
            assert ledger.latest(thread_id=f"thread {thread}").decision.id == name

    at_once(work)
    read = list(ledger.read())
    assert {logged.decision.id for logged in read} == {
        f"{thread}-{step}" for thread in range(N_THREADS) for step in range(N_EACH)
    }
    assert all(len(logged.calls) == 1 and logged.settlement and logged.outcome for logged in read)


@promise
def threads_that_decide_the_same_agree_on_one_decision(ledger: Ledger) -> None:
    def work(thread: int) -> Decision:
        return ledger.record_decision(example_decision(task_id=f"by {thread}"), TASK, MENU)

    standing = {decision.task_id for decision in at_once(work)}
    assert standing == {ledger.decision("d1").decision.task_id}


@promise
def threads_that_close_the_same_call_bill_it_once(ledger: Ledger) -> None:
    recorded(ledger)
    at_once(lambda thread: ledger.close_call(example_call(completion_tokens=thread)))
    assert len(ledger.decision("d1").calls) == 1


def _score(ledger: Ledger) -> float | None:
    outcome = ledger.decision("d1").outcome
    return None if outcome is None else outcome.score


def _ids(ledger: Ledger, *, since: datetime | None = None, until: datetime | None = None) -> list[str]:
    return [logged.decision.id for logged in ledger.read(since=since, until=until)]


def refuses(attempt: Callable[[], object], expected: type[Refusal]) -> Refusal:
    """Fail unless an attempt is refused as expected, and give the refusal."""
    try:
        attempt()
    except expected as error:
        return error
    raise AssertionError(f"{expected.__name__} was not raised")


def at_once(work: Callable[[int], T]) -> list[T]:
    """Let threads, told their numbers, begin at the same moment."""
    barrier = Barrier(N_THREADS)

    def started_together(thread: int) -> T:
        barrier.wait()
        return work(thread)

    with ThreadPoolExecutor(N_THREADS) as pool:
        return list(pool.map(started_together, range(N_THREADS)))
