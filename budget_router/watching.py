"""Whoever watches a router: told what it decides, which models are called for it, and what it settles.

A watcher sees and changes nothing: what it raises is logged. It is told in the thread, and in the context, in which it happens.
"""

import logging
from collections.abc import Callable
from datetime import datetime
from typing import Protocol

from budget_router.records import Call, Decision, Settlement

_log = logging.getLogger("budget_router")


class Watcher(Protocol):
    """Is told what a router does."""

    def decided(self, decision: Decision, *, began: datetime, is_new: bool) -> None:
        """A decision stands and is to be executed; one that was found, by a retry or a resumed run, is not new."""
        ...

    def opened(self, call: Call, *, provider: str | None, operation: str) -> None:
        """A model is about to be called."""
        ...

    def closed(self, call: Call) -> None:
        """A call ended and billed this; its price stands there where it is known."""
        ...

    def settled(self, decision: Decision, settlement: Settlement, *, is_first: bool) -> None:
        """An execution ended; it is the first time where the router had the decision open."""
        ...


class Watchers(list[Watcher]):
    """Those of one router."""

    def tell(self, what: Callable[[Watcher], None]) -> None:
        """Tell each of them."""
        for watcher in self:
            try:
                what(watcher)
            except Exception:  # noqa: BLE001  # who only watches harms neither the answer nor the books
                _log.exception("%s failed while it watched", type(watcher).__name__)
