"""Structure: what can be seen of a task at a glance, before any answer.

Counts of what makes reasoning long (numbers, operators, formulas, code, choices) and of how long and in which form it is asked.
Stateless and cheap.
"""

import math
from collections import Counter
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from budget_router.features.reading import read

STRUCTURE_VERSION = "structure-1"
Structure = NDArray[np.float32] | NDArray[np.float64]
"""(n_tasks, n_structural_features); of a long log in single precision, which is what trees compare."""

_KINDS: dict[str, str] = {  # the tokens that each count counts, lower case
    "operators": "- + * / = < > ^ × ÷ %",
    "questions": "?",
    "sentences": ". ! ? :",
    "commas": ", ;",
    "brackets": "{ } [ ] ( )",
    "quotes": "\" ' “ ” ’ `",
    "money": "$ € £ dollars euros cents",
    "code": "def return import class function print none true false python const let",
    "conditions": "if then all some none no every each not only unless either",
    "comparisons": "more less fewer larger largest smaller smallest than most least older younger first last second third",
    "rates": "per each every percent half twice times total altogether left remain remaining",
    "questions_of_number": "how many much long far number sum difference product",
    "units": "km m cm mm kg g hours hour minutes minute seconds second days day weeks week",
    "instructions": "write explain list prove find calculate compute solve show give describe",
}
_COUNTED = {
    token: [name for name, tokens in _KINDS.items() if token in tokens.split()] for token in " ".join(_KINDS.values()).split()
}
_SIZES = ("characters", "tokens", "words", "numbers", "digits", "latex", "lines", "capitals", "non_ascii")
_COUNTS = (*_SIZES, *_KINDS)
STRUCTURE_NAMES: tuple[str, ...] = (*_COUNTS, "mean_word_length", "longest_number")


@lru_cache(maxsize=64)
def structural_features(text: str) -> tuple[float, ...]:
    """Describe a text by `STRUCTURE_NAMES`: counts as log(1 + n), so that a page does not drown a line.

    >>> dict(zip(STRUCTURE_NAMES, structural_features("What is 27 + 41?")))["numbers"] == math.log1p(2)
    True
    """
    tokens = read(text)
    totals = dict.fromkeys(_COUNTS, 0)
    totals["characters"], totals["tokens"] = len(text), len(tokens)
    n_letters = longest = 0
    for token, times in Counter(tokens).items():
        marks = _marks(token)
        for name in marks:
            totals[name] += times
        if marks[:1] == ("words",):
            n_letters += times * len(token)
        elif marks[:1] == ("numbers",):
            totals["digits"] += times * len(token)
            longest = max(longest, len(token))
    mean_word_length = n_letters / totals["words"] if totals["words"] else 0.0
    return (*map(math.log1p, totals.values()), mean_word_length, float(longest))


@lru_cache(maxsize=100_000)
def _marks(token: str) -> tuple[str, ...]:
    """What a token counts as: a word or a number first, then all else."""
    claims = {
        "words": token.isalpha(),
        "numbers": token[0].isdecimal(),
        "latex": token[0] == "\\",
        "lines": token[0] == "\n",
        "capitals": token.isalpha() and token.isupper(),
        "non_ascii": token.isalpha() and not token.isascii(),
    }
    return (*(name for name, holds in claims.items() if holds), *_COUNTED.get(token.lower(), ()))
