"""The garbage collector, made to wait: while millions of values that are no garbage are put together, it would visit them all."""

import gc
import threading


class Uncollected:
    """Within it nothing is collected, in no thread; who takes longer with values than they took to read gives it its time."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._n_within, self._is_on = 0, False

    def __enter__(self) -> None:
        with self._lock:
            if not self._n_within:
                self._is_on = gc.isenabled()
                gc.disable()
            self._n_within += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._n_within -= 1
            if not self._n_within and self._is_on:
                gc.enable()
