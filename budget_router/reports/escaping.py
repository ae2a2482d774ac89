"""Text from logs is somebody else's: it is shown, and does nothing."""

import html
import unicodedata

_TURNS = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
"""Characters that turn the direction of what follows, and so can disguise it."""
_SPACES = str.maketrans("\n\r\t", "   ")
_NO_CHARACTERS = frozenset("\ufffe\uffff")
_FORMULA = tuple("=+-@＝＋－＠")
"""What a spreadsheet takes for the start of a formula."""


def visible(text: str) -> str:
    r"""Write out characters that cannot be seen or stored; line ends and tabs become spaces.

    >>> visible("a\u202eb\tc\x07")
    'a\\u202eb c\\u0007'
    """
    in_one_line = text.translate(_SPACES)
    return in_one_line if in_one_line.isprintable() else "".join(map(_shown, in_one_line))


def _shown(character: str) -> str:
    is_hidden = unicodedata.category(character) in {"Cc", "Cs", "Zl", "Zp"} or character in _TURNS | _NO_CHARACTERS
    return f"\\u{ord(character):04x}" if is_hidden else character


def inert(text: str) -> str:
    """Text for the inside of an element or of a quoted attribute.

    >>> inert("</style><b onclick='x'>")
    '&lt;/style&gt;&lt;b onclick=&#x27;x&#x27;&gt;'
    """
    return html.escape(visible(text))


def clipped(text: str, length: int) -> str:
    """The first `length` characters, the last of them an ellipsis where some are left out.

    >>> clipped("multi_step", 6)
    'multi…'
    """
    return text if len(text) <= length else text[: length - 1] + "…"


def unspelled(text: str) -> str:
    """Text for a spreadsheet's cell: an apostrophe in front of what it would compute.

    >>> unspelled("=1+1"), unspelled("12 apples")
    ("'=1+1", '12 apples')
    """
    shown = visible(text)
    return f"'{shown}" if shown.lstrip().startswith(_FORMULA) else shown
