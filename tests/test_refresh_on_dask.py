"""A log that many workers read: the same policy and the same verdict as in one process."""

import json
import os
import signal
from collections import defaultdict
from datetime import timedelta

import numpy as np
import pytest
from world import MENU, serve, tasks

from budget_router import Budget, BudgetRouter, MemoryLedger, ParquetLog, export, refresh, refreshing, shards
from budget_router.errors import ForeignLedger, InvalidInput, NotEnoughEvidence
from budget_router.evaluation.judgement import STATIC_MIX
from budget_router.exported import exporting
from budget_router.outcomes import OutcomeTable, on_dask
from budget_router.policies import sampling
from budget_router.records import now
from budget_router_sql import SqlLedger

BUDGET = Budget(per_task=110, unit="completion_tokens")
N_TASKS = 420


@pytest.fixture(scope="module")
def client():
    distributed = pytest.importorskip("dask.distributed", reason="the dask extra is not installed")
    settings = {"n_workers": 2, "threads_per_worker": 1, "dashboard_address": ":0"}
    with distributed.LocalCluster(**settings) as cluster, distributed.Client(cluster) as client:
        yield client


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    """Tasks of two groups, some of them decided again after a fact has changed, and a policy that serves."""
    path, again = tmp_path_factory.mktemp("log") / "spend.db", tasks(N_TASKS, seed=1)[:60]
    again = [task.model_copy(update={"metadata": {**task.metadata, "again": True}}) for task in again]
    with SqlLedger(f"sqlite:///{path}", durability="queued") as ledger:
        router = BudgetRouter(MENU, BUDGET, ledger=ledger, seed=1)
        serve(router, tasks(N_TASKS, seed=1), seed=1)
        serve(router, [*tasks(60, seed=2, group="north"), *again], seed=2)
        refresh(ledger, menu=MENU, budget=BUDGET, later_share=0.5).promote()
    return path


@pytest.fixture(scope="module")
def in_parts():
    """A hundred decisions to a part, and most tasks not learned from."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(refreshing, "_PER_PART", 100)
        patch.setattr(sampling, "MAX_TRAINED_TASKS", 150)
        patch.setattr(exporting, "ROWS_AT_ONCE", 40)
        yield


def parts_of(ledger, n_decisions=100, **window):
    return ledger.parts(n_decisions, **window)


def test_workers_come_to_what_one_process_comes_to_though_one_of_them_dies(client, path, in_parts, monkeypatch):
    asked = {"learner": "imitator", "later_share": 0.3, "half_life": timedelta(minutes=1), "weak_labels": True}
    told, dead = on_dask.Workers.told, []

    def told_after_a_death(self, work, *kept, **to_all):
        if work is shards.expected_of and not dead:
            dead.append(next(iter(client.run(os.getpid).values())))
            os.kill(dead[0], signal.SIGKILL)
        return told(self, work, *kept, **to_all)

    monkeypatch.setattr(on_dask.Workers, "told", told_after_a_death)
    with SqlLedger(f"sqlite:///{path}") as ledger:
        alone = refresh(ledger, menu=MENU, budget=BUDGET, **asked)
        together = refresh(ledger, menu=MENU, budget=BUDGET, client=client, **asked)
    assert dead
    assert_alike(together, alone)


@pytest.fixture(scope="module")
def from_parquet(client, path, in_parts, tmp_path_factory):
    """What workers make of a folder, what one process makes of the database, and what comes home, by what it is."""
    folder, found, told = tmp_path_factory.mktemp("parquet"), defaultdict(list), on_dask.Workers.told

    def heard(self, work, *shards, **to_all):
        parts = told(self, work, *shards, **to_all)
        found[work.__name__] += parts
        return parts

    with SqlLedger(f"sqlite:///{path}") as ledger, pytest.MonkeyPatch.context() as patch:
        middle = list(ledger.evidence())[N_TASKS // 2].decided_at
        export(ledger, folder / "first.parquet", until=middle)
        export(ledger, folder / "second.parquet", since=middle)
        alone = refresh(ledger, menu=MENU, budget=BUDGET)
        log = ParquetLog(folder)
        log.registry = ledger.registry
        patch.setattr(on_dask.Workers, "told", heard)
        return refresh(log, menu=MENU, budget=BUDGET, client=client), alone, found


def test_workers_read_a_folder_of_parquet_as_one_process_reads_the_database(from_parquet):
    together, alone, _ = from_parquet
    assert_alike(together, alone)
    assert together.judgement.incumbent != STATIC_MIX
    assert set(together.judgement.groups) == {"north", "(no group)"}


def test_predictions_of_all_tasks_and_their_cells_stay_with_the_workers(from_parquet):
    found = dict(from_parquet[2])
    assert len(found["_sampled"]) > 4
    assert sum(len(part) for part in found.pop("tasks_in")) == 150
    of_samples = [found.pop(name) for name in ("predicted_at", "metadata_of")]  # of some tasks the facts have changed
    assert all(of_samples)
    assert {action.itemsize for part in found.pop("pass_over") for _, action in part.actions} == {1}
    tables = [one for parts in found.values() for one in arrays_of(parts) if one.ndim > 1]
    assert {len(one) for one in tables} == {3}  # sums over tasks, by price


def arrays_of(found):
    if isinstance(found, np.ndarray):
        yield found
    elif isinstance(found, tuple | list):
        for one in found:
            yield from arrays_of(one)


def assert_alike(together, alone):
    """All but the order of summation is the same."""
    assert together.n_decisions == alone.n_decisions >= 0.6 * N_TASKS
    for name in ("n_tasks", "n_graded", "n_weak"):
        assert getattr(together, name) == getattr(alone, name)
    for first, second in zip(together.policy.curve_, alone.policy.curve_, strict=True):
        assert np.allclose(first, second, rtol=1e-9)
    first, second = together.allocation, alone.allocation
    assert (first.lam, first.spend, first.accuracy) == pytest.approx((second.lam, second.spend, second.accuracy), rel=1e-9)
    assert np.array_equal(first.actions, second.actions)
    first, second = (dict(leaves(one.judgement.facts())) for one in (together, alone))
    assert list(first) == list(second)
    for name, fact in first.items():
        assert fact == (second[name] if isinstance(fact, str) else pytest.approx(second[name], rel=1e-6)), name
    assert together.verdict.is_passed == alone.verdict.is_passed


def leaves(facts, *names):
    """Each fact by its path."""
    for name, fact in facts.items():
        if isinstance(fact, dict):
            yield from leaves(fact, *names, name)
        else:
            yield "/".join([*names, name]), fact if isinstance(fact, int | float) else str(fact)


def test_a_part_that_was_read_again_and_holds_more_is_refused(path):
    with SqlLedger(f"sqlite:///{path}") as ledger:
        table = OutcomeTable.from_evidence(ledger.evidence(), MENU, unit=BUDGET.unit)
    assert sum(len(piece.table) for piece in on_dask.cut(table, len(table), 0, ["1-2", "1-3"])) == len(table)
    with pytest.raises(NotEnoughEvidence, match="begin again"):
        on_dask.cut(table, len(table) - 1, 0, [])


def test_parts_hold_each_decision_of_the_window_once_and_none_that_is_recorded_later(path):
    with SqlLedger(f"sqlite:///{path}") as ledger:
        moments = [one.decided_at for one in ledger.evidence()]
        since, until = moments[30], moments[330]
        parts = parts_of(ledger, 7, since=since, until=until)
        told = [one.decision_id for part in parts for one in part.evidence()]
        assert told == [one.decision_id for one in ledger.evidence(since=since, until=until)]
        assert parts_of(ledger, 7, since=now() + timedelta(days=1)) == []


def test_a_part_shows_no_password_and_names_a_file_by_its_whole_path(path, monkeypatch):
    monkeypatch.chdir(path.parent)
    with SqlLedger("sqlite:///spend.db") as ledger:
        (part,) = parts_of(ledger, 10_000)
    assert part.url == f"sqlite:///{path}"
    assert "sqlite" not in repr(part)


def test_a_worker_that_is_led_to_another_ledger_reads_nothing(path, tmp_path):
    with SqlLedger(f"sqlite:///{path}") as ledger, SqlLedger(f"sqlite:///{tmp_path}/other.db"):
        (part,) = parts_of(ledger, 10_000)
    for name in ("other.db", "none.db"):
        led_astray = type(part)(f"sqlite:///{tmp_path}/{name}", part.mark, part.window)
        with pytest.raises(ForeignLedger, match="another ledger, or to none"):
            list(led_astray.evidence())
    assert not (tmp_path / "none.db").exists()


def test_a_ledger_in_memory_and_an_empty_window_are_refused(client, path):
    with pytest.raises(InvalidInput, match="MemoryLedger cannot be read by other processes"):
        refresh(MemoryLedger(), menu=MENU, budget=BUDGET, client=client)
    with SqlLedger(f"sqlite:///{path}") as ledger, pytest.raises(NotEnoughEvidence, match="holds no decision"):
        refresh(ledger, menu=MENU, budget=BUDGET, client=client, since=now() + timedelta(days=1))


def test_the_command_finds_the_workers_by_their_scheduler(client, path, in_parts, typed_here):
    asked = ["refresh", "--ledger", f"sqlite:///{path}", "--budget", "110:completion_tokens", "--no-promote", "--json"]
    told = []
    for more in ([], ["--dask", client.scheduler.address]):
        code, out, error = typed_here(*asked, *more)
        assert code == 0, error
        told.append(json.loads(out))
    assert told[0]["n_tasks"] == told[1]["n_tasks"]
    assert told[0]["gain"] == pytest.approx(told[1]["gain"])


def test_a_scheduler_that_does_not_answer_is_told_with_its_mend(path, typed_here, monkeypatch):
    monkeypatch.setattr("budget_router_cli.workers._PATIENCE", "100ms")
    asked = ["refresh", "--ledger", f"sqlite:///{path}", "--budget", "110:completion_tokens", "--dask", "tcp://127.0.0.1:9"]
    code, _, error = typed_here(*asked)
    assert code == 1
    assert "no Dask scheduler answers at 'tcp://127.0.0.1:9'" in " ".join(error.split())
