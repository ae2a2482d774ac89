"""The audit identity: what is metered equals what the provider bills, whatever fails on the way.

    python -m benchmarks.audit --schedules 10000 --calls 100000 [--json]

Random schedules of success, error, retry, cancellation, broken and abandoned streams, batches and threads, of bare models and of
chains under a budget, are run against a provider that keeps its invoice. Then every invoiced request must stand in the ledger,
once: exactly where its usage or its text reached us, as open or estimated where not. And what the meter remembers must not grow
with the calls that it has seen.
"""

import argparse
import gc
import json
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any
from uuid import UUID

from langchain_core.runnables import RunnableConfig

from benchmarks.faults import Invoice, Line
from benchmarks.schedules import Schedule
from budget_router import Budget, BudgetRouter, Call, Decision, Escalate, Menu, SelfConsistency, SingleShot, Tariff, Tariffs, Task
from budget_router.tokens import count_tokens
from budget_router_langchain import Booking, Listener, Sent, meter

SCHEDULES_PER_LEDGER = 100
MAX_GROWTH = 0.1
"""Blocks of memory that a call may leave behind on average: what is kept of each call is kept in several."""


class NotingRouter(BudgetRouter):
    """Notes which decisions it makes."""

    def __init__(self) -> None:
        tariffs = Tariffs({"FaultyModel": Tariff(prompt="1", completion="2")})
        doubt = Escalate(first=SelfConsistency(k=2), then=SelfConsistency(k=3), agreement=1.0)
        menu = Menu([SingleShot(), SelfConsistency(k=3), doubt])
        super().__init__(menu, Budget(per_task=1e9), tariffs=tariffs, seed=0)
        self.decided: list[str] = []

    def decide(self, task: Task, **settings: Any) -> Decision:  # Any: a router's own settings
        """Decide, and note it."""
        decision = super().decide(task, **settings)
        self.decided.append(decision.id)
        return decision

    async def adecide(self, task: Task, **settings: Any) -> Decision:  # Any: a router's own settings
        """Do as `decide`, in a coroutine."""
        decision = await super().adecide(task, **settings)
        self.decided.append(decision.id)
        return decision


class CountingBooking(Booking):
    """Keeps count of what it is told of each call."""

    def __init__(self, router: BudgetRouter) -> None:
        super().__init__(router, router.decide(Task("audit")))
        self.told: Counter[tuple[str, str]] = Counter()

    def opened(self, call: Call, sent: Sent) -> None:
        """Book and count an opening."""
        self.told["opened", call.id] += 1
        super().opened(call, sent)

    def closed(self, call: Call) -> None:
        """Book and count a closing."""
        self.told["closed", call.id] += 1
        super().closed(call)


@dataclass(frozen=True)
class Verdict:
    """What an audit found."""

    n_schedules: int
    n_requests: int
    n_billed: int
    n_exact: int
    """Booked as billed: by usage, or by the text that came."""
    n_estimated: int
    """Billed, and no word of it reached us: booked as open or estimated."""
    faults: tuple[str, ...]
    """One sentence each, with the seed; empty when the identity holds."""
    n_remembered: int
    """Runs, bindings and calls that the meter still remembers."""


def audit(seeds: range) -> Verdict:
    """Run a schedule for each seed and compare its invoice with the ledger."""
    found: list[str] = []
    counts: Counter[str] = Counter()
    before = meter.n_live()
    router = NotingRouter()
    for number, seed in enumerate(seeds):
        if number % SCHEDULES_PER_LEDGER == 0:
            router = NotingRouter()
        invoice, booking = Invoice(), CountingBooking(router)
        n_before = len(router.decided)
        Schedule(seed, invoice, router).run(_binding(booking))
        made = [booking.decision_id, *router.decided[n_before:]]
        calls = {call.id: call for decision_id in made for call in router.ledger.decision(decision_id).calls}
        found += [f"seed {seed}: {fault}" for fault in compared(invoice.lines, calls, booking.told, counts)]
    gc.collect()
    return Verdict(
        n_schedules=len(seeds),
        n_requests=counts["requests"],
        n_billed=counts["billed"],
        n_exact=counts["exact"],
        n_estimated=counts["estimated"],
        faults=tuple(found),
        n_remembered=meter.n_live() - before,
    )


def compared(
    lines: Mapping[UUID, Line], calls: Mapping[str, Call], told: Mapping[tuple[str, str], int], counts: Counter[str]
) -> list[str]:
    """Say where invoice and ledger differ, and count what was compared."""
    found = [f"call {call_id} was {what} {times} times" for (what, call_id), times in told.items() if times != 1]
    for run_id, line in lines.items():
        call = calls.get(str(run_id))
        counts["requests"] += 1
        counts["billed"] += line.is_billed
        if call is None:
            found.append(f"request {line.prompt!r} stands in no entry")
            continue
        is_open = call.status == "open" or call.source == "estimated"
        is_exact = _is_exact(line, call) or _is_cut_short(line, call)
        counts["exact" if is_exact else "estimated"] += line.is_billed
        if not (is_exact or (is_open and (line.reached == "nothing" or line.may_be_lost))):
            found.append(f"request {line.prompt!r}, of which {line.reached} reached us, is booked as {call!r}")
    invented = [call for call_id, call in calls.items() if UUID(call_id) not in lines and not _may_be_unsent(call)]
    return found + [f"no request stands behind {call!r}" for call in invented]


def _is_exact(line: Line, call: Call) -> bool:
    booked = call.prompt_tokens, call.completion_tokens
    if not line.is_billed:
        return booked == (0, 0) and call.status == "error"
    if line.reached == "usage":
        return call.source == "reported" and booked == (line.prompt_tokens, line.completion_tokens)
    return line.reached == "text" and booked == _counted(line.prompt, line.text)


def _is_cut_short(line: Line, call: Call) -> bool:
    """Tell whether an entry counts the text of a stream up to its last word, or up to the usage that would have come next."""
    texts = line.text, line.text.removesuffix(line.last_word)
    return line.may_be_lost and call.completion_tokens in {count_tokens(text).n_tokens for text in texts if text}


def _counted(prompt: str, text: str) -> tuple[int, int]:
    return count_tokens(f"Human: {prompt}").n_tokens, count_tokens(text).n_tokens


def _may_be_unsent(call: Call) -> bool:
    """Tell whether an entry may be of a request that was cancelled before it was sent."""
    return call.status == "open" or (call.status == "error" and call.source == "estimated")


@dataclass(frozen=True)
class Memory:
    """What many calls left behind."""

    n_calls: int
    grown_blocks: int
    """Blocks of memory in use after all of the calls, beyond those after half of them."""
    n_remembered: int

    @property
    def is_flat(self) -> bool:
        """Whether nothing grows with the calls."""
        return self.n_remembered == 0 and self.grown_blocks <= MAX_GROWTH * self.n_calls / 2


class _Forgetful:
    """A listener that keeps nothing, so that what grows is the meter."""

    decision_id = "audit"

    def opened(self, call: Call, sent: Sent) -> None:
        """Forget an opening."""

    def closed(self, call: Call) -> None:
        """Forget a closing."""


def remembered(n_calls: int) -> Memory:
    """Make many calls of every outcome, and measure what stays in memory."""
    invoice, listener = Invoice(), _Forgetful()

    def run(n_left: int, seed: int) -> None:
        while n_left > 0:
            Schedule(seed, invoice).run(_binding(listener))
            n_left -= len(invoice.lines)
            invoice.forget()
            seed += 1

    before = meter.n_live()
    run(n_calls // 2, 0)
    gc.collect()
    half = sys.getallocatedblocks()
    run(n_calls // 2, 10**6)
    gc.collect()
    grown = sys.getallocatedblocks() - half
    return Memory(n_calls, grown, meter.n_live() - before)


def _binding(listener: Listener) -> Callable[[RunnableConfig], None]:
    def bind(config: RunnableConfig) -> None:
        meter.bind(config["callbacks"].parent_run_id, listener)  # type: ignore[union-attr, arg-type]  # a manager, inside of a run

    return bind


def main() -> None:
    """Audit, print the verdict, and fail if the identity does not hold."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--schedules", type=int, default=10_000)
    parser.add_argument("--calls", type=int, default=100_000, help="for the measurement of memory")
    parser.add_argument("--seed", type=int, default=0, help="of the first schedule")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    started = time.perf_counter()
    verdict = audit(range(given.seed, given.seed + given.schedules))
    memory = remembered(given.calls)
    holds = not verdict.faults and verdict.n_remembered == 0 and memory.is_flat
    facts: dict[str, Any] = {  # Any: JSON
        "holds": holds,
        "seed": given.seed,
        "audit": asdict(verdict),
        "memory": asdict(memory),
        "seconds": time.perf_counter() - started,
    }
    if given.json:
        print(json.dumps(facts, indent=1))
    else:
        n_requests, n_remembered = verdict.n_requests, verdict.n_remembered + memory.n_remembered
        print(f"schedules  {verdict.n_schedules:,} from seed {given.seed}: {n_requests:,} requests, {verdict.n_billed:,} billed")
        print(
            f"booked     {verdict.n_exact:,} exactly, {verdict.n_estimated:,} as open or estimated, {len(verdict.faults)} faults"
        )
        print(f"memory     {memory.grown_blocks:+,} blocks in the second half of {memory.n_calls:,} calls")
        print(f"remembered {n_remembered} runs and calls")
        print(f"verdict    the audit identity {'holds' if holds else 'does not hold'}, in {facts['seconds']:.0f} s")
        print(*verdict.faults[:20], sep="\n")
    sys.exit(0 if holds else 1)


if __name__ == "__main__":
    main()
