"""A log in a file, read where it lies: what `export` carried away can be learned from and looked into without a database."""

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from pydantic import ValidationError

from budget_router.errors import InvalidInput, UnknownDecision
from budget_router.memory import MemoryLedger
from budget_router.menu import Menu
from budget_router.records import Decision, LoggedDecision
from budget_router.task import Task
from budget_router.words import explain


class LogFile(MemoryLedger):
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
        super().__init__()
        self.path = Path(path)
        if not self.path.is_file():
            raise InvalidInput(f"no log at {str(self.path)!r}: name the .jsonl file that export wrote")

    def read(self, *, since: datetime | None = None, until: datetime | None = None) -> Iterator[LoggedDecision]:
        """Decisions of `since <= decided_at < until`, oldest first, streamed."""
        for moment in (since, until):
            if moment is not None and moment.tzinfo is None:
                raise InvalidInput(f"{moment.isoformat()} has no time zone: give one, such as datetime.now(UTC)")
        return self._between(since, until)

    def _between(self, since: datetime | None, until: datetime | None) -> Iterator[LoggedDecision]:
        for entry in self._lines():
            decided_at = entry.decision.decided_at
            if until is not None and decided_at >= until:
                return
            if since is None or decided_at >= since:
                yield entry

    def decision(self, decision_id: str) -> LoggedDecision:
        """All that is known of one decision, looked for from the beginning; raises UnknownDecision."""
        for entry in self._lines():
            if entry.decision.id == decision_id:
                return entry
        raise UnknownDecision(f"no decision {decision_id!r} stands in {self.path.name}: look for it in another log")

    def latest(self, *, thread_id: str | None = None) -> LoggedDecision:
        """The last decision, of one thread or of all; raises UnknownDecision."""
        last = None
        for entry in self._lines():
            if thread_id is None or entry.decision.thread_id == thread_id:
                last = entry
        if last is None:
            of = "" if thread_id is None else f" of thread {thread_id!r}"
            raise UnknownDecision(f"no decision{of} stands in {self.path.name}: look for it in another log")
        return last

    def of_run(self, run_id: str) -> list[LoggedDecision]:
        """The decisions that bear a run's id, oldest first; none where nothing was decided in it."""
        return [entry for entry in self._lines() if entry.decision.run_id == run_id]

    def n_outcomes(self, *, since: datetime | None = None) -> int:
        """Grades given at a moment or later: the last one of each decision, which is all that the file holds."""
        grades = (entry.outcome for entry in self._lines() if entry.outcome is not None)
        return sum(since is None or grade.graded_at >= since for grade in grades)

    def of_call(self, call_id: str) -> LoggedDecision:
        """The decision that a call was made for; raises UnknownDecision."""
        for entry in self._lines():
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
