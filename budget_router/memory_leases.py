"""Leases in a plain dict: those of the threads of one process, gone with it."""

import threading
from collections import defaultdict
from collections.abc import Sequence
from datetime import timedelta

from budget_router.leases import Tenure
from budget_router.records import now


class MemoryLeaseBook:
    """All tenures by the name of their lease, under one lock and the machine's clock."""

    def __init__(self) -> None:
        self._tenures: dict[str, list[Tenure]] = defaultdict(list)
        self._lock = threading.Lock()

    def take(self, name: str, *, holder: str, seconds: float) -> tuple[Tenure, bool]:
        """Begin a tenure unless one stands; answer with the one that stands then, and whether it has just begun."""
        with self._lock:
            tenures, at = self._tenures[name], now()
            if tenures and tenures[-1].stands(at):
                return tenures[-1], False
            if tenures and tenures[-1].ended_at is None:
                tenures[-1] = tenures[-1]._replace(ended_at=at)
            tenures.append(Tenure(name, len(tenures) + 1, holder, at, at + timedelta(seconds=seconds)))
            return tenures[-1], True

    def renew(self, name: str, fence: int, *, seconds: float) -> bool:
        """Let a tenure last so long from now on, unless it has ended; `False` if it has."""
        with self._lock:
            tenure = self._tenures[name][fence - 1]
            if tenure.ended_at is None:
                self._tenures[name][fence - 1] = tenure._replace(expires_at=now() + timedelta(seconds=seconds))
            return tenure.ended_at is None

    def release(self, name: str, fence: int) -> None:
        """End a tenure; one that has ended stays as it is."""
        with self._lock:
            tenure = self._tenures[name][fence - 1]
            if tenure.ended_at is None:
                self._tenures[name][fence - 1] = tenure._replace(ended_at=now())

    def history(self, name: str) -> Sequence[Tenure]:
        """All tenures of a lease, oldest first."""
        with self._lock:
            return list(self._tenures.get(name, ()))
