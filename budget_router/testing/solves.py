"""What every ledger promises of solves: each is kept once, and told by its menu."""

# ruff: noqa: S101, D103  # an exam asserts, and its names are its sentences

from budget_router.errors import ArtifactError
from budget_router.ledger import Ledger
from budget_router.testing.examples import MENU, NOON, example_policy, example_solve
from budget_router.testing.ledger import promise, refuses


@promise
def solves_of_a_menu_are_told_oldest_first(ledger: Ledger) -> None:
    late, early, same = example_solve("a", minutes=2), example_solve("b"), example_solve("0", until=NOON)
    for solve in (late, early, same, example_solve("c", menu_hash="another")):
        ledger.record_solve(solve)
    assert ledger.solves(MENU.hash) == [early, same, late]
    assert ledger.solves("unknown") == []


@promise
def a_solve_given_twice_is_kept_once_and_as_it_was_given_first(ledger: Ledger) -> None:
    ledger.record_solve(example_solve())
    ledger.record_solve(example_solve(shadow_price=7))
    assert ledger.solves(MENU.hash) == [example_solve()]


@promise
def a_solve_names_no_policy_that_was_never_saved(ledger: Ledger) -> None:
    learned = example_solve(policy_version="p1")
    refuses(lambda: ledger.record_solve(learned), ArtifactError)
    assert ledger.solves(MENU.hash) == []
    ledger.registry.save(example_policy("p1"))
    ledger.record_solve(learned)
    assert ledger.solves(MENU.hash) == [learned]
