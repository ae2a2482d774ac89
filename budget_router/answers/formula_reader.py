"""The process that reads formulas: one line in, one line out, an empty one where it finds no formula.

Run as a script by `budget_router.answers.formula`, which kills it when it takes too long: it has no time limit of its own.
"""

import logging
import sys
from contextlib import suppress

import sympy
from math_verify import LatexExtractionConfig, parse

MAX_BYTES = 2 * 1024**3
"""Of address space: what wants more runs into a MemoryError, not into its neighbours."""
MAX_CHARACTERS = 2_000
"""Of an answer: what is longer says nothing to anybody."""
N_DIGITS = 12
"""By which numbers that no fraction is are told apart."""


def worth(latex: str) -> str:
    """Write what a formula is worth; an empty text when it cannot be read."""
    read = parse(f"${latex.replace('$', '')}$", [LatexExtractionConfig()], fallback_mode="no_fallback", parsing_timeout=None)
    return _written(read[0])[:MAX_CHARACTERS] if read else ""


def _written(value: object) -> str:
    match value:
        case sympy.Eq(lhs=sympy.Symbol(), rhs=answer):  # x = 5 is the answer 5
            written = _written(answer)
        case sympy.FiniteSet():
            written = "{" + ", ".join(sorted(map(_written, value.args))) + "}"
        case sympy.Tuple():
            written = "(" + ", ".join(map(_written, value.args)) + ")"
        case sympy.MatrixBase():
            written = "[" + "; ".join(", ".join(map(_written, row)) for row in value.tolist()) + "]"
        case sympy.Interval():
            ends = ", ".join(map(_written, (value.start, value.end)))
            written = f"{'(' if value.left_open else '['}{ends}{')' if value.right_open else ']'}"
        case sympy.Expr():
            written = _expression(value) if value.free_symbols else _number(value)
        case sympy.Basic():
            written = str(sympy.simplify(value))
        case _:
            written = ""
    return written


def _number(value: sympy.Expr) -> str:
    exact = value.doit()
    if exact.is_Integer:
        return str(exact)
    if exact.is_Rational:
        return f"{exact.p}/{exact.q}"
    if not exact.is_finite:
        return str(exact)
    real, imaginary = (f"{float(part.evalf(2 * N_DIGITS, chop=True)):.{N_DIGITS}g}" for part in exact.as_real_imag())
    return real if imaginary == "0" else f"{real} + {imaginary} i"


def _expression(value: sympy.Expr) -> str:
    simple = sympy.simplify(value.doit())
    if not simple.free_symbols:
        return _number(simple)
    return str(sympy.expand(simple) if simple.is_polynomial() else sympy.factor(simple))


def main() -> None:
    """Answer until there is nothing more to read."""
    logging.disable(logging.CRITICAL)
    with suppress(ImportError, ValueError, OSError):  # not everywhere can memory be limited
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (MAX_BYTES, MAX_BYTES))
    worth("1 + x")  # loads all that is loaded on first use
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    for line in sys.stdin:
        try:
            answer = worth(line.strip())
        except Exception:  # noqa: BLE001  # whatever a hostile formula provokes, it is no answer
            answer = ""
        sys.stdout.write(" ".join(answer.split()) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
