import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks import bandit, pareto
from benchmarks.prompts import Prompts, load

N_PROMPTS = 90
CHEAP, DEAR = 1e-4, 1e-3
SMALL, MIDDLE, LARGE = "meta-llama/llama-3.1-8b-instruct", "mistralai/mistral-large-2512", "google/gemini-2.5-pro"


@pytest.fixture
def package(tmp_path, monkeypatch) -> Path:
    """A package with the table of `paretobandit`: on sums any model will do, on proofs the dearest alone."""
    folder = tmp_path / "data/examples"
    folder.mkdir(parents=True)
    for split in ("val", "test_holdout"):
        rows = []
        for one in range(N_PROMPTS):
            is_proof = one % 3 == 0
            earned = {SMALL: 0.3 if is_proof else 0.9, MIDDLE: 0.35 if is_proof else 0.9, LARGE: 0.95}
            paid = {SMALL: CHEAP, MIDDLE: 2 * CHEAP, LARGE: DEAR}
            prompt = f"Prove that graph {one} has a cycle\u2028of odd length." if is_proof else f"What is {one} + 3 ?"
            rows.append({"prompt": prompt, "arms": {name: {"reward": earned[name], "cost": paid[name]} for name in paid}})
        (folder / f"{split}.jsonl").write_text("\n".join(json.dumps(row, ensure_ascii=False) for row in rows), encoding="utf-8")
    (tmp_path / "__init__.py").touch()
    found = importlib.util.spec_from_file_location("table", tmp_path / "__init__.py", submodule_search_locations=[str(tmp_path)])
    monkeypatch.setattr("benchmarks.prompts.importlib.util.find_spec", lambda _: found)
    return tmp_path


def test_both_routers_stand_in_one_table_and_the_learned_one_beats_the_mix(package, monkeypatch, capsys):
    monkeypatch.setattr(pareto, "PUBLISHED", {4e-4: 0.8, 6e-4: 0.9})
    monkeypatch.setattr("sys.argv", ["pareto", "--seeds", "1", "--json"])
    pareto.main()
    rows = json.loads(capsys.readouterr().out)
    assert [(row["budget"], row["policy"]) for row in rows] == [
        (budget, policy) for budget in (4e-4, 6e-4) for policy in ("value", "paretobandit")
    ]
    for row in rows:
        assert row["accuracy_low"] <= row["accuracy"] <= row["accuracy_high"]
        assert row["budget_error"] == pytest.approx(row["spend"] / row["budget"] - 1)
    assert all(row["accuracy"] > row["mix_at_spend"] + 0.05 for row in rows if row["policy"] == "value")


def test_the_peer_learns_from_the_log_which_model_is_worth_its_calls(package):
    models, known = load("val")
    graded = Prompts(known.texts, np.tile([0.1, 0.9, 0.2], (N_PROMPTS, 1)), known.cost)
    rng = np.random.default_rng(0)
    serve = bandit.learned(pareto.partial(models, graded, rng=rng), rng=rng)
    assert serve(graded, DEAR, rng) == (
        pytest.approx(0.9),
        pytest.approx(2 * CHEAP),
    )  # without the log it would take the dear one
    assert serve(graded, CHEAP, rng).spend < 2 * CHEAP


def test_a_log_shows_one_model_per_prompt(package):
    models, known = load("val")
    table = pareto.partial(models, known, rng=np.random.default_rng(0))
    assert (table.is_observed.sum(axis=1) == 1).all()
    assert (np.isnan(table.cost) == ~table.is_observed).all()
    assert table.accuracy[table.is_observed] == pytest.approx(known.reward[table.is_observed])


def test_a_missing_package_is_told_in_one_line(monkeypatch):
    monkeypatch.setattr("benchmarks.prompts.importlib.util.find_spec", lambda _: None)
    with pytest.raises(SystemExit, match="pip install paretobandit"):
        load("val")
