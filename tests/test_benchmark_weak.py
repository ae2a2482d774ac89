"""The benchmark of weak labels: three ways of labelling one log, on tasks none of them has seen."""

import json

import pytest
from test_benchmark_quality import root  # noqa: F401  # the recorded set

from benchmarks import quality, weak


def test_three_ways_of_labelling_stand_side_by_side(root, capsys, monkeypatch):  # noqa: F811  # the fixture
    monkeypatch.setattr(quality, "N_DRAWS", 40)
    options = ["--graded", "0.9", "--budgets", "30", "--seeds", "1", "--fixed", "--json"]
    monkeypatch.setattr("sys.argv", ["weak", "--dataset", "little", "--train", str(root), *options])
    weak.main()
    found = json.loads(capsys.readouterr().out)
    assert [row["labels"] for row in found] == ["graded", "weak", "all"]
    for row in found:
        assert row["low"] <= row["value"] <= row["high"]
        assert row["spend"] == pytest.approx(30, rel=0.4)
