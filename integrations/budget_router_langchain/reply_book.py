"""Replies on disk as they arrive, one JSON line each: what a process that was killed need not draw again."""

import json
import threading
from collections import defaultdict
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TextIO

from budget_router.errors import InvalidInput
from budget_router.strategies import Reply


class ReplyBook:
    """Gives each decision a mapping of its replies, by the number of the sample; what is put there is written down at once.

    Args:
        path: a JSON Lines file, made when there is none; `None` keeps nothing. A last line that was cut off is passed over.
        calls: of each decision that is not settled, the calls that its ledger knows; other replies are left alone.
    """

    def __init__(self, path: Path | None, calls: Mapping[str, Collection[str]]) -> None:
        self._lock = threading.Lock()
        self._known: dict[str, dict[int, Reply]] = defaultdict(dict)
        self._file: TextIO | None = None
        if path is None:
            return
        try:
            if path.exists():
                self._read(path, calls)
            self._file = path.open("a", encoding="utf-8")
        except OSError as error:
            raise InvalidInput(f"{path} cannot be written: {error}; name another place for the replies") from error
        if self._file.tell():
            self._file.write("\n")  # ends a line that was cut off; an empty one means nothing

    def of(self, decision_id: str) -> "Replies":
        """What has been drawn for a decision so far."""
        return Replies(self, decision_id, self._known.pop(decision_id, {}))

    def write(self, decision_id: str, index: int, reply: Reply) -> None:
        """Write a reply down; it survives a killed process once this returns."""
        if self._file is None:
            return
        line = json.dumps({"decision_id": decision_id, "index": index, "call_id": reply.call_id, "text": reply.text})
        with self._lock:
            self._file.write(line + "\n")
            self._file.flush()

    def close(self) -> None:
        """Let go of the file."""
        if self._file is not None:
            self._file.close()

    def _read(self, path: Path, calls: Mapping[str, Collection[str]]) -> None:
        with path.open(encoding="utf-8", errors="replace") as lines:
            for line in lines:
                try:
                    told = json.loads(line)
                    decision_id, index, reply = told["decision_id"], int(told["index"]), Reply(told["text"], told["call_id"])
                except (ValueError, KeyError, TypeError):
                    continue
                if reply.call_id in calls.get(decision_id, ()):
                    self._known[decision_id][index] = reply


class Replies(dict[int, Reply]):
    """Replies of one decision, by the number of the sample."""

    def __init__(self, book: ReplyBook, decision_id: str, known: dict[int, Reply]) -> None:
        super().__init__(known)
        self._book = book
        self._decision_id = decision_id

    def __setitem__(self, index: int, reply: Reply) -> None:
        """Keep a reply, and write it down."""
        super().__setitem__(index, reply)
        self._book.write(self._decision_id, index, reply)
