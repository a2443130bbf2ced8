"""What a monitoring run found, in the order a person wants to hear it; and that as Markdown."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import polars as pl

from pggit_analytics.analysis.incidents import Incidents
from pggit_analytics.frames import SEVERITIES
from pggit_analytics.report.incident_lines import IncidentLine, incident_lines
from pggit_analytics.report.markup import cell, code, section

#: pairs that shared fewer minutes are counted, not shown: a handful of minutes correlates by chance
MINIMUM_SHARED_MINUTES = 10


@dataclass(frozen=True, slots=True)
class SlowOperation:
    """An operation that got slower."""

    operation_type: str
    severity: str
    p99_old_ms: float
    p99_new_ms: float
    degradation_percent: float
    trend: str
    #: None where no onset stands out
    since: datetime | None
    #: operations that slow down in the same minutes
    together_with: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class SlowGroup:
    """Operations that slow down in the same minutes, and what they likely share."""

    operation_types: tuple[str, ...]
    #: lowest and highest r of the pairs found
    correlation: tuple[float, float]
    shared_bottlenecks: tuple[str, ...]
    #: what to do about each of them, in the same order
    recommendations: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class SlowCall:
    """One call that took far longer than its operation usually does."""

    operation_type: str
    metric_id: int
    severity: str
    duration_ms: float
    baseline_p99_ms: float | None
    z_score: float


@dataclass(frozen=True, slots=True)
class Summary:
    """The findings of one run, most severe first."""

    as_of: datetime
    rows_read: int
    slow_operations: tuple[SlowOperation, ...]
    slow_groups: tuple[SlowGroup, ...]
    #: pairs that correlate over too few minutes to be grouped
    uncertain_pairs: int
    #: the worst call of each operation that has slow outliers
    slow_calls: tuple[SlowCall, ...]
    #: slow outliers in all
    slow_call_count: int
    #: operation -> calls over the alert threshold of its baseline, most first
    over_threshold: tuple[tuple[str, int], ...]
    #: what is wrong now by the engine, the worst first; None where it did not run
    incidents: tuple[IncidentLine, ...] | None = None


def summarise(
    *,
    as_of: datetime,
    rows_read: int,
    anomalies: pl.DataFrame,
    degradations: pl.DataFrame,
    correlations: pl.DataFrame,
    thresholds: pl.DataFrame,
    slow_since: pl.DataFrame,
    incidents: Incidents | None = None,
) -> Summary:
    """Arrange findings for a reader.

    Args:
        as_of: the moment analysed.
        rows_read: timings looked at.
        anomalies, degradations, correlations, thresholds, slow_since: frames of the schemas of the same names.
        incidents: how they stand; None where the engine did not run.
    """
    certain = correlations.filter(pl.col("shared_minutes") >= MINIMUM_SHARED_MINUTES)
    neighbours = _neighbours(certain)
    calls = anomalies.filter(pl.col("metric_id").is_not_null() & (pl.col("z_score") > 0))
    worst = calls.sort(-pl.col("z_score"), pl.col("operation_type"), pl.col("metric_id")).unique(
        "operation_type", keep="first", maintain_order=True
    )
    slow = (
        degradations.join(slow_since, on="operation_type", how="left")
        .sort(pl.col("severity").cast(SEVERITIES), -pl.col("degradation_percent"), pl.col("operation_type"))
        .iter_rows(named=True)
    )
    return Summary(
        as_of=as_of,
        rows_read=rows_read,
        slow_operations=tuple(
            SlowOperation(
                row["operation_type"],
                row["severity"],
                row["p99_old_ms"],
                row["p99_new_ms"],
                row["degradation_percent"],
                row["trend"],
                row["slow_since"],
                tuple(sorted(neighbours.get(row["operation_type"], ()))),
            )
            for row in slow
        ),
        slow_groups=_groups(certain, neighbours),
        uncertain_pairs=correlations.height - certain.height,
        slow_calls=tuple(
            SlowCall(
                row["operation_type"],
                row["metric_id"],
                row["severity"],
                row["duration_ms"],
                row["baseline_p99_ms"],
                row["z_score"],
            )
            for row in worst.iter_rows(named=True)
        ),
        slow_call_count=calls.height,
        over_threshold=tuple(
            thresholds.sort(-pl.col("exceeded_count"), pl.col("operation_type"))
            .select("operation_type", "exceeded_count")
            .iter_rows()
        ),
        incidents=None if incidents is None else incident_lines(incidents),
    )


def _neighbours(correlations: pl.DataFrame) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for one, two in correlations.select("operation_type_1", "operation_type_2").iter_rows():
        found.setdefault(one, set()).add(two)
        found.setdefault(two, set()).add(one)
    return found


def _groups(correlations: pl.DataFrame, neighbours: dict[str, set[str]]) -> tuple[SlowGroup, ...]:
    """The connected components of the pairs, largest first."""
    groups, left = [], set(neighbours)
    while left:
        group, front = set(), {min(left)}
        while front:
            group |= front
            front = {name for member in front for name in neighbours[member]} - group
        left -= group
        pairs = correlations.filter(pl.col("operation_type_1").is_in(list(group)))
        causes = pairs.unique("shared_bottleneck", keep="first", maintain_order=True)
        groups.append(
            SlowGroup(
                tuple(sorted(group)),
                (pairs["correlation_coefficient"].min(), pairs["correlation_coefficient"].max()),  # type: ignore[arg-type]
                tuple(causes["shared_bottleneck"]),
                tuple(causes["recommendation"]),
            )
        )
    return tuple(sorted(groups, key=lambda g: (-len(g.operation_types), g.operation_types)))


def markdown(summary: Summary, *, calls: int = 10) -> str:
    """The summary as Markdown, for a run's page; operation names are code, so that they format nothing."""
    lines = [f"# What got slow, as of {summary.as_of:%Y-%m-%d %H:%M} UTC", "", f"{summary.rows_read:,} timings read."]
    lines += _incidents_section(summary)
    lines += section(
        "Slower than before",
        ("operation", "severity", "p99 before", "p99 now", "change", "since (UTC)"),
        (
            (
                cell(o.operation_type),
                o.severity,
                milliseconds(o.p99_old_ms),
                milliseconds(o.p99_new_ms),
                f"+{o.degradation_percent:.0f} %",
                f"{o.since:%Y-%m-%d %H:%M}" if o.since else "",
            )
            for o in summary.slow_operations
        ),
    )
    lines += _groups_section(summary)
    lines += section(
        f"Single slow calls: {summary.slow_call_count} in all, the worst of each operation",
        ("operation", "metric", "took", "baseline p99", "z"),
        (
            (
                cell(c.operation_type),
                str(c.metric_id),
                milliseconds(c.duration_ms),
                milliseconds(c.baseline_p99_ms),
                f"{c.z_score:.1f}",
            )
            for c in summary.slow_calls[:calls]
        ),
    )
    lines += section(
        "Over the alert threshold of the baseline",
        ("operation", "calls"),
        ((cell(name), str(count)) for name, count in summary.over_threshold),
    )
    if len(lines) == 3:
        lines += ["", "Nothing got slow."]
    return "\n".join(lines) + "\n"


def milliseconds(value: float | None) -> str:
    """A duration as people write it: 0.42 ms, 12.3 ms, 4.2 s, 3.1 h; nothing for None."""
    if value is None:
        return ""
    # from 999.5 on, three digits would round to 1e+03
    for limit, divisor, unit in ((999.5, 1, "ms"), (120_000, 1000, "s"), (7_200_000, 60_000, "min")):
        if value < limit:
            return f"{value / divisor:.3g} {unit}"
    hours = value / 3_600_000
    return f"{hours:.3g} h" if hours < 999.5 else f"{hours:,.0f} h"


def times(ratio: float | None) -> str:
    """How many times as long, as people write it: +35 %, 3.2x, -20 %; nothing for None."""
    if ratio is None:
        return ""
    return f"{ratio:.2g}x" if ratio >= 2 else f"{100 * (ratio - 1):+.0f} %"


def recorded(summary: Summary) -> str:
    """What the plan's detectors found, counted; nothing when they found nothing."""
    correlated = sum(len(group.operation_types) for group in summary.slow_groups)
    counts = (
        (len(summary.slow_operations), "slower operations"),
        (correlated, "operations slow in the same minutes"),
        (summary.slow_call_count, "single slow calls"),
        (len(summary.over_threshold), "operations over their limit"),
    )
    return ", ".join(f"{count:,} {what}" for count, what in counts if count)


def _incidents_section(summary: Summary) -> list[str]:
    return section(
        "Incidents",
        (
            "operation",
            "severity",
            "what",
            "p50 before",
            "now",
            "change",
            "since (UTC)",
            "until",
            "lost an hour",
            "with",
        ),
        (
            (
                cell(one.operation_type),
                one.severity,
                one.what,
                milliseconds(one.p50_before_ms),
                milliseconds(one.p50_now_ms),
                times(one.size_ratio),
                f"{one.onset:%Y-%m-%d %H:%M}",
                f"{one.ended_at:%Y-%m-%d %H:%M}" if one.ended_at else one.state,
                "" if one.ended_at else milliseconds(one.lost_ms_per_hour),
                ", ".join(map(cell, one.others)),
            )
            for one in summary.incidents or ()
        ),
    )


def _groups_section(summary: Summary) -> list[str]:
    """A list and no table: names and advice are long."""
    lines = []
    for group in summary.slow_groups:
        low, high = group.correlation
        lines.append(f"- {', '.join(map(code, group.operation_types))} (r {low:.2f} to {high:.2f})")
        lines += [
            f"  - {bottleneck}: {recommendation}"
            for bottleneck, recommendation in zip(group.shared_bottlenecks, group.recommendations, strict=True)
        ]
    if summary.uncertain_pairs:
        lines.append(uncertain_pairs(summary))
    return ["", "## Slow together", "", *lines] if lines else []


def uncertain_pairs(summary: Summary) -> str:
    """The sentence about the pairs that are not shown."""
    count = summary.uncertain_pairs
    pairs = "pair correlates" if count == 1 else "pairs correlate"
    return f"{count} more {pairs} over fewer than {MINIMUM_SHARED_MINUTES} minutes, which may be chance."
