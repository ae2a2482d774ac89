"""What ledgers promise those who learn from them: evidence says what the records say."""

# ruff: noqa: S101, D103  # an exam asserts, and its names are its sentences

from datetime import UTC, datetime, timedelta, timezone
from itertools import pairwise

from budget_router.errors import InvalidInput
from budget_router.evidence import Act, Drawn, Evidence
from budget_router.ledger import Ledger
from budget_router.menu import EarlyStop, Escalate, ExtendedCoT, Menu, SelfConsistency, SingleShot
from budget_router.records import Sample, Spend
from budget_router.task import MetadataValue, Task
from budget_router.testing.examples import (
    NOON,
    example_call,
    example_decision,
    example_outcome,
    example_settlement,
    example_shadow,
)
from budget_router.testing.ledger import promise, refuses

_MENU = Menu(
    [
        SingleShot(),
        SelfConsistency(k=3),
        SelfConsistency(k=4, early_stop=EarlyStop(threshold=0.9, window=2)),
        Escalate(first=SelfConsistency(k=2), then=ExtendedCoT(effort="high"), agreement=1.0),
    ]
)
_THIRD = 1 / 3
_TEXTS = ('He said: "2 + 2\\3 = ?"\n\t', "€ 5 \x1e 七 🧮", "?")
_FACTS: tuple[dict[str, MetadataValue], ...] = (
    {"turn": 3, "dear": True, "share": _THIRD, "team": 'north "x"'},
    {"far": 1e300},
    {},
)


@promise
def evidence_tells_what_the_records_tell(ledger: Ledger) -> None:
    for number in range(60):
        _serve(ledger, number)
    told = [one for entry in ledger.read() if (one := Evidence.of(entry)) is not None]
    assert len(told) == 48
    assert list(map(_in_order, ledger.evidence())) == list(map(_in_order, told))
    assert {len(one.calls) for one in told} == {0, 1, 2, 3}
    since, until = NOON + timedelta(minutes=20), NOON + timedelta(minutes=40)
    window = [one for entry in ledger.read(since=since, until=until) if (one := Evidence.of(entry)) is not None]
    assert list(map(_in_order, ledger.evidence(since=since, until=until))) == list(map(_in_order, window))


@promise
def acts_tell_what_was_expected_too(ledger: Ledger) -> None:
    for number in range(60):
        _serve(ledger, number)
    told = [act for entry in ledger.read() if (act := Act.of(entry)) is not None]
    assert list(map(_act_in_order, ledger.acts())) == list(map(_act_in_order, told))
    assert [act.evidence.decision_id for act in ledger.acts()] == [one.decision_id for one in ledger.evidence()]
    assert {act.shadow is None for act in told} == {act.run_id is None for act in told} == {True, False}
    assert {act.expected_accuracy for act in told} >= {None, _THIRD}


@promise
def windows_side_by_side_tell_each_decision_once(ledger: Ledger) -> None:
    moments = [NOON + timedelta(minutes=number // 3, microseconds=number % 3 // 2) for number in range(30)]
    for number, moment in enumerate(reversed(moments)):  # the last comes first into the book, and many share a moment
        ledger.record_decision(example_decision(f"d{number}", menu_hash=_MENU.hash, decided_at=moment), Task("?"), _MENU)
        ledger.record_settlement(example_settlement(f"d{number}"))
    whole = [one.decision_id for one in ledger.evidence()]
    assert len(set(whole)) == len(whole) == 30
    for step in (timedelta(microseconds=1), timedelta(minutes=1), timedelta(minutes=4)):
        ends = [None, *(NOON + step * number for number in range(1, 10)), None]
        parts = [ledger.evidence(since=since, until=until) for since, until in pairwise(ends)]
        assert [one.decision_id for part in parts for one in part] == whole


@promise
def the_end_of_time_is_read_too(ledger: Ledger) -> None:
    last = example_decision(menu_hash=_MENU.hash, decided_at=datetime.max.replace(tzinfo=UTC))
    ledger.record_decision(last, Task("?"), _MENU)
    ledger.record_settlement(example_settlement(last.id))
    assert [entry.decision for entry in ledger.read()] == [last]
    assert len(list(ledger.evidence())) == 1


@promise
def evidence_of_nothing_is_none(ledger: Ledger) -> None:
    ledger.record_decision(example_decision(menu_hash=_MENU.hash), Task("?"), _MENU)
    assert list(ledger.evidence()) == []


@promise
def evidence_says_nothing_of_what_was_forgotten(ledger: Ledger) -> None:
    for number in range(4):
        _serve(ledger, number)
    ledger.forget("t1")
    (forgotten,) = (one for one in ledger.evidence() if one.task_id == "t1")
    assert (forgotten.task_text, forgotten.task_ngrams, forgotten.metadata) == (None, None, {})
    assert forgotten.features


@promise
def grades_are_counted_by_when_they_were_given(ledger: Ledger) -> None:
    assert ledger.n_outcomes() == ledger.n_outcomes(since=NOON) == 0
    for name in ("a", "b"):
        ledger.record_decision(example_decision(name, menu_hash=_MENU.hash), Task("?"), _MENU)
        ledger.record_outcome(example_outcome(name))
    later = NOON + timedelta(hours=1)
    ledger.record_outcome(example_outcome("a"))
    ledger.record_outcome(example_outcome("a", score=0.0, graded_at=later.astimezone(timezone(timedelta(hours=9)))))
    counted = [ledger.n_outcomes(since=moment) for moment in (None, NOON, later, later + timedelta(microseconds=1))]
    assert counted == [3, 3, 1, 0]
    refuses(lambda: ledger.n_outcomes(since=NOON.replace(tzinfo=None)), InvalidInput)


def _serve(ledger: Ledger, number: int) -> None:
    """One of many decisions, each with something else: every fifth is not settled, every third not graded."""
    strategy, name = _MENU.root[number % len(_MENU)], f"d{number}"
    decision = example_decision(
        name,
        minutes=number,
        task_id=f"t{number}",
        thread_id=None if number % 2 else f"thread {number // 4}",
        group=(None, "north", "süd")[number % 3],
        strategy=strategy,
        propensities=dict(zip(_MENU.names, (0.1, 0.2 + 0.1, 1 - 0.1 - 0.1 - (0.2 + 0.1), 0.1), strict=True)),
        menu_hash=_MENU.hash,
        reason=("policy", "forced", "capped", "reconsidered")[number % 4],
        features=(float(number), _THIRD, float("inf")),
        run_id=None if number % 4 else f"run {number}",
        shadow_price=_THIRD / 1000,
        expected_cost=100 * _THIRD,
        expected_accuracy=None if number % 3 else _THIRD,
        shadow=None if number % 7 else example_shadow(),
    )
    ledger.record_decision(decision, Task(_TEXTS[number % 3], metadata=_FACTS[number % 3]), _MENU)
    if number % 5 == 4:
        return
    n_samples = min(strategy.n_samples, 1 + number % 3)
    calls = [
        example_call(f"{name}-{index}", name, nano_usd=None if number % 7 == 0 else 7 * index, seconds=_THIRD * index)
        for index in range(n_samples)
    ]
    for call in calls:
        ledger.close_call(call)
    answers = [None if (number + index) % 4 == 0 else f"answer {index % 2}" for index in range(n_samples)]
    samples = [
        Sample(index=index, call_id=call.id if number % 3 else None, answer_key=answer)
        for index, (call, answer) in enumerate(zip(calls, answers, strict=True))
    ]
    status = "failed" if number % 11 == 0 else "ok"
    winner = next((answer for answer in answers if answer), None)
    spend = Spend.of(calls, seconds=0.1 + 0.2)
    ledger.record_settlement(example_settlement(name, status=status, samples=samples, answer_key=winner, spend=spend))
    if number % 3:
        scores = {answer: _THIRD for answer in answers if answer is not None}
        ledger.record_outcome(example_outcome(name, score=0.1 + 0.2, answer_scores=scores))
        ledger.record_outcome(example_outcome(name, score=number % 2, answer_scores=scores, graded_at=NOON + timedelta(hours=5)))
        ledger.record_outcome(example_outcome(name, score=0.5, graded_at=NOON + timedelta(hours=4)))


def _in_order(one: Evidence) -> Evidence:
    """Samples come in no order, and features as whatever holds numbers."""
    return one._replace(samples=sorted(one.samples, key=_place), features=tuple(one.features))


def _act_in_order(act: Act) -> Act:
    return act._replace(evidence=_in_order(act.evidence))


def _place(sample: Drawn) -> int:
    return sample.place
