"""The report as Markdown, for a ticket, a chat or a pull request: the same as the page, without its charts."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime

import polars as pl

from pggit_analytics.delivery.wording import clean, counted, instant, milliseconds
from pggit_analytics.report.contents import MOST_RUNS, Incident, Report, words
from pggit_analytics.report.markup import cell, code, plain, section, table

#: rows of the longer tables
_MOST = 12
_LEVELS = {"trouble": "**Trouble**", "attention": "**Look at it**", "note": "Note", "ok": "Well"}


def markdown(report: Report) -> str:
    """The report as Markdown; names format nothing."""
    lines = [
        f"# {report.headline}",
        "",
        f"As of {instant(report.as_of)}, {plain(report.place)}, schema {code(report.schema)}. Times are UTC.",
        "",
        "## What is wrong now",
        "",
    ]
    lines += _now(report)
    lines += section(
        "Other open alerts",
        ("operation", "severity", "what", "since"),
        (
            (cell(clean(o.operation)), o.severity, plain("; ".join((o.statement, *o.notes))), _moment(o.since))
            for o in report.others
        ),
    )
    if report.suppressions:
        lines += ["", "## Found and not told", ""]
        lines += [f"- {counted(one.count, 'finding')}: {one.reason}" for one in report.suppressions]
    if report.over:
        lines += ["", "## Over in the last 7 days", ""]
        lines += [f"- {plain(one.sentence)}; {_lost(one.lost_ms)} lost" for one in report.over]
    lines += _together(report)
    lines += _merges(report)
    lines += _state(report)
    lines += ["", "## The monitoring itself", ""]
    lines += [
        f"- {_LEVELS[check.level]}: {check.subject}: {plain(check.finding)}{_remedy(check.remedy)}"
        for check in report.health
    ]
    return "\n".join(lines) + "\n"


def _now(report: Report) -> Iterable[str]:
    if report.analysed_at is None:
        yield "No monitoring run has looked at the timings yet. Look: `pggit-analytics analyze`."
        return
    if not report.open:
        yield "No incident is open."
        return
    yield from table(
        ("", "operation", "severity", "what", "since", "lost an hour", "lost so far"),
        (
            (
                str(one.number),
                cell(clean(one.operation)),
                one.severity,
                one.what,
                _moment(one.since),
                _lost(one.lost_ms_per_hour),
                _lost(one.lost_ms),
            )
            for one in report.open
        ),
    )
    for one in report.open:
        yield from _incident(one)


def _incident(one: Incident) -> Iterable[str]:
    yield from ("", f"### {one.number}. {code(clean(one.operation, 80))}", "")
    yield " ".join(f"{plain(part)}." for part in (one.sentence, *(note[:1].upper() + note[1:] for note in one.notes)))
    yield from ("", f"What to do: {plain(one.advice)}.", "")
    yield from table(
        ("operation", "change", "p50 before", "p50 now", "p99 before", "p99 now", "calls", "lost"),
        (
            (
                cell(clean(member.operation)),
                f"x {member.size_ratio:.3g}",
                _ms(member.p50_before_ms),
                _ms(member.p50_now_ms),
                _ms(member.p99_before_ms),
                _ms(member.p99_now_ms),
                f"{member.calls:,}",
                _lost(member.lost_ms),
            )
            for member in one.members
        ),
    )


def _together(report: Report) -> list[str]:
    if not report.groups:
        return []
    lines = ["", "## Slow together", ""]
    for group in report.groups:
        names = ", ".join(code(clean(name, 80)) for name in group.operations)
        first = f"; {code(clean(group.first_mover, 80))} changed first" if group.first_mover else ""
        lines.append(f"- {names}{first}")
        lines += [f"  - {plain(shared)}: {plain(advice)}" for shared, advice in group.bottlenecks]
    pairs = report.pairs.sort("r", descending=True).head(_MOST)
    rows = ((cell(clean(a)), cell(clean(b)), f"{r:.2f}", str(n)) for a, b, r, n in pairs.iter_rows())
    return [*lines, "", *table(("operation", "and", "r", "shared minutes"), rows)]


def _merges(report: Report) -> list[str]:
    lines = []
    if sum(report.merge_outcomes.values()):
        outcomes = ", ".join(f"{count:,} {outcome}" for outcome, count in report.merge_outcomes.items())
        lines = ["", "## Merges", "", f"{outcomes}."]
    medians = report.phases.group_by("phase").agg(pl.col("p99_ms").median()).sort("phase")
    lines += section(
        "Phases of merging, last 24 hours",
        ("phase", "p99, median of half hours"),
        ((words(phase), _ms(ms)) for phase, ms in medians.iter_rows()),
    )
    return lines + section(
        "Conflict hotspots",
        ("from", "into", "conflicts", "merges", "rate"),
        (
            (
                cell(clean(row["branch_from"])),
                cell(clean(row["branch_into"])),
                f"{row['conflict_count']:,}",
                f"{row['merge_attempts']:,}",
                f"{row['conflict_rate_percent']:.0f} %",
            )
            for row in report.hotspots.head(_MOST).iter_rows(named=True)
        ),
    )


def _state(report: Report) -> list[str]:
    lines = section(
        "Baselines, the oldest first",
        ("operation", "freshness", "p99", "calls"),
        (
            (
                cell(clean(row["operation_type"])),
                words(row["freshness"]),
                _ms(row["p99_ms"]),
                f"{row['sample_count']:,}",
            )
            for row in report.baselines.head(_MOST).iter_rows(named=True)
        ),
    )
    messages = report.delivery.group_by("status").agg(pl.col("notification_count").sum()).sort("status")
    lines += section(
        "Messages of the last 7 days", ("outcome", "messages"), ((s, f"{n:,}") for s, n in messages.rows())
    )
    return lines + section(
        "Runs",
        ("as of", "flow", "outcome", "took", "timings read", "rows written"),
        (
            (
                _moment(row["as_of"]),
                words(row["flow"]),
                row["status"].lower() + (f": {plain(clean(row['error_message']))}" if row["error_message"] else ""),
                milliseconds((row["finished_at"] - row["started_at"]).total_seconds() * 1000),
                f"{row['rows_read']:,}",
                f"{row['rows_written']:,}",
            )
            for row in report.runs.head(MOST_RUNS).iter_rows(named=True)
        ),
    )


def _remedy(remedy: str) -> str:
    return f" {plain(remedy)}." if remedy else ""


def _moment(value: datetime | None) -> str:
    return f"{value.astimezone(UTC):%Y-%m-%d %H:%M}" if value else ""


def _ms(value: float | None) -> str:
    return "" if value is None else milliseconds(value)


def _lost(value: float) -> str:
    return milliseconds(value) if value >= 0.5 else "0 ms"
