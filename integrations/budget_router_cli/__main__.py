"""The command line without its script: `python -m budget_router_cli`."""

from budget_router_cli import main

main()
