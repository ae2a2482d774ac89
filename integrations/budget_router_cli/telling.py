"""Tell the demo's story: a table for the terminal, a page for the eyes, JSON for machines."""

import hashlib
from importlib.metadata import version
from typing import Any

import numpy as np
from rich.table import Table

from budget_router.allocation import frontier
from budget_router.evaluation import Estimate, clustered_mean
from budget_router.reports import AllocationResult, CalibrationResult, FrontierResult, Point, Report, StreamResult
from budget_router_cli.story import COLD, LEARNED, Story

N_BINS = 5
N_SPENDERS = 8


def verdict(story: Story) -> str:
    """The finding in one sentence."""
    ours = story.at_budget
    clear = "above" if ours.gain.low > 0 else "below" if ours.gain.high < 0 else "not clearly apart from"
    points = f"{100 * abs(ours.gain.value):.1f} points [{100 * ours.gain.low:+.1f}, {100 * ours.gain.high:+.1f}]"
    return (
        f"At {story.budget.per_task:g} completion tokens per task the learned policy answers "
        f"{100 * ours.accuracy.value:.1f} % of unseen tasks right {_interval(ours.accuracy)}: {points} {clear} "
        "the best static mix at the same spend."
    )


def gate(story: Story) -> str:
    """What the gate says of the candidate, which the story promotes in any case."""
    said = story.refreshed.verdict
    if said.is_passed:
        return "The gate passes it."
    conditions = "; ".join(condition.sentence for condition in said.failed)
    return f"After so few decisions the gate would wait, and so would `budget-router refresh`: {conditions}."


def table(story: Story) -> Table:
    """Everyone at their spend, dearest rivals included; one bold line for us."""
    ours = story.at_budget
    shown = Table(
        title=f"Unseen tasks, {story.n_seeds} seeds", title_justify="left", box=None, pad_edge=False, header_style="dim"
    )
    shown.add_column("strategy")
    shown.add_column("tokens per task", justify="right")
    shown.add_column("accuracy %", justify="right")
    shown.add_column("95 % interval", justify="right")
    shown.add_row(
        "learned policy", f"{ours.spend:.1f}", f"{100 * ours.accuracy.value:.1f}", _interval(ours.accuracy), style="bold"
    )
    shown.add_row("best static mix at that spend", f"{ours.spend:.1f}", f"{100 * ours.mix_accuracy:.1f}", "")
    oracle_spend, oracle_accuracy = ours.honest_oracle
    shown.add_row("honest oracle", f"{oracle_spend:.1f}", f"{100 * oracle_accuracy:.1f}", "")
    for point in _fixed(story):
        shown.add_row(
            f"always {point.name}", f"{point.spend:.1f}", f"{100 * point.accuracy.value:.1f}", _interval(point.accuracy)
        )
    for phase in (COLD, LEARNED):
        spend, score = story.live(phase)
        n_live = sum(name == phase for name, _ in story.logged)
        shown.add_row(f"live agent, {phase} ({n_live} decisions)", f"{spend:.1f}", f"{100 * score:.1f}", "")
    return shown


def as_json(story: Story) -> dict[str, Any]:  # Any: JSON
    """The figures for machines."""
    return {
        "verdict": verdict(story),
        "gate": gate(story),
        "unit": story.budget.unit,
        "seed": story.seed,
        "n_seeds": story.n_seeds,
        "policy_version": story.refreshed.version,
        "live": {phase: dict(zip(("spend", "accuracy"), story.live(phase), strict=True)) for phase in (COLD, LEARNED)},
        "frontier": [
            {
                "budget": one.budget,
                "spend": one.spend,
                "budget_error": one.budget_error,
                "accuracy": one.accuracy._asdict(),
                "mix_at_spend": one.mix_accuracy,
                "gain": one.gain._asdict(),
                "honest_oracle": dict(zip(("spend", "accuracy"), one.honest_oracle, strict=True)),
                "gap_closed": one.gap_closed,
            }
            for one in story.frontier
        ],
        "fixed": [{"name": p.name, "spend": p.spend, "accuracy": p.accuracy._asdict()} for p in _fixed(story)],
        "seconds": story.seconds,
    }


def page(story: Story, *, command: str) -> Report:
    """The same for the eyes."""
    ours = story.at_budget
    return Report(
        title="budget-router demo",
        verdict=verdict(story),
        figures=(
            ("Accuracy on unseen tasks", f"{100 * ours.accuracy.value:.1f} %", _interval(ours.accuracy)),
            ("Gain over the best static mix", f"{100 * ours.gain.value:+.1f} points", _interval(ours.gain)),
            (
                "Spend of budget",
                f"{100 * ours.spend / ours.budget:.1f} %",
                f"{ours.spend:.1f} of {ours.budget:g} tokens per task",
            ),
            ("Oracle gap closed", f"{100 * ours.gap_closed:.0f} %", "of the way from the mix to the honest oracle"),
        ),
        frontier=frontier_of(story),
        allocation=_allocation(story),
        stream=_stream(story),
        calibration=_calibration(story),
        spenders=_spenders(story),
        provenance=_provenance(story, command),
    )


def _interval(estimate: Estimate) -> str:
    return f"[{100 * estimate.low:.1f}, {100 * estimate.high:.1f}]"


def _fixed(story: Story) -> tuple[Point, ...]:
    accuracy, cost = story.recording.table(story.menu)
    return tuple(
        Point(
            name, float(cost[:, column].mean()), clustered_mean(accuracy[:, column], [str(t.id) for t in story.recording.tasks])
        )
        for column, name in enumerate(story.menu.names)
    )


def frontier_of(story: Story) -> FrontierResult:
    """The policy among its baselines, the truth of every strategy known."""
    accuracy, cost = story.recording.table(story.menu)
    hull = frontier(accuracy.mean(axis=0, keepdims=True), cost.mean(axis=0, keepdims=True))
    ours = story.at_budget
    return FrontierResult(
        unit="completion tokens per task",
        budget=story.budget.per_task,
        policy=tuple(Point(f"budget {one.budget:g}", one.spend, one.accuracy) for one in story.frontier),
        operating_point=Point("learned policy", ours.spend, ours.accuracy),
        gain=ours.gain,
        fixed=_fixed(story),
        mix=tuple(zip(hull.spend.tolist(), hull.accuracy.tolist(), strict=True)),
        oracle=tuple(one.honest_oracle for one in story.frontier),
    )


def _allocation(story: Story) -> AllocationResult:
    learned = [entry for phase, entry in story.logged if phase == LEARNED]
    kinds = sorted({str(entry.metadata["kind"]) for entry in learned})
    names = story.menu.names
    counts = np.zeros((len(kinds), len(names)))
    for entry in learned:
        counts[kinds.index(str(entry.metadata["kind"])), names.index(entry.decision.strategy.name)] += 1
    n_tasks = counts.sum(axis=1)
    share = counts / n_tasks[:, None]
    return AllocationResult(tuple(kinds), tuple(map(int, n_tasks)), names, tuple(map(tuple, share.tolist())))


def _stream(story: Story) -> StreamResult:
    settled = [(phase, entry.decision, entry.settlement) for phase, entry in story.logged if entry.settlement]
    return StreamResult(
        unit="completion tokens per task",
        budget=story.budget.per_task,
        phase=tuple(phase for phase, _, _ in settled),
        spend=tuple(settlement.spend.in_unit(story.budget.unit) for _, _, settlement in settled),
        shadow_price=tuple(decision.shadow_price for _, decision, _ in settled),
    )


def _calibration(story: Story) -> CalibrationResult:
    learned = [entry for phase, entry in story.logged if phase == LEARNED]
    predicted = [(e.decision.expected_accuracy or 0.0, e.outcome.score) for e in learned if e.outcome]
    billed = [(e.decision.expected_cost, e.settlement.spend.in_unit(story.budget.unit)) for e in learned if e.settlement]
    return CalibrationResult("completion tokens per task", _bins(predicted), _bins(billed))


def _bins(pairs: list[tuple[float, float]]) -> tuple[tuple[float, float, int], ...]:
    ordered = np.array(sorted(pairs))
    return tuple((float(part[:, 0].mean()), float(part[:, 1].mean()), len(part)) for part in np.array_split(ordered, N_BINS))


def _spenders(story: Story) -> tuple[tuple[str, str, str, float, str], ...]:
    settled = [
        (entry.settlement.spend.in_unit(story.budget.unit), entry)
        for phase, entry in story.logged
        if phase == LEARNED and entry.settlement
    ]
    dearest = sorted(settled, key=lambda pair: pair[0], reverse=True)[:N_SPENDERS]
    return tuple(
        (
            entry.task_text or "",
            str(entry.metadata["kind"]),
            entry.decision.strategy.name,
            spend,
            "not graded" if entry.outcome is None else "right" if entry.outcome.score == 1 else "wrong",
        )
        for spend, entry in dearest
    )


def _provenance(story: Story, command: str) -> tuple[tuple[str, str], ...]:
    texts = "\n".join(task.text for task in story.recording.tasks)
    moments = [entry.decision.decided_at for _, entry in story.logged]
    return (
        ("command", command),
        ("seeds", f"{story.seed} live, {story.seed} to {story.seed + story.n_seeds - 1} replayed"),
        ("data", f"{len(story.recording.tasks)} recorded tasks, sha256 {hashlib.sha256(texts.encode()).hexdigest()[:16]}"),
        ("decisions", f"{len(moments)} live, {min(moments):%Y-%m-%d %H:%M:%S} to {max(moments):%H:%M:%S} UTC"),
        (
            "policy",
            f"{story.refreshed.version}, learned from {story.refreshed.n_decisions} decisions on {story.refreshed.n_tasks} tasks",
        ),
        ("menu", story.menu.hash),
        ("versions", ", ".join(f"{name} {version(name)}" for name in ("budget-router", "scikit-learn", "numpy", "langgraph"))),
        ("intervals", "95 %, paired bootstrap over tasks, seeds averaged inside"),
    )
