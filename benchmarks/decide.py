"""Latency of one decision, features and policy included, ledger excluded: `python -m benchmarks.decide --json`.

Beside it, in the same run, the rival that is named: scikit-learn's own vectoriser and a random forest for the same choice.
"""

import argparse
import json
import time
from collections.abc import Callable

import numpy as np

from budget_router import Budget, BudgetRouter, MemoryLedger, Task, refresh
from budget_router.tokens import count_tokens
from budget_router_cli.experiment import Split, serve
from budget_router_cli.recording import Deck, load_recording

N_TOKENS = 200
"""Length of the tasks that are decided on."""


def tasks_of(n_tasks: int, rng: np.random.Generator, texts: list[str]) -> list[Task]:
    """Tasks of `N_TOKENS` tokens, no two alike, strung together from recorded questions."""
    tasks = []
    for _ in range(n_tasks):
        text = ""
        while count_tokens(text).n_tokens < N_TOKENS:
            text += " " + texts[rng.integers(len(texts))]
        tasks.append(Task(text))
    return tasks


def percentiles(run: Callable[[Task], object], tasks: list[Task]) -> dict[str, float]:
    """Median and 99th percentile in milliseconds; the first tenth warms up."""
    seconds = []
    for task in tasks:
        started = time.perf_counter()
        run(task)
        seconds.append(time.perf_counter() - started)
    p50, p99 = np.percentile(seconds[len(seconds) // 10 :], [50, 99]) * 1e3
    return {"p50_ms": round(float(p50), 3), "p99_ms": round(float(p99), 3)}


def sklearn_rival(texts: list[str], labels: list[int]) -> Callable[[Task], object]:
    """Hashed n-grams, truncated SVD and a random forest of 100 trees, as a practitioner would first write it."""
    from sklearn.decomposition import TruncatedSVD
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.feature_extraction.text import HashingVectorizer
    from sklearn.pipeline import make_pipeline

    pipeline = make_pipeline(
        HashingVectorizer(ngram_range=(1, 2)), TruncatedSVD(24, random_state=0), RandomForestClassifier(100, random_state=0)
    )
    pipeline.fit(texts, labels)
    return lambda task: pipeline.predict_proba([task.text])


def main() -> None:
    """Print the latencies of cold start, learned policies and the rival."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--decisions", type=int, default=2000)
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args()
    recording = load_recording()
    menu = recording.menu
    budget = Budget(per_task=22, unit="completion_tokens")
    rng = np.random.default_rng(0)
    texts = [task.text for task in recording.tasks]
    tasks = tasks_of(options.decisions, rng, texts)

    ledger = MemoryLedger()
    cold = BudgetRouter(menu, budget, ledger=ledger, seed=0)
    stream = [recording.tasks[row] for row in Split.of(len(texts), seed=0).stream]
    decisions, _ = serve(cold, stream, Deck(recording, seed=0), grade=True)
    rows = {"cold start": percentiles(cold.decide, tasks)}
    for learner in ("value", "imitator"):
        policy = refresh(ledger, menu=menu, budget=budget, learner=learner).policy
        router = BudgetRouter(menu, budget, policy=policy, seed=0)
        rows[learner] = percentiles(router.decide, tasks)
    labels = [menu.action(decision.strategy.name) for decision in decisions]
    rival = sklearn_rival([task.text for task in stream], labels)
    rows["scikit-learn forest, predict_proba alone"] = percentiles(rival, tasks[:200])
    if options.json:
        print(json.dumps({"n_tokens": N_TOKENS, "decisions": options.decisions, "rows": rows}, indent=1))
        return
    for name, row in rows.items():
        print(f"{name:42s} p50 {row['p50_ms']:8.3f} ms   p99 {row['p99_ms']:8.3f} ms")


if __name__ == "__main__":
    main()
