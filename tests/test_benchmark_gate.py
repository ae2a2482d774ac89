import json
import math

import numpy as np
import pytest

from benchmarks import gate


@pytest.fixture(scope="module")
def rows():
    return gate.simulate(10, 3, n=1000, look_every=500, seed=3)


def test_a_candidate_gains_exactly_what_it_is_meant_to():
    world = gate.World.drawn(np.random.default_rng(0))
    for gain in gate.GAINS:
        chosen = world.candidate(gain) - np.eye(4)[world.incumbent]
        assert (chosen * world.accuracy).sum(axis=1).mean() == pytest.approx(gain, abs=1e-12)
    assert world.logging.min() >= gate.FLOOR


def test_candidates_that_gain_nothing_are_kept_and_better_ones_are_not_always(rows):
    once = {row.gain: row for row in rows if row.looks == "once"}
    limit = 0.05 * 10 + 3 * math.sqrt(0.05 * 0.95 * 10)
    assert once[-0.01].promoted <= once[0.0].promoted <= limit
    assert once[0.03].promoted > once[0.0].promoted
    assert sum(once[0.0].kept_by.values()) >= 10 - once[0.0].promoted


def test_who_peeks_promotes_no_less_and_the_gate_for_peeking_no_more(rows):
    for gain in gate.GAINS:
        once, peeked, often = (row for row in rows if row.gain == gain)
        assert (once.n_logs, peeked.n_logs, often.n_logs) == (10, 3, 3)
        assert often.promoted <= peeked.promoted


def test_a_missed_bar_is_an_exit_code(rows, capsys, monkeypatch):
    monkeypatch.setattr(gate, "simulate", lambda *args, **named: rows)
    monkeypatch.setattr("sys.argv", ["gate", "--json"])
    monkeypatch.setattr(gate, "MIN_COVERAGE", 1.1)
    with pytest.raises(SystemExit, match="1"):
        gate.main()
    assert [row["gain"] for row in json.loads(capsys.readouterr().out)["rows"]] == [0.0] * 3 + [-0.01] * 3 + [0.03] * 3
    monkeypatch.setattr("sys.argv", ["gate"])
    with pytest.raises(SystemExit, match="1"):
        gate.main()
    assert "missed" in capsys.readouterr().out
