"""Reads the schema's own table many rows to one, because a row costs connectorx more than its values do.

The server sends one row per operation: each column's values one after the other, as PostgreSQL's binary form of 64-bit
numbers (big-endian; instants in microseconds since 2000). It reads them from the covering index alone.
"""

from __future__ import annotations

from datetime import datetime, timedelta

import numpy as np
import numpy.typing as npt
import polars as pl
from psycopg import sql

from pggit_analytics.frames import INSTANT, METRICS

#: microseconds from 1970 to 2000, where PostgreSQL counts from
_EPOCH_US = 946_684_800_000_000
#: bytes of a packed number
_NUMBER = 8

# Every operation in the table, each found with one step into the index.
_ALL_NAMES = """
    WITH RECURSIVE steps AS (
        SELECT min(operation_type) AS operation_type FROM {table}
        UNION ALL
        SELECT (SELECT min(m.operation_type) FROM {table} AS m WHERE m.operation_type > s.operation_type)
        FROM steps AS s
        WHERE s.operation_type IS NOT NULL
    ),

    names AS (SELECT operation_type FROM steps WHERE operation_type IS NOT NULL)
"""

_THESE_NAMES = "WITH names AS (SELECT DISTINCT unnest(ARRAY[{names}]::TEXT[]) AS operation_type)"

_PACKED = """
    {all_or_these}
    SELECT n.operation_type, p.metric_ids, p.durations_us, p.instants_us
    FROM names AS n
    CROSS JOIN LATERAL (
        SELECT
            string_agg(int8send(m.metric_id), '') AS metric_ids,
            string_agg(int8send((m.duration_ms * 1000)::BIGINT), '') AS durations_us,
            string_agg(timestamptz_send(m.created_at), '') AS instants_us
        FROM {table} AS m
        WHERE m.operation_type = n.operation_type
          AND m.created_at BETWEEN {start}::TIMESTAMPTZ AND {end}::TIMESTAMPTZ
    ) AS p
    WHERE p.metric_ids IS NOT NULL
"""


def packed_statements(
    schema: str, start: datetime, end: datetime, operations: tuple[str, ...] | None, *, includes_end: bool
) -> list[str]:
    """The SELECTs that read [start, end], or with not ``includes_end`` [start, end); to be run side by side.

    Two halves, because packing keeps one core of the server busy.
    """
    microsecond = timedelta(microseconds=1)
    last = end if includes_end else end - microsecond
    middle = start + (last - start) // 2
    table = sql.Identifier(schema, "performance_metrics")
    if operations is None:
        names = sql.SQL(_ALL_NAMES).format(table=table)
    else:
        names = sql.SQL(_THESE_NAMES).format(names=sql.SQL(", ").join(map(sql.Literal, operations)))
    return [
        sql.SQL(_PACKED)
        .format(all_or_these=names, table=table, start=_literal(low), end=_literal(high))
        .as_string(None)
        for low, high in ((start, middle), (middle + microsecond, last))
    ]


def unpacked(packed: pl.DataFrame) -> pl.DataFrame:
    """What the statements yield, as `frames.METRICS`, each operation's rows together, operations ascending.

    The rows of an operation are in order of time as far as the server reads its index in order.
    """
    # of each row the first instant; connectorx yields the statements in any order
    packed = packed.sort("operation_type", pl.col("instants_us").bin.slice(0, _NUMBER))
    names, columns = packed["operation_type"], {name: packed.drop_in_place(name) for name in packed.columns[1:]}
    counts = (columns["metric_ids"].bin.size() // _NUMBER).to_numpy()
    total = int(counts.sum())
    # each packed column goes as soon as its numbers are there
    metric_id, duration_us, instants = (_numbers(columns.pop(name), total) for name in list(columns))
    instants += _EPOCH_US
    positions = pl.Series(np.repeat(np.arange(names.len(), dtype=np.uint32), counts))
    return METRICS.check(
        pl.DataFrame(
            {
                "metric_id": metric_id,
                "operation_type": names.gather(positions),
                "duration_us": duration_us,
                "created_at": pl.Series(instants).cast(INSTANT),
            }
        )
    )


def _numbers(packed: pl.Series, count: int) -> npt.NDArray[np.int64]:
    """The ``count`` numbers of a packed column."""
    numbers = np.empty(count, dtype=np.int64)
    position = 0
    # Arrow's own layout lends its bytes instead of copying them
    for values in packed.to_arrow(compat_level=pl.CompatLevel.newest()):
        part = np.frombuffer(values.as_buffer(), dtype=">i8")
        numbers[position : position + part.size] = part
        position += part.size
    return numbers


def _literal(instant: datetime) -> sql.Literal:
    return sql.Literal(instant.isoformat(" ", "microseconds"))
