"""Answers as they are found in replies, and written so that those that mean the same are counted as one."""

import decimal
import itertools
import json
import time
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from budget_router.answers import (
    FreeText,
    GroupingRule,
    ToolCall,
    canonical_calls,
    canonical_json,
    choice_letter,
    embedded,
    final_answer,
    final_number,
    json_answer,
    last_number,
    normalise,
    pairwise,
    structured,
    whole_reply,
)
from budget_router.answers.number import plain_number, plain_ratio
from budget_router.errors import InvalidInput
from budget_router.testing import ANSWER_RULE_PROMISES, check_answer_rule

law = settings(derandomize=True, deadline=None)


class Invoice(BaseModel):
    """What a model is asked to fill in."""

    reasoning: str
    total: float
    city: str


same_words = FreeText(pairwise(lambda one, other: set(one.casefold().split()) == set(other.casefold().split())))
RULES = {
    "final_answer": final_answer,
    "final_number": final_number,
    "last_number": last_number,
    "choice_letter": choice_letter,
    "normalise": normalise,
    "json_answer": json_answer,
    "structured": structured(Invoice),
    "whole_reply": whole_reply,
    "same_words": same_words,
}


@pytest.mark.parametrize("promise", ANSWER_RULE_PROMISES, ids=lambda promise: promise.__name__)
@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
def test_every_rule_keeps_the_promises_of_a_rule(rule, promise):
    promise(rule, ["Answer: 4", "so\nAnswer: 4.0", '{"total": 4}', "by train, I think", "think I by train,"])


# --- the answer that a reply marks


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
        ("so\n\\boxed{\\frac{1}{2}}", "0.5"),
        ("so\n\\boxed{\\sqrt{2}}", "\\sqrt{2}"),
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
        ("12.50%", "0.125"),
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
        ("The answer is D, I think.", "d"),
        ("I believe it is C, and I am sure.", "c"),
        ("I think so.", None),
        ("Answer: I think B", "b"),
        ("Answer: I", "i"),
        ("(I) is right", "i"),
        ("C is a good choice. A dog barks.", "c"),
        ("A is right.", "a"),
        ("The correct choice is B because A is wrong.", "b"),
        ("My answer is a number. Option A is a name", "a"),
        ("a", "a"),
        ("**B**", "b"),
        ("B) Paris, A great city", "b"),
        ("B. Paris. C is wrong.", "b"),
        ("A, B and C are wrong, so D", "d"),
        ("So option b. I am sure of that.", "b"),
        ("\\boxed{\\text{(E)}}", "e"),
        ("Answer: the letter is (C), not D", "c"),
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
        ["-5", "−5", "-5.0", "-$5", "$-5"],
        ["0.5", "1/2", "2/4", "½", "50%", "50 %", "50\\%", "50 percent", "\\frac{1}{2}", "\\dfrac12", "0,5"],
        ["1.5", "1 1/2", "1½", "3/2", "1\\frac{1}{2}", "150%"],
        ["1/3", "2/6", "\\frac{3}{9}", "\\text{1/3}"],
        [
            "1234567.5",
            "1,234,567.50",
            "1.234.567,5",
            "1 234 567,5",
            "1'234'567.5",
            "12,34,567.5",
            "1{,}234{,}567.5",
            "1\\,234\\,567.5",
        ],
        [
            "1250",
            "1.25e3",
            "1.25 × 10^3",
            "1.25 \\times 10^{3}",
            "1.25·10³",
            "€1.250,00",
            "1250 USD",
            "1,250 dollars",
            "US$1,250",
        ],
        ["1e40", "10^40", "10000e36", "1.0 × 10^{40}"],
        ["(1, 2)", "( 1, 2 )", "$(1, 2)$"],
        ["paris", "\\text{Paris}", "\\textbf{Paris}.", "\\( Paris \\)"],
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
        ["5", "0.5", "-5", "5%", "55", "1/5"],
        ["12345678901234567890123456789", "12345678901234567890123456788"],
        ["0.1234567890123456789012345678901", "0.1234567890123456789012345678902"],
        ["1e999", "1e998", "1e-999"],
        ["\\frac{1}{2}", "\\frac{1}{3}"],
        ["1/2", "1/3", "0.333", "1/2/2024"],
        ["(1,2)", "1.2", "[1,2)", "12"],
        ["5 km", "5 m", "5"],
        ["1,2,3", "123", "1 2 3"],
        ["1/0", "0"],
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


MEGABYTES = 4_000_000
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


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_hostile_megabytes_are_searched_in_linear_time(text):
    for name, rule in RULES.items():
        started = time.process_time()
        rule(text)
        assert time.process_time() - started < 5, name  # a quadratic search takes hours


def test_of_a_long_reply_the_end_is_searched():
    assert final_answer("x\n" * 1_000_000 + "Answer: 7") == "7"
    assert last_number("1 " * 1_000_000 + "x" * 300_000) is None


# --- laws of writing numbers

numerals = st.decimals(-(10**12), 10**12, places=2)


def grouped(number, thousands, point):
    return f"{number:,}".replace(",", "\0").replace(".", point).replace("\0", thousands)


@law
@given(
    numerals, st.sampled_from([(",", "."), (".", ","), (" ", ","), (" ", "."), ("'", "."), ("\N{NARROW NO-BREAK SPACE}", ",")])
)
def test_a_number_is_read_in_every_locale_that_says_its_point(number, separators):
    assert Fraction(normalise(grouped(number, *separators))) == Fraction(number)


@law
@given(numerals, st.integers(-20, 20))
def test_scientific_writing_moves_the_point(number, power):
    written = {normalise(f"{number}{way.format(power)}") for way in ("e{}", " × 10^{}", "*10**{}", " \\times 10^{{{}}}")}
    assert len(written) == 1
    assert Fraction(*map(Fraction, [written.pop()])) == Fraction(number) * Fraction(10) ** power


@law
@given(st.integers(-(10**9), 10**9), st.integers(1, 10**6))
def test_a_ratio_is_written_as_the_ratio_it_is_in_either_notation(above, below):
    ratio = Fraction(above, below)
    sign = "-" if above < 0 else ""
    assert Fraction(plain_ratio(ratio)) == ratio
    assert plain_number(f"{above}/{below}") == plain_ratio(ratio) == plain_number(f"{sign}\\frac{{{abs(above)}}}{{{below}}}")


@law
@given(numerals, st.sampled_from(["{}%", "{} percent", "{}\\%"]))
def test_a_percentage_is_a_hundredth(number, way):
    assert Fraction(normalise(way.format(number))) == Fraction(number) / 100


pieces = st.sampled_from(
    [*"0123456789.,-/%$ {}()[]'*!x", "1,000", "\\frac{1}{2}", "\\text{a", "½", "e5", "10^", "³", "€", "İ", "ß", "."]
)


@law
@given(st.lists(pieces, max_size=12).map("".join) | st.text(max_size=40))
def test_writing_a_written_answer_again_changes_nothing(text):
    once = normalise(text)
    assert once is None or normalise(once) == once


def test_answers_that_are_written_equally_are_one_class_however_they_are_compared():
    answers = ["0.5", "1/2", "50%", "½", "0.50", "1/3", "2/6", "0.333", "(1, 2)"]
    classes = [{other for other in answers if normalise(one) == normalise(other)} for one in answers]
    assert all((one is other) or one == other or not one & other for one in classes for other in classes)
    assert len({frozenset(one) for one in classes}) == 4


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("It takes a while.\nAnswer: 5 km", "5"),
        ("Answer: about $1,250.50 in all", "1250.5"),
        ("Answer: 2 * 1.5 = 3 million people", "3000000"),
        ("Answer: 5.5 billion", "5500000000"),
        ("so \\boxed{12\\text{ cm}^2}\nor so", "12"),
        ("so \\boxed{\\frac{3}{4}}", "0.75"),
        ("Answer: \\(\\frac{1}{3}\\) of it", "1/3"),
        ("Answer: 12.5 % of 80", "0.125"),
        ("Answer: 7 km, or 7,000 m", "7"),
        ("Answer: none.\nI counted 3.", None),
        ("no marker, 3 and then 4 things", "4"),
    ],
)
def test_the_final_number_is_that_of_the_marked_answer_without_its_unit(text, number):
    assert final_number(text) == number


# --- structured answers


@pytest.mark.parametrize(
    "same",
    [
        ['{"a": 1, "b": "x"}', '```json\n{"b": "X ", "a": 1.0}\n```', 'Sure: {"a": 1e0, "b": "x"}. Done.'],
        ["[1, 2.50]", "as a list: [1.0, 2.5]"],
        ['{"ok": true, "of": null}', '{"of":null,"ok":true}'],
        ['{"a": {"c": [1, {"d": 2}], "b": 3}}', 'first {"a": 1}, no: {"a": {"b": 3, "c": [1, {"d": 2.0}]}}'],
    ],
)
def test_equal_json_is_written_equally(same):
    assert len({json_answer(text) for text in same}) == 1
    assert json_answer(json_answer(same[0])) == json_answer(same[0])


@pytest.mark.parametrize(
    "text", ["no json", "{", "[NaN]", '{"a": Infinity}', "{'a': 1}", "[" * 5000 + "]" * 5000, "[" + "9" * 5000 + "]"]
)
def test_what_is_no_json_is_no_answer(text):
    assert json_answer(text) is None


def test_different_json_stays_different():
    texts = [
        '{"a": 1}',
        '{"a": "1"}',
        '{"a": true}',
        '{"a": [1]}',
        '{"b": 1}',
        '{"a": 10000000000000001}',
        '{"a": 10000000000000000}',
    ]
    assert len({json_answer(text) for text in texts}) == len(texts)


def test_a_model_is_compared_field_by_field_and_what_does_not_validate_is_no_answer():
    rule = structured(Invoice)
    assert rule('{"total": "52.0", "city": "PARIS", "reasoning": "so"}') == '{"city":"paris","reasoning":"so","total":52}'
    assert rule('{"total": "many", "city": "Paris", "reasoning": "so"}') is None


def test_only_the_fields_that_count_are_compared_each_by_its_own_rule():
    rule = structured(Invoice, fields={"total": normalise, "city": choice_letter})
    replies = [
        f'{{"total": {total}, "city": "(B) Paris", "reasoning": "{why}"}}' for total, why in [(52, "one"), (52.0, "other")]
    ]
    assert {rule(reply) for reply in replies} == {'{"city":"b","total":"52"}'}


@pytest.mark.parametrize("fields", [{}, {"sum": normalise}])
def test_fields_that_a_model_does_not_have_are_refused(fields):
    with pytest.raises(InvalidInput, match="name at least one that it has, reasoning, total, city"):
        structured(Invoice, fields=fields)


def test_tool_calls_are_compared_by_name_and_arguments_to_the_letter():
    calls = [ToolCall("search", {"q": "Paris", "limit": limit}) for limit in (5, 5.0)]
    assert len({canonical_calls([call]) for call in calls}) == 1
    others = [ToolCall("search", {"q": "paris", "limit": 5}), ToolCall("find", {"q": "Paris", "limit": 5})]
    assert len({canonical_calls([call]) for call in (*calls, *others)}) == 3
    assert canonical_calls(others) != canonical_calls(others[::-1])


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**20), 10**20)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


@settings(law, max_examples=40)
@given(json_values)
def test_json_is_the_same_after_a_round_trip_through_its_canonical_form(value):
    once = canonical_json(value)
    assert json.loads(once, parse_int=float) == json.loads(json.dumps(value), parse_int=float)
    assert canonical_json(json.loads(once)) == once


# --- free text


def test_free_text_is_counted_by_what_the_users_function_calls_equal():
    assert same_words.grouped(["by train", None, "Train by", "on foot", "by train"]) == [
        "by train",
        None,
        "by train",
        "on foot",
        "by train",
    ]
    assert isinstance(same_words, GroupingRule)


def test_a_comparison_that_is_not_transitive_still_makes_groups():
    near = pairwise(lambda one, other: abs(int(one) - int(other)) <= 1)
    assert FreeText(near).grouped(["1", "2", "3", "4"]) == ["1", "1", "3", "3"]


def test_texts_are_clustered_once_each_and_noise_stands_alone():
    seen = []

    def cluster(texts):
        seen.append(list(texts))
        return np.array([0, -1, 0, -1])

    assert FreeText(cluster).grouped(["a", "b", "a", "c", "d"]) == ["a", "b", "a", "a", "d"]
    assert seen == [["a", "b", "c", "d"]]


def test_texts_with_vectors_of_one_direction_mean_the_same():
    vectors = {"cat": [1.0, 0.1], "kitten": [2.0, 0.25], "car": [0.0, 1.0], "": [0.0, 0.0]}
    rule = FreeText(embedded(lambda texts: [vectors[text] for text in texts], min_cosine=0.95))
    assert rule.grouped(["cat", "car", "kitten", ""]) == ["cat", "car", "cat", ""]


@pytest.mark.parametrize("vectors", [[[1.0]], [[1.0], [float("nan")]], [1.0, 2.0]])
def test_vectors_that_are_no_embedding_are_refused(vectors):
    with pytest.raises(InvalidInput, match="give one finite vector for each text"):
        FreeText(embedded(lambda texts: vectors, min_cosine=0.9)).grouped(["a", "b"])


def test_labels_that_are_not_one_for_each_text_are_refused():
    with pytest.raises(InvalidInput, match="the clusters of 2 texts are 1 labels"):
        FreeText(lambda texts: [0]).grouped(["a", "b"])


@pytest.mark.parametrize("min_cosine", [0, 1.5])
def test_a_cosine_out_of_range_is_refused(min_cosine):
    with pytest.raises(InvalidInput, match="above 0 and at most 1"):
        embedded(lambda texts: [], min_cosine=min_cosine)


# --- the exam itself


def test_the_exam_passes_a_rule_that_keeps_its_promises_and_names_what_it_reads_alike():
    check_answer_rule(final_number, equal=[("Answer: 4 km", "so 4.0")], different=[("Answer: 4", "Answer: 5", "none")])


def dawdling(text):
    until = time.process_time() + 1.1 * (len(text) > 1_000_000)
    while time.process_time() < until:
        pass


turns = itertools.count()


@pytest.mark.parametrize(
    ("rule", "fault"),
    [
        (len, "a reply gives a text or none"),
        (lambda text: str(next(turns)), "a reply gives the same answer every time"),
        (dawdling, "ten hostile megabytes"),
    ],
)
def test_the_exam_names_the_promise_that_is_broken(rule, fault):
    with pytest.raises(AssertionError) as failure:
        check_answer_rule(rule)
    assert fault in failure.value.__notes__[0]


@pytest.mark.parametrize(
    "groups", [{"equal": [("4", "5")]}, {"different": [("4", "4.0")]}, {"equal": [("one\ntwo", "two\none")]}]
)
def test_the_exam_refuses_a_rule_that_reads_replies_otherwise_than_was_said(groups):
    with pytest.raises(AssertionError, match=r"read as|no answer"):
        check_answer_rule(final_answer, **groups)


def test_a_grouping_that_calls_a_group_by_its_last_answer_fails_the_exam():
    class Last(FreeText):
        def grouped(self, answers):
            return [None if answer is None else answers[-1] for answer in answers]

    with pytest.raises(AssertionError) as failure:
        check_answer_rule(Last(pairwise(str.__eq__)), replies=["a", "b"])
    assert "groups are called by their first answer" in failure.value.__notes__[0]
