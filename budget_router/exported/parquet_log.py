"""A log in Parquet, read where it lies: by this process, or by many at once."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import datetime
from itertools import pairwise
from pathlib import Path

from budget_router.errors import InvalidInput
from budget_router.evidence import Act, Evidence
from budget_router.exported.log_file import ExportedLog
from budget_router.exported.parquet_parts import ParquetPart, Stretch
from budget_router.memory import check_zone
from budget_router.records import LoggedDecision

_WHOLE = 2**62


class ParquetLog(ExportedLog):
    """A ledger whose decisions stand in Parquet files that `export` wrote, and are never added to.

    Rows are streamed, and workers can read stretches of a file side by side: see `refresh(client=)`. Policies and solves made
    from it are kept in memory, and gone with the process: write a policy to a folder with `save_policy`.

    Args:
        path: of a file, oldest decision first, or of a folder of such files, whose windows do not overlap.

    Raises:
        InvalidInput: there is no such file; one is damaged or holds no log; two overlap. While reading, a row that is no logged
            decision, or that is older than the one before it.
        ImportError: pyarrow is not installed.
    """

    def __init__(self, path: str | Path) -> None:
        super().__init__(path)
        if self.path.is_dir():
            names = sorted(name for name in self.path.glob("*.parquet") if not name.name.startswith((".", "_")))
        else:
            names = [self.path] if self.path.is_file() else []
        if not names:
            raise InvalidInput(f"no log at {str(self.path)!r}: name a .parquet file that export wrote, or a folder of them")
        files = [file for name in names if (file := ParquetPart.of(name)).stretches]
        self._files = sorted(files, key=lambda file: (file.stretches[0].begins, file.stretches[-1].ends))
        for before, after in pairwise(self._files):
            if after.stretches[0].begins < before.stretches[-1].ends:
                raise InvalidInput(
                    f"{after.path.name} begins before {before.path.name} ends: export windows that follow each other, so that no "
                    "decision stands twice"
                )

    def parts(self, n_decisions: int, *, since: datetime | None = None, until: datetime | None = None) -> Sequence[ParquetPart]:
        """The decisions of `since <= decided_at < until`, oldest first, about so many to a part: row groups are not cut."""
        check_zone(since, until)
        return [
            replace(file, stretches=stretches, since=since, until=until)
            for file in self._files
            for stretches in _together((one for one in file.stretches if one.is_within(since, until)), n_decisions)
        ]

    def evidence(self, *, since: datetime | None = None, until: datetime | None = None) -> Iterator[Evidence]:
        """What the settled ones among these decisions tell, oldest first, streamed."""
        return (one for part in self.parts(_WHOLE, since=since, until=until) for one in part.evidence())

    def acts(self, *, since: datetime | None = None, until: datetime | None = None) -> Iterator[Act]:
        """The same decisions, and what was expected of each."""
        return (one for part in self.parts(_WHOLE, since=since, until=until) for one in part.acts())

    def latest(self, *, thread_id: str | None = None) -> LoggedDecision:
        """The last decision, of one thread or of all; raises UnknownDecision."""
        if thread_id is None and self._files:
            file = self._files[-1]
            return replace(file, stretches=file.stretches[-1:]).last()
        return super().latest(thread_id=thread_id)

    def n_outcomes(self, *, since: datetime | None = None) -> int:
        """Grades given at a moment or later: the last one of each decision, which is all that the files hold."""
        check_zone(since)
        return sum(file.n_outcomes(since) for file in self._files)

    def _between(self, since: datetime | None, until: datetime | None) -> Iterator[LoggedDecision]:
        return (entry for part in self.parts(_WHOLE, since=since, until=until) for entry in part.records())

    def _with(self, column: str, value: str) -> Iterator[LoggedDecision]:
        return (entry for file in self._files for entry in file.records(**{column: value}))


def _together(stretches: Iterable[Stretch], n_decisions: int) -> Iterator[tuple[Stretch, ...]]:
    """Neighbours, as many as hold so many decisions; one at least."""
    part: tuple[Stretch, ...] = ()
    for one in stretches:
        if part and sum(before.n_rows for before in part) + one.n_rows > n_decisions:
            yield part
            part = ()
        part = (*part, one)
    if part:
        yield part
