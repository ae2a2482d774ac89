"""Find the answer in a reply, and write equal answers equally, so that they can be counted."""

import re
from collections.abc import Callable
from decimal import Decimal, InvalidOperation

AnswerRule = Callable[[str], str | None]
"""Takes a reply's text, gives its normalised answer, or `None` when it holds none."""

MAX_REPLY_CHARACTERS = 200_000
"""Only the end of a longer reply is searched: an answer stands last, and a hostile reply must not take time."""

_MARKER = re.compile(r"(?:answer\s*(?:is)?\s*[:=]\s*)+(\S.*)", re.IGNORECASE)
_BOXED = re.compile(r"\\boxed\{([^{}]*)\}")
_NUMBER = re.compile(r"[-+]?(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)(?:\.\d+)?(?:[eE][-+]?\d{1,3})?%?")
_CHOICE = re.compile(r"(?<![A-Za-z])\(?([A-Ja-j])(?![A-Za-z'’])\)?")
_WRAPPING = " \t\n\"'`*_.,;:!?()[]{}$"


def final_answer(text: str) -> str | None:
    r"""The answer after the last "Answer:" or in the last box; a reply of one line is its own answer.

    >>> final_answer("60 - 8 = 52 dollars.\nAnswer: $52.00")
    '52'
    >>> final_answer("I would have to think about that.\nLet me see.") is None
    True
    """
    text = text[-MAX_REPLY_CHARACTERS:].strip()
    for pattern in (_BOXED, _MARKER):
        if found := pattern.findall(text):
            return normalise(found[-1])
    return normalise(text) if text and "\n" not in text else None


def last_number(text: str) -> str | None:
    """The last number of a reply.

    >>> last_number("27 + 41 = 68, so 1,068 in all")
    '1068'
    """
    numbers = _NUMBER.findall(text[-MAX_REPLY_CHARACTERS:])
    return normalise(numbers[-1]) if numbers else None


def choice_letter(text: str) -> str | None:
    """The letter of a multiple-choice answer: of the marked answer, or the last one that stands alone.

    >>> choice_letter("(B) is tempting, but the answer is: (C)")
    'c'
    """
    text = text[-MAX_REPLY_CHARACTERS:]
    marked = _MARKER.findall(text)
    letters = _CHOICE.findall(marked[-1] if marked else text)
    return (letters[0] if marked else letters[-1]).lower() if letters else None


def normalise(answer: str) -> str | None:
    """Write equal answers equally: case, white space, wrapping signs, and the many ways to write one number.

    >>> normalise(" **1,250.50** "), normalise("$52"), normalise("Yes."), normalise("...")
    ('1250.5', '52', 'yes', None)
    """
    plain = " ".join(answer.split()).strip(_WRAPPING).casefold()
    if not plain:
        return None
    if _NUMBER.fullmatch(plain):
        return _plain_number(plain)
    return plain


def _plain_number(text: str) -> str:
    try:
        number = Decimal(text.replace(",", "").rstrip("%"))
    except InvalidOperation:  # digits of other scripts that the pattern lets pass and Decimal does not
        return text
    if abs(number.adjusted()) > 30:  # writing 1e999 out would take a page
        return text
    shown = format(number.normalize(), "f")
    return ("0" if shown == "-0" else shown) + ("%" if text.endswith("%") else "")
