"""The words of a ledger's report: its verdict, its four figures, what is missing, and how it was made."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from math import isfinite

import numpy as np

from budget_router.budget import Unit
from budget_router.evaluation import Estimate
from budget_router.ledger import Ledger
from budget_router.menu import Menu
from budget_router.placing import Placed
from budget_router.records import PolicyRecord
from budget_router.reporting import traffic
from budget_router.reporting.served import Served
from budget_router.reports import ComparisonResult, GateResult, GateRow, Report
from budget_router.reports.findings import comparison_finding
from budget_router.reports.theme import per_cent, plain

ONE_GROUP = "All decisions draw on one budget. To tell teams, routes or agents apart, name them: Task(text, group='support')."
NO_POLICY = (
    "No learned policy serves this menu. budget-router refresh learns one from this ledger and keeps it as a candidate; "
    "budget-router promote lets it serve."
)


@dataclass(frozen=True)
class Told:
    """A ledger as it was read."""

    served: Served
    unit: Unit
    menu: Menu
    window: tuple[datetime | None, datetime | None]
    seed: int
    command: str | None
    per_task: float | None
    """Mean budget of the decisions; `None` where none is known in this unit."""

    @property
    def unit_name(self) -> str:
        """The unit in words."""
        return "USD" if self.unit == "usd" else self.unit.replace("_", " ")

    @property
    def unit_per_task(self) -> str:
        """As in FrontierResult."""
        return f"{self.unit_name} per task"


def nothing(sentence: str) -> Report:
    """The page of a ledger that tells nothing yet."""
    return Report(title="budget-router report", verdict=sentence, figures=())


def title(told: Told) -> str:
    """What the page is about."""
    first, last = (str(moment)[:10] for moment in told.served.decided_at[[0, -1]])
    return f"budget-router report · {first if first == last else f'{first} to {last}'}"


def unplaced(reason: str) -> str:
    """Why no policy can be placed, and what else needs the same."""
    return f"Not drawn yet: {reason}. Where tasks of each difficulty went, regret, and what the policy goes by need the same."


def no_stream(told: Told) -> str:
    """Why spend is not held against a budget."""
    if told.per_task is None:
        return f"No decision of the window was made under a budget in {told.unit_name}: name one, --budget 800:{told.unit}."
    return "No spend is known in this unit: give the price of the models that were called, Tariffs({'model': Tariff(...)})."


def head(
    told: Told, placed: Placed | None, version: str | None, comparison: ComparisonResult | None
) -> tuple[str, tuple[tuple[str, str, str], ...]]:
    """The verdict and the four figures."""
    served = told.served
    score = served.numbers("score")
    n_graded = int((~np.isnan(score)).sum())
    accuracy = traffic.graded(served)
    spend = served.numbers("spend")
    known = spend[~np.isnan(spend)]
    share = traffic.budget_share(served)
    spent = "an unknown amount"
    if len(known):
        of = "" if told.per_task is None else f" of {plain(told.per_task)}"
        spent = f"{plain(float(known.mean()))}{of} {told.unit_per_task}"
    told_accuracy = f" and answered {_interval(accuracy)} of what was graded right" if n_graded else ", and none is graded yet"
    if comparison is not None:
        verdict = comparison_finding(comparison)
    else:
        verdict = f"{len(served):,} decisions spent {spent}{told_accuracy}{_standing(placed, version)}."
    closed = placed.gap_closed if placed is not None else float("nan")
    return verdict, (
        ("Accuracy as graded", f"{per_cent(accuracy.value, 1)} %" if n_graded else "–", _graded(n_graded, len(served), accuracy)),
        ("Gain over the best static mix", *_gain(placed)),
        ("Spend of budget", f"{per_cent(share, 1)} %" if isfinite(share) else "–", _total(known, told)),
        (
            "Oracle gap closed",
            f"{per_cent(closed)} %" if isfinite(closed) else "–",
            "of the way from the mix to the oracle in hindsight" if isfinite(closed) else "not known yet",
        ),
    )


def _graded(n_graded: int, n: int, accuracy: Estimate) -> str:
    interval = f"{_bracket(accuracy)}, " if isfinite(accuracy.low) else ""
    return f"{interval}{per_cent(n_graded / n)} % of decisions graded"


def _total(known: "np.ndarray[tuple[int, ...], np.dtype[np.float64]]", told: Told) -> str:
    if not len(known):
        return f"no spend is known in {told.unit_name}"
    unpriced = f", and {told.served.n_unpriced:,} of unknown price" if told.served.n_unpriced else ""
    return f"{plain(float(known.sum()))} {told.unit_name} in all{unpriced}"


def _standing(placed: Placed | None, version: str | None) -> str:
    if placed is None:
        return "; what a policy would gain is not known yet"
    who = "the policy that it could teach" if version is None else f"policy {version}"
    gain = placed.gain
    if gain is None or not gain.is_conclusive or not placed.accuracy.is_conclusive:
        return f"; too little was logged to say what {who} gains"
    if gain.low <= 0 <= gain.high:
        apart = f"{100 * gain.value:+.1f} points {_points(gain.interval)}"
        return f": {who} is not yet clearly apart from the best static mix at the same spend, {apart}"
    side = "above" if gain.value > 0 else "below"
    return f": {who} is {100 * abs(gain.value):.1f} points {_points(gain.interval)} {side} the best static mix at the same spend"


def _gain(placed: Placed | None) -> tuple[str, str]:
    gain = None if placed is None else placed.gain
    if gain is None or not gain.is_conclusive:
        return "–", "too little is known yet"
    return f"{100 * gain.value:+.1f} points", f"{_points(gain.interval)}, doubly robust"


def _interval(estimate: Estimate) -> str:
    return f"{per_cent(estimate.value, 1)} %{f' {_bracket(estimate)}' if isfinite(estimate.low) else ''}"


def _bracket(estimate: Estimate) -> str:
    return f"[{per_cent(estimate.low, 1)}, {per_cent(estimate.high, 1)}]"


def _points(estimate: Estimate) -> str:
    return f"[{100 * estimate.low:+.1f}, {100 * estimate.high:+.1f}]"


def gate(record: PolicyRecord, *, is_active: bool) -> GateResult:
    """What the gate said of a candidate, as it was saved with it."""
    serves = f"Policy {record.version} {'serves now' if is_active else 'does not serve'}"
    verdict = record.evidence.get("verdict")
    if not isinstance(verdict, Mapping):
        return GateResult(
            record.version, f"{serves}. It was saved without a verdict: budget-router refresh holds its candidates to one.", ()
        )
    conditions = verdict.get("conditions", ())
    rows = (
        tuple(_condition(one) for one in conditions if isinstance(one, Mapping)) if isinstance(conditions, list | tuple) else ()
    )
    n_met = sum(row.is_met for row in rows)
    return GateResult(record.version, f"{serves}. {n_met} of {len(rows)} conditions were met when it was learned.", rows)


def _condition(one: Mapping[str, object]) -> GateRow:
    found, limit = (_number(one.get(name)) for name in ("found", "limit"))
    name = str(one.get("name", "")).replace("_", " ")
    return GateRow(name, found, limit, bool(one.get("is_met")), str(one.get("sentence", "")))


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) else None


def spenders(ledger: Ledger, told: Told) -> tuple[tuple[str, str, str, float, str], ...]:
    """The dearest decisions, with what they were about."""
    found = []
    for decision_id in told.served.dearest:
        entry = ledger.decision(decision_id)
        decision, settlement, outcome = entry.decision, entry.settlement, entry.outcome
        text = "(its text is not kept)" if entry.task_text is None else entry.task_text
        spend = settlement.spend.in_unit(told.unit) if settlement is not None else float("nan")
        grade = "not graded" if outcome is None else f"graded {outcome.score:.3g}"
        found.append((text, decision.group or "", decision.strategy.name, spend, grade))
    return tuple(found)


def provenance(told: Told, placed: Placed | None, version: str | None, *, versions: str) -> tuple[tuple[str, str], ...]:
    """How to make the page again."""
    served = told.served
    first, last = (str(moment)[:19].replace("T", " ") for moment in served.decided_at[[0, -1]])
    sampled = ""
    if served.share_judged < 1:
        sampled = f"; policies are judged on {len(served.judged):,} of them, {per_cent(served.share_judged, 2)} % of the tasks"
    facts = [
        ("command", told.command or "budget_router.report(ledger)"),
        ("data", f"{len(served):,} settled decisions, {first} to {last} UTC, sha256 {served.digest}{sampled}"),
        ("budget", "not known" if told.per_task is None else f"{told.per_task:g} {told.unit_per_task}, mean of the decisions"),
        ("menu", f"{told.menu.hash}: {', '.join(told.menu.names)}"),
        ("policy", version or "none serves: what could be learned from this log is judged"),
        ("judged", placed.judged.how if placed is not None else "not yet"),
        ("intervals", "95 %: accuracy as graded clustered by task, policies doubly robust with a t bound"),
        ("seed", str(told.seed)),
        ("versions", versions),
    ]
    return tuple(facts)
