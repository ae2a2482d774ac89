"""What weak labels buy where few tasks are graded: `python -m benchmarks.weak --dataset NAME --train ROOT`.

On the training tasks of each fold a log is made as production makes it: one plain strategy per task, drawn uniformly, its
recorded samples, and a grade for a share of the tasks. Three value policies learn from it: from the graded tasks alone
(`graded`), with weak labels for the others (`weak`), and as if all had been graded (`all`). They are compared on the tasks of the
fold that are left out, as `benchmarks.quality` compares; gain and interval are over the best static mix at the policy's spend.
"""

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.quality import compare, folds, joined
from benchmarks.recorded import Recorded, load
from budget_router import Budget, Decision, Menu, Outcome, Settlement, Spend, Task
from budget_router.allocation import FloatArray
from budget_router.outcomes import OutcomeTable
from budget_router.policies import ValuePolicy
from budget_router.records import LoggedDecision
from budget_router.records import Sample as Drawn

LABELS = ("graded", "weak", "all")


def logged(recorded: Recorded, *, share: float, rng: np.random.Generator) -> Iterator[LoggedDecision]:
    """One settled decision per task, a share of them graded with a score of every answer."""
    menu = Menu([recorded.menu.root[column] for column in recorded.plain])
    even = dict.fromkeys(menu.names, 1 / len(menu))
    for row, text in enumerate(recorded.texts):
        strategy = menu.root[rng.integers(len(menu))]
        held = recorded.samples[row, strategy.sampling.instruction or ""]
        drawn = [held[one] for one in rng.permutation(len(held))[: strategy.n_samples]]
        answers = [sample.answer for sample in drawn]
        scores = {sample.answer: sample.score for sample in drawn if sample.answer is not None}
        given = max(scores, key=answers.count, default=None)
        decision = Decision(
            task_id=str(row),
            strategy=strategy,
            propensities=even,
            shadow_price=0.0,
            expected_cost=1.0,
            budget=Budget(per_task=1.0, unit="completion_tokens"),
            policy_version="even",
            menu_hash=menu.hash,
            features_version="none",
        )
        samples = tuple(Drawn(index=index, answer_key=answer) for index, answer in enumerate(answers))
        spend = Spend(completion_tokens=round(sum(sample.cost for sample in drawn)), n_calls=len(drawn))
        score = 0.0 if given is None else scores[given]
        yield LoggedDecision(
            decision=decision,
            task_text=text,
            menu=menu,
            settlement=Settlement(decision_id=decision.id, samples=samples, spend=spend),
            outcome=Outcome(decision_id=decision.id, score=score, answer_scores=scores) if rng.random() < share else None,
        )


def chosen(
    train: Recorded, test: Recorded, labels: str, budgets: Sequence[float], *, share: float, seed: int
) -> list[FloatArray]:
    """Probabilities of each strategy on test tasks, one array per budget, under one way of labelling."""
    log = logged(train, share=1.0 if labels == "all" else share, rng=np.random.default_rng(seed))
    table = OutcomeTable.from_log(log, train.menu, unit="completion_tokens", weak_labels=labels == "weak")
    for doubt in table.weak_doubts:
        print(doubt, file=sys.stderr)
    policy = ValuePolicy().fit(table, rng=np.random.default_rng(seed))
    prediction = policy.predict([Task(text) for text in test.texts])
    return [policy.choose(prediction, budget).probabilities for budget in budgets]


def run(options: argparse.Namespace) -> list[dict[str, Any]]:  # Any: JSON
    """Each way of labelling at each budget, seeds averaged."""
    recorded = load(options.dataset, options.train, is_adaptive=not options.fixed)
    parts = [(recorded.rows(outside), recorded.rows(inside)) for outside, inside in folds(recorded, seed=0)]
    whole = joined([test for _, test in parts])
    budgets = tuple(options.budgets or recorded.budgets)
    found = []
    for labels in LABELS:
        picks = np.mean(
            [
                np.concatenate([chosen(*part, labels, budgets, share=options.graded, seed=seed) for part in parts], axis=1)
                for seed in range(options.seeds)
            ],
            axis=0,
        )
        for budget, picked in zip(budgets, picks, strict=True):
            compared = compare(whole, picked, rng=np.random.default_rng(0))
            facts = {"dataset": options.dataset, "labels": labels, "graded": options.graded, "budget": budget}
            found.append(facts | {"accuracy": compared.accuracy, "spend": compared.spend.value} | compared.gain._asdict())
    return found


def main() -> None:
    """Print a line per way of labelling and budget, or JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dataset", required=True, help="folder of the set; jhu_mcqa takes a model, jhu_mcqa:gpt-4")
    parser.add_argument("--train", type=Path, required=True, help="folder of recorded sets")
    parser.add_argument("--graded", type=float, default=0.1, help="share of the tasks that are graded")
    parser.add_argument("--budgets", type=float, nargs="+")
    parser.add_argument("--seeds", type=int, default=3, help="logs drawn")
    parser.add_argument("--fixed", action="store_true", help="leave early stopping and escalation off the menu")
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args()
    rows = run(options)
    if options.json:
        print(json.dumps(rows, indent=1))
        return
    for row in rows:
        print(
            f"{row['labels']:8s} budget {row['budget']:6.4g}  spend {row['spend']:6.4g}  accuracy {row['accuracy']:.4f}  "
            f"gain {row['value']:+.4f} [{row['low']:+.3f}, {row['high']:+.3f}]"
        )


if __name__ == "__main__":
    main()
