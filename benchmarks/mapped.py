"""Solve tables that are larger than memory: time and anonymous memory of a process that maps them from files."""

import json
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np

from benchmarks.world import drawn
from budget_router.allocation import solve

N_STRATEGIES = 8
BUDGET = 2.0
"""About twice what the cheapest strategy costs, so that it binds."""
_ROWS = 10**6
"""Written at once."""


def measured(n_tasks: int) -> dict[str, float | int]:
    """Seconds and peak anonymous memory (RssAnon) of one solve of a (n_tasks, 8) float32 table, in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        for name in ("accuracy", "cost"):
            Path(folder, name).touch()
        for start in range(0, n_tasks, _ROWS):
            table = drawn(np.random.default_rng(start), min(_ROWS, n_tasks - start), N_STRATEGIES)
            for name, values in zip(("accuracy", "cost"), table, strict=True):
                with Path(folder, name).open("ab") as file:
                    values.astype(np.float32).tofile(file)
        child = [sys.executable, "-m", "benchmarks.mapped", folder, str(n_tasks)]
        done = subprocess.run(child, capture_output=True, text=True, check=True)  # noqa: S603  our own module
    found: dict[str, float | int] = json.loads(done.stdout)
    return found


class AnonymousMemory:
    """The highest RssAnon of this process while the block runs, sampled by a thread."""

    def __enter__(self) -> "AnonymousMemory":
        """Start sampling."""
        self.peak, self._is_over = 0, threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Sample once more, and stop."""
        self._is_over.set()
        self._thread.join()

    def _watch(self) -> None:
        is_over = False
        while not is_over:
            is_over = self._is_over.wait(0.005)
            lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
            self.peak = max(self.peak, *(int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon")))


def main() -> None:
    """Solve the files of a folder and tell what it took: the child's part."""
    folder, n_tasks = Path(sys.argv[1]), int(sys.argv[2])
    accuracy, cost = (np.memmap(folder / name, np.float32, "r", shape=(n_tasks, N_STRATEGIES)) for name in ("accuracy", "cost"))
    with AnonymousMemory() as memory:
        started = time.perf_counter()
        allocation = solve(accuracy, cost, BUDGET)
        seconds = time.perf_counter() - started
    found = {
        "n_tasks": n_tasks,
        "seconds": seconds,
        "peak_anonymous_mb": memory.peak / 1e6,
        "n_passes": allocation.n_passes,
        "spend": allocation.spend,
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
