"""Every error this package raises on purpose, in one family.

    BudgetRouterError
    ├── InvalidInput (ValueError)          a value at the border is out of range
    │   ├── InvalidTable                   accuracies or costs that cannot be solved
    │   ├── InvalidTask                    a task that cannot be read, stored or counted
    │   └── Unbounded                      under a hard cap, what may cost nobody knows how much
    ├── InfeasibleBudget (ValueError)      no assignment of strategies fits the budget
    │   └── ClashingBudgets                several budgets that no mixture of strategies fits at once
    ├── UnknownTariff (LookupError)        a model whose price nobody told us
    ├── UnknownDecision (LookupError)      an id that stands in no ledger
    ├── LeaseHeld (RuntimeError)           somebody else is at work on it
    ├── LeaseLost (RuntimeError)           somebody else has taken the work over
    ├── NoAnswer (RuntimeError)            every sample of a decision failed
    ├── CapReached (RuntimeError)          what a hard cap has left does not suffice
    ├── ArtifactError (ValueError)         a saved policy that must not be served
    ├── NotEnoughEvidence (ValueError)     a log too thin to learn from
    └── LedgerError (RuntimeError)         the book of decisions cannot be used
        ├── ForeignLedger                  a database that is not ours
        ├── NewerLedger                    a database written by a newer version
        ├── OlderLedger                    a shared database that nobody has migrated to this version
        └── LedgerUnavailable              the database did not answer

Each message says what was found, the limit, and the mend.
"""

from collections.abc import Mapping
from datetime import datetime


class BudgetRouterError(Exception):
    """Root of everything this package raises on purpose."""


class InvalidInput(BudgetRouterError, ValueError):
    """A value at the border is out of range."""


class InvalidTable(InvalidInput):
    """Accuracies or costs that cannot be solved: wrong shape, NaN, out of range."""


class InvalidTask(InvalidInput):
    """A task that cannot be read, stored or counted."""


class Unbounded(InvalidInput):
    """A strategy or a call under a hard cap whose most cannot be told before it is made."""


class InfeasibleBudget(BudgetRouterError, ValueError):
    """No assignment of strategies fits the budget."""


class ClashingBudgets(InfeasibleBudget):
    """Several budgets that no mixture of strategies fits at once, with the proof."""

    def __init__(self, message: str, *, certificate: Mapping[str, float], mend: Mapping[str, float]) -> None:
        """Keep what proves it and what mends it, by the limit's name.

        Args:
            message: found, limit and mend.
            certificate: what a unit of each cost is worth, ≥ 0, such that the budgets together are worth at most 1 and even the
                cheapest strategy of every task costs more (Farkas' lemma).
            mend: budgets that would do, the least raise in all.
        """
        super().__init__(message)
        self.certificate, self.mend = dict(certificate), dict(mend)


class UnknownTariff(BudgetRouterError, LookupError):
    """A model whose price nobody told us; never billed as free."""


class UnknownDecision(BudgetRouterError, LookupError):
    """A decision id that stands in no ledger."""


class LeaseHeld(BudgetRouterError, RuntimeError):
    """Somebody else is at work on what only one may do at a time."""

    def __init__(self, message: str, *, holder: str, since: datetime, until: datetime) -> None:
        """Keep the facts.

        Args:
            message: found, limit and mend.
            holder: who holds it.
            since: when it was taken, by the ledger's clock.
            until: when it runs out unless it is renewed.
        """
        super().__init__(message)
        self.holder, self.since, self.until = holder, since, until


class LeaseLost(BudgetRouterError, RuntimeError):
    """Somebody else has taken the work over; what was worked out must not be written."""


class NoAnswer(BudgetRouterError, RuntimeError):
    """Every sample of a decision failed."""


class CapReached(BudgetRouterError, RuntimeError):
    """What a hard cap has left does not suffice; nothing was paid."""

    def __init__(self, message: str, *, asked: int = 0, left: int = 0, free_at: datetime | None = None) -> None:
        """Keep the facts.

        Args:
            message: found, limit and mend.
            asked: the most that was to be spent, in whole tokens or nano-USD.
            left: what the cap has left, in the same; below zero where a provider billed beyond all bounds.
            free_at: when some of it comes free at the latest; `None` when nothing is going to by itself.
        """
        super().__init__(message)
        self.asked, self.left, self.free_at = asked, left, free_at


class ArtifactError(BudgetRouterError, ValueError):
    """A saved policy that is corrupt, foreign, too large, or made for another menu."""


class NotEnoughEvidence(BudgetRouterError, ValueError):
    """A log too thin to learn from."""


class LedgerError(BudgetRouterError, RuntimeError):
    """The book of decisions cannot be used."""


class ForeignLedger(LedgerError):
    """A database that is not a ledger of ours."""


class NewerLedger(LedgerError):
    """A database written by a newer version of this package."""


class OlderLedger(LedgerError):
    """A shared database that nobody has migrated to this version."""


class LedgerUnavailable(LedgerError):
    """The database did not answer."""
