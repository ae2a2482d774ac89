"""A log that many workers read: the same policy and the same verdict as in one process."""

import json
from datetime import timedelta

import numpy as np
import pytest
from world import MENU, serve, tasks

from budget_router import Budget, BudgetRouter, MemoryLedger, ParquetLog, export, exporting, refresh, refreshing
from budget_router.errors import ForeignLedger, InvalidInput, NotEnoughEvidence
from budget_router.features import Tasks
from budget_router.outcomes.on_dask import FarTasks, gathered
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
    path = tmp_path_factory.mktemp("log") / "spend.db"
    with SqlLedger(f"sqlite:///{path}", durability="queued") as ledger:
        router = BudgetRouter(MENU, BUDGET, ledger=ledger, seed=1)
        serve(router, tasks(N_TASKS, seed=1), seed=1)
    return path


@pytest.fixture
def in_parts(monkeypatch):
    """A hundred decisions to a part, and most tasks not learned from."""
    monkeypatch.setattr(refreshing, "_PER_PART", 100)
    monkeypatch.setattr(sampling, "MAX_TRAINED_TASKS", 150)


def parts_of(ledger, n_decisions=100, **window):
    return ledger.parts(n_decisions, **window)


@pytest.mark.parametrize("asked", [{}, {"learner": "imitator", "columns": ("kind",), "later_share": 0.3}])
def test_workers_come_to_what_one_process_comes_to(client, path, in_parts, asked):
    with SqlLedger(f"sqlite:///{path}") as ledger:
        alone = refresh(ledger, menu=MENU, budget=BUDGET, **asked)
        together = refresh(ledger, menu=MENU, budget=BUDGET, client=client, **asked)
    assert_alike(together, alone)


def test_workers_read_a_folder_of_parquet_as_one_process_reads_the_database(client, path, in_parts, tmp_path, monkeypatch):
    monkeypatch.setattr(exporting, "ROWS_AT_ONCE", 40)
    with SqlLedger(f"sqlite:///{path}") as ledger:
        middle = list(ledger.evidence())[N_TASKS // 2].decided_at
        export(ledger, tmp_path / "first.parquet", until=middle)
        export(ledger, tmp_path / "second.parquet", since=middle)
        alone = refresh(ledger, menu=MENU, budget=BUDGET)
    assert len(parts_of(ParquetLog(tmp_path))) >= 4
    assert_alike(refresh(ParquetLog(tmp_path), menu=MENU, budget=BUDGET, client=client), alone)


def assert_alike(together, alone):
    assert together.n_decisions == alone.n_decisions >= 0.6 * N_TASKS
    assert together.n_graded == alone.n_graded
    for name in ("cost", "score", "accuracy"):
        first, second = (getattr(one.policy.held_out_, name) for one in (together, alone))
        assert np.allclose(first, second, rtol=1e-5)
    assert together.allocation.lam == pytest.approx(alone.allocation.lam, rel=1e-5)
    assert together.allocation.spend == pytest.approx(alone.allocation.spend, rel=1e-5)
    for name in ("accuracy", "gain", "spend"):
        first, second = (getattr(one, name) for one in (together, alone))
        assert (first.value, first.low, first.high) == pytest.approx(
            (second.value, second.low, second.high), rel=1e-5, nan_ok=True
        )
    assert together.verdict.is_passed == alone.verdict.is_passed


def test_texts_stay_with_the_workers_until_they_are_asked_for(client, path):
    with SqlLedger(f"sqlite:///{path}") as ledger:
        rows, far = gathered(parts_of(ledger), "tokens", client)
        said = [one.task_text for one in ledger.evidence()]
    assert rows.texts.gathered() is None
    assert isinstance(far, FarTasks)
    chosen = np.random.default_rng(0).permutation(len(said))[:50]
    some = far.rows(chosen).here()
    assert isinstance(some, Tasks)
    assert list(some.texts) == [said[row] for row in chosen]
    assert np.array_equal(some.structure, rows.structure[chosen])
    assert some.metadata == [rows.metadata[row] for row in chosen]


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


def test_a_part_that_was_read_again_and_holds_more_is_refused(client, path):
    with SqlLedger(f"sqlite:///{path}") as ledger:
        _, far = gathered(parts_of(ledger), "tokens", client)
    changed = FarTasks(client, far.kept, far.size - 1, far.place[:10])
    with pytest.raises(NotEnoughEvidence, match="begin again"):
        changed.here()


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
