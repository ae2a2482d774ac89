"""What has changed in a ledger since the policy that serves was learned."""

import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from budget_router.allocation import FloatArray, IntArray
from budget_router.budget import Unit
from budget_router.errors import ArtifactError, NotEnoughEvidence
from budget_router.evaluation import Revealed
from budget_router.evaluation.drift import (
    LIMITS,
    DriftLimits,
    Finding,
    Shown,
    accuracy_drift,
    concluded,
    cost_drift,
)
from budget_router.evaluation.inputs import category_moved, number_moved, told_apart
from budget_router.evidence import Evidence
from budget_router.features import STRUCTURE_NAMES, Featuriser
from budget_router.features.ranges import KINDS
from budget_router.features.texts import chosen_texts
from budget_router.frames import frame
from budget_router.ledger import Ledger
from budget_router.menu import Menu
from budget_router.outcomes import OutcomeTable
from budget_router.outcomes.rows import Rows
from budget_router.policies.artifact import policy_from
from budget_router.policies.learned import LearnedPolicy
from budget_router.reports.drift import draw_drift

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from pandas import DataFrame

MOST_DECISIONS = 20_000
"""Of either window that are looked at, drawn at random: a share of them is known to half a point."""
MOST_TEXTS = 2_000
"""Tasks of either window whose words a classifier is shown."""
LEAST_TASKS = 50
"""Of either window, below which nothing can be told."""
_MOST_FACTS = 30
"""Names of metadata that are looked at, those known of most tasks."""
_N_COUNTS = len(STRUCTURE_NAMES) - 2
"""Structural features that are kept as `log(1 + n)`."""

Moments = tuple[datetime | None, datetime | None]
"""First moment and end of a window; `None` is open."""


class Period(NamedTuple):
    """Decisions of `since <= decided_at < until`, and how much of them was looked at."""

    since: datetime | None
    until: datetime | None
    n_decisions: int
    n_tasks: int


@dataclass(frozen=True)
class Drift:
    """What has changed since a policy was learned."""

    policy_version: str | None
    """The policy whose window is the reference; `None` where a window was named."""
    reference: Period
    recent: Period
    findings: tuple[Finding, ...]
    """All that was looked at: what matters first, the surest first."""
    doubts: tuple[str, ...] = ()
    """What could not be judged: found, limit, mend."""

    @property
    def is_drifting(self) -> bool:
        """Whether any finding matters."""
        return any(finding.matters for finding in self.findings)

    @property
    def drifted(self) -> tuple[Finding, ...]:
        """The findings that matter."""
        return tuple(finding for finding in self.findings if finding.matters)

    @property
    def says(self) -> str:
        """The verdict in one sentence."""
        if not self.is_drifting:
            return f"No drift: of {len(self.findings)} figures none has changed surely and by enough to matter."
        more = len(self.drifted) - 1
        return self.drifted[0].says.removesuffix(".") + (
            f", and {more} more of {len(self.findings)} figures drift." if more else "."
        )

    def as_json(self) -> dict[str, Any]:  # Any: JSON
        """The same for machines; a figure that is not known is null."""
        return {
            "is_drifting": self.is_drifting,
            "says": self.says,
            **_plain(asdict(self)),
            "findings": [*map(_told, self.findings)],
        }

    def frame(self) -> "DataFrame":
        """One row per finding.

        Raises:
            ImportError: pandas is not installed.
        """
        rows = [{**asdict(one), **dict(zip(("change", "low", "high"), one.change, strict=True))} for one in self.findings]
        return frame({name: [row[name] for row in rows] for name in rows[0]} if rows else {})

    def plot(self) -> "Figure":
        """Draw how much each figure has changed against the size from which that matters; what matters stands first, in bold.

        Raises:
            ImportError: matplotlib is not installed.
        """
        return draw_drift(self.findings)


def drift(
    ledger: Ledger,
    *,
    menu: Menu,
    unit: Unit,
    since: datetime | None = None,
    until: datetime | None = None,
    reference: Moments | None = None,
    limits: DriftLimits = LIMITS,
    seed: int = 0,
) -> Drift:
    """Tell what has changed: in the tasks, in each strategy's accuracy, and in what each strategy costs.

    Args:
        ledger: whose decisions are read.
        menu: strategies to look at.
        unit: of the costs.
        since: first moment of the recent window; the end of the reference when not given, and no earlier than the end of what
            the policy was learned from.
        until: end of the recent window.
        reference: window to compare with; when not given, what the policy was learned from that serves the menu.
        limits: from which size on a change matters, and how sure one must be.
        seed: of the decisions that are drawn, and of the classifier's halves.

    Raises:
        NotEnoughEvidence: no policy that was learned here serves, and no reference is given; or a window holds too few tasks.
    """
    version = ledger.registry.active_version(menu.hash)
    served = _learned_from(ledger, menu, version) if reference is None else reference
    recent = (since or served[1], until)
    if reference is None and since is not None and served[1] is not None:
        recent = (max(since, served[1]), until)
    rng = np.random.default_rng(seed)
    policy, doubt = _policy(ledger, menu, version, unit)
    before = _Window.read(ledger, served, menu, unit, rng, name="reference")
    after = _Window.read(ledger, recent, menu, unit, rng, name="recent")
    findings = _inputs(before.rows, after.rows, policy, rng, limits)
    old, new = _seen(before, after, policy, rng)
    accuracy, accuracy_doubts = accuracy_drift(before.scores(old), after.scores(new), limits)
    cost, cost_doubts = cost_drift(before.spends(old, policy), after.spends(new, policy), limits)
    return Drift(
        version if reference is None else None,
        before.period,
        after.period,
        concluded([*findings, *accuracy, *cost], limits.significance),
        tuple(one for one in (doubt, _range_doubt(policy), *accuracy_doubts, *cost_doubts) if one),
    )


def _learned_from(ledger: Ledger, menu: Menu, version: str | None) -> Moments:
    """The window that a policy was learned from, last time it was; what was decided while it was solved is recent."""
    for solve in reversed(ledger.solves(menu.hash)):
        if version is not None and solve.policy_version == version:
            return solve.since, solve.until or solve.solved_at
    raise NotEnoughEvidence(
        "no policy that was learned from this ledger serves the menu, so there is nothing to drift from: refresh and promote "
        "one, or name a reference window"
    )


def _policy(ledger: Ledger, menu: Menu, version: str | None, unit: Unit) -> tuple[LearnedPolicy | None, str]:
    """The policy that serves, if its expectations can be read, or why not."""
    if version is None:
        return None, ""
    try:
        return policy_from(ledger.registry.load(version), menu, unit=unit), ""
    except ArtifactError as error:
        return None, f"cost is compared with the reference window's bills, not with what is expected: {error}"


def _range_doubt(policy: LearnedPolicy | None) -> str:
    """Why it is not looked at whether tasks are like those that trained the policy."""
    if policy is None or policy.featuriser_.range_ is not None:
        return ""
    return f"the range that trained {policy.version!r} was not saved with it, and is not checked: refresh"


class _Window(NamedTuple):
    """What was drawn of a window."""

    period: Period
    rows: Rows
    """Whatever strategy was executed: what is left out by strategy would make the tasks look changed."""
    table: OutcomeTable

    @classmethod
    def read(cls, ledger: Ledger, moments: Moments, menu: Menu, unit: Unit, rng: np.random.Generator, *, name: str) -> "_Window":
        since, until = moments
        evidence, n_decisions = _drawn(ledger.evidence(since=since, until=until), rng)
        rows = Rows.of(evidence, unit)
        period = Period(since, until, n_decisions, len(set(rows.task_ids)))
        if period.n_tasks < LEAST_TASKS:
            raise NotEnoughEvidence(
                f"the {name} window holds {period.n_tasks} settled tasks, {LEAST_TASKS} are needed: widen it, or wait"
            )
        return cls(period, rows, OutcomeTable.from_evidence(evidence, menu, unit=unit))

    def scores(self, features: FloatArray) -> Shown:
        """What was graded; `features` are of the table's rows."""
        scores = Revealed.scores(self.table)
        return Shown(scores, features[scores.rows])

    def spends(self, features: FloatArray, policy: LearnedPolicy | None) -> Shown:
        """What was billed, and what the policy expects."""
        spends = Revealed.spends(self.table)
        seen = features[spends.rows]
        return Shown(spends, seen, None if policy is None else np.maximum(policy.expected(seen)[1], 1e-300))


def _seen(before: _Window, after: _Window, policy: LearnedPolicy | None, rng: np.random.Generator) -> list[FloatArray]:
    """What the policy sees of the rows of both tables; without one, what another would."""
    tables = before.table, after.table
    has_texts = all(table.texts is not None for table in tables)
    if policy is not None:
        featuriser = policy.featuriser_
    else:
        some = tables[0].rows(rng.permutation(len(tables[0].task_ids))[:MOST_TEXTS])
        featuriser = Featuriser().fit(some.structure, some.texts if has_texts else None, some.metadata)
    return [featuriser.transform_known(one.structure, one.texts if has_texts else None, one.metadata) for one in tables]


def _drawn(evidence: Iterable[Evidence], rng: np.random.Generator) -> tuple[list[Evidence], int]:
    """At most `MOST_DECISIONS`, each as likely as any other, and how many there were (Vitter 1985, algorithm R)."""
    kept: list[Evidence] = []
    n_decisions = 0
    for n_decisions, one in enumerate(evidence, 1):
        if len(kept) < MOST_DECISIONS:
            kept.append(one)
        elif (place := int(rng.integers(n_decisions))) < MOST_DECISIONS:
            kept[place] = one
    return kept, n_decisions


def _inputs(
    before: Rows, after: Rows, policy: LearnedPolicy | None, rng: np.random.Generator, limits: DriftLimits
) -> list[Finding]:
    """Compare the tasks of two windows, each task once: the same one asked again is no other one."""
    first, last = (np.unique(np.array(rows.task_ids), return_index=True)[1] for rows in (before, after))
    found = [
        number_moved(
            name, before.structure[first, column], after.structure[last, column], is_log=column < _N_COUNTS, limits=limits
        )
        for column, name in enumerate(STRUCTURE_NAMES)
    ]
    groups = [[str(rows.groups[row]) for row in chosen] for rows, chosen in ((before, first), (after, last))]
    found += [
        told_apart(*_features(before, first, after, last, rng), rng=rng, limits=limits),
        category_moved("group", *groups, limits=limits),
        *_facts(before, first, after, last, limits),
    ]
    if policy is not None:
        likeness = [_likeness(rows, chosen, policy.featuriser_) for rows, chosen in ((before, first), (after, last))]
        found += [category_moved(f"trained range of {kind}", *(one[kind] for one in likeness), limits=limits) for kind in KINDS]
    return [finding for finding in found if finding is not None]


def _likeness(rows: Rows, chosen: IntArray, featuriser: Featuriser) -> dict[str, list[str]]:
    """Of some tasks, by kind of feature, whether each lies within the range that trained, or where outside."""
    some = chosen[:: math.ceil(len(chosen) / MOST_TEXTS)]
    texts = chosen_texts(rows.texts.gathered(), some)
    strange = featuriser.strange(rows.structure[some], texts, [rows.metadata[row] for row in some.tolist()])
    labels = {kind: np.full(len(some), "within", dtype=object) for kind in KINDS}
    for why, is_strange in (strange or {}).items():
        labels[why.split()[0]][is_strange] = f"outside: {why}"
    return {kind: found.tolist() for kind, found in labels.items()}


def _facts(before: Rows, first: IntArray, after: Rows, last: IntArray, limits: DriftLimits) -> list[Finding | None]:
    """Compare what is known of the tasks beside their texts: numbers, and as categories texts and whether anything is known."""
    told = [[rows.metadata[row] for row in chosen] for rows, chosen in ((before, first), (after, last))]
    times: dict[str, int] = {}
    for facts in (*told[0], *told[1]):
        for name in facts:
            times[name] = times.get(name, 0) + 1
    found: list[Finding | None] = []
    for name in sorted(times, key=lambda name: (-times[name], name))[:_MOST_FACTS]:
        values = [[facts.get(name) for facts in window] for window in told]
        labels = [
            ["not known" if one is None else one if isinstance(one, str) else "a number" for one in window] for window in values
        ]
        numbers = [np.array([float(one) for one in window if one is not None and not isinstance(one, str)]) for window in values]
        found += [category_moved(name, *labels, limits=limits), number_moved(name, *numbers, limits=limits)]
    return found


def _features(
    before: Rows, first: IntArray, after: Rows, last: IntArray, rng: np.random.Generator
) -> tuple[FloatArray, FloatArray]:
    """All that a policy can see of some tasks of both windows, words and facts too, learned from them together."""
    chosen = [rng.permutation(rows)[:MOST_TEXTS] for rows in (first, last)]
    windows = before, after
    pairs = [(rows, row) for rows, places in zip(windows, chosen, strict=True) for row in places.tolist()]
    structure = np.vstack([rows.structure[places] for rows, places in zip(windows, chosen, strict=True)])
    texts = [chosen_texts(rows.texts.gathered(), places) for rows, places in zip(windows, chosen, strict=True)]
    said = [text for window in texts for text in window or ()]
    known = said if len(said) == len(pairs) and all(said) else None
    metadata = [rows.metadata[row] for rows, row in pairs]
    features = Featuriser().fit(structure, known, metadata).transform_known(structure, known, metadata)
    n_before = len(chosen[0])
    return features[:n_before], features[n_before:]


def _told(finding: Finding) -> dict[str, Any]:  # Any: JSON
    return {**_plain(asdict(finding)), "change": _plain(finding.change._asdict()), "matters": finding.matters}


def _plain(facts: dict[str, Any]) -> dict[str, Any]:  # Any: JSON
    """Facts for JSON, which knows neither NaN nor moments."""
    return {name: _simple(fact) for name, fact in facts.items()}


def _simple(fact: Any) -> Any:  # Any: JSON
    if isinstance(fact, float) and not math.isfinite(fact):
        return None
    if isinstance(fact, Period):
        return _plain(fact._asdict())
    return fact.isoformat() if isinstance(fact, datetime) else fact
