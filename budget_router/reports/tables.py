"""The numbers behind each picture, as a table to read and as one to take away."""

import base64
import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite, nan

from budget_router.evaluation import Estimate
from budget_router.reports.allocation import AllocationResult, Row, all_tasks, rows
from budget_router.reports.calibration import CalibrationResult
from budget_router.reports.comparison import ComparisonResult
from budget_router.reports.escaping import inert, unspelled
from budget_router.reports.estimates import EstimatesResult
from budget_router.reports.frontier import FrontierResult
from budget_router.reports.gate import GateResult
from budget_router.reports.importance import ImportanceResult
from budget_router.reports.regret import RegretResult
from budget_router.reports.spending import SpendingResult
from budget_router.reports.stream import StreamResult, moments

Cell = str | float


@dataclass(frozen=True)
class Table:
    """Named columns; text to the left, numbers to the right, an unknown number as a dash."""

    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]

    def html(self) -> str:
        """The table as an element."""
        is_number = [not isinstance(cell, str) for cell in self.rows[0]] if self.rows else [False] * len(self.columns)
        kinds = [' class="number"' if number else "" for number in is_number]
        head = "".join(f'<th scope="col"{kind}>{inert(column)}</th>' for column, kind in zip(self.columns, kinds, strict=True))
        body = "\n".join(f"<tr>{''.join(_cell(cell) for cell in row)}</tr>" for row in self.rows)
        return f"<table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody>\n</table>"

    def data_url(self) -> str:
        """The table as a CSV file inside a link; no cell is a formula to a spreadsheet."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\r\n")
        writer.writerow([unspelled(column) for column in self.columns])
        writer.writerows([unspelled(cell) if isinstance(cell, str) else _bare(cell) for cell in row] for row in self.rows)
        encoded = base64.b64encode(text.getvalue().encode("utf-8-sig")).decode("ascii")  # the mark tells spreadsheets UTF-8
        return f"data:text/csv;charset=utf-8;base64,{encoded}"


def _cell(cell: Cell) -> str:
    if isinstance(cell, str):
        return f"<td><bdi>{inert(cell)}</bdi></td>"
    return f'<td class="number">{_bare(cell).replace("-", "−") if isfinite(cell) else "–"}</td>'


def _bare(number: float) -> str:
    return f"{number:.6g}" if isfinite(number) else ""


def frontier_table(result: FrontierResult) -> Table:
    """Every point and corner of the frontier picture."""
    found: list[tuple[Cell, ...]] = [(name, at.name, at.spend, *_per_cent(at.accuracy)) for name, at in result.series]
    return Table(("series", "name", f"spend, {result.unit}", "accuracy, %", "95 % low", "95 % high"), tuple(found))


def allocation_table(result: AllocationResult) -> Table:
    """Every kind, also the rare ones that the heat map has no room for."""
    found = tuple(_kind(row) for row in (*rows(result), all_tasks(result)))
    return Table(("kind", "tasks", *(f"{strategy}, % of tasks" for strategy in result.strategies)), found)


def _kind(row: Row) -> tuple[Cell, ...]:
    return (row.kind, row.n_tasks, *(100 * share for share in row.share))


def stream_table(result: StreamResult) -> Table:
    """The moments that the picture shows."""
    columns = (
        "decision",
        "phase",
        f"mean spend so far, {result.unit}",
        f"recent mean spend, {result.unit}",
        "shadow price, accuracy per unit spent",
    )
    found: list[tuple[Cell, ...]] = list(moments(result))
    if result.decided_at is None:
        return Table(columns, tuple(found))
    when = [str(result.decided_at[moment.decision - 1])[:19].replace("T", " ") for moment in moments(result)]
    return Table(("UTC", *columns), tuple((at, *row) for at, row in zip(when, found, strict=True)))


def calibration_table(result: CalibrationResult) -> Table:
    """The bins of both panels."""
    accuracy = [("accuracy, %", 100 * predicted, 100 * observed, n) for predicted, observed, n in result.accuracy]
    cost = [(f"cost, {result.unit}", *each) for each in result.cost]
    return Table(("of what", "predicted", "observed", "decisions"), (*accuracy, *cost))


def regret_table(result: RegretResult) -> Table:
    """Every budget."""
    columns = (f"budget, {result.unit}", "regret, points", "bound, points", "oracle's action, %", "weighed by its cost, %")
    return Table(columns, tuple((point.budget, *(100 * each for each in point[1:])) for point in result.points))


def importance_table(result: ImportanceResult) -> Table:
    """Every input."""
    found = tuple((name, *_per_cent(lost)) for name, lost in result.inputs)
    return Table(("input", "accuracy lost, points", "95 % low", "95 % high"), found)


def estimates_table(result: EstimatesResult) -> Table:
    """Every estimate with what it rests on."""
    columns = ("policy", "estimator", "of", "value", "95 % low", "95 % high", "effective sample", "decisions", "tasks", "why not")
    found: list[tuple[Cell, ...]] = []
    for row in result.rows:
        for what, estimate, scale in (("accuracy, %", row.accuracy, 100.0), (f"spend, {result.unit}", row.spend, 1.0)):
            if estimate is not None:
                known = (scale * each for each in estimate.interval)
                rests_on = (estimate.effective_sample_size, estimate.n, estimate.n_tasks)
                found.append((row.policy, row.estimator, what, *known, *rests_on, estimate.reason))
    return Table(columns, tuple(found))


def spending_table(result: SpendingResult) -> Table:
    """Every spender."""
    columns = (result.by, "decisions", f"spend, {result.unit}", "accuracy, %", "95 % low", "95 % high")
    found = tuple((row.name, row.n_decisions, row.spend, *_per_cent(row.accuracy)) for row in result.rows)
    return Table(columns, found)


def comparison_table(result: ComparisonResult) -> Table:
    """What each reaches, spends and chooses."""
    found: list[tuple[Cell, ...]] = []
    for what, pair, scale in (("accuracy, %", result.accuracy, 100.0), (f"spend, {result.unit}", result.spend, 1.0)):
        if pair is not None:
            found.append((what, "", *(scale * each.value for each in pair), pair[0].n))
    for part in result.parts:
        what, scale = ("share of tasks, %", 100.0) if part.of == "share" else (f"predicted spend, {result.unit}", 1.0)
        found.append((what, part.name, scale * part.first, scale * part.second, part.n_tasks))
    return Table(("of what", "strategy or group", *result.names, "tasks"), tuple(found))


def gate_table(result: GateResult) -> Table:
    """Every condition."""
    found = tuple(
        (
            "met" if row.is_met else "not met",
            row.name,
            *(nan if one is None else one for one in (row.found, row.limit)),
            row.sentence,
        )
        for row in result.rows
    )
    return Table(("", "condition", "found", "limit", "in words"), found)


def spenders_table(spenders: Sequence[tuple[str, str, str, float, str]], unit: str) -> Table:
    """The dearest decisions, the dearest first."""
    ordered = sorted(spenders, key=lambda spender: -spender[3])
    columns = ("task", "kind", "strategy", f"spend, {unit}", "outcome")
    if any(kind for _, kind, *_ in ordered):
        return Table(columns, tuple(ordered))
    without = tuple((task, strategy, spend, outcome) for task, _, strategy, spend, outcome in ordered)
    return Table((columns[0], *columns[2:]), without)


def _per_cent(estimate: Estimate) -> tuple[float, float, float]:
    return 100 * estimate.value, 100 * estimate.low, 100 * estimate.high
