"""The exam that every answer rule sits, a user's own or one of ours.

    from budget_router.testing import check_answer_rule

    check_answer_rule(my_rule, replies=["Answer: 4", "so 4.0", "five"], equal=[("Answer: 4", "so 4.0")])

`ANSWER_RULE_PROMISES` lists the promises one by one, for a test runner to name; each is given the rule and replies of its kind.
"""

# ruff: noqa: S101, D103  # an exam asserts, and its names are its sentences

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import combinations

from budget_router.answers import AnswerRule, GroupingRule

ODD_REPLIES = (
    "",
    " \n\t ",
    "\0",
    "\ud800",
    "…",
    "}{][)(",
    '{"a": [1, {"b": NaN}]',
    "\\boxed{\\frac{1}",
    "Answer:",
    "1/0",
    "1e9999",
    "٤٢",
    "🙂" * 50,
    "no answer\nat all",
)
"""What a model may write as well; no rule may fail on them."""
HOSTILE_CHARACTERS = 10_000_000
HOSTILE_PIECES = ("answer: ", "\\boxed{", '{"a":', "[", "9", "1/", "(", "a ", "\n", "-")
HOSTILE_SECONDS = 1.0
N_THREADS = 4

ANSWER_RULE_PROMISES: list[Callable[[AnswerRule, Sequence[str]], None]] = []


def promise(exam: Callable[[AnswerRule, Sequence[str]], None]) -> Callable[[AnswerRule, Sequence[str]], None]:
    """Count a function among the promises of every rule."""
    ANSWER_RULE_PROMISES.append(exam)
    return exam


def check_answer_rule(
    rule: AnswerRule,
    *,
    replies: Sequence[str] = (),
    equal: Sequence[Sequence[str]] = (),
    different: Sequence[Sequence[str]] = (),
) -> None:
    """Put every promise to a rule; raises AssertionError that names the first one it breaks.

    Args:
        rule: a function of the reply's text, or a `GroupingRule`.
        replies: some that the rule is made for.
        equal: groups of replies; all of a group give one answer.
        different: groups of replies; no two of a group give the same answer, and each gives one.
    """
    known = [*replies, *(reply for group in (*equal, *different) for reply in group)]
    for exam in ANSWER_RULE_PROMISES:
        try:
            exam(rule, known)
        except AssertionError as error:
            error.add_note(f"broken promise: {exam.__name__.replace('_', ' ')}")
            raise
    for group in equal:
        answers = counted(rule, group)
        assert len(set(answers)) == 1, f"replies that say the same were read as {answers}"
        assert answers[0], f"no answer was found in {group[0]!r}"
    for group in different:
        for one, other in combinations(group, 2):
            answers = counted(rule, [one, other])
            assert answers[0] != answers[1], f"{one!r} and {other!r} were both read as {answers[0]!r}"


def counted(rule: AnswerRule, replies: Sequence[str]) -> list[str | None]:
    """The answers of replies as a vote counts them."""
    answers = [rule(reply) or None for reply in replies]
    return list(rule.grouped(answers)) if isinstance(rule, GroupingRule) else answers


@promise
def a_reply_gives_a_text_or_none(rule: AnswerRule, replies: Sequence[str]) -> None:
    for reply in (*replies, *ODD_REPLIES):
        answer: object = rule(reply)
        assert answer is None or isinstance(answer, str), f"{reply!r} gave a {type(answer).__name__}"


@promise
def a_reply_gives_the_same_answer_every_time_and_in_every_thread(rule: AnswerRule, replies: Sequence[str]) -> None:
    first = [rule(reply) for reply in (*replies, *ODD_REPLIES)]
    with ThreadPoolExecutor(N_THREADS) as pool:
        for again in pool.map(lambda _: [rule(reply) for reply in (*replies, *ODD_REPLIES)], range(N_THREADS)):
            assert again == first


@promise
def ten_hostile_megabytes_take_less_than_a_second(rule: AnswerRule, replies: Sequence[str]) -> None:  # noqa: ARG001
    for piece in HOSTILE_PIECES:
        reply = piece * (HOSTILE_CHARACTERS // len(piece))
        started = time.process_time()
        rule(reply)
        taken = time.process_time() - started
        assert taken < HOSTILE_SECONDS, f"10 MB of {piece!r} took {taken:.1f} s: read only the end of a long reply"


@promise
def groups_are_called_by_their_first_answer(rule: AnswerRule, replies: Sequence[str]) -> None:
    if not isinstance(rule, GroupingRule):
        return
    answers = [rule(reply) or None for reply in (*replies, "no answer\nat all", *replies)]
    grouped = list(rule.grouped([None, *answers]))
    assert len(grouped) == len(answers) + 1, f"{len(answers) + 1} answers were grouped into {len(grouped)}"
    for place, (answer, name) in enumerate(zip([None, *answers], grouped, strict=True)):
        assert (answer is None) == (name is None), f"{answer!r} was grouped as {name!r}"
        assert name is None or [None, *answers].index(name) <= place, f"{name!r} was given after {answer!r}, which is called so"
        assert answer is None or grouped[[None, *answers].index(answer)] == name, f"{answer!r} stands in two groups"
    assert list(rule.grouped([])) == []
