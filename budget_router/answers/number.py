"""One number written one way, in whatever locale, notation or currency it was given.

Equal numbers get one canonical form, so that counting forms counts numbers: equality of forms is symmetric and transitive, as no
tolerance could be. So 1/3 and 0.333 stay two answers. The question settles unit and currency: those of an answer are not kept.
"""

import re
import unicodedata
from decimal import Decimal
from fractions import Fraction

MAX_NUMBER_CHARACTERS = 1_000
"""What is longer is no number that anybody wrote, and stays text."""
MAX_WRITTEN_EXPONENT = 30
"""Powers of ten beyond it are written as 1.5e40: written out they would take a page."""

MINUS = "\N{MINUS SIGN}"
_MAX_FRACTION_DIGITS = 40

_SIGN = r"[-+]?\s?"
_INTEGER_GROUPS = r"[1-9]\d{0,2}(?:,\d{3})+|[1-9]\d?(?:,\d{2})+,\d{3}"  # 1,234,567 and, in India, 12,34,567
_NUMERALS = "|".join(
    [
        rf"(?P<english>(?:{_INTEGER_GROUPS})(?:\.\d+)?)",
        r"(?P<german>[1-9]\d{0,2}(?:\.\d{3})+,\d+|[1-9]\d{0,2}(?:\.\d{3}){2,})",
        r"(?P<spaced>[1-9]\d{0,2}(?:(?P<space>[ '’_])\d{3})(?:(?P=space)\d{3})*(?:[.,]\d+)?)",
        r"(?P<comma>\d+,\d+)",
        r"(?P<plain>\d+(?:\.\d*)?|\.\d+)",
    ]
)
_POWER = r"\s?(?:×|·|\*|x|\\times|\\cdot)\s?10\s?(?:\^|\*\*)\s?\{?\(?(?P<power>[-+]?\d{1,4})\)?\}?"
_PERCENT = r"(?P<percent>\s?(?:\\?%|per ?cent))"
_DECIMAL = re.compile(rf"(?P<sign>{_SIGN})(?:{_NUMERALS})(?:e(?P<exponent>[-+]?\d{{1,4}})|{_POWER})?{_PERCENT}?")
_POWER_OF_TEN = re.compile(rf"(?P<sign>{_SIGN})10\s?(?:\^|\*\*)\s?\{{?\(?(?P<power>[-+]?\d{{1,4}})\)?\}}?")
_RATIO = re.compile(
    rf"(?P<sign>{_SIGN})(?:(?P<whole>\d+)(?:\s|\s?(?=\\)))?"
    r"(?:(?P<above>\d+)\s?[/⁄]\s?(?P<below>\d+)|\\[dt]?frac\s?(?:\{(?P<up>\d+)\}\s?\{(?P<down>\d+)\}|(?P<one>\d)\s?(?P<other>\d)))"
)
_CURRENCY = r"\\?\$|us\$|[€£¥₹₩₽₺]|\b(?:usd|eur|gbp|jpy|cny|inr|chf|dollars?|euros?|pounds?|yen|rupees?|francs?|yuan)\b"
_MONEY = re.compile(rf"(?P<sign>[-+]?)\s?(?:{_CURRENCY})\s?(?P<after>.+)|(?P<before>.+?)\s?(?:{_CURRENCY})")
_THIN_SPACE = re.compile(r"\\[,;:! ]|\{,\}|[½⅓⅔¼¾⅕⅖⅗⅘⅙⅚⅐⅛⅜⅝⅞⅑⅒]|[⁺⁻⁰¹²³⁴-⁹]+")


def plain_number(text: str) -> str | None:
    r"""The number that `text` is, written plainly; `None` where it is none.

    A single comma before three digits groups thousands, before any other number of digits it is the decimal one.

    >>> plain_number("1.250,50 €"), plain_number(r"\frac{3}{4}"), plain_number("1.5 × 10³"), plain_number("12.5 %")
    ('1250.5', '0.75', '1500', '0.125')
    >>> plain_number("2/6"), plain_number("5 km") is None
    ('1/3', True)
    """
    if len(text) > MAX_NUMBER_CHARACTERS or not any(map(str.isnumeric, text)):
        return None
    text = _THIN_SPACE.sub(_spelled, " ".join(text.split()).replace(MINUS, "-")).strip().casefold()
    text = "".join(str(unicodedata.decimal(sign)) if sign.isdecimal() else sign for sign in text)
    if money := _MONEY.fullmatch(text):
        text = money["before"] or money["sign"] + money["after"]
    if found := _DECIMAL.fullmatch(text):
        return _decimal(found)
    if found := _POWER_OF_TEN.fullmatch(text):
        return _written(Decimal(f"{_sign(found)}1e{found['power']}"))
    return _ratio(found) if (found := _RATIO.fullmatch(text)) else None


def _spelled(sign: re.Match[str]) -> str:
    """What a sign of typesetting stands for."""
    match sign[0]:
        case r"\!":
            return ""
        case "{,}":
            return ","
        case str(space) if space.startswith("\\"):
            return " "
        case str(one) if one in "½⅓⅔¼¾⅕⅖⅗⅘⅙⅚⅐⅛⅜⅝⅞⅑⅒":
            return " " + unicodedata.normalize("NFKC", one)
        case str(raised):
            return "^" + unicodedata.normalize("NFKC", raised).replace(MINUS, "-")


def _decimal(found: re.Match[str]) -> str:
    if numeral := found["german"] or found["comma"]:
        numeral = numeral.replace(".", "").replace(",", ".")
    elif numeral := found["spaced"]:
        numeral = re.sub(r"[ '’_]", "", numeral).replace(",", ".")
    else:
        numeral = (found["english"] or found["plain"]).replace(",", "")
    exponent = int(found["exponent"] or found["power"] or 0) - 2 * bool(found["percent"])
    return _written(Decimal(f"{_sign(found)}{numeral}e{exponent}"))  # from text: exact, whatever the context's precision


def _ratio(found: re.Match[str]) -> str | None:
    above = found["above"] or found["up"] or found["one"]
    below = found["below"] or found["down"] or found["other"]
    whole = found["whole"] or "0"
    if max(map(len, (above, below, whole))) > _MAX_FRACTION_DIGITS or not int(below):
        return None
    ratio = int(whole) + Fraction(int(above), int(below))
    return plain_ratio(-ratio if _sign(found) else ratio)


def plain_ratio(ratio: Fraction) -> str:
    """Write a ratio as a decimal if that is exact, else in lowest terms."""
    rest, n_places = ratio.denominator, 0
    while rest > 1 and (shared := next((prime for prime in (10, 5, 2) if rest % prime == 0), None)):
        rest, n_places = rest // shared, n_places + 1
    if rest > 1:
        return f"{ratio.numerator}/{ratio.denominator}"
    return _written(Decimal(f"{ratio.numerator * 10**n_places // ratio.denominator}e-{n_places}"))


def plain_decimal(number: Decimal | float) -> str:
    """Write a finite number plainly; a float by the fewest digits that tell it apart."""
    return _written(Decimal(str(number)))


def _written(number: Decimal) -> str:
    if not number:
        return "0"
    if abs(number.adjusted()) <= MAX_WRITTEN_EXPONENT:
        shown = format(number, "f")
        return shown.rstrip("0").rstrip(".") if "." in shown else shown
    sign, digits, _ = number.as_tuple()
    mantissa = "".join(map(str, digits)).rstrip("0")
    point = "." if len(mantissa) > 1 else ""
    return f"{'-' * sign}{mantissa[0]}{point}{mantissa[1:]}e{number.adjusted()}"


def _sign(found: re.Match[str]) -> str:
    return "-" if "-" in found["sign"] else ""
