"""The benchmark of the refresh: it learns from a log of its own making, and its stages are all of its time."""

import sys

import pytest

from benchmarks import refresh as benchmark

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="getrusage is POSIX")


def test_the_stages_add_up_to_the_whole(tmp_path):
    benchmark.made(tmp_path / "log.db", 400, seed=1)
    told = benchmark.refreshed(tmp_path / "log.db")
    assert told["n_decisions"] == 399  # one was never settled
    assert sum(told["seconds_of"].values()) == pytest.approx(told["seconds"], abs=0.2)
    assert told["seconds_of"]["fit"] > 0
    assert told["mb"] > 1
