"""A month of traffic through a router that learns from its own log: read README.md beside this file.

python examples/production_log/month.py --ledger sqlite:///month.db --per-day 100 --picture month.png
"""

import argparse
from collections import Counter
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

from sqlalchemy import make_url
from story import draw, headline
from world import BUDGET, MENUS, MODEL, World, spent

from budget_router import BudgetRouter, BudgetRouterError, Gate, Menu, Refresh, drift, refresh
from budget_router_sql import SqlLedger

N_DAYS = 28
WINDOW = timedelta(days=14)
"""What a policy is learned from."""
GATE = Gate(max_spend=1.05, max_spend_bound=1.15)
"""A thousand tasks tell what a policy will spend to a few per cent, and the pacer keeps the budget whatever that is."""
LATELY = timedelta(days=3)
"""What is looked at for drift."""
NEW_STRATEGY, HARDER, DEARER, STRATEGY_GONE = 10, 16, 19, 25
"""Days on whose morning the world, or the menu, changes."""
EXPLORATION = 0.05
"""Every strategy is tried on one task in twenty: so a week tells what a new one is worth, and candidates can be judged."""


@dataclass
class Day:
    """What the dashboard shows of one day."""

    number: int
    static_accuracy: float
    """Of the best mix of strategies at the budget that looks at no task, with today's odds and prices known."""
    is_learned: bool
    """Whether a learned policy serves, and not the cold start."""
    scores: list[float] = field(default_factory=list)
    spend: list[float] = field(default_factory=list)
    shadow_price: list[float] = field(default_factory=list)
    strategies: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True)
class Event:
    """What happened on a morning."""

    day: int
    kind: str
    """`world`, `menu`, `drift`, `promoted` or `kept`."""
    says: str


@dataclass
class Month:
    """All of it."""

    days: list[Day] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)


class Desk:
    """A service: it decides, answers, settles, hears grades late, and learns every week."""

    def __init__(self, ledger: SqlLedger, seed: int) -> None:
        self.ledger = ledger
        self.world = World(seed)
        self.month = Month()
        self.seed = seed
        self.ungraded: list[tuple[int, str, dict[str, float], str]] = []
        self.learned_on = 0
        self.youngest_since = self.world.now
        self.open(MENUS[0])

    def open(self, menu: Menu) -> None:
        """Serve with a menu: by the policy that its registry has, or without one at first."""
        self.menu = menu
        self.router = BudgetRouter(
            menu,
            BUDGET,
            ledger=self.ledger,
            tariffs=self.world.tariffs,
            model=MODEL,
            exploration=EXPLORATION,
            reload_seconds=3600,
            seed=self.seed,
            clock=lambda: self.world.now,
        )

    def serve(self, number: int, n_tasks: int) -> None:
        """One day, from morning to evening."""
        day = Day(number, self.world.static_accuracy(self.menu), self.router.policy.version != "cold-start")
        self.month.days.append(day)
        for task in self.world.tasks(n_tasks):
            decision = self.router.decide(task)
            result, bills = self.world.answered(task, decision.strategy)
            calls = [self.router.close_call(call) for call in self.world.calls(decision.id, bills)]
            spend = spent(calls)
            self.router.settle(decision, spend, result=result)
            scores = {draw.answer: float(draw.answer == "right") for draw in result.draws}
            self.ungraded.append((number + self.world.grade_comes_in(), decision.id, scores, result.answer))
            day.scores.append(scores[result.answer])
            day.spend.append(spend.in_unit("usd"))
            day.shadow_price.append(decision.shadow_price)
            day.strategies[decision.strategy.name] += 1
            self.world.passes(timedelta(days=1) / n_tasks)
        self.hear_grades(number)

    def hear_grades(self, number: int) -> None:
        """Record what somebody said today of today's answers, and of earlier ones."""
        due = [one for one in self.ungraded if one[0] <= number]
        self.ungraded = [one for one in self.ungraded if one[0] > number]
        for _, decision_id, scores, answer in due:
            self.router.grade(decision_id, score=scores[answer], answer_scores=scores, graded_at=self.world.now)

    def learn(self, day: int, why: str) -> None:
        """Learn from the last two weeks, and let the candidate serve if the gate lets it."""
        since, until = max(self.world.now - WINDOW, self.youngest_since), self.world.now
        try:
            result = refresh(self.ledger, menu=self.menu, budget=BUDGET, gate=GATE, since=since, until=until, seed=self.seed)
        except BudgetRouterError as error:
            self.note(day, "kept", f"{why}: {error}")
            return
        if result.verdict.is_passed:
            result.promote()
            self.router.reload()
        self.learned_on = day
        self.note(day, "promoted" if result.verdict.is_passed else "kept", f"{why}: {_told(result)}")

    def look_for_drift(self, day: int) -> bool:
        """Whether what the policy was learned from no longer holds."""
        try:
            found = drift(self.ledger, menu=self.menu, unit=BUDGET.unit, since=self.world.now - LATELY, until=self.world.now)
        except BudgetRouterError:  # no policy serves yet, or too little has come since
            return False
        if found.is_drifting:
            self.note(day, "drift", found.says)
        return found.is_drifting

    def note(self, day: int, kind: str, says: str) -> None:
        """Keep what happened, and say it."""
        self.month.events.append(Event(day, kind, says))
        print(f"day {day:2d}  {kind:8s}  {says}")


def _told(result: Refresh) -> str:
    return f"{result.version} from {result.n_decisions:,} decisions · {result.verdict}"


def live(ledger: SqlLedger, *, n_days: int, per_day: int, seed: int) -> Month:
    """Live through the month."""
    desk = Desk(ledger, seed)
    for day in range(1, n_days + 1):
        if day == HARDER:
            desk.world.grows_harder()
            desk.note(day, "world", "tasks grow harder")
        if day == DEARER:
            desk.world.grows_dearer()
            desk.note(day, "world", "tokens cost a quarter more")
        if day in {NEW_STRATEGY, STRATEGY_GONE}:
            before, after = MENUS[:2] if day == NEW_STRATEGY else MENUS[1:]
            (name,) = {*before.names} ^ {*after.names}
            desk.note(day, "menu", f"{'+' if name in after.names else '−'} {name}")
            desk.open(after)
            if name in after.names:  # it has to be tried first, and what is learned rests on days on which it could have been
                desk.youngest_since = desk.world.now
            else:  # the log knows all that is left
                desk.learn(day, "for the new menu")
        elif day % 7 == 1 and day > 1:
            desk.learn(day, "weekly")
        elif day - desk.learned_on >= 3 and desk.look_for_drift(day):
            desk.learn(day, "on drift")
        desk.serve(day, per_day)
    return desk.month


def main() -> None:
    given = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    given.add_argument(
        "--ledger", default="sqlite:///month.db", help="a new one; postgresql+psycopg://... after budget-router migrate"
    )
    given.add_argument("--per-day", type=int, default=150)
    given.add_argument("--days", type=int, default=N_DAYS)
    given.add_argument("--seed", type=int, default=0)
    given.add_argument("--picture", type=Path, default=Path("month.png"), help=".png or .svg")
    told = given.parse_args()
    with SqlLedger(told.ledger, durability="queued") as ledger:
        month = live(ledger, n_days=told.days, per_day=told.per_day, seed=told.seed)
    draw(month, told.picture, budget=BUDGET)
    spend = [bill for day in month.days for bill in day.spend]
    print(f"\n{headline(month)}")
    print(f"{len(spend):,} tasks cost {1e3 * sum(spend) / len(spend):.3f} of {1e3 * BUDGET.per_task:.3f} milli-USD on average")
    shown = make_url(told.ledger).render_as_string()  # without its password
    print(f"{told.picture} tells the story; budget-router policies --ledger {shown} lists what was learned")


if __name__ == "__main__":
    main()
