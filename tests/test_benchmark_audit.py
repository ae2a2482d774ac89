"""The audit identity on a few hundred random fault schedules; `python -m benchmarks.audit` runs ten thousand."""

from collections import Counter
from uuid import uuid4

import pytest

from benchmarks.audit import audit, compared, remembered
from benchmarks.faults import Line
from budget_router import Call
from budget_router.tokens import count_tokens

N_SCHEDULES = 200


def test_what_is_metered_equals_the_invoice_whatever_fails() -> None:
    verdict = audit(range(N_SCHEDULES))

    assert verdict.faults == ()
    assert verdict.n_remembered == 0
    assert verdict.n_billed > 3 * N_SCHEDULES
    assert verdict.n_exact > verdict.n_billed / 3  # most votes ask a prompt until its last outcome, which may be a lost reply


def test_what_the_meter_remembers_does_not_grow_with_its_calls() -> None:
    assert remembered(200).n_remembered == 0


RUN = uuid4()
PROMPT = "1: usage"
COUNTED = count_tokens(f"Human: {PROMPT}").n_tokens
BY_USAGE = Line(PROMPT, is_billed=True, prompt_tokens=7, completion_tokens=11, reached="usage", text="four ")
BY_TEXT = Line(PROMPT, is_billed=True, prompt_tokens=7, completion_tokens=11, reached="text", text="four ")
UNHEARD = Line(PROMPT, is_billed=True, prompt_tokens=7, completion_tokens=11)
REFUSED = Line(PROMPT, is_billed=False)


def entry(**fields: object) -> Call:
    return Call(**{"id": str(RUN), "decision_id": "d", "model": "m", **fields})  # type: ignore[arg-type]  # checked by Call


@pytest.mark.parametrize(
    ("line", "booked", "is_sound"),
    [
        (BY_USAGE, [entry(prompt_tokens=7, completion_tokens=11)], True),
        (BY_USAGE, [entry(prompt_tokens=7, completion_tokens=10)], False),
        (BY_USAGE, [entry(prompt_tokens=7, status="error", source="estimated")], False),
        (BY_USAGE, [], False),
        (BY_TEXT, [entry(prompt_tokens=COUNTED, completion_tokens=count_tokens("four ").n_tokens, source="counted")], True),
        (BY_TEXT, [entry(prompt_tokens=COUNTED, completion_tokens=0, source="counted")], False),
        (UNHEARD, [entry(status="open")], True),
        (UNHEARD, [entry(prompt_tokens=5, status="error", source="estimated")], True),
        (UNHEARD, [entry(prompt_tokens=5, source="counted")], False),
        (REFUSED, [entry(status="error", source="estimated")], True),
        (REFUSED, [entry(prompt_tokens=7, completion_tokens=11)], False),
        (UNHEARD, [entry(status="open"), entry(id=str(uuid4()), prompt_tokens=7)], False),
    ],
)
def test_the_audit_tells_a_sound_book_from_one_that_is_not(line: Line, booked: list[Call], is_sound: bool) -> None:
    found = compared({RUN: line}, {call.id: call for call in booked}, {}, Counter())

    assert (not found) is is_sound


def test_the_audit_tells_a_call_that_was_closed_twice() -> None:
    calls = {str(RUN): entry(prompt_tokens=7, completion_tokens=11)}

    assert compared({RUN: BY_USAGE}, calls, {("closed", str(RUN)): 2}, Counter()) == [f"call {RUN} was closed 2 times"]
