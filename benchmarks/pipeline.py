"""How long a whole analysis takes, beside other ways to the same answers and beside the floor.

Every contender runs in a fresh process, all in turns, several times:

- analyze: the pipeline (connectorx, Polars, DuckDB), with the results written back
- analyze, nothing new: the same with a store that holds all the rows from an earlier run
- analyze, the plan's findings: the same for every operation by name, which is asked of the plan's detectors alone
- SQL functions: the plpgsql functions for all 33 operations, one connection
- pandas: pandas + SQLAlchemy + SciPy (pandas_baseline.py); it writes nothing back
- COPY, psycopg and COPY, psql: the floor; the bare ``COPY (SELECT ...) TO STDOUT (FORMAT binary)`` of the rows that
  analyze reads, with the SELECT that analyze sends, thrown away on arrival

"work" is the time inside the process once its libraries are loaded, "process" is all of it, from start to exit. The
answers of the first four are compared with each other.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import resource
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import TYPE_CHECKING, Any

from figures import Line, told

from data import AS_OF, DEFAULT_DIRECTORY, SIZES, operation_names, prepare, say, server, server_program
from pggit_analytics.postgres.connection import Database

if TYPE_CHECKING:
    from pggit_analytics.config import StoreSettings

ANALYZE, STORED, PLAN = "analyze", "analyze, nothing new", "analyze, the plan's findings"
SQL, PANDAS = "SQL functions", "pandas"
COPY_PSYCOPG, COPY_PSQL = "COPY, psycopg", "COPY, psql"

#: rows -> (database, repetitions unless given)
ROWS = {100_000: ("100k", 5), 1_000_000: ("1M", 5), 10_000_000: ("10M", 2), 100_000_000: ("100M", 1)}

#: part of analyze -> the functions of pggit_analytics.pipeline that do it; levels are followed beside the others
PARTS = {
    "extract": ("read_metrics",),
    "other tables": ("extract_baselines", "extract_operation_types", "extract_limits", "extract_trace_parents"),
    "detect": (
        "detect_performance_degradation",
        "detect_anomalies_statistical",
        "detect_threshold_exceeded",
        "combine",
    ),
    "correlate": ("detect_correlated_degradation",),
    "slow since": ("slow_since",),
    "follow levels": ("engine_findings",),
    "incidents": ("engine_incidents",),
    "write back": ("write_back", "extract_incident_inputs", "write_incidents"),
}
#: what a run may take of the time of the bare COPY, and how many times as long pandas takes at least
TARGET_COPY, TARGET_PANDAS = 1.3, 10.0

#: what every run of analyze writes; emptied before each, so that each writes all of it
_EMPTY = """
TRUNCATE
    performance_anomalies, performance_degradations, performance_correlations, performance_incidents,
    performance_incident_operations, suppressed_findings, analysis_runs CASCADE
"""


@dataclass(slots=True)
class Run:
    """One process of one contender; seconds and mebibytes."""

    work_s: float
    process_s: float
    peak_mib: float | None
    parts: dict[str, float] = field(default_factory=dict)
    answers: dict[str, Any] = field(default_factory=dict)


def main() -> None:
    arguments = _arguments()
    if arguments.child:
        child(arguments.child, Database(arguments.url))
        return
    size, repetitions = ROWS[arguments.rows]
    contenders = [name for name in _contenders() if name not in arguments.without]
    with server(arguments.directory) as url, TemporaryDirectory() as cache:
        # where the store of the processes is
        os.environ["XDG_CACHE_HOME"] = cache
        database = prepare(url, SIZES[size])
        statement = extraction_statement()
        say("Filling the store")
        measured(STORED, database, statement)
        runs: dict[str, list[Run]] = {name: [] for name in contenders}
        for repetition in range(arguments.repetitions or repetitions):
            for name in contenders:
                say(f"Round {repetition + 1}: {name}")
                runs[name].append(measured(name, database, statement))
        disagreements = compare({name: of_one[0].answers for name, of_one in runs.items() if of_one[0].answers})
    if arguments.json:
        print(told(lines(size, runs), report(size, runs, disagreements), **as_object(size, runs, disagreements)))
    else:
        print(report(size, runs, disagreements))
    if disagreements:
        sys.exit(1)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--directory", type=Path, default=DEFAULT_DIRECTORY, help="where the databases live")
    parser.add_argument("--rows", type=int, choices=ROWS, default=1_000_000)
    parser.add_argument("--repetitions", type=int, help="rounds; 5 unless there are more than 1,000,000 rows")
    parser.add_argument(
        "--without", action="append", default=[], choices=(SQL, PANDAS, COPY_PSQL), help="leave a contender out"
    )
    parser.add_argument("--json", action="store_true", help="one object instead of a table")
    parser.add_argument("--child", choices=CHILDREN, help=argparse.SUPPRESS)
    parser.add_argument("--url", help=argparse.SUPPRESS)
    return parser.parse_args()


def _contenders() -> list[str]:
    every = (COPY_PSYCOPG, COPY_PSQL, ANALYZE, STORED, PLAN, SQL, PANDAS)
    return [name for name in every if name != COPY_PSQL or server_program("psql")]


def extraction_statement() -> str:
    """The very SELECT that analyze sends for the rows of its 7 days."""
    from pggit_analytics.postgres.extract import selection
    from pggit_analytics.postgres.sources import native

    return selection(native("pggit"), AS_OF - timedelta(days=7), AS_OF, None)


def measured(name: str, database: Database, statement: str) -> Run:
    """Run a contender in a process of its own."""
    if name in (ANALYZE, STORED, PLAN):
        with database.connect() as connection:
            connection.execute(_EMPTY)
    if name == COPY_PSQL:
        command = f"COPY ({statement}) TO STDOUT (FORMAT binary)"
        start = perf_counter()
        subprocess.run(
            [server_program("psql") or "psql", "-XqAt", "-d", database.conninfo, "-c", command],
            stdout=subprocess.DEVNULL,
            check=True,
        )
        elapsed = perf_counter() - start
        return Run(elapsed, elapsed, None)
    start = perf_counter()
    process = subprocess.run(
        [sys.executable, __file__, "--child", name, "--url", database.conninfo],
        stdout=subprocess.PIPE,
        check=True,
        text=True,
    )
    elapsed = perf_counter() - start
    said = json.loads(process.stdout.splitlines()[-1])
    return Run(said["work_s"], elapsed, said["peak_mib"], said["parts"], said["answers"])


def child(name: str, database: Database) -> None:
    """What runs in the process of a contender; one line of JSON."""
    work_s, parts, answers = CHILDREN[name](database)
    peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"work_s": work_s, "peak_mib": peak_mib, "parts": parts, "answers": answers}))


Outcome = tuple[float, dict[str, float], dict[str, Any]]


def _analyze_stored(database: Database) -> Outcome:
    from pggit_analytics.config import StoreSettings

    return _analyze(database, StoreSettings())


def _analyze_plan(database: Database) -> Outcome:
    return _analyze(database, operations=tuple(operation_names(database)))


def _analyze(
    database: Database, store: StoreSettings | None = None, operations: tuple[str, ...] | None = None
) -> Outcome:
    import connectorx  # noqa: F401 - loaded with the other libraries, as every contender's are
    import pyarrow as pa  # noqa: F401

    from pggit_analytics import pipeline
    from pggit_analytics.postgres.sources import native

    spent = dict.fromkeys(PARTS, 0.0)
    for part, names in PARTS.items():
        for name in names:
            setattr(pipeline, name, _timed(getattr(pipeline, name), spent, part))
    target = pipeline.Target(database, database, native(database.schema), store)
    start = perf_counter()
    result = pipeline.monitor(target, pipeline.MonitorParameters(as_of=AS_OF, operations=operations))
    work_s = perf_counter() - start
    findings = result.findings
    answers = {
        "anomalies": {
            str(row["metric_id"] or row["operation_type"]): [row["anomaly_type"], row["severity"]]
            for row in findings.anomalies.iter_rows(named=True)
        },
        "degradations": {
            row["operation_type"]: {
                "percent": row["degradation_percent"],
                "trend": row["trend"],
                "confidence": row["confidence"],
            }
            for row in findings.degradations.iter_rows(named=True)
        },
        "pairs": {
            f"{row['operation_type_1']} {row['operation_type_2']}": row["correlation_coefficient"]
            for row in findings.correlations.iter_rows(named=True)
        },
        "thresholds": {
            row["operation_type"]: row["exceeded_count"] for row in findings.thresholds.iter_rows(named=True)
        },
    }
    return work_s, spent, answers


def _timed(function: Callable[..., Any], spent: dict[str, float], part: str) -> Callable[..., Any]:
    def timed(*args: Any, **options: Any) -> Any:
        start = perf_counter()
        try:
            return function(*args, **options)
        finally:
            spent[part] += perf_counter() - start

    return timed


#: part of the SQL functions -> the call for one operation
_SQL_CALLS = {
    "statistical": "SELECT metric_id FROM detect_anomalies_statistical(%(operation)s, p_as_of => %(as_of)s)",
    "degradation": """
        SELECT %(operation)s, degradation_percent::FLOAT8, trend, confidence::FLOAT8
        FROM detect_performance_degradation(%(operation)s, p_as_of => %(as_of)s)
    """,
    "combined": """
        SELECT coalesce(metric_id::TEXT, operation_type), anomaly_type, severity
        FROM detect_combined_anomalies(%(operation)s, p_as_of => %(as_of)s)
    """,
    "thresholds": """
        SELECT operation_type, exceeded_count
        FROM detect_threshold_exceeded(%(operation)s, p_as_of => %(as_of)s)
    """,
}
_SQL_PAIRS = """
    SELECT operation_type_1 || ' ' || operation_type_2, correlation_coefficient::FLOAT8
    FROM detect_correlated_degradation(p_as_of => %(as_of)s)
"""


def _sql_functions(database: Database) -> Outcome:
    operations = operation_names(database)
    rows: dict[str, list[tuple[Any, ...]]] = {part: [] for part in _SQL_CALLS}
    spent = dict.fromkeys(_SQL_CALLS, 0.0)
    start = perf_counter()
    with database.connect() as connection:
        for part, statement in _SQL_CALLS.items():
            begun = perf_counter()
            for operation in operations:
                parameters = {"operation": operation, "as_of": AS_OF}
                rows[part] += connection.execute(statement.encode(), parameters).fetchall()
            spent[part] = perf_counter() - begun
        begun = perf_counter()
        pairs = connection.execute(_SQL_PAIRS, {"as_of": AS_OF}).fetchall()
        spent["pairs"] = perf_counter() - begun
    work_s = perf_counter() - start
    answers = {
        "anomalies": {key: [kind, severity] for key, kind, severity in rows["combined"]},
        "degradations": {
            name: {"percent": percent, "trend": trend, "confidence": confidence}
            for name, percent, trend, confidence in rows["degradation"]
        },
        "pairs": dict(pairs),
        "thresholds": dict(rows["thresholds"]),
    }
    return work_s, spent, answers


def _pandas(database: Database) -> Outcome:
    from pandas_baseline import analyse

    start = perf_counter()
    answers, spent = analyse(database.conninfo, AS_OF)
    return perf_counter() - start, spent, answers


def _copy(database: Database) -> Outcome:
    statement = f"COPY ({extraction_statement()}) TO STDOUT (FORMAT binary)".encode()
    start = perf_counter()
    with database.connect() as connection, connection.cursor() as cursor, cursor.copy(statement) as copy:
        while copy.read():
            pass
    return perf_counter() - start, {}, {}


CHILDREN: dict[str, Callable[[Database], Outcome]] = {
    ANALYZE: _analyze,
    STORED: _analyze_stored,
    PLAN: _analyze_plan,
    SQL: _sql_functions,
    PANDAS: _pandas,
    COPY_PSYCOPG: _copy,
}


def compare(answers: dict[str, dict[str, Any]]) -> list[str]:
    """Where contenders disagree with analyze, one line each; numbers may differ by 1e-6 of their size."""
    ours = answers[ANALYZE]
    return [
        f"{name}, {part}: {fault}"
        for name, theirs in answers.items()
        if name != ANALYZE
        for part in ours
        if (fault := _first_difference(ours[part], theirs[part]))
    ]


def _first_difference(ours: dict[str, Any], theirs: dict[str, Any]) -> str | None:
    if ours.keys() != theirs.keys():
        strangers = sorted(ours.keys() ^ theirs.keys())
        return f"{len(strangers)} keys on one side only, such as {strangers[0]}"
    for key, value in ours.items():
        if not _is_same(value, theirs[key]):
            return f"{key} is {theirs[key]}, {value} by {ANALYZE}"
    return None


def _is_same(one: Any, two: Any) -> bool:
    if isinstance(one, dict):
        return all(_is_same(value, two[key]) for key, value in one.items())
    if isinstance(one, float):
        return math.isclose(one, two, rel_tol=1e-6)
    return bool(one == two)


def as_object(size: str, runs: dict[str, list[Run]], disagreements: list[str]) -> dict[str, Any]:
    """Everything measured, for machines."""
    return {
        "rows": SIZES[size].rows,
        "contenders": {
            name: [
                {"work_s": run.work_s, "process_s": run.process_s, "peak_mib": run.peak_mib, "parts": run.parts}
                for run in of_one
            ]
            for name, of_one in runs.items()
        },
        "findings": {part: len(found) for part, found in runs[ANALYZE][0].answers.items()},
        "disagreements": disagreements,
    }


def lines(size: str, runs: dict[str, list[Run]]) -> Iterator[Line]:
    """For the table of the README; ratios of the quickest rounds."""
    rows, ours = SIZES[size].rows, min(runs[ANALYZE], key=lambda run: run.work_s)
    least = {name: min(run.work_s for run in of_one) for name, of_one in runs.items()}
    copies = {name: least[name] for name in (COPY_PSQL, COPY_PSYCOPG) if name in least}
    without = least[PLAN]

    def beside_copies(seconds: float) -> str:
        return "; ".join(f"{seconds / copy:.2f} x {name}" for name, copy in copies.items())

    yield Line(
        "a whole run, beside the bare COPY of its rows",
        rows,
        f"{ours.work_s:.2f} s, {max(run.peak_mib or 0 for run in runs[ANALYZE]):.0f} MiB",
        beside_copies(ours.work_s),
        f"<= {TARGET_COPY} x",
        ours.work_s <= TARGET_COPY * min(copies.values()),
    )
    yield Line("the same without following levels and incidents", rows, f"{without:.2f} s", beside_copies(without))
    extracted = ours.parts["extract"]
    yield Line("the same, reading alone", rows, f"{extracted:.2f} s", beside_copies(extracted))
    stored = min(run.work_s for run in runs[STORED])
    yield Line(
        "a whole run when nothing is new, with a store",
        rows,
        f"{stored:.2f} s",
        f"{stored / ours.work_s:.2f} x a whole run; {beside_copies(stored)}",
    )
    if PANDAS in runs:
        by_pandas = least[PANDAS] / ours.work_s
        yield Line(
            "pandas, SQLAlchemy and SciPy, for the plan's findings alone",
            rows,
            f"{least[PANDAS]:.2f} s",
            f"{by_pandas:.1f} x a whole run, {least[PANDAS] / without:.1f} x the part they share",
            f">= {TARGET_PANDAS:.0f} x",
            by_pandas >= TARGET_PANDAS,
        )
    if SQL in runs:
        yield Line(
            "the SQL functions, for the plan's findings alone",
            rows,
            f"{least[SQL]:.2f} s",
            f"{least[SQL] / ours.work_s:.1f} x a whole run, {least[SQL] / without:.1f} x the part they share",
        )


def report(size: str, runs: dict[str, list[Run]], disagreements: list[str]) -> str:
    """Everything measured, as Markdown."""
    work = {name: median(run.work_s for run in of_one) for name, of_one in runs.items()}
    least = {name: min(run.work_s for run in of_one) for name, of_one in runs.items()}
    heads = (
        "",
        "work, s",
        "least, s",
        "process, s",
        "peak memory, MiB",
        "x analyze",
        "x COPY, psycopg",
        "least x COPY",
    )
    texts = [f"{SIZES[size].description}; medians of {len(runs[ANALYZE])} rounds", ""]
    texts += [_line(heads), _line(["---"] * len(heads))]
    for name, of_one in runs.items():
        peaks = [run.peak_mib for run in of_one if run.peak_mib is not None]
        cells = (
            name,
            f"{work[name]:.2f}",
            f"{least[name]:.2f}",
            f"{median(run.process_s for run in of_one):.2f}",
            f"{median(peaks):.0f}" if peaks else "",
            f"{work[name] / work[ANALYZE]:.2f}",
            f"{work[name] / work[COPY_PSYCOPG]:.2f}",
            f"{least[name] / least[COPY_PSYCOPG]:.2f}",
        )
        texts.append(_line(cells))
    for name in (name for name, of_one in runs.items() if of_one[0].parts):
        texts += ["", f"Where the time of {name} goes: {_parts(runs[name])}"]
    counts = ", ".join(f"{len(found)} {part}" for part, found in runs[ANALYZE][0].answers.items())
    agreeing = ", ".join(name for name, of_one in runs.items() if of_one[0].answers)
    texts += ["", f"Found: {counts}. {'' if disagreements else f'The same by: {agreeing}.'}"]
    return "\n".join([*texts, *(f"DISAGREES: {fault}" for fault in disagreements)])


def _parts(runs: Sequence[Run]) -> str:
    whole = median(run.work_s for run in runs)
    spent = {part: median(run.parts[part] for run in runs) for part in runs[0].parts}
    return ", ".join(f"{part} {seconds:.2f} s ({100 * seconds / whole:.0f} %)" for part, seconds in spent.items())


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
