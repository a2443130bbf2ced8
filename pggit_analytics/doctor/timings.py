"""Checks of the timings and of the baselines they are compared with."""

from __future__ import annotations

from datetime import timedelta

from psycopg import sql

from pggit_analytics.doctor.checks import Answer, Patient, listed
from pggit_analytics.doctor.running import minute, span
from pggit_analytics.errors import DatabaseUnavailable, InvalidSource
from pggit_analytics.postgres.sources import NATIVE, check_source, configured, subquery

_OLD = timedelta(hours=24)
#: clocks differ by less
_AHEAD = timedelta(minutes=1)


def source(patient: Patient) -> Answer:
    """Whether the source yields what it has to."""
    database, found = configured(patient.settings.source, patient.database)
    if found.name == NATIVE and patient.closed_because is not None:
        raise patient.closed_because
    try:
        check_source(database, found)
    except (InvalidSource, DatabaseUnavailable) as exc:
        return Answer("fail", str(exc), "$EDITOR pggit.toml")
    if found.name == NATIVE:
        return Answer("ok", f"the table performance_metrics of the schema {database.schema}")
    return Answer("ok", f"{found.name}, in {database.place}")


def freshness(patient: Patient) -> Answer:
    """Whether timings still come in, and none from the future."""
    database, found = configured(patient.settings.source, patient.database)
    if found.name == NATIVE:
        # of each operation the newest, by its index
        newest = patient.row(
            """
            SELECT max(m.created_at) AS at, clock_timestamp() - max(m.created_at) AS age
            FROM performance_operation_types AS t
            CROSS JOIN LATERAL (
                SELECT created_at FROM performance_metrics WHERE operation_type = t.operation_type
                ORDER BY created_at DESC LIMIT 1
            ) AS m
            """
        )
    else:
        query = f"SELECT max(created_at), clock_timestamp() - max(created_at) FROM {subquery(found)} AS s"  # noqa: S608
        with database.connect(own_path=False) as connection:
            connection.read_only = True
            row = connection.execute(sql.SQL(query)).fetchone()
        newest = dict(zip(("at", "age"), row or (None, None), strict=True))
    if newest["at"] is None:
        return Answer("warn", "there are no timings; the demo shows what to expect", "pggit-analytics demo")
    if newest["age"] < -_AHEAD:
        return Answer(
            "warn",
            f"the newest is {span(-newest['age'])} ahead of the server's clock, and not read before its time",
            "timedatectl set-ntp true  # on the machine that records",
        )
    said = f"the newest is {span(max(newest['age'], timedelta(0)))} old ({minute(newest['at'])})"
    if newest["age"] > _OLD:
        return Answer(
            "warn",
            f"{said}: is anything recorded still?",
            patient.psql(
                "SELECT operation_type, max(created_at) FROM {}.performance_metrics GROUP BY 1 ORDER BY 2 DESC",
                patient.database.schema,
            ),
        )
    return Answer("ok", said)


def baselines(patient: Patient) -> Answer:
    """Whether the baselines are recent and every operation that reports has one."""
    health = patient.row(
        """
        SELECT count(*) AS number, count(*) FILTER (WHERE freshness = 'CURRENT') AS current,
               count(*) FILTER (WHERE freshness = 'VERY_STALE') AS very_stale, max(hours_since_update) AS oldest
        FROM v_baseline_recalc_health
        """
    )
    again = patient.command("baselines")
    if not health["number"]:
        return Answer("warn", "there are none: nobody knows what is normal", again)
    without = patient.rows(
        """
        SELECT t.operation_type
        FROM performance_operation_types AS t
        WHERE t.is_tracked
          AND NOT EXISTS (
              SELECT FROM performance_baselines AS b WHERE b.operation_type = t.operation_type AND b.is_active
          )
          AND (
              SELECT count(*)
              FROM (
                  SELECT FROM performance_metrics AS m
                  WHERE m.operation_type = t.operation_type AND m.created_at > now() - INTERVAL '7 days'
                  LIMIT 10
              ) AS enough
          ) = 10
        ORDER BY t.operation_type COLLATE "C"
        """
    )
    said = f"{health['current']} of {health['number']} updated within a day, the oldest {health['oldest']:,.0f} h ago"
    if health["very_stale"]:
        return Answer("warn", f"{said}; {health['very_stale']} are older than 7 days", again)
    if without:
        return Answer("warn", f"{said}; none yet of {listed(row['operation_type'] for row in without)}", again)
    return Answer("ok", said)


def imports(patient: Patient) -> Answer:
    """Whether what was once brought in from elsewhere still is."""
    found = patient.rows(
        """
        SELECT 'sync' AS command, synced_at AS at, clock_timestamp() - synced_at AS age FROM merge_sync_state
        UNION ALL
        SELECT 'sample statements', sampled_at, clock_timestamp() - sampled_at FROM statement_sampling
        ORDER BY at
        """
    )
    if not found:
        return Answer("ok", "neither merges of pgGit nor statements are brought in")
    oldest = found[0]
    said = "; ".join(f"{row['command']} ran {span(max(row['age'], timedelta(0)))} ago" for row in found)
    if oldest["age"] > _OLD:
        return Answer("warn", said, patient.command(oldest["command"]))
    return Answer("ok", said)
