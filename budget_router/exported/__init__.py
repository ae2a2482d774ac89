"""Logs that are carried away in files, and read where they lie."""

from budget_router.exported.exporting import Export, export
from budget_router.exported.log_file import LogFile
from budget_router.exported.parquet_log import ParquetLog

__all__ = ["Export", "LogFile", "ParquetLog", "export"]
