"""Graphs that are killed and resumed, and graphs by the hundred: `python -m benchmarks.graphs --json`.

A graph of three budgeted reasoners, a decision, the user's own node and a settlement runs with its checkpoints and its ledger in
SQLite files. It is killed with SIGKILL at random, resumed in another process, killed again, and at last let finish. Its decisions
must be those of an uninterrupted run, and each request that the provider invoiced must stand in the ledger once.

Then 200 threads take 5 budgeted steps each over one ledger, side by side in one event loop. What a node adds is the time that it
takes beyond its model, less what LangGraph's plain node takes beyond the same model under the same load.
"""

import argparse
import asyncio
import random
import statistics
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass
from datetime import timedelta
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from langchain_core.runnables import RunnableConfig
from langgraph.graph import START, StateGraph

from benchmarks.facts import tell
from benchmarks.graphs_work import BUDGET, CALL_SECONDS, GIVEN, MENU, OWN, STEPS, WAITED, Provider, State, run_on
from budget_router import BudgetRouter
from budget_router_langgraph import budgeted_reasoner
from budget_router_sql import SqlLedger, audit, close_open

MOST_OVERHEAD_MS = 2.0
N_REQUESTS = 6
"""Of an uninterrupted run."""
KILLED_AT_MOST = 3
"""Times that one run is killed before it is let finish."""
THREAD_CALL_SECONDS = 4.0
"""Of the model that many threads ask: an answer of some hundred tokens."""


@dataclass(frozen=True)
class Killed:
    """What became of runs that were killed."""

    n_runs: int
    n_kills: int
    n_other_decisions: int
    """Runs whose decisions are not those of an uninterrupted one."""
    n_executed_again: int
    """Nodes that had settled when they were killed, so LangGraph ran them again: each run is a decision of its own."""
    n_invoiced: int
    n_not_booked: int
    """Invoiced requests that do not stand in the ledger, or more than once."""
    n_cut_off: int
    """Of the invoiced, calls that were open when the process was killed: booked as estimated."""
    faults: tuple[str, ...]
    """What the audits found."""


def killed(n_runs: int, *, seed: int) -> Killed:
    """Kill runs of a graph at random, resume them, and compare the books with the provider's invoice."""
    rng, count = random.Random(seed), Counter[str]()  # noqa: S311  # when to kill is no secret
    faults: set[str] = set()
    for _ in range(n_runs):
        with TemporaryDirectory() as name:
            folder = Path(name)
            for _ in range(rng.randint(1, KILLED_AT_MOST)):
                count["kills"] += _killed_amid(folder, rng.randint(0, N_REQUESTS), rng.uniform(0, 2 * CALL_SECONDS))
            _in_a_process(run_on, folder)
            found, wrong = _books(folder)
            count.update(found)
            faults.update(wrong)
    return Killed(
        n_runs=n_runs,
        n_kills=count["kills"],
        n_other_decisions=count["other decisions"],
        n_executed_again=count["executed again"],
        n_invoiced=count["invoiced"],
        n_not_booked=count["not booked"],
        n_cut_off=count["cut off"],
        faults=tuple(sorted(faults)),
    )


def _killed_amid(folder: Path, n_requests: int, seconds: float) -> int:
    """Let a process run the graph on, and kill it so many requests and seconds later; tell whether it had not ended by then."""
    upto = _n_invoiced(folder) + n_requests
    worker = _processes().Process(target=run_on, args=(folder,), daemon=True)
    worker.start()
    while worker.is_alive() and _n_invoiced(folder) < upto:
        time.sleep(0.001)
    time.sleep(seconds)
    was_alive = worker.is_alive()
    worker.kill()
    worker.join()
    return int(was_alive)


def _n_invoiced(folder: Path) -> int:
    invoice = folder / "invoice"
    return len(invoice.read_text().split()) if invoice.exists() else 0


def _books(folder: Path) -> tuple[Counter[str], list[str]]:
    """Compare the ledger with an uninterrupted run and with the invoice."""
    invoiced = (folder / "invoice").read_text().split()
    with SqlLedger(f"sqlite:///{folder}/spend.db") as ledger:
        logged = list(ledger.read())
        executions = {entry.decision.id.partition(".")[0]: entry.decision.strategy.name for entry in logged}
        booked = Counter(call.id for entry in logged for call in entry.calls)
        n_cut_off = len(close_open(ledger, open_for=timedelta(0)))
        proof = audit(ledger)
    return Counter(
        {
            "other decisions": int(
                [*executions.values()] != [*STEPS.values(), OWN] or any(one.settlement is None for one in logged)
            ),
            "executed again": len(logged) - len(executions),
            "invoiced": len(invoiced),
            "not booked": sum(booked[call_id] != 1 for call_id in invoiced),
            "cut off": n_cut_off,
        }
    ), [one.kind for one in proof.findings if one.is_fault]


def _processes() -> Any:  # Any: a context of multiprocessing's has no public type
    context = get_context("forkserver")
    context.set_forkserver_preload(["benchmarks.graphs_work", "budget_router_sql.migrate"])
    return context


def _in_a_process(work: Any, *given: object) -> None:  # Any: a function of what is given
    worker = _processes().Process(target=work, args=given, daemon=True)
    worker.start()
    worker.join()
    if worker.exitcode:
        raise RuntimeError(f"a run that was not killed ended with {worker.exitcode}")


# --- by the hundred


@dataclass(frozen=True)
class Crowd:
    """What many threads at once left behind, and what a node took."""

    n_threads: int
    n_steps: int
    n_decisions: int
    n_calls: int
    n_lost_or_doubled: int
    plain_ms: float
    """Median time of a plain node beyond its model's."""
    budgeted_ms: float
    """The same of a budgeted one."""

    @property
    def overhead_ms(self) -> float:
        """What the budget adds."""
        return self.budgeted_ms - self.plain_ms


def crowd(n_threads: int, n_steps: int) -> Crowd:
    """Let many threads reason at once, over one ledger."""
    with TemporaryDirectory() as folder, SqlLedger(f"sqlite:///{folder}/spend.db") as ledger:
        router = BudgetRouter(MENU, BUDGET, ledger=ledger)
        model = Provider(seconds=THREAD_CALL_SECONDS)

        async def plain(state: Any, config: Any) -> Any:  # Any: LangGraph's own
            return {"answer": (await model.ainvoke(state["question"], config)).text}

        budgeted = budgeted_reasoner(router, model, strategy="single_shot")
        plain_ms, budgeted_ms = (asyncio.run(_beyond_model(step, n_threads, n_steps)) for step in (plain, budgeted.ainvoke))
        logged = list(ledger.read())
    by_thread = Counter(entry.decision.thread_id for entry in logged)
    wrong = sum(abs(by_thread[f"thread {number}"] - n_steps) for number in range(n_threads))
    wrong += sum(len(entry.calls) != 1 or entry.settlement is None for entry in logged)
    n_calls = len({call.id for entry in logged for call in entry.calls})
    return Crowd(n_threads, n_steps, len(logged), n_calls, wrong, round(plain_ms, 3), round(budgeted_ms, 3))


async def _beyond_model(step: Callable[[Any, Any], Awaitable[Any]], n_threads: int, n_steps: int) -> float:
    """Median time of a node beyond what its model made it wait, in ms; Any: LangGraph's own."""
    took: list[float] = []

    async def timed(state: State, config: RunnableConfig) -> Any:  # Any: an update
        waited: list[float] = []
        WAITED.set(waited)
        began = time.perf_counter()
        done = await step(state, config)
        took.append(time.perf_counter() - began - sum(waited))
        return done

    graph: Any = StateGraph(State)  # Any: of what LangGraph makes of it
    names = [f"step {number}" for number in range(n_steps)]
    for before, name in zip([START, *names], names, strict=False):
        graph.add_node(name, timed)
        graph.add_edge(before, name)
    app = graph.compile()
    threads: list[RunnableConfig] = [{"configurable": {"thread_id": f"thread {number}"}} for number in range(n_threads)]
    await asyncio.gather(*(app.ainvoke(GIVEN, thread) for thread in threads))
    return 1000 * statistics.median(took)


def run(*, n_runs: int, n_threads: int, n_steps: int, seed: int) -> dict[str, object]:
    """Kill and crowd, and hold it against the bars."""
    runs, many = killed(n_runs, seed=seed), crowd(n_threads, n_steps)
    return {
        "seed": seed,
        "killed": asdict(runs),
        "crowd": {**asdict(many), "overhead_ms": round(many.overhead_ms, 3)},
        "met": {
            "decisions_are_the_same": runs.n_other_decisions == 0,
            "invoice_is_booked_once": runs.n_not_booked == 0 and not runs.faults,
            "no_row_lost_or_doubled": many.n_lost_or_doubled == 0,
            "overhead": many.overhead_ms <= MOST_OVERHEAD_MS,
        },
    }


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=50, help="runs that are killed")
    parser.add_argument("--threads", type=int, default=200)
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args()
    told = run(n_runs=options.runs, n_threads=options.threads, n_steps=options.steps, seed=options.seed)
    tell(told, as_json=options.json)


if __name__ == "__main__":
    main()
