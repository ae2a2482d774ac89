"""Many processes hammer one hard cap: it is never passed by a single unit, on SQLite and on a real PostgreSQL.

    python -m benchmarks.caps --json

Each process decides, calls and settles as fast as it can, with all that a router writes of it, one call in four on a longer
prompt than was reserved for; the cap is set so that it is reached on the way. What the provider billed is counted apart from the
ledger, and compared with the cap, and with what the cap says that it was charged with.
"""

import argparse
import tempfile
from pathlib import Path

from benchmarks.caps_work import MAX_TOKENS, PROMPT_TOKENS, Tally, budget, hammer, hammered
from benchmarks.facts import tell
from benchmarks.postgres import new_ledger, served
from budget_router.caps import Cap
from budget_router_sql import SqlLedger

LARGEST_CALL = 4 * PROMPT_TOKENS + MAX_TOKENS
WITHOUT_END = 10**15


def charged(url: str, limit: int) -> int:
    """What the ledger says that the cap was charged with."""
    cap = Cap.of(budget(limit), run="")
    assert cap is not None  # noqa: S101  # the budget above has one
    with SqlLedger(url) as ledger:
        return limit - ledger.caps.left(cap)


def foreseen(url: str, seconds: float, seed: int) -> int:
    """A cap that is reached on the way, by what one process does alone in a short run."""
    alone = hammer(url, WITHOUT_END, min(seconds / 10, 2.0), seed)
    return max(round(alone.billed / alone.seconds * seconds / 3), 2 * LARGEST_CALL)


def measured(url: str, limit: int, seconds: float, *, n_processes: int, seed: int) -> dict[str, object]:
    """Hammer a cap, and compare it with what was billed."""
    tally = hammered(url, limit, seconds, n_processes=n_processes, seed=seed)
    told = charged(url, limit)
    return {
        "cap": limit,
        "billed": tally.billed,
        "charged": told,
        "passed_by": max(tally.billed - limit, 0),
        "is_exact": told == tally.billed,
        "was_reached": tally.n_refused > 0,
        **rates(tally),
    }


def rates(tally: Tally) -> dict[str, object]:
    """What was done by the second."""
    n_asked = tally.n_decisions + tally.n_refused
    return {
        "n_decisions": tally.n_decisions,
        "n_calls": tally.n_calls,
        "n_refused": tally.n_refused,
        "asked_per_second": round(n_asked / tally.seconds, 1),
        "decisions_per_second": round(tally.n_decisions / tally.seconds, 1),
        "calls_per_second": round(tally.n_calls / tally.seconds, 1),
    }


def run(uri: str, *, seconds: float, n_processes: int, seed: int, cap: int | None = None) -> dict[str, object]:
    """Hammer a file, in a folder that is gone afterwards, and the server at `uri`; without a `cap`, at one that is foreseen."""
    with tempfile.TemporaryDirectory() as folder:
        file = f"sqlite:///{Path(folder)}"
        SqlLedger(f"{file}/caps.db").close()
        limit = cap or foreseen(f"{file}/spare.db", seconds, seed)
        on_sqlite = measured(f"{file}/caps.db", limit, seconds, n_processes=n_processes, seed=seed)
    limit = cap or foreseen(new_ledger(uri, "caps_spare"), seconds, seed)
    on_postgresql = measured(new_ledger(uri, "caps"), limit, seconds, n_processes=n_processes, seed=seed)
    both = on_sqlite, on_postgresql
    return {
        "seed": seed,
        "n_processes": n_processes,
        "seconds": seconds,
        "sqlite": on_sqlite,
        "postgresql": on_postgresql,
        "met": {
            "never_passed": not any(one["passed_by"] for one in both),
            "reached": all(one["was_reached"] for one in both),
            "charged_what_was_billed": all(one["is_exact"] for one in both),
        },
    }


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--processes", type=int, default=8)
    parser.add_argument("--cap", type=int, help="in tokens; by default one that is reached on the way")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args()
    with served() as uri:
        told = run(uri, seconds=options.seconds, n_processes=options.processes, seed=options.seed, cap=options.cap)
    tell(told, as_json=options.json)


if __name__ == "__main__":
    main()
