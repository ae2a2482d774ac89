"""Plans, the two drivers that run them, and the answers that are counted."""

import asyncio
import decimal
import time
from fractions import Fraction
from itertools import permutations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from budget_router import EarlyStop, Escalate, ExtendedCoT, SelfConsistency, SingleShot
from budget_router.errors import InvalidInput, NoAnswer
from budget_router.outcomes import early_stop_value, escalation_value
from budget_router.strategies import (
    Failure,
    Reply,
    Request,
    Vote,
    arun,
    choice_letter,
    final_answer,
    last_number,
    majority,
    normalise,
    plan,
    run,
)

law = settings(derandomize=True, deadline=None)

FIVE = SelfConsistency(k=5, temperature=0.7, instruction="Think.")


class ScriptedReplies:
    """Answers each request with the next line; an error in the script is a failure."""

    def __init__(self, lines):
        self.lines = lines
        self.asked = []

    def __call__(self, requests):
        self.asked.append(list(requests))
        return [
            Failure(line) if isinstance(line, Exception) else Reply(line, f"call {request.index}")
            for request, line in zip(requests, self.lines, strict=True)
        ]

    async def later(self, requests):
        await asyncio.sleep(0)
        return self(requests)


@pytest.fixture(params=["sync", "async"])
def drive(request):
    if request.param == "sync":
        return run
    return lambda planned, replies: asyncio.run(arun(planned, replies.later))


# --- plans and drivers


@pytest.mark.parametrize(("strategy", "n_samples"), [(SingleShot(), 1), (FIVE, 5), (ExtendedCoT(effort="high"), 1)])
def test_a_strategy_draws_its_samples_side_by_side_with_its_own_settings(drive, strategy, n_samples):
    replies = ScriptedReplies(["Answer: 4"] * n_samples)
    drive(plan(strategy), replies)
    assert replies.asked == [[Request(index, strategy.sampling) for index in range(n_samples)]]


def test_the_majority_answers_with_the_first_reply_that_said_so(drive):
    result = drive(plan(FIVE), ScriptedReplies(["Answer: 5", "so, Answer: 4.0", "Answer: 4", "Answer: 5", "Answer: 4"]))
    assert (result.text, result.answer, result.agreement) == ("so, Answer: 4.0", "4", 0.6)
    assert [draw.answer for draw in result.draws] == ["5", "4", "4", "5", "4"]
    assert [draw.call_id for draw in result.draws] == [f"call {index}" for index in range(5)]


def test_samples_that_fail_do_not_vote(drive):
    timeout = TimeoutError("slow")
    result = drive(plan(FIVE), ScriptedReplies([timeout, "Answer: 5", timeout, "Answer: 4", "Answer: 4"]))
    assert (result.answer, result.agreement) == ("4", pytest.approx(2 / 3))
    assert [draw.index for draw in result.draws] == [1, 3, 4]


def test_when_every_sample_failed_there_is_no_answer_and_the_first_failure_is_the_cause(drive):
    first = TimeoutError("slow")
    with pytest.raises(NoAnswer, match="all 5 samples of 'self_consistency_5' failed, the first with TimeoutError") as failure:
        drive(plan(FIVE), ScriptedReplies([first, *[ValueError("odd")] * 4]))
    assert failure.value.__cause__ is first


def test_when_no_reply_holds_an_answer_the_first_one_stands(drive):
    result = drive(plan(FIVE), ScriptedReplies(["one\ntwo"] * 5))
    assert (result.text, result.answer, result.agreement) == ("one\ntwo", None, 0.0)


def test_an_empty_answer_is_no_answer(drive):
    assert drive(plan(SingleShot(), answer=lambda text: ""), ScriptedReplies(["anything"])).answer is None


def test_an_answer_rule_that_gives_no_text_is_refused(drive):
    with pytest.raises(InvalidInput, match="the answer rule gave a int: let it return the answer as a str, or None"):
        drive(plan(SingleShot(), answer=lambda text: 42), ScriptedReplies(["42"]))


def test_what_the_model_raises_reaches_the_caller(drive):
    class Broken:
        def __call__(self, requests):
            raise ConnectionError("gone")

        async def later(self, requests):
            self(requests)

    with pytest.raises(ConnectionError, match="gone"):
        drive(plan(FIVE), Broken())


# --- plans of several rounds


class RepliesByIndex(ScriptedReplies):
    """Answers request i with line i, in whatever round it is asked."""

    def __call__(self, requests):
        self.asked.append([request.index for request in requests])
        lines = [self.lines[request.index] for request in requests]
        return [
            Failure(line) if isinstance(line, Exception) else Reply(line, f"call {request.index}")
            for request, line in zip(requests, lines, strict=True)
        ]


def early(k, threshold, window=1):
    return SelfConsistency(k=k, early_stop=EarlyStop(threshold=threshold, window=window))


DOUBT = Escalate(first=SelfConsistency(k=3), then=ExtendedCoT(effort="high"), agreement=1.0)


def test_a_vote_stops_after_two_equal_answers(drive):
    replies = RepliesByIndex(["4"] * 10)
    result = drive(plan(early(10, 0.85)), replies)
    assert replies.asked == [[0], [1]]
    assert (result.answer, result.agreement, len(result.draws)) == ("4", 1.0, 2)


def test_a_vote_is_drawn_a_window_at_a_time_and_its_last_round_may_be_smaller(drive):
    replies = RepliesByIndex(["4", "5", "6", "7", "8"])
    result = drive(plan(early(5, 0.95, window=2)), replies)
    assert replies.asked == [[0, 1], [2, 3], [4]]
    assert (result.answer, [draw.index for draw in result.draws]) == ("4", list(range(5)))


def test_a_sample_that_failed_was_drawn_and_does_not_vote(drive):
    replies = RepliesByIndex([TimeoutError("slow"), "4", "one\ntwo", "4", "5"])
    result = drive(plan(early(5, 0.85)), replies)
    assert replies.asked == [[0], [1], [2], [3]]
    assert [draw.index for draw in result.draws] == [1, 2, 3]
    assert result.agreement == pytest.approx(2 / 3)


@settings(law, max_examples=30)
@given(
    st.lists(st.sampled_from(["4", "5", "6", "one\ntwo"]), min_size=1, max_size=6),
    st.sampled_from([0.7, 0.85, 1.0]),
    st.integers(1, 3),
)
def test_over_all_orders_a_plan_draws_and_scores_what_is_counted_without_a_call(lines, threshold, window):
    strategy = early(len(lines), threshold, window)
    results = [run(plan(strategy), RepliesByIndex(order)) for order in permutations(lines)]
    answers = [final_answer(line) for line in lines]
    value = early_stop_value(answers, {"4": 1.0, "5": 0.5, "6": 0.0}, strategy.early_stop, strategy.k)
    scores = [{"4": 1.0, "5": 0.5}.get(result.answer, 0.0) for result in results]
    assert sum(len(result.draws) for result in results) / len(results) == pytest.approx(value.mean_samples)
    assert sum(scores) / len(results) == pytest.approx(value.accuracy)


def test_a_first_vote_that_agrees_is_the_answer(drive):
    replies = RepliesByIndex(["4", "4.0", "Answer: 4"])
    result = drive(plan(DOUBT), replies)
    assert replies.asked == [[0, 1, 2]]
    assert (result.answer, result.text, result.agreement) == ("4", "4", 1.0)


def test_where_the_first_vote_disagrees_the_second_stage_answers(drive):
    asked = []

    def complete(requests):
        asked.append(list(requests))
        return [Reply(line, None) for line in (["4", "5", "4"] if len(requests) == 3 else ["6"])]

    result = run(plan(DOUBT), complete)
    assert asked[1] == [Request(3, DOUBT.then.sampling)]
    assert (result.answer, result.agreement) == ("6", 1.0)
    assert [(draw.index, draw.answer) for draw in result.draws] == [(0, "4"), (1, "5"), (2, "4"), (3, "6")]


@pytest.mark.parametrize(("agreement", "n_rounds"), [(2 / 3, 1), (0.67, 2)])
def test_agreement_is_a_share_of_all_first_samples(drive, agreement, n_rounds):
    replies = RepliesByIndex(["4", TimeoutError("slow"), "4", "6"])
    drive(plan(DOUBT.model_copy(update={"agreement": agreement})), replies)
    assert len(replies.asked) == n_rounds


@pytest.mark.parametrize("silence", [TimeoutError("slow"), "I would\nhave to think"])
def test_a_second_stage_without_an_answer_leaves_the_first_vote(drive, silence):
    result = drive(plan(DOUBT), RepliesByIndex(["4", "5", "4", silence]))
    assert (result.answer, result.agreement) == ("4", pytest.approx(2 / 3))
    assert [draw.index for draw in result.draws] == ([0, 1, 2] if isinstance(silence, Exception) else [0, 1, 2, 3])


def test_where_no_stage_has_an_answer_the_second_reply_stands(drive):
    assert drive(plan(DOUBT), RepliesByIndex([*["one\ntwo"] * 3, "three\nfour"])).text == "three\nfour"


def test_a_second_stage_is_run_though_all_of_the_first_failed(drive):
    assert drive(plan(DOUBT), RepliesByIndex([*[TimeoutError("slow")] * 3, "6"])).answer == "6"


def test_when_both_stages_failed_there_is_no_answer(drive):
    with pytest.raises(NoAnswer, match="all 4 samples of 'escalate_"):
        drive(plan(DOUBT), RepliesByIndex([TimeoutError("slow")] * 4))


def test_a_second_stage_may_stop_early_as_well(drive):
    strategy = DOUBT.model_copy(update={"then": early(10, 0.85)})
    replies = RepliesByIndex(["4", "5", "4", "6", "6", "7"])
    assert drive(plan(strategy), replies).answer == "6"
    assert replies.asked == [[0, 1, 2], [3], [4]]


def test_over_all_orders_a_first_vote_is_accepted_as_often_as_is_counted():
    lines = ["4", "4", "5", "4", "one\ntwo"]
    strategy = DOUBT.model_copy(update={"agreement": 0.6})
    results = [run(plan(strategy), RepliesByIndex([*order[:3], "6"])) for order in permutations(lines)]
    first = escalation_value([final_answer(line) for line in lines], {"4": 1.0, "5": 0.0}, 3, 0.6)
    assert sum(len(result.draws) == 3 for result in results) / len(results) == pytest.approx(first.accepted)
    assert sum(result.answer == "4" for result in results) / len(results) == pytest.approx(first.accepted_right)


# --- the vote


@pytest.mark.parametrize(
    ("answers", "vote"),
    [
        (["4"], Vote(0, 1.0)),
        (["5", "4", "4"], Vote(1, 2 / 3)),
        (["5", "4", "4", "5"], Vote(0, 0.5)),  # a tie: the one that was given first
        ([None, "5", None, "4"], Vote(1, 0.25)),  # None does not vote, and does not agree either
        ([None, None, None, "4"], Vote(3, 0.25)),
        ([None, None], Vote(None, 0.0)),
        ([], Vote(None, 0.0)),
    ],
)
def test_the_most_frequent_answer_wins(answers, vote):
    assert majority(answers) == vote


@law
@given(st.lists(st.sampled_from(["a", "b", "c", None]), max_size=12))
def test_no_answer_is_given_more_often_than_the_winner(answers):
    winner, agreement = majority(answers)
    given_answers = [answer for answer in answers if answer is not None]
    if winner is None:
        assert not given_answers
    else:
        most = max(given_answers.count(answer) for answer in given_answers)
        tied = [answer for answer in dict.fromkeys(given_answers) if given_answers.count(answer) == most]
        assert answers[winner] == tied[0]
        assert winner == answers.index(tied[0])
        assert agreement == most / len(answers)


# --- answers


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("60 - 8 = 52 dollars.\nAnswer: $52.00", "52"),
        ("first\nAnswer: 3\nno, wait\nAnswer: 4", "4"),
        ("so\nThe final answer is: **Paris**.", "paris"),
        ("so\nANSWER = 7", "7"),
        ("so\nAnswer:\n\n  12", "12"),
        ("Answer: Answer: 9", "9"),
        ("42", "42"),
        ("Yes.", "yes"),
        ("so\n\\boxed{7}", "7"),
        ("so\n\\boxed{\\frac{1}{2}}", "\\frac{1}{2}"),
        ("so\n\\boxed{\\boxed{5}}", "5"),
        ("so \\boxed{3},\nno: \\boxed{x^{2}}", "x^{2}"),
        ("so \\boxed{3},\nno: \\boxed{4", "3"),
        ("so \\boxed{\\{1, 2\\}}\nthat is it", "\\{1, 2\\}"),
        ("}}} odd\n\\boxed{8}", "8"),
        ("so\n\\boxed{}", None),
        ("I would have to think.\nLet me see.", None),
        ("", None),
        (" \n ", None),
        ("...", None),
    ],
)
def test_the_final_answer_is_the_boxed_or_marked_one(text, answer):
    assert final_answer(text) == answer


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("27 + 41 = 68, so 1,068 in all", "1068"),
        ("x = -5", "-5"),
        ("x = −5 degrees", "-5"),
        ("about .5 of it", "0.5"),
        ("-.25", "-0.25"),
        ("a range of 3-5", "5"),
        ("3 - 5", "5"),
        ("on 2024-05-01", "1"),
        ("12.50%", "12.5%"),
        ("1e3", "1000"),
        ("1e999", "1e999"),
        ("1,2345", "2345"),
        ("٤٢", "42"),
        ("none", None),
        ("", None),
    ],
)
def test_the_last_number_is_found_with_its_sign_and_point(text, number):
    assert last_number(text) == number


@pytest.mark.parametrize(
    ("text", "letter"),
    [
        ("(B) is tempting, but the answer is: (C)", "c"),
        ("Answer: d", "d"),
        ("Of (A) and (B), I take (B).", "b"),
        ("Answer: B. Because C is wrong.", "b"),
        ("I'd say D", "d"),
        ("Zoo", None),
        ("", None),
    ],
)
def test_a_choice_is_the_marked_letter_or_the_last_that_stands_alone(text, letter):
    assert choice_letter(text) == letter


@pytest.mark.parametrize(
    "same",
    [
        ["52", "$52", "52.00", " 52 ", "**52**", "`52`", "52.", "+52", "5.2e1", "٥٢"],
        ["1250.5", "1,250.50", "$1,250.5", "1250.500"],
        ["0.5", ".5", "$.50", "00.5", "5e-1"],
        ["-5", "−5", "-5.0"],
        ["0", "-0", "0.00", "-0.0", "0e999"],
        ["50%", "50.0%"],
        ["yes", "YES", "Yes!", '"yes"', "  yes."],
        ["new york", "New  York", "NEW\nYORK"],
        ["straße", "STRASSE", "strasse"],
    ],
)
def test_equal_answers_are_written_equally(same):
    assert len({normalise(answer) for answer in same}) == 1


@pytest.mark.parametrize(
    "different",
    [
        ["5", "0.5", "-5", "5%", "55"],
        ["12345678901234567890123456789", "12345678901234567890123456788"],
        ["0.1234567890123456789012345678901", "0.1234567890123456789012345678902"],
        ["1e999", "1e998", "1e-999"],
        ["\\frac{1}{2}", "\\frac{1}{3}"],
        ["1/2", "1/3"],
    ],
)
def test_different_answers_stay_different(different):
    with decimal.localcontext(prec=5):
        assert len({normalise(answer) for answer in different}) == len(different)


@law
@given(st.decimals(-(10**12), 10**12, places=4))
def test_any_number_is_written_as_the_number_it_is(number):
    assert Fraction(normalise(f"{number:,}")) == Fraction(number)


@law
@given(st.text(st.characters(exclude_categories=()), max_size=60))
def test_a_normalised_answer_is_normal(text):
    for rule in (normalise, final_answer, last_number, choice_letter):
        answer = rule(text)
        assert answer is None or answer != ""
    once = last_number(text)
    assert once is None or normalise(once) == once


MEGABYTES = 10_000_000
HOSTILE = {
    "spaces after a marker": "answer" + " " * MEGABYTES + "x\n",
    "markers and spaces": ("answer" + " " * 500) * (MEGABYTES // 506),
    "markers with is": ("answer is " * (MEGABYTES // 10)),
    "markers with colons": "answer:" * (MEGABYTES // 7),
    "markers and line ends": "answer:\n" * (MEGABYTES // 8) + "\n" * 1000,
    "open boxes": "\\boxed{" * (MEGABYTES // 7),
    "nested boxes": "\\boxed{" * (MEGABYTES // 14) + "}" * (MEGABYTES // 14),
    "braces": "{}" * (MEGABYTES // 2),
    "digits": "9" * MEGABYTES,
    "groups of digits": "1" + ",111" * (MEGABYTES // 4) + "1",
    "points": "." * MEGABYTES,
    "points and digits": ".1" * (MEGABYTES // 2),
    "signs": "-" * MEGABYTES,
    "exponents": "1e" * (MEGABYTES // 2),
    "brackets": "(" * MEGABYTES,
    "letters": "a " * (MEGABYTES // 2),
    "one word": "a" * MEGABYTES,
    "line ends": "\n" * MEGABYTES,
    "signs of wrapping": ".5" + "." * MEGABYTES,
}


@pytest.mark.parametrize("rule", [final_answer, last_number, choice_letter, normalise], ids=lambda rule: rule.__name__)
@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_ten_hostile_megabytes_take_less_than_a_second(rule, text):
    started = time.perf_counter()
    rule(text)
    assert time.perf_counter() - started < 1


def test_of_a_long_reply_the_end_is_searched():
    assert final_answer("x\n" * 1_000_000 + "Answer: 7") == "7"
    assert last_number("1 " * 1_000_000 + "x" * 300_000) is None
