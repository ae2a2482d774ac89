"""What is done every few seconds beside the decisions, by whichever decision finds it due."""

import threading
import time
from collections.abc import Callable

PATIENCE_SECONDS = 0.05
"""What a decision waits for it: long for a database that answers, short for one that does not."""


class Upkeep:
    """Does some work when it is due, in a thread of its own, so that nobody is held up by a database that is away.

    Args:
        work: what is to be done; it answers its own errors.
        every_seconds: from one start to the next; with 0 it is done each time, and waited for.
    """

    def __init__(self, work: Callable[[], object], *, every_seconds: float) -> None:
        self._work = work
        self._every_seconds = every_seconds
        self._began_at = time.monotonic()
        self._worker: threading.Thread | None = None
        self._lock = threading.Lock()

    @property
    def is_due(self) -> bool:
        """Whether a look would begin the work, or do it."""
        return time.monotonic() - self._began_at >= self._every_seconds

    def look(self) -> None:
        """Begin the work if it is due and not under way, and wait a moment for its end."""
        if self._every_seconds == 0:
            self._work()
        elif self.is_due:
            worker = self._begun()
            if worker is not None:
                worker.join(PATIENCE_SECONDS)

    def _begun(self) -> threading.Thread | None:
        with self._lock:
            if not self.is_due or (self._worker is not None and self._worker.is_alive()):
                return None
            self._began_at = time.monotonic()
            self._worker = threading.Thread(target=self._work, name="budget-router upkeep", daemon=True)
            self._worker.start()
            return self._worker
