"""Texts of a log's tasks: a few are held in memory, those of a long log stand in a file that is gone when nobody reads it."""

import json
import os
import tempfile
import weakref
from array import array
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from threading import Lock
from typing import IO, Self, overload

import numpy as np

from budget_router.allocation import IntArray
from budget_router.errors import BudgetRouterError
from budget_router.features.projection import NgramCounts

MAX_HELD = 2**25
"""Characters that are held in memory; of more the texts go to a file."""

_TEXT, _COUNTS = b"t", b"c"
"""Told by the first byte of what is written."""

Said = str | NgramCounts
"""A text, or the counts of its n-grams, none where it was erased."""


class FiledTexts(Sequence[Said]):
    """Texts in a file that has no name, so that nobody else reads it and nothing stays behind, be the process killed."""

    def __init__(self, file: "_File", begin: IntArray, length: IntArray) -> None:
        self._file = file
        self._begin = begin
        self._length = length

    def __len__(self) -> int:
        return len(self._begin)

    @overload
    def __getitem__(self, place: int) -> Said: ...
    @overload
    def __getitem__(self, place: slice) -> Self: ...
    def __getitem__(self, place: int | slice) -> Said | Self:
        if isinstance(place, slice):
            return self.rows(np.arange(len(self))[place])
        return self._file.read(int(self._begin[place]), int(self._length[place]))

    def __iter__(self) -> Iterator[Said]:
        return map(self._file.read, self._begin.tolist(), self._length.tolist())

    def rows(self, chosen: IntArray) -> Self:
        """Some of the texts, in the same file."""
        return type(self)(self._file, self._begin[chosen], self._length[chosen])

    def __reduce__(self) -> tuple[type[tuple[Said, ...]], tuple[list[Said]]]:
        """A file without a name is no other process's: the texts go over."""
        return tuple, (list(self),)


class Texts:
    """Gathers the texts of a log."""

    def __init__(self) -> None:
        self._held: list[Said] = []
        self._n_held = self._n_written = 0
        self._file: _File | None = None
        self._length = array("q")
        self._is_any = False

    def append(self, text: Said | None) -> None:
        """Take the next one; `None` where nothing was kept."""
        self._is_any |= text is not None
        self._held.append({} if text is None else text)
        self._n_held += 1 if text is None else len(text)
        if self._n_held > MAX_HELD:
            self._write()

    def gathered(self) -> Sequence[Said] | None:
        """All of them, in their order; `None` where none was kept of any."""
        if not self._is_any:
            return None
        if self._file is None:
            return tuple(self._held)
        self._write()
        length = np.array(self._length, dtype=np.intp)
        return FiledTexts(self._file, np.cumsum(length) - length, length)

    def __reduce__(self) -> "tuple[Callable[..., Texts], tuple[Sequence[Said | None]]]":
        """As of `FiledTexts`, the texts go over."""
        found = self.gathered()
        return _taken, ([None] * (len(self._length) + len(self._held)) if found is None else list(found),)

    def _write(self) -> None:
        if self._file is None:
            self._file = _File()
        lines = [_written(text) for text in self._held]
        self._file.append(b"".join(lines))
        self._length.extend(map(len, lines))
        self._held.clear()
        self._n_held = 0


def _taken(said: Sequence[Said | None]) -> Texts:
    texts = Texts()
    for text in said:
        texts.append(text)
    return texts


class _File:
    def __init__(self) -> None:
        with _room():
            self._file: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115  # it is gone with the last that reads it
        weakref.finalize(self, self._file.close)
        self._lock = Lock()

    def append(self, text: bytes) -> None:
        with self._lock, _room():
            self._file.seek(0, os.SEEK_END)
            self._file.write(text)
            self._file.flush()

    def read(self, begin: int, length: int) -> Said:
        with self._lock:
            self._file.seek(begin)
            text = self._file.read(length)
        if text.startswith(_TEXT):
            return text[1:].decode("utf-8", "surrogatepass")
        return {int(bucket): times for bucket, times in json.loads(text[1:]).items()}


def _written(text: Said) -> bytes:
    if isinstance(text, str):
        return _TEXT + text.encode("utf-8", "surrogatepass")
    return _COUNTS + json.dumps(dict(text)).encode()


@contextmanager
def _room() -> Iterator[None]:
    """Tell what to do where the disk has none."""
    try:
        yield
    except OSError as error:
        raise BudgetRouterError(
            f"the texts of this log are more than {MAX_HELD} characters and go to a temporary file: {error}; "
            "name a folder with room by TMPDIR, or read a shorter window"
        ) from error


def chosen_texts(texts: Sequence[Said] | None, chosen: IntArray) -> Sequence[Said] | None:
    """Some of them, wherever they stand."""
    if texts is None:
        return None
    return texts.rows(chosen) if isinstance(texts, FiledTexts) else tuple(texts[row] for row in chosen.tolist())
