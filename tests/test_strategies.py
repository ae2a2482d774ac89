"""Plans, the two drivers that run them, and the vote."""

import asyncio
import threading
from itertools import permutations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from budget_router import EarlyStop, Escalate, ExtendedCoT, SelfConsistency, SingleShot
from budget_router.answers import FreeText, ToolCall, final_answer, pairwise
from budget_router.errors import InvalidInput, NoAnswer
from budget_router.outcomes import early_stop_value, escalation_value
from budget_router.strategies import (
    Failure,
    Reply,
    Request,
    Vote,
    arun,
    majority,
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


# --- answers that have no canonical form

means = FreeText(pairwise(lambda one, other: one.split()[0] == other.split()[0]))


def test_answers_that_mean_the_same_are_one_vote_under_the_name_given_first(drive):
    result = drive(plan(FIVE, answer=means), ScriptedReplies(["bus", "train fast", "train safe", "bus 9", "train fast"]))
    assert [draw.answer for draw in result.draws] == ["bus", "train fast", "train fast", "bus", "train fast"]
    assert (result.answer, result.text, result.agreement, result.index) == ("train fast", "train fast", 0.6, 1)


def test_a_vote_stops_early_at_answers_that_mean_the_same(drive):
    replies = RepliesByIndex(["bus 1", "bus 2", "bus 3", "bus 4"])
    assert drive(plan(early(4, 0.85), answer=means), replies).agreement == 1.0
    assert replies.asked == [[0], [1]]


def test_both_stages_call_an_answer_by_one_name(drive):
    result = drive(plan(DOUBT, answer=means), RepliesByIndex(["bus 1", "train", "bus 2", "bus 3"]))
    assert [draw.answer for draw in result.draws] == ["bus 1", "train", "bus 1", "bus 1"]
    assert (result.answer, result.text, result.index) == ("bus 1", "bus 3", 3)


def test_a_reply_that_asks_for_tools_answers_with_what_it_asks_for(drive):
    class Tools(ScriptedReplies):
        def __call__(self, requests):
            calls = [ToolCall("search", {"q": line}) for line in self.lines]
            return [Reply(f"let me see {one}", None, (call,)) for one, call in enumerate(calls)]

    result = drive(plan(FIVE), Tools(["Paris", "Rome", "Paris", "Paris", "Rome"]))
    assert (result.answer, result.agreement) == ('[{"arguments":{"q":"Paris"},"name":"search"}]', 0.6)
    assert result.index == 0


async def test_a_rule_that_takes_its_time_does_not_hold_up_the_event_loop():
    loop, done = asyncio.get_running_loop(), threading.Event()

    def waits_for_the_loop(text):
        loop.call_soon_threadsafe(done.set)
        return str(done.wait(5))

    assert (await arun(plan(SingleShot(), answer=waits_for_the_loop), ScriptedReplies(["4"]).later)).answer == "True"


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
