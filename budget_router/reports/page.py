"""One page that answers one question in its first line, proves it in one picture, and lets the doubtful dig.

It is self-contained: no script, no request, the reader's own fonts. Whatever comes from logs is text and nothing else.
"""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from budget_router.reports import findings, pictures, tables
from budget_router.reports.escaping import clipped, inert
from budget_router.reports.results import Report
from budget_router.reports.svg import to_svg
from budget_router.reports.tables import Table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_MOST_SPENDERS = 20
_LONGEST_TEXT = 400
"""Characters shown of a dear decision's task and answer; the ledger has the rest."""
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'"
"""What the page may load: nothing; only its own style and an empty icon."""


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
{_sections(report)}
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


def _sections(report: Report) -> str:
    bands = "Bands and bars are 95 % intervals."
    stream, calibration = report.stream, report.calibration
    shown = min(len(report.allocation.kinds), pictures.MOST_KINDS)
    rest = f" The {shown} most frequent kinds are drawn; the table has all." if shown < len(report.allocation.kinds) else ""
    return "\n".join(
        [
            _section(
                "The frontier",
                pictures.draw_frontier(report.frontier),
                findings.frontier_finding(report.frontier),
                f"{bands} The upright between the mix and us is the gain at the same spend.",
                tables.frontier_table(report.frontier),
            ),
            _section(
                "Where the compute went",
                pictures.draw_allocation(report.allocation),
                findings.allocation_finding(report.allocation),
                f"Rows add up to 100 %; the deeper the colour, the larger the share.{rest}",
                tables.allocation_table(report.allocation),
            ),
            _section(
                "Spend over the stream",
                pictures.draw_stream(stream),
                findings.stream_finding(stream),
                "Above, the average of all decisions so far; below, what a unit of spend had to earn in accuracy.",
                tables.stream_table(stream),
            ),
            _section(
                "Calibration",
                pictures.draw_calibration(calibration),
                findings.calibration_finding(calibration),
                "Larger markers hold more decisions. Bars are 95 % Wilson intervals.",
                tables.calibration_table(calibration),
            ),
        ]
    )


def _section(heading: str, figure: "Figure", finding: str, note: str, table: Table) -> str:
    slug = heading.lower().replace(" ", "-")
    return f"""<section aria-labelledby="{slug}">
<h2 id="{slug}">{heading}</h2>
<figure>
<div class="scroll" tabindex="0" role="group" aria-label="Picture: {heading}">
{to_svg(figure, prefix=slug, title=finding)}
</div>
<figcaption><p><bdi>{_unbroken(finding)}</bdi></p><p class="note">{_unbroken(note)}</p></figcaption>
</figure>
{_data(slug, table)}
</section>"""


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
    table = tables.spenders_table(report.spenders, report.stream.unit)
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
