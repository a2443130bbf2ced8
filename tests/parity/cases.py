"""Data for the parity tests: made by hypothesis, put into a real table and into frames."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import polars as pl
import psycopg
from hypothesis import strategies as st

from pggit_analytics import frames
from pggit_analytics.parity import Inputs, Parameters

#: known ones, so that bottleneck rules apply; one of them is unknown to the table of operations
OPERATIONS = ("branch_create", "commit", "merge_base_find", "rollback_commit", "zzz_of_my_own")

HOUR = timedelta(hours=1)
MICROSECOND = timedelta(microseconds=1)

#: ordinary, a leap day, both changes of the clock in Europe and America, with offsets and odd microseconds
AS_OF = st.sampled_from(
    [
        datetime(2026, 1, 31, tzinfo=UTC),
        datetime(2024, 2, 29, 23, 59, 59, 999999, tzinfo=UTC),
        datetime(2026, 3, 29, 1, 30, tzinfo=UTC),
        datetime(2026, 10, 25, 2, 0, 0, 1, tzinfo=UTC),
        datetime(2026, 3, 8, 10, 7, 30, tzinfo=UTC),
        datetime(2026, 11, 1, 6, 0, tzinfo=UTC),
    ]
)

#: 1e-3 to 1e9 ms, in microseconds, with many ties
DURATIONS = st.one_of(
    st.sampled_from([0, 1, 2, 1000, 1001, 5000, 100_000, 120_000, 1_000_000_000_000]),
    st.integers(1, 50),
    st.integers(900, 1100),
    st.integers(1, 10**12),
)


@dataclass(frozen=True)
class Baseline:
    operation_type: str
    p99_us: int
    multiplier: Decimal
    is_newer: bool
    is_held: bool


@dataclass(frozen=True)
class Case:
    #: (operation, microseconds, instant)
    rows: list[tuple[str, int, datetime]]
    baselines: list[Baseline]
    parameters: Parameters


def _instants(as_of: datetime, days: int, hours: int) -> st.SearchStrategy[datetime]:
    start, middle, recent = as_of - 24 * days * HOUR, as_of - 12 * days * HOUR, as_of - hours * HOUR
    edges = [edge + k * MICROSECOND for edge in (start, middle, recent, as_of) for k in (-1, 0, 1)]
    minutes = [
        (as_of - k * timedelta(minutes=1)).replace(second=0, microsecond=0) + d * MICROSECOND
        for k in range(8)
        for d in (0, -1)
    ]
    return st.one_of(
        st.sampled_from(minutes),
        st.sampled_from(edges),
        st.integers(0, 24 * 3600 * days * 10**6).map(lambda us: as_of - timedelta(microseconds=us)),
        st.integers(0, 3600 * 10**6).map(lambda us: as_of - timedelta(microseconds=us)),
    )


@st.composite
def _slowed_down(draw: st.DrawFn, as_of: datetime, days: int) -> list[tuple[str, int, datetime]]:
    """An operation with rows on both sides of the middle, slower in the second half; around the thresholds too."""
    step = timedelta(hours=draw(st.sampled_from([2, 5, 24])))
    factor = draw(st.sampled_from([1.2, 1.2000001, 1.3, 1.5, 2.0, 40.0]))
    old = draw(st.sampled_from([0, 1000, 100_000, 10**9]))
    noise = draw(st.lists(st.integers(0, 30), min_size=84 * days // 7, max_size=84 * days // 7))
    middle = as_of - 12 * days * HOUR
    instants = [as_of - k * step for k in range(len(noise)) if as_of - k * step >= as_of - 24 * days * HOUR]
    return [
        ("merge_base_find", round((old + extra) * (factor if instant >= middle else 1)), instant)
        for instant, extra in zip(instants, noise, strict=False)
    ]


@st.composite
def cases(draw: st.DrawFn) -> Case:
    as_of = draw(AS_OF)
    days, hours = draw(st.sampled_from([1, 2, 7, 7, 9])), draw(st.sampled_from([1, 2, 24, 24, 200]))
    durations = draw(st.sampled_from([DURATIONS, DURATIONS, st.just(7000), st.integers(10, 12)]))
    rows = draw(
        st.lists(
            st.tuples(st.sampled_from(OPERATIONS), durations, _instants(as_of, days, hours)),
            max_size=60,
        )
    )
    # something to find: operations that run in the same minutes, and one slow row among equal ones
    shared = draw(st.lists(st.tuples(st.integers(0, 7), st.integers(1, 10**6)), max_size=8, unique_by=lambda r: r[0]))
    for minute, level in shared:
        instant = as_of - timedelta(minutes=minute)
        rows += [("branch_create", level, instant), ("commit", draw(st.sampled_from([level, 2 * level + 7])), instant)]
    if draw(st.booleans()):
        n = draw(st.integers(11, 40))
        rows += [("rollback_commit", 1000, as_of - k * timedelta(seconds=40)) for k in range(n)]
        rows.append(("rollback_commit", draw(DURATIONS), as_of))
    rows += draw(st.one_of(st.just([]), _slowed_down(as_of, days)))
    baselines = draw(
        st.lists(
            st.builds(
                Baseline,
                st.sampled_from(OPERATIONS),
                st.one_of(st.just(0), DURATIONS),
                st.sampled_from([Decimal("2"), Decimal("2.5"), Decimal("1.001")]),
                st.booleans(),
                st.booleans(),
            ),
            max_size=4,
            unique_by=lambda b: b.operation_type,
        )
    )
    parameters = Parameters(
        as_of=as_of,
        operations=OPERATIONS,
        lookback_hours=hours,
        lookback_days=days,
        z_score_threshold=draw(st.sampled_from([Decimal("3"), Decimal("0.1"), Decimal("1.5"), Decimal("2.718281828")])),
        threshold_percent=draw(st.sampled_from([Decimal("20"), Decimal("0.001"), Decimal("50")])),
        correlation_threshold=draw(st.sampled_from([Decimal("0.75"), Decimal("0.000001"), Decimal("0.999")])),
        min_samples=draw(st.sampled_from([1, 5, 10])),
        force=draw(st.booleans()),
    )
    return Case(rows, baselines, parameters)


def load(connection: psycopg.Connection, case: Case) -> Inputs:
    """Put the case into the tables (in the caller's transaction) and return the same as frames."""
    connection.execute(
        "INSERT INTO performance_operation_types (operation_type) VALUES ('zzz_of_my_own') ON CONFLICT DO NOTHING"
    )
    ids = list(range(1, len(case.rows) + 1))
    connection.execute(
        """
        INSERT INTO performance_metrics (metric_id, operation_type, duration_ms, created_at)
        SELECT i, o, us * 0.001, t
        FROM unnest(%s::BIGINT[], %s::TEXT[], %s::NUMERIC[], %s::TIMESTAMPTZ[]) AS r (i, o, us, t)
        """,
        (ids, [r[0] for r in case.rows], [r[1] for r in case.rows], [r[2] for r in case.rows]),
    )
    as_of = case.parameters.as_of
    for number, baseline in enumerate(case.baselines, 1):
        connection.execute(
            """
            INSERT INTO performance_baselines (
                baseline_id, operation_type, valid_from, sample_count, p99_microseconds, alert_threshold_multiplier
            )
            VALUES (%s, %s, %s, 10, %s, %s)
            """,
            (
                -number,
                baseline.operation_type,
                as_of + HOUR if baseline.is_newer else as_of - HOUR,
                baseline.p99_us,
                baseline.multiplier,
            ),
        )
        if baseline.is_held:
            connection.execute(
                """
                INSERT INTO performance_alerts (
                    operation_type, alert_type, severity, dedup_key, evidence, opened_at, last_seen_at
                )
                VALUES (%s, 'DEGRADATION', 'WARNING', %s, '{}', %s, %s)
                """,
                (baseline.operation_type, f"test {number}", as_of, as_of),
            )
    return _inputs(connection, case, ids)


def _inputs(connection: psycopg.Connection, case: Case, ids: list[int]) -> Inputs:
    types = connection.execute(
        "SELECT operation_type, category, typical_duration_ms::FLOAT8, is_tracked FROM performance_operation_types"
    ).fetchall()
    return Inputs(
        metrics=pl.DataFrame(
            {
                "metric_id": ids,
                "operation_type": [r[0] for r in case.rows],
                "duration_us": [r[1] for r in case.rows],
                "created_at": [r[2] for r in case.rows],
            },
            schema=frames.METRICS.columns,
        ),
        baselines=frames.BASELINES.frame(
            [
                {
                    "operation_type": b.operation_type,
                    "baseline_id": -n,
                    "p99_us": b.p99_us,
                    "alert_threshold_multiplier": float(b.multiplier),
                }
                for n, b in enumerate(case.baselines, 1)
                if not b.is_newer
            ]
        ),
        operation_types=pl.DataFrame(types, schema=frames.OPERATION_TYPES.columns, orient="row"),
        active_baselines=frames.ACTIVE_BASELINES.frame(
            [
                {
                    "operation_type": b.operation_type,
                    "baseline_id": -n,
                    "p99_us": b.p99_us,
                    "is_newer_than_as_of": b.is_newer,
                }
                for n, b in enumerate(case.baselines, 1)
            ]
        ),
        held_operations=frozenset(b.operation_type for b in case.baselines if b.is_held),
    )
