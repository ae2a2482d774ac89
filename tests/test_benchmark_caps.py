"""The benchmark of hard caps: real processes on real databases, and an invoice that the ledger knows nothing of."""

from benchmarks import caps as benchmark


def test_processes_that_hammer_one_cap_reach_it_and_never_pass_it(postgres):
    told = benchmark.run(postgres.uri, seconds=0.5, n_processes=3, seed=1, cap=1000)
    assert told["met"] == {"never_passed": True, "reached": True, "charged_what_was_billed": True}
    for name in ("sqlite", "postgresql"):
        assert 0 < told[name]["billed"] <= told[name]["cap"]
        assert told[name]["asked_per_second"] > 0
