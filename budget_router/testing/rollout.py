"""What every ledger promises of rollouts: each state stands until the next, and what a shadow would have done is kept."""

# ruff: noqa: S101, D103  # an exam asserts, and its names are its sentences

from functools import partial

from budget_router.errors import ArtifactError, InvalidInput
from budget_router.evidence import Act
from budget_router.ledger import Ledger
from budget_router.rollout import Rollout
from budget_router.testing.examples import (
    MENU,
    TASK,
    example_decision,
    example_outcome,
    example_policy,
    example_settlement,
    example_shadow,
    recorded,
)
from budget_router.testing.ledger import at_once, promise, refuses


@promise
def before_the_first_rollout_nobody_decides(ledger: Ledger) -> None:
    assert _stands(ledger) == (None, None, 0.0, None)
    assert ledger.registry.rollouts(MENU.hash) == []


@promise
def a_canary_decides_a_share_beside_the_active_policy_until_it_is_promoted(ledger: Ledger) -> None:
    _saved(ledger, "a", "b")
    registry = ledger.registry
    registry.promote("a")
    registry.promote("b", share=0.1, reason="try it")
    assert _stands(ledger) == ("a", "b", 0.1, None)
    registry.promote("b", share=0.5)
    assert _stands(ledger) == ("a", "b", 0.5, None)
    assert registry.active_version(MENU.hash) == "a"
    registry.promote("b")
    assert _stands(ledger) == ("b", None, 0.0, None)
    assert registry.promoted(MENU.hash) == ["a", "b"]
    told = registry.rollouts(MENU.hash)
    assert [(one.arms, one.reason) for one in told] == [
        (("a", None, 0.0), ""),
        (("a", "b", 0.1), "try it"),
        (("a", "b", 0.5), ""),
        (("b", None, 0.0), ""),
    ]
    assert registry.rollout(MENU.hash) == told[-1]
    assert [one.began_at for one in told] == sorted(one.began_at for one in told)


@promise
def a_canary_may_be_tried_before_anything_was_promoted(ledger: Ledger) -> None:
    _saved(ledger, "b")
    ledger.registry.promote("b", share=0.2)
    assert _stands(ledger) == (None, "b", 0.2, None)
    assert ledger.registry.withdraw("b", reason="worse") == ledger.registry.rollout(MENU.hash)
    assert _stands(ledger) == (None, None, 0.0, None)
    assert ledger.registry.rollout(MENU.hash).reason == "worse"


@promise
def a_shadow_outlives_promotions_of_others(ledger: Ledger) -> None:
    _saved(ledger, "a", "b", "c")
    registry = ledger.registry
    registry.shadow("c")
    registry.promote("a")
    registry.promote("b", share=0.5)
    assert _stands(ledger) == ("a", "b", 0.5, "c")
    registry.promote("c", share=0.5)
    assert _stands(ledger) == ("a", "c", 0.5, None)
    registry.shadow("b")
    registry.withdraw("b")
    assert _stands(ledger) == ("a", "c", 0.5, None)


@promise
def what_changes_nothing_leaves_no_trace(ledger: Ledger) -> None:
    _saved(ledger, "a", "b")
    registry = ledger.registry
    for _ in range(2):
        registry.promote("a")
    for _ in range(2):
        registry.promote("b", share=0.1)
    for _ in range(2):
        registry.withdraw("b")
    assert len(registry.rollouts(MENU.hash)) == 3


@promise
def what_was_judged_while_others_decided_changes_nothing(ledger: Ledger) -> None:
    _saved(ledger, "a", "b", "c")
    registry = ledger.registry
    registry.promote("a")
    judged = registry.promote("b", share=0.1)
    registry.shadow("c")
    assert registry.promote("b", after=judged).active == "b"
    assert registry.promote("a", after=judged).active == "b"


@promise
def no_rollout_makes_no_sense(ledger: Ledger) -> None:
    _saved(ledger, "a", "b")
    registry = ledger.registry
    registry.promote("a")
    for share in (0.0, -0.1, 1.5, float("nan")):
        refuses(partial(registry.promote, "b", share=share), InvalidInput)
    refuses(lambda: registry.promote("a", share=0.1), InvalidInput)
    refuses(lambda: registry.shadow("a"), InvalidInput)
    refuses(lambda: registry.withdraw("a"), InvalidInput)
    for change in (registry.shadow, registry.withdraw):
        refuses(partial(change, "nowhere"), ArtifactError)
    assert len(registry.rollouts(MENU.hash)) == 1


@promise
def threads_that_roll_out_at_once_do_so_one_after_the_other(ledger: Ledger) -> None:
    _saved(ledger, *(str(thread) for thread in range(8)))
    stood = at_once(lambda thread: ledger.registry.promote(str(thread)))
    told = ledger.registry.rollouts(MENU.hash)
    assert sorted(one.active or "" for one in told) == sorted(one.active or "" for one in stood)
    assert len(told) == 8


@promise
def what_a_shadow_would_have_done_is_read_back_beside_the_decision(ledger: Ledger) -> None:
    watched, plain = example_decision(shadow=example_shadow()), example_decision("d2", minutes=1)
    recorded(ledger, watched, plain)
    recorded(ledger, example_decision(shadow=example_shadow("another")))
    for name in ("d1", "d2"):
        ledger.record_settlement(example_settlement(name))
        ledger.record_outcome(example_outcome(name))
    read = list(ledger.read())
    assert [entry.decision for entry in read] == [watched, plain]
    assert ledger.record_decision(example_decision(), TASK, MENU) == watched
    assert [act.shadow for act in ledger.acts()] == [act.shadow for entry in read if (act := Act.of(entry))]
    assert [act.shadow is None for act in ledger.acts()] == [False, True]


def _saved(ledger: Ledger, *versions: str) -> None:
    for version in versions:
        ledger.registry.save(example_policy(version))


def _stands(ledger: Ledger) -> tuple[str | None, str | None, float, str | None]:
    one: Rollout = ledger.registry.rollout(MENU.hash)
    return *one.arms, one.shadow
