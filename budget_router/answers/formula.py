"""Formulas by what they are worth: LaTeX read by math-verify and sympy, in a process of their own.

Algebra on what a model wrote can take hours and all memory, and math-verify's own time limit rests on signals, which only a main
thread has. So one child process does it: it is given a formula at a time, has its memory limited, and is killed when it takes too
long. Formulas without a value in time are compared as text.
"""

import atexit
import os
import queue
import re
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

from budget_router.answers.final import marked_answer, normalise
from budget_router.answers.number import plain_number
from budget_router.answers.rule import end_of

MAX_FORMULA_CHARACTERS = 400
"""What is longer is compared as text."""
MAX_SECONDS = 2.0
"""For one formula."""
MAX_START_SECONDS = 60.0
"""For the process to load sympy, on a busy machine."""
CACHED_FORMULAS = 4096

_COMMANDS = re.compile(r"\\(?:text|begin|end)\s?\{[^{}]*\}|\\[A-Za-z]+|\b(?:sin|cos|tan|log|exp|sqrt|max|min|gcd|mod)\b")
_WORDS = re.compile(r"[^\W\d_]{3}|\A[^\W\d_]+\Z")  # a product of letters would make one answer of a word and its anagrams
_SCRIPT = Path(__file__).with_name("formula_reader.py")


def formula_answer(text: str) -> str | None:
    r"""The answer that a reply marks, as `final_answer` finds it, a formula in it by what it is worth.

    `x=\frac{1}{2}`, `0.5` and `\sin(\pi/6)` are one answer, and units are not kept. It may be called from any thread, and waits
    at most `MAX_SECONDS` for each formula that is new to it.

    Raises ImportError when the extra `math` is not installed.
    """
    text = end_of(text).strip()
    marked = marked_answer(text)
    if marked is None and (not text or "\n" in text):
        return None
    return normalise_formula(text if marked is None else marked)


def normalise_formula(formula: str) -> str | None:
    """Write formulas of one worth equally; what is no formula, or takes too long, as `normalise` does.

    Numbers without an exact fraction are told by twelve digits, expressions by sympy's simplified form.

    Raises ImportError when the extra `math` is not installed.
    """
    formula = " ".join(end_of(formula).split())
    if (number := plain_number(formula)) is not None:
        return number
    if len(formula) > MAX_FORMULA_CHARACTERS or _WORDS.search(_COMMANDS.sub(" ", formula)):
        return normalise(formula)
    worth = _worth(formula)
    return normalise(formula) if worth is None else plain_number(worth) or worth


class _Reader:
    """The child process, started when it is first needed and again whenever it was killed."""

    def __init__(self) -> None:
        self.process: subprocess.Popen[str] | None = None
        self.lines: queue.SimpleQueue[str] = queue.SimpleQueue()
        self.lock = threading.Lock()

    def worth(self, formula: str) -> str | None:
        """What the process makes of a formula; `None` when it is none, or takes too long."""
        with self.lock:
            if self.process is None or self.process.poll() is not None:
                self._start()
            process = self.process
            if process is None or process.stdin is None:
                return None
            try:
                process.stdin.write(formula + "\n")
                process.stdin.flush()
                return self.lines.get(timeout=MAX_SECONDS).strip() or None
            except (OSError, queue.Empty):
                self.stop()
                return None

    def stop(self) -> None:
        """Kill the process."""
        process, self.process = self.process, None
        if process is not None:
            process.kill()
            process.wait()
            with suppress(OSError):  # what it did not read any more
                process.stdin and process.stdin.close()

    def _start(self) -> None:
        self.stop()
        self.lines = queue.SimpleQueue()
        self.process = subprocess.Popen(  # noqa: S603  # our own file, by this interpreter
            [sys.executable, "-P", str(_SCRIPT)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            encoding="utf-8",
        )
        threading.Thread(target=_drain, args=(self.process, self.lines.put), daemon=True).start()
        try:
            self.lines.get(timeout=MAX_START_SECONDS)  # its first line says that it is ready
        except queue.Empty:
            self.stop()


def _drain(process: subprocess.Popen[str], put: Callable[[str], None]) -> None:
    if process.stdout is not None:
        with process.stdout:
            for line in process.stdout:
                put(line)
    put("")  # it is gone


_reader = _Reader()


@atexit.register
def _stop() -> None:
    """End the process of this process: the one of a parent is none of a forked child's."""
    _reader.stop()


def _forget() -> None:
    """A forked child starts a process of its own."""
    global _reader  # noqa: PLW0603  # one process for each of ours
    _reader = _Reader()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)


@lru_cache(CACHED_FORMULAS)
def _worth(formula: str) -> str | None:
    if find_spec("math_verify") is None:
        raise ImportError("formulas are read by math-verify: pip install 'budget-router[math]'")
    return _reader.worth(formula)
