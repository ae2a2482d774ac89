"""Dask workers that a command lets work for it."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from budget_router.errors import BudgetRouterError, InvalidInput

_PATIENCE = "10s"


@contextmanager
def workers(address: str | None) -> Iterator[Any]:  # Any: Dask ships no types
    """Reach the scheduler at an address, such as `tcp://10.0.0.7:8786`; without one there are no workers."""
    if address is None:
        yield None
        return
    try:
        from dask.distributed import Client
    except ImportError as error:
        raise BudgetRouterError("workers need Dask: pip install 'budget-router[dask]'") from error
    try:
        client = Client(address, timeout=_PATIENCE)
    except (OSError, ValueError) as error:  # TimeoutError is an OSError
        raise InvalidInput(
            f"no Dask scheduler answers at {address!r} within {_PATIENCE}: start one by `dask scheduler`, and workers by "
            "`dask worker ADDRESS`"
        ) from error
    with client:
        yield client
