"""The numbers behind each picture, as a table to read and as one to take away."""

import base64
import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite

from budget_router.reports.escaping import inert, unspelled
from budget_router.reports.kinds import Row, all_tasks, rows
from budget_router.reports.results import AllocationResult, CalibrationResult, FrontierResult, Point, StreamResult
from budget_router.reports.streaming import moments

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
    points = [("learned policy", point) for point in result.policy] + [("operating point", result.operating_point)]
    points += [("fixed strategy", point) for point in result.fixed]
    corners = [("best static mix", corner) for corner in result.mix] + [("honest oracle", corner) for corner in result.oracle]
    unknown = float("nan")
    found: list[tuple[Cell, ...]] = [_point(series, point) for series, point in points]
    found += [(series, "", spend, 100 * accuracy, unknown, unknown) for series, (spend, accuracy) in corners]
    return Table(("series", "name", f"spend, {result.unit}", "accuracy, %", "95 % low", "95 % high"), tuple(found))


def _point(series: str, point: Point) -> tuple[Cell, ...]:
    return (series, point.name, point.spend, *(100 * value for value in point.accuracy))


def allocation_table(result: AllocationResult) -> Table:
    """Every kind, also the rare ones that the heat map has no room for."""
    found = tuple(_kind(row) for row in (*rows(result), all_tasks(result)))
    return Table(("kind", "tasks", *(f"{strategy}, % of tasks" for strategy in result.strategies)), found)


def _kind(row: Row) -> tuple[Cell, ...]:
    return (row.kind, row.n_tasks, *(100 * share for share in row.share))


def stream_table(result: StreamResult) -> Table:
    """The moments that the picture shows."""
    columns = ("decision", "phase", f"mean spend so far, {result.unit}", "shadow price, accuracy per unit spent")
    found = [(moment.decision, moment.phase, moment.mean_spend, moment.shadow_price) for moment in moments(result)]
    return Table(columns, tuple(found))


def calibration_table(result: CalibrationResult) -> Table:
    """The bins of both panels."""
    accuracy = [("accuracy, %", 100 * predicted, 100 * observed, n) for predicted, observed, n in result.accuracy]
    cost = [(f"cost, {result.unit}", *each) for each in result.cost]
    return Table(("of what", "predicted", "observed", "decisions"), (*accuracy, *cost))


def spenders_table(spenders: Sequence[tuple[str, str, str, float, str]], unit: str) -> Table:
    """The dearest decisions, the dearest first."""
    ordered = sorted(spenders, key=lambda spender: -spender[3])
    columns = ("task", "kind", "strategy", f"spend, {unit}", "answer")
    return Table(columns, tuple(ordered))
