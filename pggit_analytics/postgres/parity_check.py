"""Runs the twins on a database and compares them there."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import polars as pl
import psycopg

from pggit_analytics.parity import DETECTION_TWINS, Inputs, Parameters, Twin, differences


def from_sql(connection: psycopg.Connection, twin: Twin, parameters: Parameters) -> pl.DataFrame:
    """The SQL side of a twin. Runs inside the caller's transaction; some twins write."""
    arguments = {**asdict(parameters), "operations": list(parameters.operations)}
    if twin.prepare:
        connection.execute("DROP TABLE IF EXISTS pg_temp.recalculated")
        connection.execute(twin.prepare.encode(), arguments)
    rows = connection.execute(twin.query.encode(), arguments).fetchall()
    return pl.DataFrame(rows, schema=twin.columns.columns, orient="row")


def from_frames(twin: Twin, inputs: Inputs, parameters: Parameters) -> pl.DataFrame:
    """The dataframe side of a twin, with the columns that are compared."""
    return twin.compute(inputs, parameters).select(list(twin.columns.columns))


@dataclass(frozen=True, slots=True)
class Comparison:
    """What one twin said in both engines."""

    sql_object: str
    #: rows of the SQL side
    rows: int
    #: one line per difference, empty when there is none
    differences: list[str]


def compare(
    connection: psycopg.Connection,
    inputs: Inputs,
    parameters: Parameters,
    twins: tuple[Twin, ...] = DETECTION_TWINS,
) -> list[Comparison]:
    """Each of the twins on the same data. What the SQL side writes is not committed.

    Args:
        connection: sees exactly the rows of ``inputs``.
        inputs, parameters: what all of them are asked about.
        twins: those to compare; they read the frames that ``inputs`` holds.
    """
    found = []
    for twin in twins:
        with connection.transaction(force_rollback=True):
            answer = from_sql(connection, twin, parameters)
        faults = differences(answer, from_frames(twin, inputs, parameters))
        found.append(Comparison(twin.sql_object, answer.height, faults))
    return found
