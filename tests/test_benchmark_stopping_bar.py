import csv
import gzip
import json

import numpy as np
import pytest

from benchmarks import stopping_bar
from budget_router import EarlyStop
from budget_router.outcomes import early_stop_value

pytest.importorskip("adaptive_consistency", reason="a peer that benchmarks alone need")

POOL = (list("aabaabca"), {"a": 1.0, "b": 0.0, "c": 0.0})


@pytest.fixture
def root(tmp_path):
    (tmp_path / "qwen_demo").mkdir()
    with (
        gzip.open(tmp_path / "qwen_demo/tasks.csv.gz", "wt", newline="") as tasks,
        gzip.open(tmp_path / "qwen_demo/outcomes.csv.gz", "wt", newline="") as outcomes,
    ):
        asked, answered = csv.writer(tasks), csv.writer(outcomes)
        asked.writerow(["task_id", "task_text"])
        answered.writerow(["task_id", "action", "sample", "answer", "correct", "completion_tokens"])
        for task, pool in enumerate(("aaaaaaaa", "aabaabca", "b-b-bbab")):
            asked.writerow([task, f"Spell pool {task}."])
            for sample, answer in enumerate(pool):
                answered.writerow([task, "cot", sample, answer.strip("-"), int(answer == "a"), 10])
                answered.writerow([task, "direct", sample, "c", 0, 1])
    return tmp_path


def test_a_replay_in_many_orders_approaches_what_is_counted_over_all_of_them():
    orders = np.random.default_rng(1).permuted(np.tile(np.arange(8), (4000, 1)), axis=1)
    exact = early_stop_value(*POOL, EarlyStop(threshold=stopping_bar.THRESHOLD), 8)
    accuracy, samples = stopping_bar.replayed(POOL, stopping_bar.our_rule, orders, 8)
    assert abs(accuracy - exact.accuracy) < 4 * (0.25 / 4000) ** 0.5
    assert abs(samples - exact.mean_samples) < 4 * 3 / 4000**0.5


def test_replies_without_an_answer_are_drawn_and_do_not_vote():
    pool = ([None, None, "a", None], {"a": 1.0})
    assert stopping_bar.replayed(pool, lambda votes, n_left: sum(votes) == 1, np.arange(4)[None], 4) == (1.0, 3.0)
    assert stopping_bar.replayed(([None] * 4, {}), stopping_bar.our_rule, np.arange(4)[None], 4) == (0.0, 4.0)


def test_the_table_tells_each_pool_and_whether_its_bar_is_met(root, capsys, monkeypatch):
    arguments = ["stopping_bar", "--train", str(root), "--pools", "qwen_demo", "--shuffles", "50"]
    monkeypatch.setattr("sys.argv", [*arguments, "--json"])
    monkeypatch.setattr(stopping_bar, "MAX_MICROSECONDS", 1000.0)
    stopping_bar.main()
    (row,) = json.loads(capsys.readouterr().out)
    assert (row["n_tasks"], row["cap"], row["is_met"]) == (3, 8, True)
    assert row["samples"] <= row["peer_samples"]
    monkeypatch.setattr("sys.argv", arguments)
    monkeypatch.setattr(stopping_bar, "MAX_SAMPLES_RATIO", 0.1)
    with pytest.raises(SystemExit, match="1"):
        stopping_bar.main()
    assert "missed" in capsys.readouterr().out


def test_a_peer_that_is_not_asked_after_the_last_sample_stops_there():
    assert stopping_bar.peer_rule()((1, 1), 0)
    assert not stopping_bar.peer_rule()((1, 1), 1)
