"""While the database is away entries go to a spool, and from there to the database once it is back."""

import logging
import threading
from collections.abc import Callable, Sequence

from budget_router.errors import BudgetRouterError, LedgerError, LedgerUnavailable
from budget_router_sql.batches import Answer, Batches
from budget_router_sql.entries import Entry
from budget_router_sql.spool import Spool

_log = logging.getLogger("budget_router")

RETRY_SECONDS = 0.5
"""Between two attempts to reach a database that is away; nobody waits for them."""
REPLAYED_AT_ONCE = 500


class Spilling:
    """Writes batches to the database or, from the first that it does not take, to the spool, until all of that is replayed.

    So what is spooled is acknowledged without a look at the database: a decision stands as it was given, and a record of a
    decision that stands nowhere is found out, logged and laid aside when it is replayed.

    Args:
        batches: to the database.
        spool: for what the database does not take.
        name: of the database, for the log.
        check: of a database that was away from the start, before anything is written to it; raises LedgerError.
        retry_seconds: between two attempts to reach the database.
    """

    def __init__(
        self,
        batches: Batches,
        spool: Spool,
        *,
        name: str,
        check: Callable[[], None] | None = None,
        retry_seconds: float = RETRY_SECONDS,
    ) -> None:
        self._batches = batches
        self._spool = spool
        self._name = name
        self._check = check
        self._retry_seconds = retry_seconds
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._replayer: threading.Thread | None = None
        if check is not None:
            _log.error("%s: the database is away, records go to the spool %s", name, spool.path)
            self._start_replaying()
        elif len(spool):
            _log.warning("%s: %d entries wait in the spool %s from before", name, len(spool), spool.path)
            self._try_to_replay()

    @property
    def is_away(self) -> bool:
        """Whether entries go to the spool now."""
        return self._replayer is not None

    def write(self, entries: Sequence[Entry]) -> list[Answer]:
        """Commit entries, or spool them; raises LedgerUnavailable if the spool does not take them either."""
        with self._lock:
            if self._replayer is None:
                try:
                    return self._batches.write(entries)
                except LedgerUnavailable as error:
                    _log.error("%s: the database is away, records go to the spool %s: %s", self._name, self._spool.path, error)
                    self._start_replaying()
            self._spool.keep(entries)
        return [None] * len(entries)

    def close(self) -> None:
        """Stop replaying, and let go of the spool; what waits in it is replayed by who opens it next."""
        self._closed.set()
        if self._replayer is not None:
            self._replayer.join()
            _log.warning("%s: %d entries wait in the spool %s", self._name, len(self._spool), self._spool.path)
        self._spool.close()

    def _start_replaying(self) -> None:
        self._replayer = threading.Thread(target=self._replay_until_done, name=f"replays {self._spool.path}", daemon=True)
        self._replayer.start()

    def _replay_until_done(self) -> None:
        while not self._closed.wait(self._retry_seconds):
            try:
                self._replay()
            except LedgerUnavailable:
                continue
            with self._lock:
                if not len(self._spool):
                    _log.warning("%s: the database is back, and has all that was spooled", self._name)
                    self._replayer = None
                    return

    def _checked(self, check: Callable[[], None]) -> None:
        try:
            check()
        except LedgerUnavailable:
            raise
        except LedgerError as error:
            _log.error("%s: records go on to the spool, for this is not the ledger that they are for: %s", self._name, error)
            raise LedgerUnavailable(str(error)) from error
        self._check = None

    def _try_to_replay(self) -> None:
        try:
            self._replay()
        except LedgerUnavailable:
            self._start_replaying()

    def _replay(self) -> None:
        if self._check is not None:
            self._checked(self._check)
        while waiting := self._spool.waiting(REPLAYED_AT_ONCE):
            answers = self._batches.write([entry for _, entry in waiting])
            refused = [
                (position, str(answer))
                for (position, _), answer in zip(waiting, answers, strict=True)
                if isinstance(answer, BudgetRouterError)
            ]
            for _, why in refused:
                _log.error("%s: a spooled record was refused, and is kept in the spool: %s", self._name, why)
            self._spool.replayed([position for position, _ in waiting], refused)
