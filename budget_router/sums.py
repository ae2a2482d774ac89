"""What a past of decisions comes to, and what it leaves to the next one.

What was spent over the budget so far is worked off over the next decisions, and the policy's own table of spend by price turns
that into a price: a re-solve at every decision (Jasin and Kumar 2012, Mathematics of OR 37(2)), and a step of lazy dual mirror
descent whose mirror map is the table (Balseiro, Lu and Mirrokni 2023, Operations Research 71(1)). Where the table is off, because
traffic or tariffs have moved, the recent ratio between spend and table corrects it: the integral term of a dual controller
(Balseiro et al. 2022, arXiv 2202.06152).
"""

from typing import NamedTuple

MAX_CATCH_UP = 1.5
"""Multiple of the budget that an unspent past may be spent at; without it a quiet night would end in a dear morning."""
MAX_EXCESS = 0.05
"""Share of all budgets so far by which spend may be ahead of them before the price allows nothing but the cheapest."""
FIRST_DECISIONS = 200
"""Decisions that the excess is measured against while there have been fewer: one dear answer may come first."""

HORIZONS_UNSEEN = 3.0
"""Horizon of what all share, as a multiple of the decisions that others make unseen: with a delay τ a loop swings below e · τ."""

_PRIOR_TASKS = 50
"""Average tasks that the table counts as right on, before it is found wrong."""
_MAX_DRIFT = 30.0
"""Factor by which spend may be held to be off the table, either way."""


class Sums(NamedTuple):
    """What a past comes to, as sums: what happens next is another past, put behind it by `then`.

    So what one worker did is added to what others did meanwhile, whoever tells of it first.
    """

    n_tasks: float = 0.0
    allowed: float = 0.0
    """Budgets of all tasks."""
    spent: float = 0.0
    """What settled decisions billed, and what pending ones are expected to."""
    billed: float = 0.0
    """Bills of settled decisions, older ones forgotten."""
    expected: float = 0.0
    """Cost that was expected of the same decisions, forgotten alike."""
    chosen: float = 0.0
    """Expected cost of the chosen strategies, older ones forgotten."""
    promised: float = 0.0
    """Mean spend that the policy's table promised for the same decisions, forgotten alike."""
    bills_kept: float = 1.0
    """Weight that is left of the bills of whatever came before."""
    choices_kept: float = 1.0
    """Weight that is left of the choices of whatever came before."""

    @classmethod
    def trusting(cls, per_task: float) -> "Sums":
        """A beginning at which the policy's table is held to be right."""
        prior = _PRIOR_TASKS * per_task
        return cls(billed=prior, expected=prior, chosen=prior, promised=prior)

    def then(self, later: "Sums") -> "Sums":
        """This past, and what came after it."""
        bills, choices = later.bills_kept, later.choices_kept
        return Sums(
            self.n_tasks + later.n_tasks,
            self.allowed + later.allowed,
            self.spent + later.spent,
            self.billed * bills + later.billed,
            self.expected * bills + later.expected,
            self.chosen * choices + later.chosen,
            self.promised * choices + later.promised,
            self.bills_kept * bills,
            self.choices_kept * choices,
        )

    @property
    def totals(self) -> "Sums":
        """The same without what it tells of the table."""
        return Sums(self.n_tasks, self.allowed, self.spent)

    @property
    def bill_drift(self) -> float:
        """What is billed per unit of expected cost: tariffs and lengths of answers have moved where it is not 1."""
        return _ratio(self.billed, self.expected)

    @property
    def drift(self) -> float:
        """What is billed per unit of promised spend: traffic has moved as well."""
        return _ratio(self.bill_drift * self.chosen, self.promised)

    @property
    def most_ahead(self) -> float:
        """Budgets by which spend may be ahead."""
        return MAX_EXCESS * max(self.n_tasks, FIRST_DECISIONS)

    def excess(self, share: float) -> float:
        """Spend beyond `share` of what was allowed."""
        return self.spent - share * self.allowed


class Standing(NamedTuple):
    """What one worker knows of a past that it may share with others."""

    all: Sums
    """Of everybody, as far as it was heard of."""
    mine: Sums
    """What this worker did itself, since it began."""
    untold: Sums
    """What it did since it last heard of the others."""
    n_unseen: float
    """Tasks that others decide on from one hearing to the next."""

    def target(self, per_task: float, *, horizon: float, share: float = 1.0) -> float:
        """Mean spend to ask of the policy's table, so that the average ends at `share` of the budgets.

        The excess, `spent - share · allowed`, is worked off over `horizon` decisions. Its limit is `MAX_EXCESS` of the budgets of
        n decisions, at least `FIRST_DECISIONS`: from half way there the spend falls faster, to nothing at the limit. If decisions
        then cost no more than the budget, the excess never passes its limit by more than the dearest decision.

        What has been told is steered by more gently, by all, the more of their decisions are unseen: a loop swings that answers
        before it can see what it did. What nobody else knows yet is this worker's to work off at once. And where the news is too
        old for all to brake by together, each brakes by its own past.
        """
        per_task *= share
        lag = HORIZONS_UNSEEN * self.n_unseen
        recent = self.untold.excess(share)
        spend = per_task - recent / horizon - (self.all.excess(share) - recent) / max(horizon, lag)
        braking = self.all if lag <= 2 * self.all.most_ahead else self.mine
        excess, limit = braking.excess(share), braking.most_ahead * per_task
        if excess > 0:
            spend = min(spend, 2 * per_task * (1 - excess / limit)) if limit > 0 else 0.0
        return min(max(spend, 0.0), MAX_CATCH_UP * per_task) / self.all.drift


def _ratio(part: float, whole: float) -> float:
    return min(max(part / whole, 1 / _MAX_DRIFT), _MAX_DRIFT) if whole > 0 else 1.0
