"""The command line: wires core, storage and the other doors together."""

try:
    import rich  # noqa: F401  # only to say what is missing
    import typer  # noqa: F401  # only to say what is missing
except ImportError as error:
    raise ImportError("the command line needs typer and rich: pip install 'budget-router[cli]'") from error


def main() -> None:
    """Run the `budget-router` command."""
    from budget_router_cli.app import main as run

    run()
