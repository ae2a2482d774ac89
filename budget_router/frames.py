"""Results as tables for notebooks; pandas is loaded by the first one."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pandas import DataFrame


def frame(columns: Mapping[str, Any]) -> "DataFrame":  # Any: sequences, each of a type of its own
    """A data frame of named columns.

    Raises:
        ImportError: pandas is not installed.
    """
    try:
        from pandas import DataFrame
    except ImportError as error:
        raise ImportError("frames need pandas: pip install 'budget-router[plots]'") from error
    return DataFrame(dict(columns))
