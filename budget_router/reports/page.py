"""One page that answers one question in its first line, proves it in one picture, and lets the doubtful dig.

It is self-contained: no script, no request, the reader's own fonts. Whatever comes from logs is text and nothing else.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from budget_router.reports import findings, tables
from budget_router.reports.allocation import MOST_KINDS, AllocationResult
from budget_router.reports.escaping import clipped, inert
from budget_router.reports.importance import MOST_INPUTS
from budget_router.reports.report import Report
from budget_router.reports.spending import MOST_SPENDERS as MOST_BARS
from budget_router.reports.svg import to_svg
from budget_router.reports.tables import Table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_MOST_SPENDERS = 20
_LONGEST_TEXT = 400
"""Characters shown of a dear decision's task and answer; the ledger has the rest."""
_BANDS = "Bands and bars are 95 % intervals."
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'"
"""What the page may load: nothing; only its own style and an empty icon."""


FRONTIER, COMPARISON = "The frontier", "Side by side"
ALLOCATION, BY_GROUP = "Where the compute went", "Where it went, by group"
STREAM, CALIBRATION, REGRET = "Spend over the stream", "Calibration", "Regret against its bound"
IMPORTANCE, ESTIMATES, GATE = "What the policy goes by", "Off-policy estimates", "The gate's verdict"
SPENDING = "Top spenders"
HEADINGS = (
    FRONTIER,
    COMPARISON,
    ALLOCATION,
    BY_GROUP,
    STREAM,
    CALIBRATION,
    REGRET,
    IMPORTANCE,
    ESTIMATES,
    GATE,
    SPENDING,
)
"""Of the sections, in their order."""


def write_report(report: Report, path: Path) -> None:
    """Write the report as one HTML page; the same report gives the same bytes.

    Args:
        report: drawn as it is, nothing is computed that it does not hold.
        path: of the page; what stands there is replaced.

    Raises:
        ImportError: matplotlib is not installed.
    """
    path.write_text(_page(report), encoding="utf-8", newline="\n")


def _page(report: Report) -> str:
    style = Path(__file__).with_name("page.css").read_text(encoding="utf-8")
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{_POLICY}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta name="referrer" content="no-referrer">
<link rel="icon" href="data:,">
<title>{inert(report.title)}</title>
<style>
{style}</style>
</head>
<body>
<main>
<header>
<h1><bdi>{inert(report.title)}</bdi></h1>
<p class="verdict"><bdi>{inert(report.verdict)}</bdi></p>
{_figures(report)}
</header>
{_body(report)}
{_spenders(report)}{_provenance(report)}
</main>
</body>
</html>
"""


def _figures(report: Report) -> str:
    cards = "\n".join(
        f"<div><dt>{inert(name)}</dt><dd><strong>{inert(value)}</strong><small>{inert(small)}</small></dd></div>"
        for name, value, small in report.figures
    )
    return f'<dl class="figures">\n{cards}\n</dl>' if cards else ""


@dataclass(frozen=True)
class _Section:
    """A picture with what there is to see in it."""

    heading: str
    figure: "Figure"
    finding: str
    note: str
    table: Table


def _body(report: Report) -> str:
    """The sections in their order, each drawn, or told why it could not be."""
    drawn = {section.heading: _drawn(section, dict(report.notes)) for section in _sections(report)}
    if report.gate is not None:
        drawn[GATE] = _gate(report)
    missing = {heading: _missing(heading, reason) for heading, reason in report.missing if heading not in drawn}
    told = drawn | missing
    return "\n".join(
        told[heading] for heading in [*HEADINGS, *(each for each in told if each not in HEADINGS)] if heading in told
    )


def _sections(report: Report) -> Iterator[_Section]:
    if (frontier := report.frontier) is not None:
        note = f"{_BANDS} The upright between the mix and us is the gain at the same spend."
        if not frontier.is_honest:
            note += " The oracle is solved and scored on the same table, which flatters it: no policy can get there."
        yield _Section(FRONTIER, frontier.plot(), findings.frontier_finding(frontier), note, tables.frontier_table(frontier))
    if (pair := report.comparison) is not None:
        note = "Dots are the first policy, squares the second, on the same tasks at the same budget."
        yield _Section(COMPARISON, pair.plot(), findings.comparison_finding(pair), note, tables.comparison_table(pair))
    for heading, allocation in ((ALLOCATION, report.allocation), (BY_GROUP, report.by_group)):
        if allocation is not None:
            yield _allocation(heading, allocation)
    if (stream := report.stream) is not None:
        note = (
            "Above, the average of all decisions so far, and thin that of the latest twentieth; "
            "below, what a unit of spend had to earn in accuracy."
        )
        yield _Section(STREAM, stream.plot(), findings.stream_finding(stream), note, tables.stream_table(stream))
    if (calibration := report.calibration) is not None:
        note = "Larger markers hold more decisions. Bars are 95 % Wilson intervals."
        finding = findings.calibration_finding(calibration)
        yield _Section(CALIBRATION, calibration.plot(), finding, note, tables.calibration_table(calibration))
    if (regret := report.regret) is not None:
        note = "Accuracy net of spend at the shadow price. The oracle is that of the table as the log tells it, and flattered."
        yield _Section(REGRET, regret.plot(), findings.regret_finding(regret), note, tables.regret_table(regret))
    if (importance := report.importance) is not None:
        rest = f" The {MOST_INPUTS} most worth are drawn." if len(importance.inputs) > MOST_INPUTS else ""
        note = f"{_BANDS} Inputs that tell the same share their worth.{rest}"
        finding = findings.importance_finding(importance)
        yield _Section(IMPORTANCE, importance.plot(), finding, note, tables.importance_table(importance))
    if (estimates := report.estimates) is not None:
        note = f"{_BANDS} DR is doubly robust, the one to go by; IPS and SNIPS need no model and scatter more."
        finding = findings.estimates_finding(estimates)
        yield _Section(ESTIMATES, estimates.plot(), finding, note, tables.estimates_table(estimates))
    if (spending := report.spending) is not None:
        rest = f" The {MOST_BARS} dearest are drawn; the table has all." if len(spending.rows) > MOST_BARS else ""
        note = f"By {spending.by}, with the accuracy of what was graded.{rest}"
        yield _Section(SPENDING, spending.plot(), findings.spending_finding(spending), note, tables.spending_table(spending))


def _allocation(heading: str, allocation: AllocationResult) -> _Section:
    shown = min(len(allocation.kinds), MOST_KINDS)
    rest = f" The {shown} most frequent kinds are drawn; the table has all." if shown < len(allocation.kinds) else ""
    note = f"Rows add up to 100 %; the deeper the colour, the larger the share.{rest}"
    return _Section(
        heading, allocation.plot(), findings.allocation_finding(allocation), note, tables.allocation_table(allocation)
    )


def _drawn(section: _Section, notes: dict[str, str]) -> str:
    slug = _slug(section.heading)
    note = f"{section.note} {notes.get(section.heading, '')}".strip()
    return f"""<section aria-labelledby="{slug}">
<h2 id="{slug}">{section.heading}</h2>
<figure>
<div class="scroll" tabindex="0" role="group" aria-label="Picture: {section.heading}">
{to_svg(section.figure, prefix=slug, title=section.finding)}
</div>
<figcaption><p><bdi>{_unbroken(section.finding)}</bdi></p><p class="note"><bdi>{_unbroken(note)}</bdi></p></figcaption>
</figure>
{_data(slug, section.table)}
</section>"""


def _missing(heading: str, reason: str) -> str:
    slug = _slug(heading)
    return f"""<section class="missing" aria-labelledby="{slug}">
<h2 id="{slug}">{inert(heading)}</h2>
<p><bdi>{_unbroken(reason)}</bdi></p>
</section>"""


def _gate(report: Report) -> str:
    gate = report.gate
    if gate is None:
        return ""
    slug, table = _slug(GATE), tables.gate_table(gate)
    rows = f"""<div class="scroll words verdicts" tabindex="0" role="group" aria-label="{GATE}">
{table.html()}
</div>
<p class="download"><a download="{slug}.csv" href="{table.data_url()}">Download as CSV</a></p>"""
    return f"""<section aria-labelledby="{slug}">
<h2 id="{slug}">{GATE}</h2>
<p><bdi>{_unbroken(gate.sentence)}</bdi></p>
{rows if gate.rows else ""}
</section>"""


def _slug(heading: str) -> str:
    return "".join(letter if letter.isalnum() and letter.isascii() else "-" for letter in heading.lower())


def _unbroken(sentence: str) -> str:
    """A sentence that keeps its per-cent signs beside their numbers."""
    return inert(sentence).replace(" %", "\u00a0%")


def _data(slug: str, table: Table) -> str:
    return f"""<details>
<summary>The data</summary>
<p><a download="{slug}.csv" href="{table.data_url()}">Download as CSV</a></p>
<div class="scroll tall" tabindex="0" role="group" aria-label="Data">
{table.html()}
</div>
</details>"""


def _spenders(report: Report) -> str:
    if not report.spenders:
        return ""
    unit = report.unit or (report.stream.unit if report.stream is not None else "")
    table = tables.spenders_table(report.spenders, unit)
    dearest = table.rows[:_MOST_SPENDERS]
    short = tuple(tuple(clipped(cell, _LONGEST_TEXT) if isinstance(cell, str) else cell for cell in row) for row in dearest)
    table = replace(table, rows=short)
    return f"""<section aria-labelledby="dearest-decisions">
<h2 id="dearest-decisions">Dearest decisions</h2>
<div class="scroll words" tabindex="0" role="group" aria-label="Dearest decisions">
{table.html()}
</div>
<p class="download"><a download="dearest-decisions.csv" href="{table.data_url()}">Download as CSV</a></p>
</section>
"""


def _provenance(report: Report) -> str:
    rows = "\n".join(f"<div><dt>{inert(what)}</dt><dd><bdi>{inert(value)}</bdi></dd></div>" for what, value in report.provenance)
    listed = f'<dl class="provenance">\n{rows}\n</dl>' if rows else "<p>The maker of this page left no record of how.</p>"
    return f"""<section aria-labelledby="again">
<h2 id="again">How to make this page again</h2>
{listed}
</section>"""
