"""The benchmark of pacing: its judge is right, its streams are what they say, and everyone is served alike."""

import json

import numpy as np
import pytest

from benchmarks import pacing, pacing_teams
from benchmarks.pacing_rivals import OURS, PEERS, Run, hindsight, serve
from benchmarks.pacing_world import BUDGET, MEAN_COST, SCENARIOS, Stream, stream_of


def stream(n_tasks=400, seed=1):
    return Stream.drawn(np.random.default_rng(seed), np.zeros(n_tasks))


class Notes:
    """Takes the cheapest, and notes what it is told and when."""

    def __init__(self):
        self.told, self.n_picked = [], 0

    def pick(self, row):
        self.n_picked += 1
        return 0, 0.0

    def settled(self, row, action, bill, *, is_failed):
        self.told.append((row, self.n_picked, is_failed))


def test_bills_are_heavy_tailed_and_as_predicted_on_average():
    drawn = stream(20_000)
    ratio = drawn.bill / drawn.cost
    assert ratio.mean(axis=0) == pytest.approx(1, abs=0.03)  # the cut takes 2 %
    assert ratio.max() > 4
    assert drawn.bill.mean(axis=0) == pytest.approx(MEAN_COST, rel=0.05)


def test_a_late_bill_is_told_after_as_many_decisions_as_the_stream_says():
    notes = Notes()
    serve(stream(6).late(np.array([0, 2, 0, 1, 9, 0])), notes)
    assert notes.told == [(0, 1, False), (2, 3, False), (1, 4, False), (3, 5, False)]


def test_scenarios_differ_in_what_they_say():
    plain, *others = (stream_of(name, np.random.default_rng(0), 1000) for name in ("stationary", "price × 3", "outage", "bursts"))
    triple, outage, bursts = others
    assert triple.bill[500:] == pytest.approx(3 * plain.bill[500:])
    assert triple.bill[:500] == pytest.approx(plain.bill[:500])
    assert outage.bill[500:700].sum() == outage.accuracy[500:700].sum() == 0 < outage.bill[700:].sum()
    assert (np.arange(1000) + 1 + bursts.delay)[:100] == pytest.approx(100)  # a burst settles together


def test_the_judge_marks_what_was_billed():
    flat = stream(400)
    run = Run(np.zeros(400, dtype=np.intp), np.zeros(400))
    marks, shown = pacing.marks(flat, run, run)
    bill = flat.bill[:, 0]
    assert marks.budget_error == pytest.approx(bill.mean() / BUDGET - 1)
    assert marks.excess == pytest.approx(max(bill[:n].mean() for n in range(200, 401)) / BUDGET - 1)
    assert marks.excess_limit == pytest.approx(0.05 + bill.max() / (200 * BUDGET))
    assert marks.gain == 0
    assert shown.average[-1] == pytest.approx(bill.mean() / BUDGET)


def test_hindsight_keeps_the_budget_and_uses_it():
    drawn = stream(2000)
    spent = drawn.outcome(hindsight(drawn, BUDGET).actions)[0].mean()
    assert 0.97 * BUDGET < spent <= BUDGET


def test_our_pacer_keeps_the_bars_when_prices_fall_to_a_tenth(monkeypatch):
    monkeypatch.setattr(pacing, "N_KNOWN", 500)
    marks, _ = pacing.simulate("price × 0.1", seed=0, n_tasks=2000)[OURS]
    assert abs(marks.budget_error) <= 0.01
    assert marks.excess <= marks.excess_limit
    assert marks.gain > -0.01  # a single run; the bar of half a point is for the mean


def test_teams_that_lend_keep_the_joint_average(monkeypatch):
    monkeypatch.setattr(pacing_teams, "N_KNOWN", 500)
    monkeypatch.setattr(pacing_teams, "LENDS", (0.0, 1.0))
    own, all_of_it = pacing_teams.team_rows(seeds=1, n_tasks=600)
    assert (own["lend"], own["gain"]) == (0, 0)
    assert abs(all_of_it["budget_error"]) < 0.03
    assert max(all_of_it["spend"].values()) > max(own["spend"].values())


def test_the_benchmark_prints_every_pacer_and_draws_every_scenario(capsys, monkeypatch, tmp_path):
    drawn = tmp_path / "pacing.svg"
    for part in (pacing, pacing_teams):
        monkeypatch.setattr(part, "N_KNOWN", 100)
    scenarios = {name: SCENARIOS[name] for name in ("harder tasks", "bursts", "outage")}
    monkeypatch.setattr(pacing, "SCENARIOS", scenarios)
    monkeypatch.setattr(pacing_teams, "LENDS", (0.0, 1.0))
    monkeypatch.setattr("sys.argv", ["pacing", "--json", "--seeds", "1", "--tasks", "210", "--picture", str(drawn)])
    pacing.main()
    found = json.loads(capsys.readouterr().out)
    assert [(row["scenario"], row["pacer"]) for row in found["scenarios"]] == [
        (name, pacer) for name in scenarios for pacer in (OURS, *PEERS)
    ]
    svg = drawn.read_text()
    assert all(name[1:] in svg for name in scenarios)
