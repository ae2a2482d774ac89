"""Workers who share a ledger keep an average together, whether it is a file's or a server's, and however they end."""

import os
import signal
import threading
import time
from contextlib import ExitStack

import numpy as np
import pytest
from world import MENU

from budget_router import Budget, BudgetRouter, Spend, Task
from budget_router.errors import LedgerUnavailable
from budget_router.memory import MemoryLedger
from budget_router.paces import Key, Paces
from budget_router.policies import Mixture
from budget_router.sums import Standing, Sums
from budget_router.upkeep import Upkeep
from budget_router_sql import SqlLedger

BUDGET = Budget(per_task=100)
KEY = Key("support", "a policy")
MIXTURE = Mixture([0.2, 0.5, 0.9], [20, 60, 200])


@pytest.fixture(params=["file", "server"])
def url(request, tmp_path):
    if request.param == "file":
        yield f"sqlite:///{tmp_path / 'spend.db'}"
        return
    postgres = request.getfixturevalue("postgres")
    with postgres.ledger() as database:
        yield postgres.url(database)


@pytest.fixture
def workers(url):
    """Opens as many ledgers on the database as are asked for."""
    with ExitStack() as stack:
        yield lambda n: [stack.enter_context(SqlLedger(url)) for _ in range(n)]


def router_on(ledger, *, budget=BUDGET, share_seconds=0, seed=0, **options):
    return BudgetRouter(MENU, budget, ledger=ledger, policy=MIXTURE, share_seconds=share_seconds, seed=seed, **options)


def serve(router, n_tasks, *, spend):
    for _ in range(n_tasks):
        router.settle(router.decide(Task("2 + 2?")), Spend(prompt_tokens=0, completion_tokens=spend))


def prices(router, n_tasks=40):
    return {round(router.decide(Task("2 + 2?")).shadow_price, 9) for _ in range(n_tasks)}


# --- what workers know of each other


def test_a_worker_hears_what_another_spent(workers):
    one, other = workers(2)
    for ledger in (one, other):
        ledger.paces.follow(KEY, Sums.trusting(100))
    one.paces.add(KEY, Sums(3, 300, 500, billed=500, expected=300, bills_kept=0.9))
    one.paces.exchange()
    other.paces.exchange()
    assert other.paces.sums(KEY) == pytest.approx(one.paces.sums(KEY)._replace(bills_kept=1))


def test_shares_told_at_once_are_added_and_not_overwritten(workers):
    ledgers = workers(6)
    for ledger in ledgers:
        ledger.paces.follow(KEY, Sums.trusting(100))

    def spend(ledger):
        for _ in range(30):
            ledger.paces.add(KEY, Sums(1, 100, 80))
            ledger.paces.exchange()

    threads = [threading.Thread(target=spend, args=[ledger]) for ledger in ledgers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    ledgers[0].paces.exchange()
    assert ledgers[0].paces.sums(KEY)[:3] == (180, 18_000, 14_400)


def test_what_cannot_be_told_is_told_the_next_time():
    class Away:
        is_away = True

        def exchange(self, told, asked):
            if self.is_away:
                paces.add(KEY, Sums(1, 100, 7))  # and life goes on meanwhile
                raise LedgerUnavailable("away")
            self.told = dict(told)
            return {KEY: Sums().then(told.get(KEY, Sums())).totals}

    book = Away()
    paces = Paces(book)
    paces.follow(KEY, Sums())
    paces.add(KEY, Sums(1, 100, 80))
    with pytest.raises(LedgerUnavailable):
        paces.exchange()
    assert paces.sums(KEY).spent == 87
    book.is_away = False
    paces.exchange()
    assert (book.told[KEY].spent, paces.sums(KEY).spent) == (87, 87)


def target(everybody, *, n_unseen, mine=Sums(), untold=Sums()):  # noqa: B008  # a value
    return Standing(everybody, mine, untold, n_unseen).target(100, horizon=50)


def test_old_news_is_steered_by_gently_and_ones_own_at_once():
    ahead = Sums(10_000, 1_000_000, 1_000_500)
    assert [target(ahead, n_unseen=n) for n in (0, 10, 500)] == pytest.approx([90, 90, 100 - 500 / 1500])
    assert target(ahead, n_unseen=500, untold=Sums(5, 500, 1000)) == pytest.approx(90)


def test_where_news_is_too_old_each_worker_brakes_by_its_own_past():
    ahead = Sums(1000, 100_000, 105_000)
    assert target(ahead, n_unseen=1) == 0
    assert target(ahead, n_unseen=500, mine=Sums(200, 20_000, 20_000)) > 90
    assert target(ahead, n_unseen=500, mine=Sums(200, 20_000, 21_000)) == 0


# --- routers


def test_a_worker_pays_for_what_another_overspent(workers):
    dear, frugal = (router_on(ledger) for ledger in workers(2))
    before = prices(frugal, 1)
    serve(dear, 60, spend=400)
    assert min(prices(frugal)) > max(before)


def test_an_average_goes_on_where_the_last_worker_left_it(url):
    with SqlLedger(url) as ledger:
        serve(router_on(ledger, share_seconds=3600), 60, spend=400)
    with SqlLedger(url) as ledger:
        later = router_on(ledger, share_seconds=3600)
        fresh = router_on(MemoryLedger())
        assert min(prices(later)) > max(prices(fresh))


def test_a_worker_that_does_not_share_keeps_its_own_average(workers):
    dear, alone = (router_on(ledger, share_seconds=share) for ledger, share in zip(workers(2), (0, None), strict=True))
    before = prices(alone, 1)
    serve(dear, 60, spend=400)
    assert prices(alone, 1) == before


def test_budgets_that_differ_are_averages_of_their_own(workers):
    dear, other = (
        router_on(ledger, budget=budget) for ledger, budget in zip(workers(2), (BUDGET, Budget(per_task=120)), strict=True)
    )
    before = prices(other, 1)
    serve(dear, 60, spend=400)
    assert prices(other, 1) == before


def test_groups_that_lend_share_their_pool_between_workers(workers):
    teams = [Budget(per_task=100, group="easy"), Budget(per_task=100, group="hard")]
    dear, frugal = (
        BudgetRouter(MENU, budgets=teams, lend=1.0, ledger=ledger, policy=MIXTURE, share_seconds=0) for ledger in workers(2)
    )
    before = frugal.decide(Task("2 + 2?", group="easy")).shadow_price
    for _ in range(60):
        dear.settle(dear.decide(Task("2 + 2?", group="hard")), Spend(prompt_tokens=0, completion_tokens=400))
    assert frugal.decide(Task("2 + 2?", group="easy")).shadow_price > before


def test_workers_keep_an_average_that_none_of_them_keeps_alone(workers):
    rng = np.random.default_rng(0)
    routers = [router_on(ledger, seed=seed) for seed, ledger in enumerate(workers(5))]
    cost = {strategy.name: mean for strategy, mean in zip(MENU, (20, 60, 200), strict=True)}
    billed = []
    for index in range(500):
        router = routers[index % 5]
        decision = router.decide(Task("2 + 2?"))
        # two of the five get the long answers, and would spend twice the budget if they were alone at first
        billed.append(cost[decision.strategy.name] * rng.lognormal(-0.32, 0.8) * (2.0 if index % 5 < 2 else 0.5))
        router.settle(decision, Spend(prompt_tokens=0, completion_tokens=round(billed[-1])))
    assert np.mean(billed) == pytest.approx(100, rel=0.02)


def test_a_ledger_that_is_away_is_said_once_and_leaves_the_worker_serving(caplog):
    class Elsewhere(MemoryLedger):
        """Books at hand, and averages in a database that is away."""

        def __init__(self):
            super().__init__()
            self.paces = Paces(self)

        def exchange(self, told, asked):
            raise LedgerUnavailable("the server does not answer")

    serve(router_on(Elsewhere()), 3, spend=100)
    assert [record.levelname for record in caplog.records if "by its own spend alone" in record.message] == ["WARNING"]


# --- the ends of a process


WORKER = """
import os, sys
from budget_router.paces import Key
from budget_router.sums import Standing, Sums
from budget_router_sql import SqlLedger

key = Key("support", "a policy")
ledger = SqlLedger(sys.argv[1], durability=sys.argv[2])
ledger.paces.follow(key, Sums())
ledger.paces.add(key, Sums(1, 100, 80))
if sys.argv[3] == "exits":
    sys.exit()
if sys.argv[3] == "forks":
    if os.fork() == 0:
        ledger.paces.add(key, Sums(1, 100, 5))
        sys.exit()
    os.wait()
    sys.exit()
ledger.paces.exchange()
ledger.paces.add(key, Sums(1, 100, 7))
print("awake", flush=True)
sys.stdin.read()
"""


def spent(apart, url, way, *, durability="committed", number=None):
    """What is known of a worker's spend after its end."""
    with apart.start(WORKER, url, durability, way) as worker:
        if number is not None:
            assert worker.stdout.readline() == "awake\n"
            os.kill(worker.pid, number)
        worker.communicate()
    with SqlLedger(url) as ledger:
        ledger.paces.follow(KEY, Sums())
        ledger.paces.exchange()
        return ledger.paces.sums(KEY).spent


def test_a_worker_that_exits_tells_what_it_spent_last(url, apart):
    assert spent(apart, url, "exits") == 80


def test_a_killed_worker_has_told_all_but_the_last_of_it(url, apart):
    assert spent(apart, url, "waits", number=signal.SIGKILL) == 80


def test_a_worker_that_is_terminated_tells_the_rest_before_it_goes(url, apart):
    assert spent(apart, url, "waits", durability="queued", number=signal.SIGTERM) == 87


def test_a_child_does_not_tell_again_what_its_parent_tells(tmp_path, apart):
    assert spent(apart, f"sqlite:///{tmp_path / 'spend.db'}", "forks") == 85


# --- upkeep


def test_upkeep_that_hangs_holds_nobody_up_and_is_not_begun_twice():
    begun, release = [], threading.Event()

    def hang():
        begun.append(threading.current_thread().name)
        release.wait()

    upkeep = Upkeep(hang, every_seconds=1e-6)
    started = time.monotonic()
    for _ in range(20):
        upkeep.look()
    assert time.monotonic() - started < 1
    assert begun == ["budget-router upkeep"]
    release.set()


def test_upkeep_is_done_when_it_is_due_and_waited_for():
    done = []
    upkeep = Upkeep(lambda: done.append(1), every_seconds=1e-6)
    upkeep.look()
    upkeep.look()
    assert len(done) == 2
    never = Upkeep(lambda: done.append(2), every_seconds=3600)
    never.look()
    assert 2 not in done
