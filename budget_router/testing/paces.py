"""What every ledger promises of pacing: what was spent of an average is counted together, whoever spent it."""

# ruff: noqa: S101, D103  # an exam asserts, and its names are its sentences

from budget_router.ledger import Ledger
from budget_router.paces import Key
from budget_router.sums import Sums
from budget_router.testing.ledger import N_EACH, N_THREADS, at_once, promise

KEY = Key("support", "a policy")
BEGINNING = Sums.trusting(100)
TASK_DONE = Sums(1, 100, 80, billed=80, expected=40, bills_kept=0.5)


@promise
def a_past_begins_as_it_is_told(ledger: Ledger) -> None:
    ledger.paces.follow(KEY, BEGINNING)
    ledger.paces.exchange()
    assert ledger.paces.sums(KEY) == BEGINNING


@promise
def what_happens_counts_at_once_and_stays_when_it_is_told(ledger: Ledger) -> None:
    ledger.paces.follow(KEY, BEGINNING)
    ledger.paces.add(KEY, TASK_DONE)
    for _ in range(3):
        past = ledger.paces.sums(KEY)
        assert (past.n_tasks, past.allowed, past.spent) == (1, 100, 80)
        assert (past.billed, past.expected) == (2580, 2540)
        ledger.paces.exchange()


@promise
def what_was_spent_under_one_policy_counts_under_the_next(ledger: Ledger) -> None:
    other = KEY._replace(policy="another policy")
    ledger.paces.follow(KEY, BEGINNING)
    ledger.paces.add(KEY, TASK_DONE)
    ledger.paces.follow(other, BEGINNING)
    ledger.paces.add(other, Sums(1, 100, 50))
    for _ in range(2):
        assert [ledger.paces.sums(key).spent for key in (KEY, other)] == [130, 130]
        assert ledger.paces.sums(other).drift == 1 < ledger.paces.sums(KEY).drift
        ledger.paces.exchange()


@promise
def accounts_are_kept_apart(ledger: Ledger) -> None:
    other = KEY._replace(account="research")
    for key in (KEY, other):
        ledger.paces.follow(key, BEGINNING)
    ledger.paces.add(KEY, TASK_DONE)
    ledger.paces.exchange()
    assert ledger.paces.sums(other) == BEGINNING


@promise
def threads_that_spend_and_exchange_at_once_lose_nothing(ledger: Ledger) -> None:
    ledger.paces.follow(KEY, BEGINNING)

    def spend(_: int) -> None:
        for _ in range(N_EACH):
            ledger.paces.add(KEY, Sums(1, 100, 80))
            ledger.paces.exchange()

    at_once(spend)
    n_tasks = N_EACH * N_THREADS
    assert ledger.paces.sums(KEY)[:3] == (n_tasks, 100 * n_tasks, 80 * n_tasks)
