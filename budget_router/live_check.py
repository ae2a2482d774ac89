"""Look at what was rolled out while it serves, and take it back if it is bad.

A canary is compared with the policy beside it, on tasks that a draw has parted between them. A policy that decides all tasks has
nobody beside it: for its first days it is compared with the one before it, on the tasks that came before. That is a weaker
comparison, since the tasks may have changed meanwhile; so it takes a clear loss to undo a promotion, and the policy that it goes
back to is not watched again.
"""

import logging
import math
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import count
from typing import Literal, NamedTuple

import numpy as np

from budget_router.budget import Budget
from budget_router.errors import InvalidInput
from budget_router.evaluation import Estimate
from budget_router.evaluation.live import CONFIDENCE, Live, LiveComparison, compared, means
from budget_router.grading import AGAIN
from budget_router.ledger import Ledger
from budget_router.menu import Menu
from budget_router.policies.cold_start import ColdStart
from budget_router.rollout import Rollout, actives
from budget_router.words import NonNegative, Positive, Probability, Word

_log = logging.getLogger("budget_router")

GRACE_SECONDS = 10.0
"""After a change, until when all workers have heard of it: they ask every two seconds."""

Stage = Literal["none", "canary", "watch"]
Finding = Literal["nothing", "undecided", "bad", "good"]


class Limits(Word):
    """From where on what is live is bad, and from where on a canary is good; every bound holds at all looks together."""

    max_loss: Probability = 0.0
    """Accuracy that may be lost: bad is a gain whose upper bound lies below its negative."""
    min_gain: float = 0.0
    """Good is a gain whose lower bound is not below it; negative where a policy may be a little worse."""
    max_spend: Positive = 1.10
    """In budgets, or in what the policy beside or before it spends where that is more: bad is a spend whose lower bound lies
    above it, and good only one whose upper bound does not."""
    confidence: Probability = CONFIDENCE
    """Of each interval: half of the rest is the risk of taking back what is no worse, over all looks."""
    watch_days: NonNegative = 7.0
    """How long after its promotion a policy that decides all is watched."""
    grace_seconds: NonNegative = GRACE_SECONDS


@dataclass(frozen=True)
class LiveVerdict:
    """What a look found, and what was done about it."""

    stage: Stage
    version: str | None
    """That is on trial: the canary, or the active policy in its first days."""
    rival: str | None
    """Version beside or before it."""
    share: float
    since: datetime | None
    """First moment of what was looked at."""
    comparison: LiveComparison | None
    finding: Finding
    told: str
    """Why, with the figures."""
    action: Literal["", "rolled back", "completed"] = ""

    def __str__(self) -> str:
        done = f"{self.action}: " if self.action else ""
        return f"{done}{self.told}"

    def facts(self) -> dict[str, object]:
        """The verdict for JSON, which knows no NaN."""
        comparison = self.comparison
        return {
            "stage": self.stage,
            "version": self.version,
            "rival": self.rival,
            "share": self.share,
            "since": self.since and self.since.isoformat(),
            "finding": self.finding,
            "told": self.told,
            "action": self.action,
            "n_version": comparison and comparison.n_canary,
            "n_rival": comparison and comparison.n_rest,
            "gain": comparison and _known(comparison.gain),
            "spend": comparison and _known(comparison.spend),
            "spend_of_rival": comparison and _known(comparison.spend_of_rest),
            "doubt": comparison and comparison.doubt,
        }


def check_rollout(
    ledger: Ledger, *, menu: Menu, budget: Budget, limits: Limits | None = None, undo: bool = True, complete: bool = False
) -> LiveVerdict:
    """Look at a canary, or at a policy in its first days, and roll back what is bad; to be called every few minutes.

    It may be called as often as one likes: a canary that is no worse is taken back with a probability of at most
    `(1 - confidence) / 2` for its accuracy and as much for its spend, over all looks together.

    Args:
        ledger: its decisions are read since the rollout, and its registry changed.
        menu: of the policies.
        budget: that spend is held against; one with a group counts that group's decisions alone.
        limits: from where on it is bad or good.
        undo: take back what is bad, with the figures as the reason; else only tell.
        complete: promote a canary that is good to decide all tasks.
    """
    limits = limits or Limits()
    history = ledger.registry.rollouts(menu.hash)
    stands = history[-1] if history else Rollout(menu_hash=menu.hash)
    verdict = _look(ledger, history, stands, menu=menu, budget=budget, limits=limits)
    if verdict.finding == "bad" and undo:
        return _undone(ledger, stands, verdict)
    if verdict.finding == "good" and complete and verdict.stage == "canary" and verdict.version is not None:
        after = ledger.registry.promote(verdict.version, reason=f"good as a canary: {verdict.told}", after=stands)
        if after.active == verdict.version:
            _log.warning("policy %s decides all tasks now: %s", verdict.version, verdict.told)
            return _with(verdict, "completed")
    return verdict


def _undone(ledger: Ledger, stands: Rollout, verdict: LiveVerdict) -> LiveVerdict:
    reason = f"rolled back: {verdict.told}"
    version = str(verdict.version)
    if verdict.stage == "canary":
        try:
            is_gone = ledger.registry.withdraw(version, reason=reason).canary is None
        except InvalidInput:  # somebody has just let it decide all
            is_gone = False
    else:
        is_gone = stands.active != ledger.registry.promote(str(verdict.rival), reason=reason, after=stands).active
    if not is_gone:
        return verdict
    _log.error("policy %s was taken back, %s decides: %s", version, verdict.rival, verdict.told)
    return _with(verdict, "rolled back")


def _with(verdict: LiveVerdict, action: Literal["rolled back", "completed"]) -> LiveVerdict:
    return LiveVerdict(**{**vars(verdict), "action": action})


def _look(ledger: Ledger, history: list[Rollout], stands: Rollout, *, menu: Menu, budget: Budget, limits: Limits) -> LiveVerdict:
    if stands.canary is not None:
        since, rival = _began(history) + timedelta(seconds=limits.grace_seconds), stands.active or ColdStart.version
        rows = list(_rows(ledger, menu, budget, {stands.canary, rival}, since=since))
        comparison = compared(_live(rows, stands.canary), share=stands.share, confidence=limits.confidence)
        trial = _Trial("canary", stands.canary, rival, stands.share, since)
        return _judged(trial, comparison, budget=budget, limits=limits)
    served = actives(history)
    if stands.active is None or len(served) < 2 or stands.active in served[:-1]:
        told = "no canary, and no promotion that there is a way back from"
        return LiveVerdict("none", stands.active, None, 0.0, None, None, "nothing", told)
    began, watch = _began(history), timedelta(days=limits.watch_days)
    since = began + timedelta(seconds=limits.grace_seconds)
    now = list(_rows(ledger, menu, budget, {stands.active}, since=since, until=began + watch))
    before = list(_rows(ledger, menu, budget, {served[-2]}, since=began - watch, until=began))
    comparison = _with_before(now, before, limits.confidence)
    trial = _Trial("watch", stands.active, served[-2], 1.0, since)
    return _judged(trial, comparison, budget=budget, limits=limits)


def _began(history: list[Rollout]) -> datetime:
    """Since when the same decide the same shares."""
    began = history[-1].began_at
    for one in reversed(history):
        if one.arms != history[-1].arms:
            break
        began = one.began_at
    return began


class _Trial(NamedTuple):
    """Who is held against whom, since when."""

    stage: Stage
    version: str
    rival: str
    share: float
    since: datetime


@dataclass
class _Row:
    version: str
    cluster: str
    score: float
    cost: float


def _rows(
    ledger: Ledger, menu: Menu, budget: Budget, versions: set[str], *, since: datetime, until: datetime | None = None
) -> Iterator[_Row]:
    """Decisions of policies, with what their second looks cost; capped ones too, as how often a cap is met is their doing."""
    rows: dict[str, _Row] = {}
    for act in ledger.acts(since=since, until=until):
        one = act.evidence
        score = math.nan if one.score is None else one.score
        first = rows.get(one.decision_id.removesuffix(AGAIN))
        if one.reason == "reconsidered":
            if first is not None:
                first.cost += one.spend.in_unit(budget.unit)
                first.score = first.score if one.score is None else one.score
        elif (
            one.reason != "forced"
            and act.policy_version in versions
            and one.menu.hash == menu.hash
            and (budget.group is None or one.group == budget.group)
        ):
            cluster = one.thread_id or act.run_id or one.decision_id
            rows[one.decision_id] = _Row(act.policy_version, cluster, score, one.spend.in_unit(budget.unit))
    yield from rows.values()


def _live(rows: list[_Row], canary: str) -> Live:
    numbers: dict[str, int] = {}
    fresh = count()
    for row in rows:
        if row.cluster not in numbers:
            numbers[row.cluster] = next(fresh)
    return Live(
        is_canary=np.array([row.version == canary for row in rows], dtype=np.bool_),
        score=np.array([row.score for row in rows], dtype=np.float64),
        cost=np.array([row.cost for row in rows], dtype=np.float64),
        cluster=np.array([numbers[row.cluster] for row in rows], dtype=np.intp),
    )


def _with_before(now: list[_Row], before: list[_Row], confidence: float) -> LiveComparison:
    """Compare two times; each interval of accuracy takes half of the risk."""
    halved = 1 - (1 - confidence) / 2
    scores, spends = [], []
    for rows in (now, before):
        live = _live(rows, "")
        graded, billed = ~np.isnan(live.score), ~np.isnan(live.cost)
        scores.append(means(live.score[graded], live.cluster[graded], confidence=halved))
        spends.append(means(live.cost[billed], live.cluster[billed], confidence=confidence))
    (ours, theirs), (spend, spend_before) = scores, spends
    gain = Estimate(ours.value - theirs.value, ours.low - theirs.high, ours.high - theirs.low)
    doubt = (
        "" if math.isfinite(gain.low) else "too few graded threads or tasks before or since the promotion: wait, or grade more"
    )
    return LiveComparison(len(now), len(before), gain, spend, spend_before, doubt)


def _judged(trial: _Trial, comparison: LiveComparison, *, budget: Budget, limits: Limits) -> LiveVerdict:
    gain, spend, unit = comparison.gain, comparison.spend, budget.unit.replace("_", " ")
    theirs = comparison.spend_of_rest.value
    allowed = limits.max_spend * max(budget.per_task, theirs if math.isfinite(theirs) else 0.0)
    accuracy = comparison.doubt or f"gain {100 * gain.value:+.1f} points [{100 * gain.low:+.1f}, {100 * gain.high:+.1f}]"
    spent = f"spend {spend.value:.4g} {unit} [{spend.low:.4g}, {spend.high:.4g}], at most {allowed:.4g}"
    finding: Finding = "undecided"
    if spend.low > allowed or (not comparison.doubt and gain.high < -limits.max_loss):
        finding = "bad"
    elif not comparison.doubt and gain.low >= limits.min_gain and spend.high <= allowed:
        finding = "good"
    seen = f"{comparison.n_canary:,} and {comparison.n_rest:,} decisions"
    told = f"{trial.version} against {trial.rival}: {accuracy} · {spent} · {seen}"
    return LiveVerdict(*trial, comparison, finding, told)


def _known(estimate: Estimate) -> list[float | None]:
    return [number if math.isfinite(number) else None for number in estimate]
