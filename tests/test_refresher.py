"""A ledger is watched, and learned from when there is a reason to; whatever goes wrong, the watch goes on."""

import json
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import pytest
from world import MENU, serve, tasks

from budget_router import Budget, BudgetRouter, MemoryLedger, Menu, SingleShot
from budget_router.errors import InvalidInput, LedgerUnavailable, NotEnoughEvidence
from budget_router.records import now
from budget_router.refresher import MAX_WAIT, Refresher
from budget_router.testing import example_policy, example_solve
from budget_router.triggers import Every, EveryOutcomes, Look, OnDrift
from budget_router_cli.watching import span, watch

BUDGET = Budget(per_task=110, unit="completion_tokens")
MINUTE = timedelta(minutes=1)


@dataclass
class ScriptedVerdict:
    is_passed: bool = True

    def __str__(self):
        return "promoted: it gains" if self.is_passed else "kept: it gains too little"


@dataclass
class ScriptedRefresh:
    ledger: MemoryLedger
    version: str
    verdict: ScriptedVerdict

    def promote(self, *, share):
        self.ledger.registry.promote(self.version, share=share)


@dataclass
class ScriptedLearner:
    """Learns nothing: saves a candidate and records a solve, as a refresh does, and holds the same lease."""

    passes: bool = True
    error: Exception | None = None
    asked: list = field(default_factory=list)
    clock: Callable[[], datetime] = now

    def __call__(self, ledger, *, menu, budget, gate, since):
        with ledger.leases.hold(f"refresh {menu.hash}"):
            self.asked.append((menu.hash, budget, gate, since))
            if self.error is not None:
                raise self.error
            version = f"p{len(self.asked)}"
            ledger.registry.save(example_policy(version, menu_hash=menu.hash))
            ledger.record_solve(example_solve(version, menu_hash=menu.hash, policy_version=version, solved_at=self.clock()))
            return ScriptedRefresh(ledger, version, ScriptedVerdict(self.passes))


class Clock:
    """The time, some of it ahead."""

    def __init__(self):
        self.ahead = timedelta()

    def __call__(self):
        return now() + self.ahead


@pytest.fixture
def ledger():
    return MemoryLedger()


def decide(ledger, n_tasks, *, seed=1, grade=True):
    serve(
        BudgetRouter(MENU, BUDGET, ledger=ledger, seed=seed, reload_seconds=3600),
        tasks(n_tasks, seed=seed),
        seed=seed,
        grade=grade,
    )


def refresher(ledger, *triggers, learn=None, **settings):
    settings = {"menu": MENU, "budget": BUDGET, **settings}
    return Refresher(ledger, triggers=triggers, learn=learn or ScriptedLearner(), **settings)


# --- triggers


def test_it_learns_every_so_many_grades_and_counts_anew_from_there(ledger):
    watch = refresher(ledger, EveryOutcomes(10))
    decide(ledger, 9)
    assert watch.tick().done == "nothing"
    decide(ledger, 1, seed=2)
    tick = watch.tick()
    assert (tick.done, tick.reasons) == ("promoted", ("10 new outcomes",))
    assert ledger.registry.active_version(MENU.hash) == "p1"
    decide(ledger, 9, seed=3)
    assert watch.tick().done == "nothing"
    decide(ledger, 5, seed=4, grade=False)
    assert watch.tick().done == "nothing"
    decide(ledger, 1, seed=5)
    assert watch.tick().done == "promoted"


def test_it_learns_every_so_often_whoever_learned_last(ledger):
    clock = Clock()
    one, other = (refresher(ledger, Every(30 * MINUTE), clock=clock) for _ in range(2))
    other._learn = one._learn
    assert one.tick().reasons == ("nothing was learned yet",)
    clock.ahead = 29 * MINUTE
    assert other.tick().done == "nothing"
    clock.ahead = 31 * MINUTE
    assert other.tick().reasons[0].startswith("0:31:0")
    assert one.tick(now()).done == "nothing"


def test_it_learns_on_drift_and_looks_for_it_neither_often_nor_without_new_grades(ledger, monkeypatch):
    looks = []

    def scripted(ledger, *, menu, unit, since, limits):
        looks.append((menu.hash, unit))
        assert now() - since < timedelta(days=7, minutes=5)
        if len(looks) == 1:
            raise NotEnoughEvidence("no policy serves")

        class Found:
            is_drifting = len(looks) == 3
            says = "characters: 40 % of the tasks have moved."

        return Found

    monkeypatch.setattr("budget_router.triggers.drift", scripted)
    trigger = OnDrift(outcomes=20, every=timedelta(hours=1))
    decide(ledger, 20)
    at = now()

    def reason(hours):
        return trigger.reason(Look(ledger, menu=MENU, unit="completion_tokens", now=at + timedelta(hours=hours)))

    assert [reason(hours) for hours in (0, 0.9, 1, 1.5)] == ["", "", "", ""]
    assert reason(2) == "characters: 40 % of the tasks have moved."
    assert looks == [(MENU.hash, "completion_tokens")] * 3
    ScriptedLearner()(ledger, menu=MENU, budget=BUDGET, gate=None, since=None)
    assert reason(4) == ""
    assert len(looks) == 3


def test_any_trigger_is_enough_and_all_reasons_are_told(ledger):
    decide(ledger, 5)
    assert refresher(ledger, EveryOutcomes(50), EveryOutcomes(5), Every(MINUTE)).tick().reasons == (
        "5 new outcomes",
        "nothing was learned yet",
    )


def test_by_hand_it_learns_without_a_reason_and_says_what_is_wrong(ledger):
    learn = ScriptedLearner()
    watch = refresher(ledger, learn=learn, window=timedelta(days=30), clock=now)
    assert watch.refresh_now().done == "promoted"
    (_, _, gate, since) = learn.asked[0]
    assert gate == watch.gate
    assert timedelta(days=29) < now() - since < timedelta(days=31)
    learn.error = NotEnoughEvidence("too little")
    with pytest.raises(NotEnoughEvidence):
        watch.refresh_now()


def test_settings_that_mean_nothing_are_refused(ledger):
    for wrong in (lambda: EveryOutcomes(0), lambda: Every(timedelta(0)), lambda: refresher(ledger, tick_seconds=0)):
        with pytest.raises(InvalidInput):
            wrong()


# --- what comes of it


def test_what_the_gate_does_not_pass_is_kept_and_does_not_serve(ledger):
    tick = refresher(ledger, Every(MINUTE), learn=ScriptedLearner(passes=False)).tick()
    assert tick.done == "kept"
    assert tick.says == "p1 (nothing was learned yet) kept: it gains too little"
    assert ledger.registry.active_version(MENU.hash) is None
    assert ledger.registry.versions(MENU.hash) == ["p1"]


def test_that_somebody_else_learns_is_no_news(ledger, caplog):
    watch = refresher(ledger, Every(MINUTE))
    with ledger.leases.hold(f"refresh {MENU.hash}", holder="another"), caplog.at_level(logging.INFO, "budget_router"):
        tick = watch.tick()
    assert (tick.done, tick.is_news) == ("held", False)
    assert "being done by another" in tick.says
    assert caplog.records == []
    assert watch.tick().done == "promoted"


def test_after_a_failure_it_waits_longer_each_time_and_tries_again(ledger, caplog):
    clock, learn = Clock(), ScriptedLearner(error=LedgerUnavailable("away"))
    watch = refresher(ledger, Every(MINUTE), learn=learn, clock=clock, tick_seconds=30)
    for pause in (30, 60, 120):
        assert watch.tick().done == "failed"
        clock.ahead += timedelta(seconds=pause - 5)
        assert watch.tick().done == "nothing"
        clock.ahead += timedelta(seconds=5)
    for _ in range(20):
        watch.tick()
        clock.ahead += MAX_WAIT
    assert len(learn.asked) == 23
    learn.error = ZeroDivisionError("a bug")
    assert watch.tick().says.startswith("failed (nothing was learned yet) ZeroDivisionError: a bug")
    learn.error = None
    clock.ahead += MAX_WAIT
    assert watch.tick().done == "promoted"
    assert "tried again in 30 s" in caplog.records[0].message


def test_without_a_menu_it_follows_that_of_the_latest_decision(ledger):
    learn = ScriptedLearner()
    watch = refresher(ledger, Every(MINUTE), learn=learn, menu=None)
    assert watch.tick().done == "nothing"
    decide(ledger, 1)
    assert watch.tick().done == "promoted"
    other = Menu([SingleShot(typical_completion_tokens=7)])
    BudgetRouter(other, BUDGET, ledger=ledger).decide(tasks(1, seed=9)[0])
    assert watch.tick().done == "promoted"
    assert [menu for menu, *_ in learn.asked] == [MENU.hash, other.hash]


def test_checks_are_called_at_each_tick_and_none_keeps_the_others_from_it(ledger, caplog):
    def broken():
        raise OSError("gone")

    tick = refresher(ledger, checks=[broken, lambda: None, lambda: False, lambda: "rolled back p7"]).tick()
    assert (tick.done, tick.told, tick.is_news) == ("nothing", ("rolled back p7",), True)
    assert tick.says == "rolled back p7"
    assert "a check failed" in caplog.records[0].message


def test_what_passes_begins_as_a_canary_where_something_serves(ledger):
    watch = refresher(ledger, EveryOutcomes(10), share=0.2)
    decide(ledger, 10)
    assert watch.tick().done == "promoted"
    assert ledger.registry.rollout(MENU.hash).arms == ("p1", None, 0.0)
    decide(ledger, 10, seed=2)
    assert watch.tick().done == "promoted"
    assert ledger.registry.rollout(MENU.hash).arms == ("p1", "p2", 0.2)
    decide(ledger, 10, seed=3)
    assert watch.tick().done == "nothing"


# --- watching


class Wait(threading.Event):
    """Waits for no time, and is set after some waits."""

    def __init__(self, clock, n_waits):
        super().__init__()
        self.clock, self.left = clock, n_waits

    def wait(self, timeout=None):
        self.clock.ahead += timedelta(seconds=timeout)
        self.left -= 1
        if not self.left:
            self.set()
        return self.is_set()


def test_a_watch_tells_what_is_news_until_it_is_stopped(ledger):
    clock, told = Clock(), []
    watch = refresher(ledger, Every(MINUTE), learn=ScriptedLearner(clock=clock), clock=clock, tick_seconds=20)
    watch.run(Wait(clock, 10), tell=told.append)
    assert [tick.done for tick in told] == ["promoted"] * 4
    assert [round((tick.at - told[0].at).total_seconds()) for tick in told] == [0, 60, 120, 180]


def test_in_the_background_it_learns_while_others_decide_and_stops_at_once(ledger):
    learning, go_on = threading.Event(), threading.Event()

    class Slow(ScriptedLearner):
        def __call__(self, ledger, **given):
            learning.set()
            assert go_on.wait(30)
            return super().__call__(ledger, **given)

    watch = refresher(ledger, Every(MINUTE), learn=Slow())
    with watch.start():
        assert watch.start() is watch
        assert learning.wait(30)
        decide(ledger, 20)
        assert sum(thread.name == "budget-router refresher" for thread in threading.enumerate()) == 1
        go_on.set()
        thread = watch._thread
    thread.join(30)
    assert not thread.is_alive()
    assert ledger.registry.active_version(MENU.hash) == "p1"
    idle = refresher(ledger, EveryOutcomes(10_000)).start()
    idle.stop()
    assert not idle._thread.is_alive()
    idle.stop()


@pytest.mark.skipif(sys.platform == "win32", reason="fork is POSIX")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork.*:DeprecationWarning")
def test_a_forked_process_has_no_thread_until_it_starts_one(ledger):
    watch = refresher(ledger, EveryOutcomes(10_000)).start()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            is_alone = not watch._thread.is_alive()
            watch.stop()
            code = 0 if is_alone and watch.start()._thread.is_alive() else 2
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert watch._thread.is_alive()
    watch.stop()


# --- from the command line


def told_by(ledger, capsys, *, n_ticks, signalled=signal.SIGTERM, **settings):
    """Let the command watch until the signal comes; the lines that it prints."""
    left = [n_ticks]

    def stop():
        left[0] -= 1
        if left[0] < 0:
            signal.raise_signal(signalled)

    handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    watch(ledger, budget=BUDGET, checks=[stop], tick_seconds=1e-3, **settings)
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == handlers
    return capsys.readouterr().out.splitlines()


def test_the_command_prints_a_line_for_what_it_did_and_ends_on_a_signal(ledger, capsys):
    decide(ledger, 3)
    (line,) = told_by(ledger, capsys, n_ticks=3, every="30m", learn=ScriptedLearner(passes=False))
    assert line.endswith("p1 (nothing was learned yet) kept: it gains too little")
    assert told_by(ledger, capsys, n_ticks=2, signalled=signal.SIGINT, outcomes=4, on_drift=True, learn=ScriptedLearner()) == []


def test_the_command_breaks_off_a_refresh_and_gives_the_lease_back(ledger, capsys):
    def interrupted(ledger, *, menu, **_):
        with ledger.leases.hold(f"refresh {menu.hash}"):
            signal.raise_signal(signal.SIGINT)

    decide(ledger, 1)
    assert told_by(ledger, capsys, n_ticks=5, every="1d", learn=interrupted) == []
    (tenure,) = ledger.leases.history(f"refresh {MENU.hash}")
    assert tenure.ended_at is not None


def test_the_command_tells_machines_in_json_lines(ledger, capsys):
    decide(ledger, 3)
    learn = ScriptedLearner(error=NotEnoughEvidence("too little"))
    (line,) = told_by(ledger, capsys, n_ticks=1, every="30m", learn=learn, as_json=True)
    told = json.loads(line)
    assert (told["done"], told["reasons"], told["error"]) == (
        "failed",
        ["nothing was learned yet"],
        "NotEnoughEvidence: too little",
    )


@pytest.mark.parametrize("text", ["", "m", "30", "-5m", "nanm", "5w", "1e999d"])
def test_a_span_that_is_none_is_refused(text):
    with pytest.raises(InvalidInput, match="no span of time"):
        span(text)
    assert span("1.5h") == timedelta(minutes=90)
