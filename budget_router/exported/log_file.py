"""A log in a file, read where it lies: what `export` carried away can be learned from and looked into without a database."""

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Literal

from pydantic import ValidationError

from budget_router.errors import InvalidInput, UnknownDecision
from budget_router.memory import MemoryLedger, check_zone
from budget_router.menu import Menu
from budget_router.records import Decision, LoggedDecision
from budget_router.task import Task
from budget_router.words import explain


class ExportedLog(MemoryLedger, ABC):
    """A ledger whose decisions stand in files that `export` wrote, and are never added to; each kind of file has its child.

    Policies and solves made from it are kept in memory, and gone with the process: write a policy to a folder with `save_policy`.
    """

    def __init__(self, path: str | Path) -> None:
        super().__init__()
        self.path = Path(path)

    @abstractmethod
    def _between(self, since: datetime | None, until: datetime | None) -> Iterator[LoggedDecision]:
        """Decisions of `since <= decided_at < until`, oldest first, streamed."""

    @abstractmethod
    def _with(self, column: Literal["decision_id", "run_id", "thread_id"], value: str) -> Iterator[LoggedDecision]:
        """Decisions that have a value in a column, oldest first."""

    def read(self, *, since: datetime | None = None, until: datetime | None = None) -> Iterator[LoggedDecision]:
        """Decisions of `since <= decided_at < until`, oldest first, streamed."""
        check_zone(since, until)
        return self._between(since, until)

    def decision(self, decision_id: str) -> LoggedDecision:
        """All that is known of one decision, looked for from the beginning; raises UnknownDecision."""
        for entry in self._with("decision_id", decision_id):
            return entry
        raise UnknownDecision(f"no decision {decision_id!r} stands in {self.path.name}: look for it in another log")

    def latest(self, *, thread_id: str | None = None) -> LoggedDecision:
        """The last decision, of one thread or of all; raises UnknownDecision."""
        found = self._between(None, None) if thread_id is None else self._with("thread_id", thread_id)
        for last in deque(found, maxlen=1):
            return last
        of = "" if thread_id is None else f" of thread {thread_id!r}"
        raise UnknownDecision(f"no decision{of} stands in {self.path.name}: look for it in another log")

    def of_run(self, run_id: str) -> list[LoggedDecision]:
        """The decisions that bear a run's id, oldest first; none where nothing was decided in it."""
        return list(self._with("run_id", run_id))

    def n_outcomes(self, *, since: datetime | None = None) -> int:
        """Grades given at a moment or later: the last one of each decision, which is all that the files hold."""
        check_zone(since)
        grades = (entry.outcome for entry in self._between(None, None) if entry.outcome is not None)
        return sum(since is None or grade.graded_at >= since for grade in grades)

    def of_call(self, call_id: str) -> LoggedDecision:
        """The decision that a call was made for, looked for from the beginning; raises UnknownDecision."""
        for entry in self._between(None, None):
            if any(call.id == call_id for call in entry.calls):
                return entry
        raise UnknownDecision(f"no call {call_id!r} stands in {self.path.name}: look for it in another log")

    def record_decision(self, decision: Decision, task: Task, menu: Menu) -> Decision:  # noqa: ARG002  # the ledger's signature
        """Refused: raises InvalidInput."""
        raise InvalidInput(self._is_only_read())

    def forget(self, task_id: str) -> int:  # noqa: ARG002  # the ledger's signature
        """Refused: raises InvalidInput."""
        raise InvalidInput(self._is_only_read())

    def _check_known(self, decision_id: str) -> None:  # noqa: ARG002  # called before anything is kept of a decision
        raise InvalidInput(self._is_only_read())

    def _is_only_read(self) -> str:
        return f"{self.path.name} is a log that is only read: record into a ledger, such as SqlLedger, and export it again"


class LogFile(ExportedLog):
    """A ledger whose decisions stand in a `.jsonl` file that `export` wrote, and are never added to.

    The file is streamed: a long one takes no more memory than a short one. Policies and solves made from it are kept in memory,
    and gone with the process: write a policy to a folder with `save_policy`.

    Args:
        path: of the file, oldest decision first.

    Raises:
        InvalidInput: there is no such file; while reading, a line that is no logged decision, or that is older than the one
            before it.
    """

    def __init__(self, path: str | Path) -> None:
        super().__init__(path)
        if not self.path.is_file():
            raise InvalidInput(f"no log at {str(self.path)!r}: name the .jsonl file that export wrote")

    def _between(self, since: datetime | None, until: datetime | None) -> Iterator[LoggedDecision]:
        for entry in self._lines():
            decided_at = entry.decision.decided_at
            if until is not None and decided_at >= until:
                return
            if since is None or decided_at >= since:
                yield entry

    def _with(self, column: Literal["decision_id", "run_id", "thread_id"], value: str) -> Iterator[LoggedDecision]:
        field = "id" if column == "decision_id" else column
        return (entry for entry in self._lines() if getattr(entry.decision, field) == value)

    def _lines(self) -> Iterator[LoggedDecision]:
        before: datetime | None = None
        with self.path.open(encoding="utf-8") as file:
            for number, line in enumerate(file, start=1):
                entry = self._entry(line, number)
                if before is not None and entry.decision.decided_at < before:
                    raise InvalidInput(
                        f"line {number} of {self.path.name} was decided before the line above it: sort by decided_at"
                    )
                before = entry.decision.decided_at
                yield entry

    def _entry(self, line: str, number: int) -> LoggedDecision:
        try:
            return LoggedDecision.model_validate_json(line)
        except ValidationError as error:
            raise InvalidInput(explain(f"line {number} of {self.path.name}", error)) from error
