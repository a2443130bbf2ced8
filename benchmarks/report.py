"""How large the report of a million timings is, how long it takes to make, and how long a browser takes to open it.

33 operations, 1,000,000 timings in 7 days, twice: with the incidents that a monitoring run finds in them, and with one
more in every operation, each of which has a chart. "browser" is Chromium's own navigation timing, from the start of
the navigation to the end of the load event, of a page read from disk at 1280 pixels.

Needs Debian's chromium and chromium-driver (`tests/browser.sh install`) for the last column.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from pathlib import Path
from time import perf_counter

import polars as pl
from figures import Line, told
from selenium import webdriver

from data import AS_OF, DEFAULT_DIRECTORY, SIZES, operation_names, prepare, say, server
from pggit_analytics import frames
from pggit_analytics.analysis.incidents import Incidents
from pggit_analytics.config import load_settings
from pggit_analytics.pipeline import MonitorParameters, Target, monitor
from pggit_analytics.postgres.connection import Database
from pggit_analytics.postgres.write_back import RunRecord
from pggit_analytics.postgres.write_incidents import write_incidents
from pggit_analytics.report.page import page
from pggit_analytics.reporting import gather_report

#: what the plan of the report asks for
MOST_BYTES, MOST_SECONDS = 3_000_000, 2.0
_MINUTE = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class Measured:
    """One page; times are the least of the repetitions."""

    name: str
    incidents: int
    charts: int
    page_bytes: int
    gather_s: float
    draw_s: float
    browser_s: float | None


def measure(
    target: Target, name: str, as_of: datetime, repetitions: int, chromium: webdriver.Chrome | None
) -> Measured:
    """Make the page and open it, so many times each."""
    gathered, drawn, opened = [], [], []
    with tempfile.TemporaryDirectory() as directory:
        file = Path(directory) / "report.html"
        for _ in range(repetitions):
            start = perf_counter()
            report = gather_report(target, as_of)
            gathered.append(perf_counter() - start)
            start = perf_counter()
            html = page(report)
            drawn.append(perf_counter() - start)
        file.write_text(html, encoding="utf-8")
        for _ in range(repetitions if chromium else 0):
            chromium.get("about:blank")
            chromium.get(file.as_uri())
            opened.append(
                chromium.execute_script("return performance.getEntriesByType('navigation')[0].loadEventEnd") / 1000
            )
    return Measured(
        name,
        len(report.open) + len(report.over),
        html.count("<figure"),
        len(html.encode()),
        min(gathered),
        min(drawn),
        min(opened, default=None),
    )


def an_incident_in_each(database: Database) -> None:
    """Written by a run of the minute after `AS_OF`: a step two days before in every operation."""
    as_of, onset = AS_OF + _MINUTE, AS_OF - timedelta(days=2)
    moments = dict.fromkeys(("onset", "onset_low", "onset_high"), onset)
    shared = {"kind": "step", **moments, "lost_ms": 1e6, "lost_ms_per_hour": 2e4, "detected_at": as_of}
    keyed = [(f"level:{name}@benchmark", name) for name in operation_names(database)]
    incidents = [
        dict.fromkeys(frames.INCIDENTS.columns)
        | shared
        | {"incident_key": key, "operation_type": name, "state": "open", "severity": "WARNING", "opened_at": onset}
        | {"last_found_at": as_of, "missed_runs": 0, "evidence": "{}"}
        for key, name in keyed
    ]
    operations = [
        dict.fromkeys(frames.INCIDENT_OPERATIONS.columns)
        | shared
        | {"incident_key": key, "operation_type": name, "size_ratio": 1.5, "opening_ratio": 1.5}
        | {"calls_before": 20_000, "calls": 8_000}
        for key, name in keyed
    ]
    run = RunRecord("monitor_performance", as_of, as_of - timedelta(days=7), as_of, 1_000_000, "benchmark")
    with database.connect() as connection:
        write_incidents(
            connection,
            Incidents(
                pl.DataFrame(incidents, schema=frames.INCIDENTS.columns),
                pl.DataFrame(operations, schema=frames.INCIDENT_OPERATIONS.columns),
            ),
            run,
        )


def browser() -> webdriver.Chrome | None:
    """Debian's Chromium without a window; None where it is not installed."""
    program, driver = Path("/usr/bin/chromium"), Path("/usr/bin/chromedriver")
    if not (program.exists() and driver.exists()):
        return None
    options = webdriver.ChromeOptions()
    options.binary_location = str(program)
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--window-size=1280,900", "--no-first-run"):
        options.add_argument(argument)
    return webdriver.Chrome(options=options, service=webdriver.ChromeService(str(driver)))


def table(found: list[Measured]) -> list[str]:
    """The figures as Markdown."""
    lines = [
        "| page | incidents | charts | bytes | read and arranged, s | drawn, s | browser, s |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    for one in found:
        opened = "not measured" if one.browser_s is None else f"{one.browser_s:.2f}"
        lines.append(
            f"| {one.name} | {one.incidents} | {one.charts} | {one.page_bytes:,} | {one.gather_s:.1f} "
            f"| {one.draw_s:.1f} | {opened} |"
        )
    return [*lines, "", f"Targets: {MOST_BYTES:,} bytes, {MOST_SECONDS:.0f} s in the browser."]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--directory", type=Path, default=DEFAULT_DIRECTORY)
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--json", action="store_true", dest="as_json")
    options = parser.parse_args()
    chromium = browser()
    with server(options.directory) as url:
        database = prepare(url, SIZES["1M"])
        target = Target.of(database, load_settings())
        say("Running the monitor")
        monitor(target, MonitorParameters(as_of=AS_OF))
        an_incident_in_each(database)
        found = [
            measure(target, name, as_of, options.repetitions, chromium)
            for name, as_of in (("as found", AS_OF), ("an incident in each", AS_OF + _MINUTE))
        ]
    if chromium:
        chromium.quit()
    details = "\n".join(table(found))
    print(told(lines(found), details, pages=[asdict(one) for one in found]) if options.as_json else details)


def lines(found: Sequence[Measured]) -> Iterator[Line]:
    """For the table of the README: the page with most charts."""
    largest = max(found, key=lambda one: one.page_bytes)
    rows, size = SIZES["1M"].rows, f"{largest.page_bytes / 1e6:.2f} MB, {largest.charts} charts"
    yield Line("size of the report", rows, size, aim="<= 3 MB", met=largest.page_bytes <= MOST_BYTES)
    if largest.browser_s is not None:
        opened = f"{largest.browser_s:.2f} s"
        yield Line("opening the report in a browser", rows, opened, aim="< 2 s", met=largest.browser_s < MOST_SECONDS)


if __name__ == "__main__":
    main()
