"""A candidate is tried in silence and with a share of the tasks, and taken back when it is bad."""

import json
import logging
import math
from datetime import timedelta

import numpy as np
import pytest
from typer.testing import CliRunner
from world import MENU, serve, tasks

from budget_router import Budget, BudgetRouter, Limits, MemoryLedger, Task, check_rollout, rollback, shadow, shadowed
from budget_router.errors import NotEnoughEvidence
from budget_router.evaluation import Live, compared
from budget_router.outcomes import OutcomeTable
from budget_router.policies import ValuePolicy
from budget_router.policies.artifact import policy_from, record_of
from budget_router.records import Outcome, PolicyRecord, Settlement, Spend, now
from budget_router.refresher import CHECK_EVERY, Refresher
from budget_router.testing import MENU as EXAMPLE_MENU
from budget_router.testing import NOON, TASK, example_decision, example_policy
from budget_router.triggers import EveryOutcomes
from budget_router_cli.app import app
from budget_router_sql import SqlLedger

BUDGET = Budget(per_task=110, unit="completion_tokens")
SHARE = 0.3
AT_ONCE = Limits(grace_seconds=0)


@pytest.fixture(scope="module")
def taught():
    """Two policies that were learned from one log."""
    router = BudgetRouter(MENU, BUDGET, seed=1)
    serve(router, tasks(50, seed=1), seed=1)
    table = OutcomeTable.from_evidence(router.ledger.evidence(), MENU, unit=BUDGET.unit)
    return [record_of(ValuePolicy().fit(table, rng=np.random.default_rng(seed)), evidence={}) for seed in (0, 1)]


@pytest.fixture
def ledger(taught):
    book = MemoryLedger()
    for policy in taught:
        book.registry.save(policy)
    book.registry.promote(taught[0].version)
    return book


def router_of(book, **options):
    return BudgetRouter(MENU, BUDGET, ledger=book, seed=2, share_seconds=None, **options)


# --- a canary


def test_a_canary_decides_its_share_of_the_threads(ledger, taught):
    canary = taught[1].version
    ledger.registry.promote(canary, share=SHARE)
    router, n_threads = router_of(ledger), 200
    decided = [router.decide(TASK, thread_id=f"thread {number}").policy_version for number in range(n_threads)]
    assert set(decided) == {one.version for one in taught}
    error = math.sqrt(SHARE * (1 - SHARE) / n_threads)
    assert abs(decided.count(canary) / n_threads - SHARE) < 4 * error


def test_a_thread_keeps_its_policy_in_every_worker_and_as_the_share_grows(ledger, taught):
    canary = taught[1].version
    ledger.registry.promote(canary, share=SHARE)
    one, other = (BudgetRouter(MENU, BUDGET, ledger=ledger, seed=seed, reload_seconds=0) for seed in (3, 4))
    threads = [f"thread {number}" for number in range(40)]
    first = [one.decide(TASK, thread_id=name, run_id="run 1").policy_version for name in threads]
    assert len(set(first)) == 2
    assert [other.decide(TASK, thread_id=name, run_id="run 2").policy_version for name in threads] == first
    ledger.registry.promote(canary, share=2 * SHARE)
    later = [one.decide(TASK, thread_id=name).policy_version for name in threads]
    assert all(after == canary for before, after in zip(first, later, strict=True) if before == canary)


def test_what_is_recorded_is_the_mixture_of_both_policies(ledger, taught):
    ledger.registry.promote(taught[1].version, share=SHARE)
    router = router_of(ledger)
    expected = np.zeros(len(MENU))
    for share, record in zip((1 - SHARE, SHARE), taught, strict=True):
        policy = policy_from(record, MENU, unit=BUDGET.unit)
        target = router._averages.of(None).target()
        expected += share * policy.choose(policy.predict([TASK]), target, floor=router.exploration).probabilities[0]
    decision = router.decide(TASK)
    assert list(decision.propensities.values()) == pytest.approx(expected, abs=1e-12)


def test_strategies_are_drawn_as_often_as_is_recorded(ledger, taught):
    ledger.registry.promote(taught[1].version, share=SHARE)
    router = router_of(ledger)
    decisions = [router.decide(task) for task in tasks(200, seed=5)]
    for name in MENU.names:
        chance = np.array([decision.propensities[name] for decision in decisions])
        found = sum(decision.strategy.name == name for decision in decisions)
        assert abs(found - chance.sum()) <= 4 * math.sqrt((chance * (1 - chance)).sum())


def test_each_policy_is_paced_by_its_own_table_and_all_spend_by_one_budget(ledger, taught):
    ledger.registry.promote(taught[1].version, share=0.5)
    router = router_of(ledger)
    _, spends = serve(router, tasks(150, seed=6), seed=6, grade=False)
    error = spends.std() / math.sqrt(len(spends))
    assert abs(spends.mean() - BUDGET.per_task) < 4 * error
    assert router._averages.of(None).sums.n_tasks == pytest.approx(150)


def test_a_decision_made_again_is_the_one_that_stands(ledger, taught):
    ledger.registry.promote(taught[1].version, share=0.5)
    router = router_of(ledger)
    for number in range(10):
        first = router.decide(TASK, decision_id=f"d{number}")
        assert router.decide(TASK, decision_id=f"d{number}") == first


def test_routers_hear_of_a_canary_and_of_its_end(ledger, taught):
    router = router_of(ledger, reload_seconds=0)
    seen = []
    for change in (
        lambda: ledger.registry.promote(taught[1].version, share=0.9),
        lambda: rollback(ledger, menu=MENU),
    ):
        change()
        seen.append({router.decide(TASK).policy_version for _ in range(20)})
    assert seen == [{one.version for one in taught}, {taught[0].version}]


def test_a_canary_that_cannot_be_read_leaves_the_active_policy_all_tasks(ledger, taught, caplog):
    ledger.registry.save(PolicyRecord(version="bad", menu_hash=MENU.hash, manifest="{}", arrays=b""))
    ledger.registry.promote("bad", share=0.9)
    router = router_of(ledger, reload_seconds=0)
    assert {router.decide(TASK).policy_version for _ in range(10)} == {taught[0].version}
    assert caplog.text.count("bad does not") == 1


# --- a shadow


def test_a_shadow_is_recorded_and_never_executed(ledger, taught):
    shadow(ledger, taught[1].version, menu=MENU)
    decisions, _ = serve(router_of(ledger), tasks(60, seed=7), seed=7)
    policy = policy_from(taught[1], MENU, unit=BUDGET.unit)
    for decision, task in zip(decisions, tasks(60, seed=7), strict=True):
        assert decision.policy_version == taught[0].version
        expected = policy.choose(policy.predict([task]), BUDGET.per_task, floor=0.005).probabilities[0]
        assert list(decision.shadow.propensities.values()) == pytest.approx(expected)
    assert ledger.decision(decisions[0].id).decision.shadow == decisions[0].shadow
    shadow(ledger, None, menu=MENU)
    assert router_of(ledger).decide(TASK).shadow is None


def test_a_shadow_that_breaks_stops_and_disturbs_no_decision(ledger, taught, caplog):
    shadow(ledger, taught[1].version, menu=MENU)
    router = router_of(ledger)

    class Broken:
        version = "broken"

        def predict(self, tasks):
            raise ZeroDivisionError

    router._serving._serves = router._serving._serves._replace(shadow=Broken())
    decided = [router.decide(TASK) for _ in range(3)]
    assert [decision.shadow for decision in decided] == [None] * 3
    assert caplog.text.count("broken fails on a task") == 1


def test_what_a_shadow_would_have_come_to_is_told_from_the_log_alone(tmp_path, taught):
    with SqlLedger(f"sqlite:///{tmp_path}/spend.db", store_text="none") as book:
        for policy in taught:
            book.registry.save(policy)
        with pytest.raises(NotEnoughEvidence, match="no policy decides in silence"):
            shadowed(book, menu=MENU, budget=BUDGET)
        shadow(book, taught[0].version, menu=MENU)  # beside the cold start, which tries everything
        serve(router_of(book), tasks(200, seed=8), seed=8)
        result = shadowed(book, menu=MENU, budget=BUDGET)
    assert (result.version, result.n_decisions) == (taught[0].version, 200)
    assert 0.2 < result.differs < 1
    replayed = MemoryLedger()
    replayed.registry.save(taught[0])
    replayed.registry.promote(taught[0].version)
    _, spends = serve(BudgetRouter(MENU, BUDGET, ledger=replayed, seed=9), tasks(200, seed=8), seed=9)
    truth = np.mean([entry.outcome.score for entry in replayed.read()])
    for estimate, value, scatter in (
        (result.accuracy, truth, 0.5),
        (result.accuracy_ips, truth, 0.5),
        (result.spend, spends.mean(), spends.std()),
    ):
        error = math.hypot(estimate.standard_error, scatter / math.sqrt(200))
        assert abs(estimate.value - value) < 4 * error
    assert result.gain.value > 0
    assert sum(theirs for _, _, theirs in result.shares) == pytest.approx(1)


# --- the live check


def arrivals(rng, n_tasks, *, share, gain, accuracy=0.7, clusters=None):
    cluster = np.arange(n_tasks) if clusters is None else rng.integers(0, clusters, n_tasks)
    is_canary = (rng.random(n_tasks) < share)[cluster]
    score = (rng.random(n_tasks) < accuracy + gain * is_canary).astype(float)
    return Live(is_canary, score, rng.gamma(2.0, 50.0, n_tasks), cluster)


def looks(live, share):
    """Upper bounds of the gain at every look."""
    ends = np.unique(np.geomspace(100, len(live.score), 10).astype(int))
    return np.array([compared(Live(*(column[:end] for column in live)), share=share).gain.high for end in ends])


def test_an_equal_canary_is_seldom_taken_back_however_often_one_looks():
    n_streams, risk = 60, 0.025
    rng = np.random.default_rng(10)
    bad = sum((looks(arrivals(rng, 2000, share=0.1, gain=0.0), 0.1) < 0).any() for _ in range(n_streams))
    assert bad <= n_streams * risk + 4 * math.sqrt(n_streams * risk * (1 - risk))


def test_an_equal_canary_that_has_not_failed_yet_is_not_called_good():
    n_streams, risk = 60, 0.025
    rng = np.random.default_rng(14)
    lows = [compared(arrivals(rng, 1000, share=0.05, gain=0.0, accuracy=0.95), share=0.05).gain.low for _ in range(n_streams)]
    assert sum(low > 0 for low in lows) <= n_streams * risk + 4 * math.sqrt(n_streams * risk * (1 - risk))


def test_a_worse_canary_is_taken_back_while_it_decides_little():
    rng = np.random.default_rng(11)
    found = [(looks(arrivals(rng, 3000, share=0.1, gain=-0.2), 0.1) < 0).any() for _ in range(10)]
    assert sum(found) >= 9


def test_the_gain_is_unbiased_and_threads_count_as_one():
    rng = np.random.default_rng(12)
    alone = [compared(arrivals(rng, 2000, share=0.3, gain=-0.1), share=0.3).gain for _ in range(60)]
    values = np.array([one.value for one in alone])
    assert abs(values.mean() + 0.1) < 4 * values.std() / math.sqrt(60)
    live = arrivals(rng, 500, share=0.3, gain=0.0)
    repeated = Live(*(np.repeat(column, 4) for column in live))
    narrow, same = compared(live, share=0.3).gain, compared(repeated, share=0.3).gain
    assert same.high - same.low == pytest.approx(narrow.high - narrow.low, rel=0.05)


def test_workers_that_do_not_serve_the_canary_are_found_out():
    live = arrivals(np.random.default_rng(13), 2000, share=0.3, gain=0.0)
    told = compared(live, share=0.5)
    assert "its share is 50.0 %" in told.doubt
    assert math.isnan(told.gain.low)


def staged(*versions):
    book = MemoryLedger()
    for version in versions:
        book.registry.save(example_policy(version))
    return book


def decided(book, version, n_tasks, *, accuracy, spend=800, minutes=0.0, began=None, seed=0):
    """Decisions of a policy, each settled and graded."""
    rng, began = np.random.default_rng(seed), began or NOON
    for number in range(n_tasks):
        name = f"{version}-{minutes}-{number}"
        moment = began + timedelta(seconds=number)
        decision = example_decision(name, policy_version=version, decided_at=moment, thread_id=None, run_id=None, task_id=name)
        book.record_decision(decision, Task("?"), EXAMPLE_MENU)
        tokens = int(rng.normal(spend, 50))
        book.record_settlement(Settlement(decision_id=name, spend=Spend(prompt_tokens=tokens, n_calls=1)))
        book.record_outcome(Outcome(decision_id=name, score=float(rng.random() < accuracy), graded_at=moment))


def canary_book(*, accuracy, spend=800):
    book = staged("a", "b")
    book.registry.promote("a")
    began = book.registry.promote("b", share=0.5).began_at
    decided(book, "a", 400, accuracy=0.7, began=began, seed=1)
    decided(book, "b", 400, accuracy=accuracy, spend=spend, began=began, seed=2)
    return book


AVERAGE = Budget(per_task=800)


@pytest.mark.parametrize(("accuracy", "spend", "why"), [(0.4, 800, "gain -"), (0.7, 1000, "at most 8")])
def test_a_bad_canary_is_rolled_back_with_its_figures(caplog, accuracy, spend, why):
    book = canary_book(accuracy=accuracy, spend=spend)
    with caplog.at_level(logging.ERROR, "budget_router"):
        verdict = check_rollout(book, menu=EXAMPLE_MENU, budget=AVERAGE, limits=AT_ONCE)
    assert (verdict.stage, verdict.finding, verdict.action) == ("canary", "bad", "rolled back")
    stands = book.registry.rollout(EXAMPLE_MENU.hash)
    assert stands.arms == ("a", None, 0.0)
    assert why in stands.reason
    assert "policy b was taken back" in caplog.text
    assert check_rollout(book, menu=EXAMPLE_MENU, budget=AVERAGE, limits=AT_ONCE).finding == "nothing"


def test_a_good_canary_is_completed_only_if_asked_and_an_equal_one_goes_on():
    book = canary_book(accuracy=0.95)
    look = {"menu": EXAMPLE_MENU, "budget": AVERAGE, "limits": AT_ONCE}
    assert check_rollout(book, **look).finding == "good"
    assert book.registry.rollout(EXAMPLE_MENU.hash).canary == "b"
    assert check_rollout(book, **look, complete=True).action == "completed"
    assert book.registry.rollout(EXAMPLE_MENU.hash).arms == ("b", None, 0.0)
    equal = canary_book(accuracy=0.7)
    assert check_rollout(equal, **look, complete=True).finding == "undecided"


def watching(book, **settings):
    def learn(ledger, *, menu, **_):
        raise AssertionError("nothing is learned while a canary is out")

    settings = {"menu": EXAMPLE_MENU, "budget": AVERAGE, "limits": AT_ONCE, "triggers": [EveryOutcomes(1)], **settings}
    return Refresher(book, learn=learn, **settings)


def test_a_refresher_takes_a_bad_canary_back():
    book = canary_book(accuracy=0.4)
    tick = watching(book, triggers=[]).tick()
    assert tick.says.startswith("rolled back: ")
    assert book.registry.rollout(EXAMPLE_MENU.hash).arms == ("a", None, 0.0)


def test_a_refresher_learns_nothing_while_a_canary_is_out_and_looks_at_it_every_few_minutes():
    book = canary_book(accuracy=0.7)
    watch = watching(book, share=0.5)
    assert [watch.tick(now()).done for _ in range(2)] == ["nothing", "nothing"]
    began = book.registry.rollout(EXAMPLE_MENU.hash).began_at
    for seed, (version, accuracy) in enumerate({"a": 0.7, "b": 1.0}.items(), start=3):
        decided(book, version, 400, accuracy=accuracy, began=began, seed=seed, minutes=1.0)
    assert not watch.tick(now()).told
    tick = watch.tick(now() + CHECK_EVERY)
    assert tick.told[0].startswith("completed: ")
    assert book.registry.active_version(EXAMPLE_MENU.hash) == "b"


def test_looking_changes_nothing():
    book = canary_book(accuracy=0.4)
    verdict = check_rollout(book, menu=EXAMPLE_MENU, budget=AVERAGE, limits=AT_ONCE, undo=False)
    assert (verdict.finding, verdict.action) == ("bad", "")
    assert book.registry.rollout(EXAMPLE_MENU.hash).canary == "b"
    assert json.loads(json.dumps(verdict.facts(), allow_nan=False))["gain"][2] < 0


def test_a_promotion_that_loses_clearly_is_undone_once_and_no_further():
    book = staged("z", "a", "b")
    book.registry.promote("z")
    first = book.registry.promote("a").began_at
    decided(book, "a", 300, accuracy=0.8, began=first - timedelta(hours=1), seed=3)
    promoted = book.registry.promote("b").began_at
    decided(book, "b", 300, accuracy=0.4, began=promoted, seed=4)
    verdict = check_rollout(book, menu=EXAMPLE_MENU, budget=AVERAGE, limits=AT_ONCE)
    assert (verdict.stage, verdict.rival, verdict.action) == ("watch", "a", "rolled back")
    assert book.registry.active_version(EXAMPLE_MENU.hash) == "a"
    assert check_rollout(book, menu=EXAMPLE_MENU, budget=AVERAGE, limits=AT_ONCE).stage == "none"


def test_before_anything_was_rolled_out_there_is_nothing_to_look_at():
    assert check_rollout(MemoryLedger(), menu=EXAMPLE_MENU, budget=AVERAGE).finding == "nothing"


# --- the command line


def test_the_commands_try_a_candidate_and_take_it_back(tmp_path, taught):
    url = f"sqlite:///{tmp_path}/spend.db"
    with SqlLedger(url) as book:
        for policy in taught:
            book.registry.save(policy)
        book.registry.promote(taught[0].version)
        book.registry.shadow(taught[1].version)
        serve(router_of(book), tasks(40, seed=14), seed=14)

    def typed(*words, code=0):
        done = CliRunner().invoke(app, [*words, "--ledger", url])
        assert done.exit_code == code, done.output
        return done.stdout

    version = taught[1].version
    assert json.loads(typed("shadow", "status", "--json"))["n_decisions"] == 40
    assert f"{version} watched 40 decisions" in typed("shadow", "status")
    assert typed("shadow", "off") == "nobody decides in silence; routers pick it up within seconds\n"
    assert typed("promote", version, "--share", "0.2").startswith(f"{version} serves 20 % of the tasks")
    assert f"{version} against {taught[0].version}" in typed("rollout", "--budget", "110:completion_tokens")
    assert json.loads(typed("rollout", "--budget", "110:completion_tokens", "--json"))["finding"] == "undecided"
    assert typed("rollback").startswith(taught[0].version)
