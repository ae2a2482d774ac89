"""The demo: cold start, refresh, and unseen tasks, through a LangGraph agent; beside it the same by replay for many seeds."""

import math
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from joblib import Parallel, delayed
from langchain_core.messages import HumanMessage
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import END, START, MessagesState, StateGraph
from langgraph.graph.state import CompiledStateGraph

from budget_router import Budget, BudgetRouter, Menu, Refresh, Tariff, Tariffs, Task, refresh
from budget_router.records import LoggedDecision
from budget_router_cli.experiment import EXPLORATION, HORIZON, Comparison, Split, Trial, compare, trial
from budget_router_cli.recording import Deck, Recording
from budget_router_cli.replaying import ReplayingModel
from budget_router_langgraph import budgeted_reasoner
from budget_router_sql import SqlLedger

DEFAULT_BUDGET = Budget(per_task=22, unit="completion_tokens")
FRONTIER_SHARES = (0.55, 1.5, 2.5, 4.0)
"""Multiples of the budget at which the frontier is measured besides the budget itself."""
N_DRAWS = 400
"""Bootstrap resamples: the ends of an interval move by a tenth of a point between 400 and 1,000."""
COLD, LEARNED = "cold start", "learned policy"

FRONTIER_SEEDS = 0.5
"""Share of the seeds that the frontier's other budgets are measured with."""
_LEAST_SHARE = 2.0
"""Multiple of the cheapest strategy's mean cost below which a budget leaves nothing to choose."""

Progress = Callable[[str, int, int], None]
"""Told what is being done, how much of it, out of how much."""


@dataclass(frozen=True)
class Story:
    """All that the demo did and measured."""

    budget: Budget
    seed: int
    n_seeds: int
    menu: Menu
    recording: Recording
    refreshed: Refresh
    logged: tuple[tuple[str, LoggedDecision], ...]
    """Every live decision with its phase, in order, as the ledger gives it back."""
    at_budget: Comparison
    frontier: tuple[Comparison, ...]
    """By rising budget, the budget itself among them."""
    seconds: float

    def live(self, phase: str) -> tuple[float, float]:
        """Mean spend and mean graded score of a live phase."""
        ours = [entry for name, entry in self.logged if name == phase]
        spend = [entry.settlement.spend.in_unit(self.budget.unit) for entry in ours if entry.settlement]
        score = [entry.outcome.score for entry in ours if entry.outcome]
        return float(np.mean(spend)), float(np.mean(score))


def demo(budget: Budget, *, recording: Recording, seed: int, n_seeds: int, out: Path, progress: Progress) -> Story:
    """Run the demo; leaves `spend.db` in `out`, in place of an earlier demo's.

    Args:
        budget: completion tokens per task.
        recording: what is replayed.
        seed: of the live run; the replayed seeds follow it.
        n_seeds: seeds of the comparison.
        out: folder for what is written.
        progress: told how far it is.
    """
    started = time.perf_counter()
    menu = recording.menu
    out.mkdir(parents=True, exist_ok=True)
    for file in ("spend.db", "spend.db-wal", "spend.db-shm"):
        (out / file).unlink(missing_ok=True)
    with SqlLedger(f"sqlite:///{out / 'spend.db'}") as ledger:
        names = {recording.model, *(one.sampling.model for one in menu if one.sampling.model)}
        free = Tariffs({name: Tariff(prompt=0, completion=0) for name in names})  # nobody is called; an unnamed price is no zero
        router = BudgetRouter(menu, budget, ledger=ledger, tariffs=free, horizon=HORIZON, exploration=EXPLORATION, seed=seed)
        deck = Deck(recording, seed=seed)
        agent = build_agent(router, deck)
        split = Split.of(len(recording.tasks), seed=seed)
        stream = [recording.tasks[row] for row in split.stream]
        unseen = [recording.tasks[row] for row in split.unseen]
        least = _LEAST_SHARE * float(recording.table(menu)[1].mean(axis=0).min())
        plan = _plan(budget, range(seed, seed + n_seeds), least=least)
        with closing(_replayed(recording, menu, plan)) as trials:
            cold = work(agent, router, stream, recording, phase=COLD, progress=progress)
            refreshed = refresh(ledger, menu=menu, budget=budget, columns=(), seed=seed)  # kinds are for the pictures
            refreshed.promote()
            router.reload()  # it would look by itself within two seconds
            learned = work(agent, router, unseen, recording, phase=LEARNED, progress=progress)
            frontier = _frontier(recording, menu, plan, trials, progress)
        phases = dict.fromkeys(cold, COLD) | dict.fromkeys(learned, LEARNED)
        logged = tuple((phases[entry.decision.id], entry) for entry in ledger.read())
    return Story(
        budget=budget,
        seed=seed,
        n_seeds=n_seeds,
        menu=menu,
        recording=recording,
        refreshed=refreshed,
        logged=logged,
        at_budget=next(one for one in frontier if one.budget == budget.per_task),
        frontier=frontier,
        seconds=time.perf_counter() - started,
    )


def build_agent(router: BudgetRouter, deck: Deck) -> CompiledStateGraph[Any, Any, Any, Any]:  # Any: LangGraph's own parameters
    """An agent whose one reasoning step is budgeted: the router decides, the recorded model replies, the vote answers."""
    graph = StateGraph(MessagesState)
    by_text = deck.recording.by_text
    graph.add_node(
        "reason",
        budgeted_reasoner(
            router,
            ReplayingModel(deck),
            models={name: ReplayingModel(deck, plays=name) for one in router.menu if (name := one.sampling.model)},
            task_from=lambda state: by_text[str(state["messages"][-1].text)],
            answer=deck.recording.answer,
        ),
    )
    graph.add_edge(START, "reason")
    graph.add_edge("reason", END)
    return graph.compile(checkpointer=InMemorySaver())


def work(
    agent: CompiledStateGraph[Any, Any, Any, Any],  # Any: LangGraph's own parameters
    router: BudgetRouter,
    tasks: Sequence[Task],
    recording: Recording,
    *,
    phase: str,
    progress: Progress,
) -> list[str]:
    """Let the agent work through tasks, and grade each answer; the decisions' ids."""
    ids = []
    for position, task in enumerate(tasks):
        thread = RunnableConfig(configurable={"thread_id": f"{phase} {position}"})
        final = agent.invoke({"messages": [HumanMessage(task.text)]}, thread)["messages"][-1]
        decision_id = final.response_metadata["budget_router"]["decision_id"]
        strategy = router.menu[final.response_metadata["budget_router"]["strategy"]]
        scores = recording.scores(task, strategy)
        router.grade(decision_id, score=scores.get(recording.answer(str(final.text)) or "", 0.0), answer_scores=scores)
        ids.append(decision_id)
        progress(f"{phase}, through the graph", position + 1, len(tasks))
    return ids


def _plan(budget: Budget, seeds: range, *, least: float) -> list[tuple[Budget, range]]:
    """Budgets to measure, rising and of at least so much, each with its seeds."""
    some = seeds[: math.ceil(FRONTIER_SEEDS * len(seeds))]
    levels = sorted({budget.per_task, *(round(share * budget.per_task, 6) for share in FRONTIER_SHARES)})
    return [
        (budget.model_copy(update={"per_task": level}), seeds if level == budget.per_task else some)
        for level in levels
        if level >= min(budget.per_task, least)
    ]


def _replayed(recording: Recording, menu: Menu, plan: Sequence[tuple[Budget, range]]) -> Generator[Trial]:
    """Begin to replay a plan's seeds on all processors, in processes of their own; their trials in the plan's order."""
    started: Generator[Trial] = Parallel(n_jobs=-1, return_as="generator")(
        delayed(trial)(recording, menu, budget, seed=seed) for budget, seeds in plan for seed in seeds
    )
    return started


def _frontier(
    recording: Recording,
    menu: Menu,
    plan: Sequence[tuple[Budget, range]],
    trials: Generator[Trial],
    progress: Progress,
) -> tuple[Comparison, ...]:
    compared = []
    n_done, n_trials = 0, sum(len(seeds) for _, seeds in plan)
    for budget, seeds in plan:
        here = []
        for one in islice(trials, len(seeds)):
            here.append(one)
            n_done += 1
            progress("replayed seeds", n_done, n_trials)
        compared.append(compare(recording, menu, budget, here, n_draws=N_DRAWS))
    return tuple(compared)
