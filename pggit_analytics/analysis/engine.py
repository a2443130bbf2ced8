"""The in-memory DuckDB that the analysis computes in."""

from __future__ import annotations

from functools import cache

import duckdb


@cache
def _instance() -> duckdb.DuckDBPyConnection:
    # Opening one costs more than most queries here take.
    return duckdb.connect()


def session() -> duckdb.DuckDBPyConnection:
    """A session of its own on the shared instance: what it registers, nobody else sees. Close it after use."""
    return _instance().cursor()
