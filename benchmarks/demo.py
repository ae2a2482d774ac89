"""The demo's comparison over many seeds and budgets: `python -m benchmarks.demo --json`."""

import argparse
import json
import time

from budget_router import Budget
from budget_router_cli.experiment import compare, trial
from budget_router_cli.recording import load_recording

BUDGETS = (12.0, 22.0, 32.0, 55.0, 89.0)
"""Completion tokens per task: the budgets at which the recording's own page gives figures for orientation."""


def main() -> None:
    """Print one row per learner and budget."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=20, help="random splits per budget")
    parser.add_argument("--budgets", type=float, nargs="+", default=BUDGETS, help="completion tokens per task")
    parser.add_argument("--learners", nargs="+", default=["value", "imitator"])
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args()
    recording = load_recording()
    menu = recording.menu
    rows = []
    for learner in options.learners:
        for per_task in options.budgets:
            budget = Budget(per_task=per_task, unit="completion_tokens")
            started = time.perf_counter()
            trials = [trial(recording, menu, budget, seed=seed, learner=learner) for seed in range(options.seeds)]
            result = compare(recording, menu, budget, trials)
            rows.append(
                {
                    "learner": learner,
                    "budget": per_task,
                    "spend": round(result.spend, 2),
                    "budget_error": round(result.budget_error, 4),
                    "accuracy": round(result.accuracy.value, 4),
                    "mix_at_spend": round(result.mix_accuracy, 4),
                    "gain": round(result.gain.value, 4),
                    "gain_low": round(result.gain.low, 4),
                    "gain_high": round(result.gain.high, 4),
                    "honest_oracle": round(result.honest_oracle[1], 4),
                    "gap_closed": round(result.gap_closed, 3),
                    "seeds": options.seeds,
                    "seconds": round(time.perf_counter() - started, 1),
                }
            )
            if not options.json:
                print("  ".join(f"{name} {value}" for name, value in rows[-1].items()), flush=True)
    if options.json:
        print(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
