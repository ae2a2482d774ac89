"""Workers serve what is promoted, within seconds and without a restart, and go back when they are told to."""

import time
from contextlib import contextmanager
from pathlib import Path

import pytest
from typer.testing import CliRunner
from world import MENU, serve, tasks

from budget_router import Budget, BudgetRouter, MemoryLedger, refresh, rollback
from budget_router.errors import ArtifactError
from budget_router.records import PolicyRecord
from budget_router.testing import MENU as EXAMPLE_MENU
from budget_router.testing import example_policy, recorded
from budget_router_cli.app import app
from budget_router_sql import SqlLedger

BUDGET = Budget(per_task=110, unit="completion_tokens")
MAX_SECONDS = 5.0
WORKER = """
import sys, time
sys.path.append(sys.argv[2])
from budget_router import Budget, BudgetRouter, Task
from budget_router_sql import SqlLedger
from world import MENU

router = BudgetRouter(MENU, Budget(per_task=110, unit="completion_tokens"), ledger=SqlLedger(sys.argv[1]))
served = None
while True:
    version = router.decide(Task("2 + 2?")).policy_version
    if version != served:
        served = version
        print(version, flush=True)
    time.sleep(0.05)
"""


@pytest.fixture(scope="module")
def candidates():
    """Two policies that were learned."""
    router = BudgetRouter(MENU, BUDGET, seed=1)
    serve(router, tasks(50, seed=1), seed=1)
    versions = [refresh(router.ledger, menu=MENU, budget=BUDGET, seed=seed).version for seed in (0, 1)]
    return [router.ledger.registry.load(version) for version in versions]


@pytest.fixture
def url(postgres):
    with postgres.ledger() as database:
        yield postgres.url(database)


@contextmanager
def worker(apart, url):
    with apart.start(WORKER, url, str(Path(__file__).parent)) as serving:
        yield serving
        serving.kill()


def test_workers_serve_a_promotion_within_five_seconds_and_a_bad_one_never(url, candidates, apart):
    first, second = candidates
    bad = PolicyRecord(version="bad", menu_hash=MENU.hash, manifest=first.manifest, arrays=second.arrays)
    with SqlLedger(url) as ledger, worker(apart, url) as one, worker(apart, url) as other:
        workers = one, other
        assert [serving.stdout.readline() for serving in workers] == ["cold-start\n"] * 2
        for policy in (first, bad, second):
            ledger.registry.save(policy)
        for promote, expected in (
            (lambda: ledger.registry.promote(first.version), first),
            (lambda: ledger.registry.promote("bad"), None),
            (lambda: ledger.registry.promote(second.version), second),
            (lambda: [rollback(ledger, menu=MENU) for _ in range(2)], first),
        ):
            promote()
            if expected is None:
                time.sleep(2.5)  # the registry is asked every 2 s: whoever served the bad one would say so next
                continue
            promoted_at = time.monotonic()
            assert [serving.stdout.readline() for serving in workers] == [f"{expected.version}\n"] * 2
            assert time.monotonic() - promoted_at < MAX_SECONDS


def shelf(*versions):
    ledger = MemoryLedger()
    for version in dict.fromkeys(versions):
        ledger.registry.save(example_policy(version))
    for version in versions:
        ledger.registry.promote(version)
    return ledger


@pytest.mark.parametrize(
    ("promoted", "went_back_to"),
    [("ab", "a"), ("abc", "ba"), ("abcb", "a"), ("aba", ""), ("abac", "a"), ("abcad", "acba")],
)
def test_a_rollback_goes_one_policy_back_and_another_one_further(promoted, went_back_to):
    ledger = shelf(*promoted)
    for version in went_back_to:
        assert rollback(ledger, menu=EXAMPLE_MENU) == version
        assert ledger.registry.active_version(EXAMPLE_MENU.hash) == version
    with pytest.raises(ArtifactError, match="is the first that serves"):
        rollback(ledger, menu=EXAMPLE_MENU)


def test_nothing_promoted_is_nothing_to_roll_back():
    with pytest.raises(ArtifactError, match="none was promoted; promote a saved one"):
        rollback(MemoryLedger(), menu=EXAMPLE_MENU)


def test_the_command_rolls_back_and_says_to_what(tmp_path):
    url = f"sqlite:///{tmp_path}/spend.db"
    with SqlLedger(url) as ledger:
        recorded(ledger)
        for version in "ab":
            ledger.registry.save(example_policy(version))
            ledger.registry.promote(version)
    done = CliRunner().invoke(app, ["rollback", "--ledger", url])
    assert (done.exit_code, done.stdout) == (0, "a serves again; routers pick it up within seconds\n")
    with SqlLedger(url) as ledger:
        assert ledger.registry.active_version(EXAMPLE_MENU.hash) == "a"
