"""Ids that sort by the time at which they were made, so that a database finds the rows of one hour side by side.

An id is a UUID of version 7 (RFC 9562, sections 5.7 and 6.2, method 1), in 32 hexadecimal digits: 48 bits of milliseconds, 42 of
a counter that begins anew at a random number in each of them, and 32 of chance. So ids of one process rise, and two that
different processes make in the same millisecond are equal with a probability below 1e-21. They are no secrets: an id tells
when it was made. Ids of one hour begin alike, so none is told from another by its beginning.
"""

import os
import threading
import time
from collections.abc import Callable

_COUNTER_BITS = 42
_SEED_BITS = _COUNTER_BITS - 1
"""A counter begins in the lower half of what it may reach, so that it does not run over within a millisecond."""
_RANDOM_BYTES = 10
_NS_IN_MS = 1_000_000


class Ids:
    """Makes ids, each above the one before, from any number of threads.

    >>> make = Ids()
    >>> one, other = make(), make()
    >>> one < other and len(one)
    32

    Args:
        clock: tells the nanoseconds since 1970. Where it stands still or goes back, the counter alone goes on.
        chance: makes random bytes.
    """

    def __init__(self, *, clock: Callable[[], int] = time.time_ns, chance: Callable[[int], bytes] = os.urandom) -> None:
        self._clock = clock
        self._chance = chance
        self.begin_anew()

    def begin_anew(self) -> None:
        """Forget how far it has counted, as the child of a fork must: its parent goes on from there."""
        self._lock = threading.RLock()  # a signal's handler may come in between
        self._ms = -1
        self._counter = 0

    def __call__(self) -> str:
        """The next id."""
        drawn = int.from_bytes(self._chance(_RANDOM_BYTES))
        with self._lock:
            ms = self._clock() // _NS_IN_MS
            self._counter += 1
            if ms > self._ms:
                self._ms, self._counter = ms, drawn >> 8 * _RANDOM_BYTES - _SEED_BITS
            elif self._counter >> _COUNTER_BITS:
                self._ms, self._counter = self._ms + 1, 0
            ms, counter = self._ms, self._counter
        high, low = counter >> 30, counter & 0x3FFFFFFF
        return f"{ms << 80 | 7 << 76 | high << 64 | 2 << 62 | low << 32 | drawn & 0xFFFFFFFF:032x}"


new_id = Ids()
"""Makes a fresh id for a decision, a call or a solve."""

os.register_at_fork(after_in_child=new_id.begin_anew)
