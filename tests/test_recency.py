"""Recent decisions count for more."""

from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest
from world import MENU, serve, tasks

from budget_router import Budget, BudgetRouter, MemoryLedger, refresh
from budget_router.errors import InvalidInput, NotEnoughEvidence
from budget_router.outcomes import OutcomeTable, recent

BUDGET = Budget(per_task=110, unit="completion_tokens")
DAY = timedelta(days=1)


@pytest.fixture(scope="module")
def ledger():
    ledger = MemoryLedger()
    serve(BudgetRouter(MENU, BUDGET, ledger=ledger, seed=1), tasks(240, seed=1), seed=1)
    return ledger


@pytest.fixture(scope="module")
def table(ledger):
    """Two decisions an hour for five days."""
    table = OutcomeTable.from_evidence(ledger.evidence(), MENU, unit="completion_tokens")
    return replace(table, decided_at=np.datetime64("2026-03-01T00:00") + np.arange(240) * np.timedelta64(30, "m"))


def test_a_decision_of_one_half_life_ago_counts_half_and_of_two_a_quarter(table):
    kept = [set(recent(table, DAY, rng=np.random.default_rng(seed)).task_ids) for seed in range(400)]
    for row, expected in ((239, 1.0), (239 - 48, 0.5), (239 - 96, 0.25)):
        found = np.mean([table.task_ids[row] in one for one in kept])
        assert abs(found - expected) <= 4 * np.sqrt(expected * (1 - expected) / len(kept))


def test_all_count_alike_where_the_half_life_is_long(table):
    assert recent(table, timedelta(days=1_000_000), rng=np.random.default_rng(0)).task_ids == table.task_ids


def test_the_same_seed_keeps_the_same(table):
    one, other = (recent(table, DAY, rng=np.random.default_rng(7)).task_ids for _ in range(2))
    assert one == other


def test_no_half_life_and_no_times_are_refused(table):
    with pytest.raises(InvalidInput, match="half_life"):
        recent(table, timedelta(0), rng=np.random.default_rng(0))
    with pytest.raises(NotEnoughEvidence, match="when its decisions were made"):
        recent(replace(table, decided_at=None), DAY, rng=np.random.default_rng(0))


def test_a_refresh_learns_from_what_counts_and_says_so(ledger):
    moments = sorted(entry.decision.decided_at for entry in ledger.read())
    candidate = refresh(ledger, menu=MENU, budget=BUDGET, half_life=moments[-1] - moments[0])
    expected = sum(0.5 ** ((moments[-1] - at) / (moments[-1] - moments[0])) for at in moments)
    assert abs(candidate.n_decisions - expected) < 4 * np.sqrt(expected / 4)
    evidence = ledger.registry.load(candidate.version).evidence
    assert evidence["half_life_seconds"] == (moments[-1] - moments[0]).total_seconds()
    assert evidence["n_trained"] == candidate.n_tasks
