import csv
import gzip
import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks import parts, quality
from benchmarks.recorded import load
from benchmarks.rivals import ROUTERS
from budget_router.allocation import frontier
from budget_router.evaluation import aiq
from budget_router.policies import OracleImitator

N_TASKS = 60
ISSUED = {
    "dataset", "policy", "feedback", "budget", "accuracy", "spend", "mix_at_spend", "mix_full", "relative_gain", "gain_low",
    "gain_high", "budget_error", "honest_oracle", "gap_closed", "in_sample_oracle",
}  # fmt: skip


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sums and proofs: a glance solves the sums, only thinking solves the proofs, and thinking writes ten times as much."""
    root = tmp_path_factory.mktemp("recorded")
    (root / "little").mkdir()
    rng = np.random.default_rng(5)
    with (
        gzip.open(root / "little/tasks.csv.gz", "wt", newline="") as tasks,
        gzip.open(root / "little/outcomes.csv.gz", "wt", newline="") as outcomes,
    ):
        asked, answered = csv.writer(tasks), csv.writer(outcomes)
        asked.writerow(["task_id", "task_text", "category", "group_id"])
        answered.writerow(["task_id", "action", "sample", "answer", "correct", "completion_tokens"])
        for task in range(N_TASKS):
            kind = ("sum", "proof")[task % 2]
            asked.writerow(
                [task, f"What is {task} + 3 ?" if kind == "sum" else f"Prove that graph {task} has a cycle.", kind, task // 2]
            )
            for action, right in (("direct", {"sum": 0.9, "proof": 0.1}), ("cot", {"sum": 0.95, "proof": 0.9})):
                for sample in range(4):
                    is_right = rng.random() < right[kind]
                    n_tokens = rng.integers(8, 12) * (1 if action == "direct" else 10)
                    answered.writerow([task, action, sample, "right" if is_right else f"wrong {sample}", int(is_right), n_tokens])
    return root


def rows(root: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *options: str) -> list[dict]:
    monkeypatch.setattr(quality, "N_DRAWS", 40)
    monkeypatch.setattr("sys.argv", ["quality", "--dataset", "little", "--train", str(root), "--json", *options])
    quality.main()
    return json.loads(capsys.readouterr().out)


def test_the_learned_policy_and_every_rival_stand_in_one_table(root, capsys, monkeypatch):
    found = rows(root, capsys, monkeypatch, "--budgets", "40")
    by_policy = {row["policy"]: row for row in found}
    assert by_policy.keys() == {*quality.OURS, *ROUTERS}
    for row in found:
        assert row.keys() >= ISSUED
        assert row["gain_low"] <= row["accuracy"] - row["mix_at_spend"] <= row["gain_high"]
        assert row["spend_low"] <= row["spend"] <= row["spend_high"]
    assert by_policy["value"]["gain_low"] > 0.1
    assert by_policy["group_label"]["gain_low"] > 0.1
    assert by_policy["static_mix"]["accuracy"] == pytest.approx(by_policy["static_mix"]["mix_full"], abs=0.02)


def test_who_ignores_cost_spends_alike_at_every_budget_and_who_prices_follows_it(root, capsys, monkeypatch):
    found = rows(root, capsys, monkeypatch, "--budgets", "30", "60", "--policies", "knn", "svm_priced")
    knn, priced = ([row["spend"] for row in found if row["policy"] == name] for name in ("knn", "svm_priced"))
    assert knn[0] == knn[1]
    assert priced[0] < priced[1] - 10


def test_one_figure_for_all_budgets_is_the_aiq_of_the_rows_own_points_within_limits_that_all_share(root, capsys, monkeypatch):
    found = rows(root, capsys, monkeypatch, "--budgets", "30", "45", "60", "--policies", "group_label", "knn")
    recorded = load("little", root)
    accuracy, cost = (cells[:, recorded.plain].mean(axis=0, keepdims=True) for cells in (recorded.accuracy, recorded.cost))
    static = frontier(accuracy, cost)
    static_points = static.spend, static.accuracy
    for name in ("group_label", "knn"):
        mine = [row for row in found if row["policy"] == name]
        points = [row["spend"] for row in mine], [row["accuracy"] for row in mine]
        assert [row["aiq"] for row in mine] == [pytest.approx(aiq(*points, c_min=30, c_max=60, static=static))] * 3
        assert [row["aiq_static"] for row in mine] == [pytest.approx(aiq(*static_points, c_min=30, c_max=60))] * 3
        assert mine[0]["aiq_low"] <= mine[0]["aiq"] - mine[0]["aiq_static"] <= mine[0]["aiq_high"]


def test_one_artifact_serves_every_budget(root, capsys, monkeypatch):
    fitted = []

    class Counted(OracleImitator):
        def fit(self, table, *, rng):
            fitted.append(len(table.texts))
            return super().fit(table, rng=rng)

    monkeypatch.setitem(quality.LEARNERS, "imitator", Counted)
    found = rows(root, capsys, monkeypatch, "--budgets", "60", "30", "45", "20", "--policies", "imitator", "--test", str(root))
    assert fitted == [N_TASKS]
    spends = [row["spend"] for row in sorted(found, key=lambda row: row["budget"])]
    assert spends[0] + 10 < spends[-1]
    assert spends == sorted(spends)


def test_one_budget_spans_no_curve(root, capsys, monkeypatch):
    (one,) = rows(root, capsys, monkeypatch, "--budgets", "40", "--policies", "static_mix")
    assert one["aiq"] is one["aiq_static"] is one["aiq_low"] is one["aiq_high"] is None


def test_one_strategy_tried_per_task_is_enough_for_the_learned_ones_alone(root, capsys, monkeypatch):
    found = rows(
        root,
        capsys,
        monkeypatch,
        "--budgets",
        "40",
        "--feedback",
        "partial",
        "--seeds",
        "1",
        "--policies",
        "value",
        "knn",
        "length_heuristic",
    )
    assert {row["policy"] for row in found} == {"value", "length_heuristic"}
    assert {row["feedback"] for row in found} == {"partial"}


def test_other_halves_are_tested_on_and_not_learned_from(root, capsys, monkeypatch, tmp_path):
    options = ["--budgets", "40", "--policies", "value", "--test", str(root)]
    assert rows(root, capsys, monkeypatch, *options)[0]["dataset"] == "little"
    with pytest.raises(SystemExit, match="no recorded set 'little'"):
        rows(tmp_path, capsys, monkeypatch, *options)


def test_groups_are_never_torn_between_train_and_test(root):
    recorded = load("little", root)
    for outside, inside in quality.folds(recorded, seed=0):
        assert not {recorded.groups[row] for row in outside} & {recorded.groups[row] for row in inside}


def test_the_whole_menu_is_held_against_each_of_its_parts(root, capsys, monkeypatch):
    monkeypatch.setattr(quality, "N_DRAWS", 40)
    with pytest.raises(SystemExit, match="prices no early stopping and escalation"):
        parts.run(load("little", root, is_adaptive=False), seed=0)
    monkeypatch.setattr("benchmarks.recorded.ESCALATIONS", (("direct x3", "cot"),))
    monkeypatch.setattr("benchmarks.recorded.CAPS", (4,))
    monkeypatch.setattr("sys.argv", ["parts", "--dataset", "little", "--train", str(root), "--json"])
    parts.main()
    found = {row["part"].partition(" alone")[0]: row for row in json.loads(capsys.readouterr().out)}
    assert found.keys() == {"early stopping", "escalation", "learned choice of fixed votes"}
    for row in found.values():
        assert row["low"] <= row["value"] <= row["high"]
    assert found["early stopping"]["low"] > 0
