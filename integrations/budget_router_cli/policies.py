"""The commands that look after what was learned: see it, let it serve, take it back."""

import json
from typing import Annotated, Any

import typer

from budget_router import promote as promote_policy
from budget_router import rollback as rollback_policy
from budget_router import saved_policies
from budget_router_cli.options import AsJson, LedgerUrl, opened
from budget_router_cli.terminal import talk

app = typer.Typer()


@app.command(epilog="Example: budget-router policies --ledger sqlite:///spend.db")
def policies(ledger: LedgerUrl, as_json: AsJson = False) -> None:
    """List the policies learned for the menu of the latest decision, with their evidence; the active one is marked."""
    with opened(ledger) as book:
        found = saved_policies(book, menu=book.latest().menu)
    if as_json:
        rows: list[dict[str, Any]] = [  # Any: JSON
            {
                "version": one.version,
                "active": one.role == "active",
                "role": one.role,
                "created_at": one.created_at.isoformat(),
                **one.evidence,
            }
            for one in found
        ]
        typer.echo(json.dumps(rows, indent=1))
        return
    for one in found:
        typer.echo(f"{one.version}  {one.created_at:%Y-%m-%d %H:%M}  {one.role or '':6s}  {_said(one.evidence.get('verdict'))}")
    if not found:
        talk.print("no policy was learned for this menu yet: budget-router refresh", highlight=False)


def _said(verdict: object) -> str:
    """What the gate said, whoever promoted it since."""
    if not isinstance(verdict, dict):
        return ""
    return f"gate {'passed' if verdict['is_passed'] else 'not passed'}: {str(verdict['summary']).partition(': ')[2]}"


@app.command(epilog="Example: budget-router promote 77ac9cca7023 --ledger sqlite:///spend.db")
def promote(
    version: Annotated[str, typer.Argument(help="As `policies` lists it.")],
    ledger: LedgerUrl,
    share: Annotated[float, typer.Option(help="Of the tasks, in (0, 1]; below 1 it is a canary beside the active policy.")] = 1.0,
    reason: Annotated[str, typer.Option(help="Kept with the promotion.")] = "",
    as_json: AsJson = False,
) -> None:
    """Let a saved policy serve, all tasks or a share of them; naming an older one rolls back."""
    with opened(ledger) as book:
        stands = promote_policy(book, version, share=share, reason=reason)
    if as_json:
        typer.echo(json.dumps(stands.model_dump(include={"active", "canary", "share", "shadow"})))
        return
    of = "" if share == 1 else f" {100 * share:g} % of the tasks"
    typer.echo(f"{version} serves{of}; routers of its menu pick it up within seconds")


@app.command(epilog="Example: budget-router rollback --ledger sqlite:///spend.db")
def rollback(ledger: LedgerUrl, as_json: AsJson = False) -> None:
    """Let the policy serve again that served before, under the menu of the latest decision; again, the one before that."""
    with opened(ledger) as book:
        version = rollback_policy(book, menu=book.latest().menu)
    typer.echo(json.dumps({"version": version}) if as_json else f"{version} serves again; routers pick it up within seconds")
