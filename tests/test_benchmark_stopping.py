import csv
import gzip
import json

import pytest

from benchmarks import stopping
from benchmarks.recorded import load
from budget_router import EarlyStop
from budget_router.outcomes import early_stop_value
from budget_router.outcomes.stopping import is_decided


@pytest.fixture
def root(tmp_path):
    """Three pools of eight: one agrees, one wavers, one is wrong throughout."""
    (tmp_path / "pools").mkdir()
    with (
        gzip.open(tmp_path / "pools/tasks.csv.gz", "wt", newline="") as tasks,
        gzip.open(tmp_path / "pools/outcomes.csv.gz", "wt", newline="") as outcomes,
    ):
        asked, answered = csv.writer(tasks), csv.writer(outcomes)
        asked.writerow(["task_id", "task_text"])
        answered.writerow(["task_id", "action", "sample", "answer", "correct", "completion_tokens"])
        for task, pool in enumerate(("aaaaaaaa", "aabaabca", "bbbbbbbb")):
            asked.writerow([task, f"Spell pool {task}."])
            for sample, answer in enumerate(pool):
                answered.writerow([task, "cot", sample, answer, int(answer == "a"), 10])
    return tmp_path


def ours(seen):
    """The rule that the executor asks, votes in order of first sight."""
    return is_decided([seen.count(answer) for answer in dict.fromkeys(seen)], 4 - len(seen), 0.9)


def test_replaying_a_rule_approaches_its_average_over_all_orders(root):
    recorded = load("pools", root, is_adaptive=False)
    accuracy, mean_samples = stopping.replayed(recorded, ours, cap=4, n_shuffles=2000)
    pools = [stopping.votes(held) for held in recorded.samples.values()]
    exact = [early_stop_value(*pool, EarlyStop(threshold=0.9), 4) for pool in pools]
    assert accuracy == pytest.approx(sum(one.accuracy for one in exact) / 3, abs=0.01)
    assert mean_samples == pytest.approx(sum(one.mean_samples for one in exact) / 3, abs=0.03)


def test_esc_stops_at_a_window_of_equal_answers_and_nowhere_else(root):
    rule = stopping.esc(4)
    assert rule(list("bcda" + "aaaa"))
    assert not rule(list("aaa"))
    assert not rule(list("baaaa"))


def test_the_table_holds_every_method_and_both_menus_together_reach_what_either_does(root, capsys, monkeypatch):
    pytest.importorskip("adaptive_consistency", reason="a peer that benchmarks alone need")
    monkeypatch.setattr("sys.argv", ["stopping", "--dataset", "pools", "--train", str(root), "--json"])
    stopping.main()
    printed = json.loads(capsys.readouterr().out)
    assert {row["method"] for row in printed["rows"]} == {"fixed", "AdaptiveConsistency", "ESC", "early stopping"}
    for by_menu in printed["menus"].values():
        assert by_menu["both"] >= max(by_menu["fixed"], by_menu["early stopping"] or 0) - 1e-12
    assert printed["menus"]["1.5"]["early stopping"] is None


def test_a_set_of_several_prompts_is_refused_with_one_that_serves(root, monkeypatch):
    with gzip.open(root / "pools/outcomes.csv.gz", "at", newline="") as outcomes:
        csv.writer(outcomes).writerows([task, "direct", 0, "a", 1, 5] for task in range(3))
    monkeypatch.setattr("sys.argv", ["stopping", "--dataset", "pools", "--train", str(root)])
    with pytest.raises(SystemExit, match=r"several prompts: one with many samples is needed, e\.g\. esc_last_letters"):
        stopping.main()
