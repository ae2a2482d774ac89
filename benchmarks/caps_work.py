"""What the processes of the caps' benchmark do: decide, call and settle as fast as they can, and count what a provider bills."""

import random
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any, NamedTuple

from benchmarks.ledger_work import processes
from budget_router import Budget, BudgetRouter, Call, Menu, SelfConsistency, SingleShot, Spend, Task
from budget_router.costs import most_prompt_tokens
from budget_router.errors import CapReached
from budget_router_sql import SqlLedger

MAX_TOKENS = 20
MENU = Menu(
    [
        SingleShot(max_tokens=MAX_TOKENS, typical_completion_tokens=10),
        SelfConsistency(k=3, max_tokens=MAX_TOKENS, typical_completion_tokens=10),
    ]
)
TASK = Task("?")
PROMPT_TOKENS = most_prompt_tokens(TASK.text)
BUSY_SECONDS = 60.0
"""Patience of a process: eight of them wait for one row, or for one file."""


class Tally(NamedTuple):
    """What came of one process's work."""

    billed: int = 0
    """By the provider, in tokens."""
    n_decisions: int = 0
    n_calls: int = 0
    n_refused: int = 0
    seconds: float = 0.0

    def plus(self, other: "Tally") -> "Tally":
        """Both together; they worked at the same time."""
        return Tally(
            billed=self.billed + other.billed,
            n_decisions=self.n_decisions + other.n_decisions,
            n_calls=self.n_calls + other.n_calls,
            n_refused=self.n_refused + other.n_refused,
            seconds=max(self.seconds, other.seconds),
        )


def budget(limit: int) -> Budget:
    """The cap that all processes share."""
    return Budget(per_task=1000, hard_cap=limit, window="hour", group="hammered")


def hammer(
    url: str, limit: int, seconds: float, seed: int, *, until_refused: bool = False, ready: Callable[[], object] = int
) -> Tally:
    """Decide, call and settle until the time is over, and if so asked until the cap has refused something.

    All that is done once is done before `ready` is called, and the time begins.
    """
    rng = random.Random(seed)  # noqa: S311  # what is billed is no secret
    tally = Tally()
    with SqlLedger(url, busy_seconds=BUSY_SECONDS) as ledger:
        router = BudgetRouter(MENU, Budget(per_task=1000), budgets=[budget(limit)], ledger=ledger, seed=seed)
        task = TASK.model_copy(update={"group": "hammered"})
        router.decide(TASK)
        ready()
        began = time.monotonic()
        while time.monotonic() - began < seconds or (until_refused and not tally.n_refused):
            tally = tally.plus(worked(router, task, rng))
        return tally._replace(seconds=time.monotonic() - began)


def worked(router: BudgetRouter, task: Task, rng: random.Random) -> Tally:
    """One decision and its calls, some of them on longer prompts than the task's; each bills whatever it may."""
    try:
        decision = router.decide(task)
    except CapReached:
        return Tally(n_refused=1)
    calls, n_refused = [], 0
    for number in range(decision.strategy.n_samples):
        call = Call(id=f"{decision.id} {number}", decision_id=decision.id, model="m")
        prompt_tokens = PROMPT_TOKENS * rng.choice([1, 1, 1, 4])
        try:
            router.claim(decision, call, prompt_tokens=prompt_tokens, completion_tokens=MAX_TOKENS)
        except CapReached:
            n_refused += 1
            break
        router.open_call(call.model_copy(update={"status": "open"}))
        billed = {"prompt_tokens": rng.randint(1, prompt_tokens), "completion_tokens": rng.randint(0, MAX_TOKENS)}
        calls.append(router.close_call(call.model_copy(update={**billed, "nano_usd": 0})))
    spend = Spend.of(calls)
    router.settle(decision, spend)
    return Tally(spend.prompt_tokens + spend.completion_tokens, 1, len(calls), n_refused)


def hammer_and_tell(work: tuple[str, int, float, int], barrier: Any, done: Connection) -> None:  # Any: of multiprocessing's
    """Begin with all others, and tell what came of it."""
    done.send(hammer(*work, until_refused=True, ready=barrier.wait))


def hammered(url: str, limit: int, seconds: float, *, n_processes: int, seed: int) -> Tally:
    """Let processes work at once on one cap; give the provider's invoice of them all."""
    context = processes()
    barrier = context.Barrier(n_processes)
    pipes = [context.Pipe(duplex=False) for _ in range(n_processes)]
    workers = [
        context.Process(target=hammer_and_tell, args=((url, limit, seconds, seed + number), barrier, done), daemon=True)
        for number, (_, done) in enumerate(pipes)
    ]
    for worker in workers:
        worker.start()
    total = Tally()
    try:
        for heard, _ in pipes:
            total = total.plus(heard.recv())
    finally:
        for worker in workers:
            worker.join()
        for heard, done in pipes:
            heard.close()
            done.close()
    return total
