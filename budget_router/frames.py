"""Results as tables for notebooks; pandas is loaded by the first one."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pandas import DataFrame


def frame(columns: Mapping[str, Sequence[Any]]) -> "DataFrame":  # Any: each column has its own type
    """A data frame of named columns.

    Raises:
        ImportError: pandas is not installed.
    """
    try:
        from pandas import DataFrame
    except ImportError as error:
        raise ImportError("frames need pandas: pip install 'budget-router[plots]'") from error
    return DataFrame(dict(columns))
