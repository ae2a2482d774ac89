"""The command that tells what has changed since the policy was learned that serves."""

import json
from typing import Annotated, get_args

import typer

from budget_router import drift as drift_of
from budget_router.budget import Unit
from budget_router.drifting import Drift, Period
from budget_router.errors import InvalidInput
from budget_router.evaluation.drift import Finding
from budget_router.reports.escaping import clipped, visible
from budget_router_cli.options import AsJson, LedgerUrl, moment, opened
from budget_router_cli.terminal import console_of, table_of

_LEAST_TOLD = 1e-6
"""Below it a p-value says no more than that."""

app = typer.Typer()


@app.command(epilog="Example: budget-router drift --ledger sqlite:///spend.db --since 7d")
def drift(
    ledger: LedgerUrl,
    since: Annotated[
        str | None, typer.Option(help="Look at what was decided from here on, e.g. 7d, 12h, or an ISO date.")
    ] = None,
    until: Annotated[str | None, typer.Option(help="Up to here, told alike.")] = None,
    reference_since: Annotated[
        str | None, typer.Option(help="Compare with what was decided from here on, not with what the policy was learned from.")
    ] = None,
    reference_until: Annotated[str | None, typer.Option(help="Up to here.")] = None,
    unit: Annotated[str | None, typer.Option(help="Of the costs; that of the latest decision's budget if none.")] = None,
    most: Annotated[int, typer.Option(min=1, help="Findings shown, what matters first.")] = 12,
    seed: Annotated[int, typer.Option(min=0, help="Of what is drawn from long windows.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Tell what has changed since the policy was learned that serves: in the tasks, in accuracy, in cost."""
    with opened(ledger) as book:
        latest = book.latest()
        counted = unit or latest.decision.budget.unit
        if counted not in get_args(Unit):
            raise InvalidInput(f"no unit {counted!r}: take one of {', '.join(get_args(Unit))}")
        named = (moment(reference_since), moment(reference_until))
        found = drift_of(
            book,
            menu=latest.menu,
            unit=counted,  # type: ignore[arg-type]  # checked just above
            since=moment(since),
            until=moment(until),
            reference=None if named == (None, None) else named,
            seed=seed,
        )
    if as_json:
        typer.echo(json.dumps(found.as_json(), indent=1))
    else:
        _tell(found, most)


def _tell(found: Drift, most: int) -> None:
    console = console_of()
    table = table_of("", "what", "was", "is", "change [95 %]", "p", n_names=2)
    for finding in found.findings[:most]:
        mark = "drift" if finding.matters else "sure, small" if finding.is_significant else ""
        what = clipped(visible(f"{finding.kind} · {finding.what}"), 40)
        table.add_row(mark, what, *_figures(finding), _p_value(finding), style="bold" if finding.matters else None)
    console.print(table)
    left = len(found.findings) - most
    if left > 0:
        console.print(f"and {left} more; --most shows them", highlight=False)
    console.print(f"\n{visible(found.says)}", markup=False, highlight=False)
    for doubt in found.doubts:
        console.print(f"not judged: {visible(doubt)}", markup=False, highlight=False)
    policy = f"policy {found.policy_version}, learned from" if found.policy_version else "compared with"
    console.print(f"\n{policy} {_period(found.reference)}; lately {_period(found.recent)}", markup=False, highlight=False)


def _p_value(finding: Finding) -> str:
    return f"{finding.p_value:.2g}" if finding.p_value >= _LEAST_TOLD else f"< {_LEAST_TOLD:g}"


def _figures(finding: Finding) -> tuple[str, str, str]:
    value, low, high = finding.change
    match finding.kind:
        case "accuracy":
            spans = (f"{100 * one:+.1f}" for one in (low, high))
            was, now = (f"{100 * one:.1f} %" for one in (finding.reference, finding.recent))
            return was, now, f"{100 * value:+.1f} points [{', '.join(spans)}]"
        case "cost":
            return f"{finding.reference:.2f} ×", f"{finding.recent:.2f} ×", f"× {value:.2f} [{low:.2f}, {high:.2f}]"
        case _:
            return f"{finding.reference:.4g}", f"{finding.recent:.4g}", f"{value:+.2f} [{low:+.2f}, {high:+.2f}]"


def _period(period: Period) -> str:
    since, until = (one and f"{one:%Y-%m-%d %H:%M}" for one in (period.since, period.until))
    return f"{period.n_decisions:,} decisions on {period.n_tasks:,} tasks, {since or 'the first'} to {until or 'the last'}"
