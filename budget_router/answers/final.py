"""The answer of a reply: what it marks as its answer, written so that equal answers are written equally."""

import re
from functools import lru_cache

from budget_router.answers.number import MAX_NUMBER_CHARACTERS, MINUS, plain_number
from budget_router.answers.rule import end_of

# possessive where white space repeats: giving it back would take quadratic time on a hostile reply
_MARKER = re.compile(r"(?:answer\s*+(?:is\s*+)?+[:=]\s*+)+(\S.*)", re.IGNORECASE)
_BRACE = re.compile(r"\\boxed\{|\\[{}]|[{}]")
_WRAPPING = " \t\n\"'`*_.,;:!?()[]{}$"
_NO_BRACKETS = dict.fromkeys(map(ord, "()[]{}"))
_PUNCTUATION = re.compile(r"\s?([][(),])\s?")
_BRACKETED = re.compile(r"[(\[]\s?[-+]?[\d.][^,]*,")
_TEXT = re.compile(r"(?:\\(?:text|textbf|textit|mathrm|mathbf)\s?\{)+([^{}]*)\}+")
_DISPLAY = re.compile(r"\A\\[(\[]|\\[)\]]\Z")
_MAX_STEPS = 10
_MANY_ANSWERS = 1024

_SIGN = r"(?:(?<![\w.)%])[-+])?"  # of a number, not of a difference or a range: 3-5 ends in 5
_DIGITS = r"(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+|(?<![\w.])(?=\.\d))(?:\.\d+)?"
_POWER = r"(?:[eE][-+]?\d{1,3}|\s?(?:×|\\times|\\cdot|\*)\s?10\^\{?[-+]?\d{1,3}\}?)?"
_RATIO = r"(?<![/\d])\d{1,40}/\d{1,40}(?![\d/]|\.\d)"  # no part of a date
_FRACTION = r"\\[dt]?frac\{\d{1,40}\}\{\d{1,40}\}"
_NUMBER = re.compile(rf"{_SIGN}(?:{_RATIO}|{_FRACTION}|{_DIGITS}{_POWER})(?:\s?\\?%|\s?per ?cent\b)?")
_MULTIPLES = {"thousand": "e3", "million": "e6", "billion": "e9", "trillion": "e12"}
_MULTIPLE = re.compile(r"[\s-]?(thousand|million|billion|trillion)s?\b", re.IGNORECASE)
_EQUALS = re.compile(r"=|≈|\\approx")


def final_answer(text: str) -> str | None:
    r"""The answer after the last "Answer:" or in the last box; a reply of one line is its own answer.

    >>> final_answer("60 - 8 = 52 dollars.\nAnswer: $52.00")
    '52'
    >>> final_answer("I would have to think about that.\nLet me see.") is None
    True
    """
    text = end_of(text).strip()
    if (marked := marked_answer(text)) is not None:
        return normalise(marked)
    return normalise(text) if text and "\n" not in text else None


def final_number(text: str) -> str | None:
    """The number of the answer that a reply marks, whatever unit stands beside it, or its last number where it marks none.

    Of several numbers in a marked answer the first counts, after the last equals sign if it has one.

    >>> final_number("It is 3 + 4 = 7 km. Answer: 7 km, or 7,000 m"), final_number("Answer: 2 * 1.5 = 3 million people")
    ('7', '3000000')
    """
    marked = marked_answer(end_of(text))
    if marked is None:
        return last_number(text)
    plain = _cleaned(_EQUALS.split(marked)[-1])
    if (number := plain_number(plain.strip(_WRAPPING.translate(_NO_BRACKETS)))) is not None:
        return number
    found = _NUMBER.search(plain)
    if found is None:
        return last_number(marked)
    multiple = _MULTIPLE.match(plain, found.end())
    return plain_number(found[0] + (_MULTIPLES[multiple[1].lower()] if multiple else ""))


def last_number(text: str) -> str | None:
    """The last number of a reply.

    >>> last_number("27 + 41 = 68, so 1,068 in all")
    '1068'
    """
    numbers = _NUMBER.findall(end_of(text).replace(MINUS, "-"))
    return plain_number(numbers[-1]) or numbers[-1] if numbers else None


def normalise(answer: str) -> str | None:
    """Write equal answers equally: case, white space, wrapping signs, and the many ways to write one number.

    >>> normalise(" **1,250.50** "), normalise("$.50"), normalise("Yes."), normalise("...")
    ('1250.5', '0.5', 'yes', None)
    """
    return _remembered(answer) if len(answer) <= MAX_NUMBER_CHARACTERS else _wholly_normalised(answer)


def _wholly_normalised(answer: str) -> str | None:
    once = _normalised(answer)
    for _ in range(_MAX_STEPS if once and len(once) <= MAX_NUMBER_CHARACTERS else 0):  # wrappings in wrappings
        before, once = once, _normalised(once or "")
        if once == before:
            break
    return once


_remembered = lru_cache(_MANY_ANSWERS)(_wholly_normalised)
"""For the samples of a vote, which mostly agree."""


def marked_answer(text: str) -> str | None:
    """What a reply marks as its answer, as it is written: its last box, or what follows its last "Answer:"."""
    if (boxed := _last_box(text)) is not None:
        return boxed
    marked = _MARKER.findall(text)
    return marked[-1] if marked else None


def _normalised(answer: str) -> str | None:
    whole = _cleaned(" ".join(end_of(answer).split()))
    if (number := plain_number(whole)) is not None:
        return number
    if _BRACKETED.match(bare := whole.strip(_WRAPPING.translate(_NO_BRACKETS))):
        return _PUNCTUATION.sub(
            r"\1", bare
        ).casefold()  # a point or an interval: its brackets mean something, and its comma is no decimal one
    plain = whole.lstrip(_WRAPPING)
    if plain[:1].isdecimal() and re.search(r"(?<!\.)\.$", whole[: len(whole) - len(plain)]):
        plain = "." + plain  # of .5 the point is no wrapping
    plain = plain.rstrip(_WRAPPING).casefold()
    plain += "}" * (plain.count("{") - plain.count("}"))  # nor is the last brace of a formula
    return plain_number(plain) or plain or None


def _cleaned(text: str) -> str:
    """Take off what typesetting puts around an answer."""
    text = text.replace(MINUS, "-")
    return _DISPLAY.sub("", _TEXT.sub(r"\1", text)) if len(text) <= MAX_NUMBER_CHARACTERS else text


def _last_box(text: str) -> str | None:
    r"""What stands in the last `\boxed{...}` that is closed, the inner one of two nested ones."""
    opened: list[tuple[bool, int]] = []
    last: tuple[int, int] | None = None
    for brace in _BRACE.finditer(text):
        if brace[0] == "}":
            is_box, start = opened.pop() if opened else (False, 0)
            if is_box and (last is None or start > last[0]):
                last = start, brace.start()
        elif brace[0] not in (r"\{", r"\}"):
            opened.append((brace[0] != "{", brace.end()))
    return text[slice(*last)] if last else None
