"""Make the report of a ledger: read it once, judge its policy, and tell what is known and what is missing."""

from dataclasses import dataclass
from datetime import datetime
from importlib.metadata import version as version_of

import numpy as np

from budget_router.budget import Budget
from budget_router.errors import ArtifactError, NotEnoughEvidence, UnknownDecision
from budget_router.evaluating import trained_until
from budget_router.ledger import Ledger
from budget_router.menu import Menu
from budget_router.outcomes import OutcomeTable
from budget_router.placing import Placed, judge
from budget_router.policies.artifact import policy_from
from budget_router.records import LoggedDecision, PolicyRecord
from budget_router.reporting import telling, traffic
from budget_router.reporting.comparing import Candidate, compare
from budget_router.reporting.served import Served
from budget_router.reports import ComparisonResult, Report
from budget_router.reports import page as pages


@dataclass(frozen=True)
class Saved:
    """A policy of the registry."""

    record: PolicyRecord
    candidate: Candidate
    is_active: bool


def report(
    ledger: Ledger,
    *,
    menu: Menu | None = None,
    budget: Budget | None = None,
    version: str | None = None,
    against: str | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
    seed: int = 0,
    command: str | None = None,
) -> Report:
    """Tell of a ledger what was served, what its policy is worth, and what is not known yet; `write_report` makes the page.

    What was served is counted over every settled decision of the window. Policies are judged on a sample of its tasks where these
    are many, always by decisions that they did not learn from: see `budget_router.reporting.judging`.

    Args:
        ledger: only read.
        menu: strategies that are judged; that of the latest decision when not given.
        budget: that the spend is held against; of each decision its own when not given.
        version: of the saved policy that is judged; the active one when not given, or what could be learned where there is none.
        against: another version, to be compared with.
        since: first moment of the window.
        until: end of the window.
        seed: of what is drawn by lot.
        command: that made it, to be told on the page.

    Raises:
        ArtifactError: a version was named that was never saved, or that cannot serve this menu and unit.
    """
    latest = _latest(ledger)
    if latest is None and (menu is None or budget is None):
        return telling.nothing("This ledger holds no decision yet: give it to a router, BudgetRouter(menu, budget, ledger=...).")
    menu = latest.menu if menu is None and latest is not None else menu
    unit = budget.unit if budget is not None else latest.decision.budget.unit if latest is not None else "tokens"
    acts = ledger.acts(since=since, until=until)
    served = Served.of(acts, unit, per_task=None if budget is None else budget.per_task)
    if not len(served) or menu is None:
        return telling.nothing("No decision of this window is settled yet: call router.settle, or widen the window.")
    told = telling.Told(
        served=served,
        unit=unit,
        menu=menu,
        window=(since, until),
        seed=seed,
        command=command,
        per_task=_mean_budget(served, budget),
    )
    saved = _saved(ledger, menu, told, version)
    other = None if against is None else _saved(ledger, menu, told, against)
    placed, reason = _placed(told, saved)
    comparison = None
    if saved is not None and other is not None:
        comparison = _compared(told, saved, other)
    return _page(ledger, told, saved, placed, reason=reason, comparison=comparison)


def _latest(ledger: Ledger) -> LoggedDecision | None:
    try:
        return ledger.latest()
    except UnknownDecision:
        return None


def _mean_budget(served: Served, budget: Budget | None) -> float | None:
    if budget is not None:
        return budget.per_task
    known = served.numbers("budget")
    known = known[~np.isnan(known)]
    return float(known.mean()) if len(known) else None


def _saved(ledger: Ledger, menu: Menu, told: telling.Told, version: str | None) -> Saved | None:
    """The policy of a version, or the active one; `None` where none serves or the active one cannot be read."""
    active = ledger.registry.active_version(menu.hash)
    wanted = active if version is None else version
    if wanted is None:
        return None
    record = ledger.registry.load(wanted)
    try:
        policy = policy_from(record, menu, unit=told.unit)
    except ArtifactError:
        if version is not None:
            raise
        return None
    return Saved(record, Candidate(policy, trained_until(record)), wanted == active)


def _placed(told: telling.Told, saved: Saved | None) -> tuple[Placed | None, str]:
    """Where the policy stands, or why that is not known."""
    if told.per_task is None:
        return None, f"no decision of the window was made under a budget in {told.unit}: name one, --budget 800:{told.unit}"
    try:
        table = OutcomeTable.from_evidence(told.served.evidence, told.menu, unit=told.unit)
        policy, learned_at = saved.candidate if saved is not None else (None, None)
        judged = judge(table, policy, learned_at=learned_at, budget=told.per_task, rng=np.random.default_rng(told.seed))
    except NotEnoughEvidence as error:
        return None, str(error)
    return Placed(judged, told.per_task, told.unit_per_task), ""


def _compared(told: telling.Told, saved: Saved, other: Saved) -> ComparisonResult | None:
    if told.per_task is None:
        return None
    try:
        table = OutcomeTable.from_evidence(told.served.evidence, told.menu, unit=told.unit)
    except NotEnoughEvidence:
        return None
    return compare(saved.candidate, other.candidate, table, budget=told.per_task, unit=told.unit_per_task)


def _page(
    ledger: Ledger,
    told: telling.Told,
    saved: Saved | None,
    placed: Placed | None,
    *,
    reason: str,
    comparison: ComparisonResult | None,
) -> Report:
    served, unit = told.served, told.unit_per_task
    rng = np.random.default_rng(told.seed)
    notes: list[tuple[str, str]] = []
    missing: list[tuple[str, str]] = []
    version = None if saved is None else saved.record.version
    by_hardness = None
    if placed is None:
        missing.append((pages.FRONTIER, telling.unplaced(reason)))
    else:
        notes.append((pages.FRONTIER, f"The policy is {placed.judged.how}."))
        found = traffic.by_hardness(placed.judged, served, told.menu, version)
        if found is not None:
            by_hardness, note = found
            notes.append((pages.ALLOCATION, note))
    frontier = None if placed is None else placed.frontier(traffic.as_served(served))
    if frontier is not None and not frontier.is_drawable:
        missing.append((pages.FRONTIER, telling.unplaced(placed.accuracy.reason if placed else "")))
        frontier = None
    by_group, calibration = traffic.by_group(served), traffic.calibration(served, unit=unit)
    if by_group is None:
        missing.append((pages.BY_GROUP, telling.ONE_GROUP))
    stream = traffic.stream(served, unit=unit)
    if stream is None:
        missing.append((pages.STREAM, telling.no_stream(told)))
    gate = None if saved is None else telling.gate(saved.record, is_active=saved.is_active)
    if gate is None:
        missing.append((pages.GATE, telling.NO_POLICY))
    verdict, figures = telling.head(told, placed, version, comparison)
    return Report(
        title=telling.title(told),
        verdict=verdict,
        figures=figures,
        frontier=frontier,
        comparison=comparison,
        allocation=by_hardness,
        by_group=by_group,
        stream=stream,
        calibration=calibration,
        regret=placed.regret() if placed is not None and frontier is not None else None,
        importance=placed.importance(rng) if placed is not None and frontier is not None else None,
        estimates=placed.estimates() if placed is not None else None,
        gate=gate,
        spending=traffic.spending(served, unit=told.unit_name),
        spenders=telling.spenders(ledger, told),
        provenance=telling.provenance(told, placed, version, versions=_versions()),
        notes=tuple(notes),
        missing=tuple(missing),
        unit=told.unit_name,
    )


def _versions() -> str:
    return ", ".join(f"{name} {version_of(name)}" for name in ("budget-router", "scikit-learn", "numpy"))
