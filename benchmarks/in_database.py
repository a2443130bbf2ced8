"""How long the SQL functions take, beside their targets.

Each figure is the time of one call as a client sees it (send, plan, run, fetch), over at least 7 calls after one to
warm up. "per type" figures time every one of the 33 operations: the median is that of the typical operation, "worst
type" names the operation with the highest median, and it is the worst type that has to meet the target.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from time import perf_counter

import psycopg
from figures import Line, told

from data import AS_OF, DEFAULT_DIRECTORY, SIZES, operation_names, prepare, say, server

#: sizes measured unless others are named
DEFAULT_SIZES = ("33k", "1M-rate", "1M")

PER_TYPE = (
    (
        "detect_anomalies_statistical",
        "SELECT * FROM detect_anomalies_statistical(%(operation)s, p_as_of => %(as_of)s)",
        10.0,
    ),
    (
        "detect_performance_degradation",
        "SELECT * FROM detect_performance_degradation(%(operation)s, %(days)s, p_as_of => %(as_of)s)",
        50.0,
    ),
    ("detect_combined_anomalies", "SELECT * FROM detect_combined_anomalies(%(operation)s, p_as_of => %(as_of)s)", 20.0),
    ("detect_threshold_exceeded", "SELECT * FROM detect_threshold_exceeded(%(operation)s, p_as_of => %(as_of)s)", None),
)

PAIRS = """
SELECT * FROM detect_correlated_degradation(p_correlation_threshold => %(threshold)s, p_as_of => %(as_of)s)
"""

#: what one writes first: minute averages, joined with themselves
OBVIOUS_PAIRS = """
WITH time_windows AS (
    SELECT date_trunc('minute', created_at) AS minute, operation_type, avg(duration_ms) AS avg_duration
    FROM performance_metrics
    WHERE created_at BETWEEN %(as_of)s - INTERVAL '24 hours' AND %(as_of)s
    GROUP BY 1, 2
)
SELECT a.operation_type, b.operation_type, corr(a.avg_duration, b.avg_duration) AS r
FROM time_windows AS a
JOIN time_windows AS b ON a.minute = b.minute AND a.operation_type < b.operation_type
GROUP BY 1, 2
HAVING corr(a.avg_duration, b.avg_duration) > %(threshold)s
ORDER BY r DESC
"""

BASELINES = "SELECT * FROM recalculate_all_baselines_rolling(p_force_recalc => %(force)s, p_as_of => %(as_of)s)"

#: the reading that dominates each function, for --explain
QUERY_SHAPES = {
    "sums of the last 24 h": """
        SELECT count(*), sum(m.duration_ms) * 1000, sum(m.duration_ms * m.duration_ms) * 1000000
        FROM performance_metrics AS m
        WHERE m.operation_type = %(operation)s
          AND m.created_at BETWEEN %(as_of)s - INTERVAL '24 hours' AND %(as_of)s
    """,
    "p99 of half a week": """
        SELECT count(*), percentile_cont(0.99) WITHIN GROUP (ORDER BY (m.duration_ms * 1000)::BIGINT::FLOAT8)
        FROM performance_metrics AS m
        WHERE m.operation_type = %(operation)s
          AND m.created_at BETWEEN %(as_of)s - INTERVAL '84 hours' AND %(as_of)s
    """,
    "minute means of the last 24 h": """
        SELECT
            date_bin('1 minute', m.created_at, TIMESTAMPTZ '2000-01-01 00:00+00'),
            (sum(m.duration_ms) * 1000)::FLOAT8 / count(*), count(*)
        FROM performance_metrics AS m
        WHERE m.operation_type = %(operation)s
          AND m.created_at BETWEEN %(as_of)s - INTERVAL '24 hours' AND %(as_of)s
        GROUP BY 1
    """,
}


@dataclass(frozen=True, slots=True)
class Figure:
    """One row of the table; times in milliseconds."""

    size: str
    what: str
    median_ms: float
    minimum_ms: float
    calls: int
    #: rows returned; of all operations together for a per-type figure
    rows: int
    target_ms: float | None = None
    worst: str = ""
    worst_ms: float | None = None
    note: str = ""


def main() -> None:
    arguments = _arguments()
    with server(arguments.directory) as url:
        databases = {name: prepare(url, SIZES[name]) for name in arguments.size or DEFAULT_SIZES}
        figures: list[Figure] = []
        version = ""
        for name, database in databases.items():
            say(f"Measuring {SIZES[name].description}")
            with database.connect() as connection:
                version = connection.info.parameter_status("server_version") or ""
                connection.rollback()
                figures += measure(connection, name, operation_names(database), arguments.repetitions)
                if arguments.explain:
                    explain(connection, name, "commit")
    if arguments.json:
        told_figures = [asdict(figure) for figure in figures]
        print(told(lines(figures), table(figures, version), postgresql=version, figures=told_figures))
    else:
        print(table(figures, version))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--directory", type=Path, default=DEFAULT_DIRECTORY, help="where the databases live")
    parser.add_argument(
        "--size", action="append", choices=SIZES, help=f"which to measure; {', '.join(DEFAULT_SIZES)} when not given"
    )
    parser.add_argument("--repetitions", type=int, default=7, help="calls of each kind, at least 7")
    parser.add_argument("--explain", action="store_true", help="show how the main queries run, on standard error")
    parser.add_argument("--json", action="store_true", help="one object instead of a table")
    arguments = parser.parse_args()
    if arguments.repetitions < 7:
        parser.error(f"--repetitions is {arguments.repetitions}, expected at least 7")
    return arguments


def measure(connection: psycopg.Connection, size: str, operations: list[str], repetitions: int) -> Iterator[Figure]:
    """All figures of one database."""
    for what, statement, target in PER_TYPE:
        yield of_each_type(
            connection,
            size,
            what=what,
            statement=statement,
            operations=operations,
            repetitions=repetitions,
            target_ms=target,
        )
    yield from pairs(connection, size, repetitions)
    yield from baselines(connection, size, repetitions)


def of_each_type(
    connection: psycopg.Connection,
    size: str,
    *,
    what: str,
    statement: str,
    operations: Sequence[str],
    repetitions: int,
    target_ms: float | None,
) -> Figure:
    """Every operation ``repetitions`` times, in turns, so that a noisy moment hits all alike."""
    times: dict[str, list[float]] = {operation: [] for operation in operations}
    rows = 0
    # Both halves of the lookback shall hold rows: 7 days, or the one day there is.
    days = min(7, SIZES[size].span.days)
    for repetition in range(repetitions + 1):
        found = 0
        for operation in operations:
            elapsed, count = call(connection, statement, {"operation": operation, "days": days, "as_of": AS_OF})
            found += count
            if repetition:
                times[operation].append(elapsed)
        rows = found
    connection.rollback()
    medians = {operation: median(values) for operation, values in times.items()}
    worst = max(medians, key=lambda operation: medians[operation])
    return Figure(
        size,
        f"{what}, per type",
        median(medians.values()),
        min(min(values) for values in times.values()),
        repetitions * len(operations),
        rows,
        target_ms,
        worst,
        medians[worst],
    )


def pairs(connection: psycopg.Connection, size: str, repetitions: int) -> Iterator[Figure]:
    """The function, its worst case and the obvious SQL, in turns."""
    variants = {
        "detect_correlated_degradation, 528 pairs": (PAIRS, "0.75", 100.0),
        "the same, every pair a candidate (threshold 0.000001)": (PAIRS, "0.000001", None),
        "the obvious SQL: self-join and corr()": (OBVIOUS_PAIRS, "0.75", None),
    }
    times: dict[str, list[float]] = {what: [] for what in variants}
    rows: dict[str, int] = {}
    for repetition in range(repetitions + 1):
        for what, (statement, threshold, _) in variants.items():
            elapsed, rows[what] = call(connection, statement, {"threshold": threshold, "as_of": AS_OF})
            if repetition:
                times[what].append(elapsed)
    connection.rollback()
    ours = median(times[next(iter(variants))])
    for what, (_, _, target) in variants.items():
        note = "" if target else f"{median(times[what]) / ours:.1f} x the function at 0.75"
        yield Figure(size, what, median(times[what]), min(times[what]), repetitions, rows[what], target, note=note)


def baselines(connection: psycopg.Connection, size: str, repetitions: int) -> Iterator[Figure]:
    """The first call, without any baseline, and a forced one after it; each pair is rolled back."""
    first: list[float] = []
    forced: list[float] = []
    rows = 0
    for repetition in range(repetitions + 1):
        with rolled_back(connection):
            connection.execute("DELETE FROM performance_baselines")
            for times, force in ((first, False), (forced, True)):
                elapsed, rows = call(connection, BASELINES, {"force": force, "as_of": AS_OF})
                if repetition:
                    times.append(elapsed)
    target = 100.0 if size == "33k" else None
    for what, times in (("first call", first), ("forced", forced)):
        yield Figure(
            size,
            f"recalculate_all_baselines_rolling, 33 types, {what}",
            median(times),
            min(times),
            repetitions,
            rows,
            target,
        )


@contextmanager
def rolled_back(connection: psycopg.Connection) -> Iterator[None]:
    """A transaction that leaves nothing behind."""
    with connection.transaction(force_rollback=True):
        yield
    connection.rollback()


def call(connection: psycopg.Connection, statement: str, parameters: dict[str, object]) -> tuple[float, int]:
    """Milliseconds of one statement and the number of its rows."""
    start = perf_counter()
    rows = connection.execute(statement.encode(), parameters).fetchall()
    return (perf_counter() - start) * 1000, len(rows)


def explain(connection: psycopg.Connection, size: str, operation: str) -> None:
    """How the queries behind the functions run, for one operation."""
    for title, statement in QUERY_SHAPES.items():
        rows = connection.execute(
            b"EXPLAIN (ANALYZE, BUFFERS) " + statement.encode(), {"operation": operation, "as_of": AS_OF}
        ).fetchall()
        say(f"\n{size}, {title}, {operation}:\n" + "\n".join(f"    {row[0]}" for row in rows))
    connection.rollback()


def lines(figures: Sequence[Figure]) -> Iterator[Line]:
    """For the table of the README: what has an aim; for a figure per type that of the slowest type."""
    for figure in figures:
        hardest = figure.median_ms if figure.worst_ms is None else figure.worst_ms
        slowest = f" ({figure.worst})" if figure.worst else ""
        if figure.target_ms is not None:
            aim = f"< {figure.target_ms:.0f} ms"
            met = hardest < figure.target_ms
            yield Line(figure.what, SIZES[figure.size].rows, f"{hardest:.1f} ms{slowest}", aim=aim, met=met)


def table(figures: Sequence[Figure], version: str) -> str:
    """The figures as Markdown."""
    heads = ("", "median ms", "min ms", "worst type, its median ms", "target ms", "met", "calls", "rows", "")
    lines = [f"PostgreSQL {version}, default settings. Times in milliseconds as a client sees them."]
    for size in dict.fromkeys(figure.size for figure in figures):
        lines += ["", f"**{size}**: {SIZES[size].description}", "", _line(heads), _line(["---"] * len(heads))]
        lines += [_line(_cells(figure)) for figure in figures if figure.size == size]
    return "\n".join(lines)


def _cells(figure: Figure) -> tuple[str, ...]:
    hardest = figure.worst_ms if figure.worst_ms is not None else figure.median_ms
    return (
        figure.what,
        _shown(figure.median_ms),
        _shown(figure.minimum_ms),
        f"{figure.worst} {_shown(figure.worst_ms)}".strip(),
        f"< {figure.target_ms:.0f}" if figure.target_ms else "",
        "" if figure.target_ms is None else "yes" if hardest < figure.target_ms else "no",
        str(figure.calls),
        str(figure.rows),
        figure.note,
    )


def _shown(value: float | None) -> str:
    return "" if value is None else f"{value:.1f}"


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
