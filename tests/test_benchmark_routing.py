import csv
import gzip
import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks import routing
from benchmarks.recorded import load

N_TASKS = 60


def write(folder: Path, *, models: tuple[str, ...] = ("small", "large"), has_tokens: bool = True) -> None:
    """Sums and proofs: the small model solves most sums and few proofs, the others nearly all; the small one writes less."""
    rng = np.random.default_rng(5)
    folder.mkdir()
    with (
        gzip.open(folder / "tasks.csv.gz", "wt", newline="") as tasks,
        gzip.open(folder / "outcomes.csv.gz", "wt", newline="") as outcomes,
    ):
        asked, answered = csv.writer(tasks), csv.writer(outcomes)
        asked.writerow(["task_id", "task_text"])
        answered.writerow(["task_id", "action", "sample", "answer", "correct", "completion_tokens"])
        for task in range(N_TASKS):
            is_proof = task % 2 == 1
            asked.writerow(
                [task, f"Prove that graph {task} has a cycle" if is_proof else f"What is the sum of {task} and 3, please ?"]
            )
            for model in models:
                is_right = rng.random() < (0.95 if model != "small" else 0.2 if is_proof else 0.9)
                n_tokens = rng.integers(10, 20) * (1 if model == "small" else 3)
                answered.writerow([task, model, 0, "", int(is_right), n_tokens if has_tokens else ""])


def rows_of(printed: str) -> dict[tuple[str, str], dict[str, float]]:
    return {(row["unit"], row["score"]): row for row in json.loads(printed)}


def test_one_command_scores_a_recorded_pair_in_calls_and_in_tokens(tmp_path, capsys):
    write(tmp_path / "pair")
    routing.main(["--train", str(tmp_path), "--dataset", "pair", "--json"])
    rows = rows_of(capsys.readouterr().out)
    assert set(rows) == {
        (unit, score) for unit in ("strong calls", "tokens") for score in ("random", "prompt length", "value", "oracle")
    }
    for row in rows.values():
        assert row["n_tasks"] == N_TASKS
        assert row["apgr_low"] <= row["apgr"] <= row["apgr_high"]
        assert row["cpt_20"] <= row["cpt_50"] <= row["cpt_80"]


def test_a_policy_that_learned_the_kind_of_task_lies_between_a_random_score_and_the_oracle(tmp_path, capsys):
    write(tmp_path / "pair")
    routing.main(["--train", str(tmp_path), "--dataset", "pair", "--json"])
    calls = {score: row for (unit, score), row in rows_of(capsys.readouterr().out).items() if unit == "strong calls"}
    assert calls["random"]["apgr"] < calls["value"]["apgr"] < calls["oracle"]["apgr"]
    assert calls["oracle"]["cpt_80"] < calls["value"]["cpt_80"] < calls["random"]["cpt_80"]


def test_tokens_are_priced_by_each_models_tariff(tmp_path):
    write(tmp_path / "pair")
    recorded = load("pair", tmp_path)
    columns = routing.pair(recorded)
    assert [recorded.menu.names[column] for column in columns] == ["small", "large"]
    tokens = recorded.cost[:, columns]
    assert routing.costs(tokens, (2.0, 50.0))["USD"] == pytest.approx(tokens * [2e-6, 50e-6])
    assert set(routing.costs(tokens, (50.0, 2.0))) == {"strong calls"}  # the strong model is the cheaper one


def test_a_set_without_tokens_counts_calls_alone_and_its_table_fits_a_terminal(tmp_path, capsys):
    write(tmp_path / "pair", models=("small", "gpt-4"), has_tokens=False)
    routing.main(["--train", str(tmp_path), "--dataset", "pair"])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith(f"pair: {N_TASKS} tasks")
    assert [line.split()[:2] for line in lines[2:6]] == [["strong", "calls"]] * 4
    assert max(map(len, lines)) <= 100


def test_more_than_two_models_ask_for_a_pair(tmp_path):
    write(tmp_path / "three", models=("small", "middle", "large"))
    with pytest.raises(SystemExit, match="three holds 3 strategies: routing is between two"):
        routing.main(["--train", str(tmp_path), "--dataset", "three"])


def test_a_missing_set_is_told_in_one_line(tmp_path):
    with pytest.raises(SystemExit, match=r"--train names the folder that holds routellm_mmlu/tasks\.csv\.gz") as told:
        routing.main(["--train", str(tmp_path)])
    assert "\n" not in str(told.value)
