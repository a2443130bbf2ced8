"""The dashboards of Grafana: their form, and every query of theirs as the role of a dashboard."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import jsonschema
import psycopg
import pytest
import yaml
from psycopg import conninfo

from pggit_analytics.postgres.connection import Database
from pggit_analytics.postgres.deploy import deploy
from tests.commands import run_here
from tests.integration.test_roles import logged_in

ROOT = Path(__file__).parents[2]
FILES = sorted((ROOT / "grafana" / "dashboards").glob("*.json"))
SCHEMA = json.loads((ROOT / "data" / "fixtures" / "grafana" / "dashboard.schema.json").read_text())

Dashboard = dict[str, Any]
Panel = dict[str, Any]


def dashboards() -> list[Dashboard]:
    return [json.loads(file.read_text()) for file in FILES]


PANELS = [(board["uid"], panel["title"], panel) for board in dashboards() for panel in board["panels"]]
EACH_PANEL = pytest.mark.parametrize(
    ("board", "panel"), [pytest.param(uid, panel, id=f"{uid}: {title}") for uid, title, panel in PANELS]
)


# their form


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_dashboard_has_the_form_of_a_dashboard(file: Path) -> None:
    jsonschema.Draft202012Validator(SCHEMA).validate(json.loads(file.read_text()))


def test_a_property_with_a_wrong_name_is_noticed() -> None:
    board = dashboards()[0]
    board["panels"][0]["gridPosition"] = board["panels"][0].pop("gridPos")
    with pytest.raises(jsonschema.ValidationError, match="gridPos"):
        jsonschema.Draft202012Validator(SCHEMA).validate(board)


def test_there_are_four_dashboards_each_with_an_identity_of_its_own() -> None:
    assert {board["uid"]: board["title"] for board in dashboards()} == {
        "pggit-now": "What is wrong now",
        "pggit-merges": "Merges",
        "pggit-operations": "Operations",
        "pggit-health": "Delivery and health",
    }
    assert [file.stem for file in FILES] == [board["uid"] for board in dashboards()]


@pytest.mark.parametrize("board", dashboards(), ids=lambda board: board["uid"])
def test_panels_have_numbers_of_their_own_and_lie_side_by_side(board: Dashboard) -> None:
    taken: dict[tuple[int, int], str] = {}
    for panel in board["panels"]:
        at = panel["gridPos"]
        assert at["x"] + at["w"] <= 24, panel["title"]
        for cell in ((x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])):
            assert cell not in taken, (panel["title"], taken[cell])
            taken[cell] = panel["title"]
    numbers = [panel["id"] for panel in board["panels"]]
    assert len(numbers) == len(set(numbers))


def test_links_lead_to_dashboards_that_are_there() -> None:
    uids = {board["uid"] for board in dashboards()}
    links = re.findall(r'"/d/([\w-]+)', "".join(file.read_text() for file in FILES))
    assert links
    assert set(links) <= uids


def test_what_is_provisioned_is_what_the_dashboards_ask_for() -> None:
    (sources,) = (ROOT / "grafana" / "provisioning" / "datasources").glob("*.yaml")
    (source,) = yaml.safe_load(sources.read_text())["datasources"]
    assert source["type"] == "grafana-postgresql-datasource"
    assert all(str(source[key]).startswith("$") for key in ("url", "user"))
    assert source["secureJsonData"]["password"].startswith("$")
    (providers,) = (ROOT / "grafana" / "provisioning" / "dashboards").glob("*.yaml")
    (provider,) = yaml.safe_load(providers.read_text())["providers"]
    guide = (ROOT / "docs" / "grafana.md").read_text()
    assert provider["options"]["path"] in guide
    assert set(re.findall(r"\$(PGGIT_\w+)", sources.read_text())) == set(
        re.findall(r"^(PGGIT_\w+)=", guide, re.MULTILINE)
    )


# their queries


class Range:
    """The time range of a dashboard; what Grafana's PostgreSQL data source makes of its macros and variables."""

    def __init__(self, start: datetime, end: datetime, interval: str, **variables: str) -> None:
        self.start, self.end, self.interval = start, end, interval
        self.variables = {"schema": "pggit", **variables}

    def expand(self, query: str) -> str:
        start, end = (f"'{instant:%Y-%m-%dT%H:%M:%SZ}'" for instant in (self.start, self.end))
        query = re.sub(r"\$__timeFilter\(([^)]+)\)", rf"\1 BETWEEN {start} AND {end}", query)
        query = query.replace("$__timeFrom()", start).replace("$__timeTo()", end)
        query = query.replace("$__interval", self.interval)
        query = re.sub(r"\$\{(\w+):raw\}", lambda found: self.variables[found[1]], query)
        query = re.sub(
            r"\$\{(\w+):sqlstring\}", lambda found: "'" + self.variables[found[1]].replace("'", "''") + "'", query
        )
        assert "$" not in query, query
        return query


@pytest.fixture(scope="module")
def filled(create_database: Callable[..., str]) -> Database:
    """A week of the demo with its findings, and what else panels show: jobs, messages, attempts, incidents."""
    database = Database(create_database())
    assert run_here("demo", PGGIT_DATABASE_URL=database.conninfo).returncode == 0
    with database.connect() as connection:
        for statement in _MORE:
            connection.execute(statement.encode())
    with psycopg.connect(database.conninfo, autocommit=True) as connection:
        connection.execute("VACUUM ANALYZE")
    return database


_MORE = (
    "INSERT INTO active_scheduler (scheduler, active_since) VALUES ('crontab', now() - INTERVAL '30 days')",
    "INSERT INTO job_runs (job, window_start, scheduler, status, started_at, finished_at, message) "
    "SELECT job, now() - INTERVAL '1 day', 'crontab', 'SUCCESS', now(), now(), 'done' FROM scheduled_jobs",
    "INSERT INTO alert_notification_webhooks (webhook_type, name) VALUES ('slack', 'ops')",
    "INSERT INTO alert_notification_queue (webhook_id, message_body, dedup_key, status, delivered_at, next_retry_at) "
    "SELECT webhook_id, '{}', 'message ' || n, (ARRAY['pending', 'delivered', 'failed'])[n % 3 + 1], "
    "CASE n % 3 WHEN 1 THEN now() END, CASE n % 2 WHEN 1 THEN now() + INTERVAL '1 hour' END "
    "FROM alert_notification_webhooks, generate_series(1, 30) AS n",
    "INSERT INTO alert_notification_log (notification_queue_id, started_at, duration_ms, http_status, outcome) "
    "SELECT notification_queue_id, now(), 12.5, 200, status FROM alert_notification_queue WHERE status = 'delivered'",
    "INSERT INTO performance_alerts (alert_type, severity, dedup_key, evidence, opened_at, last_seen_at) VALUES "
    "('SELF_HEALTH', 'WARNING', 'SELF_HEALTH x', '{\"summary\": \"silent\", \"remedy\": \"look\"}', now(), now())",
    "INSERT INTO merge_relationships "
    "(merge_id, branch_from, branch_into, created_at, status, conflict_count, unresolved_count) "
    "VALUES ('waits', 'feature', 'main', now() - INTERVAL '1 hour', 'CONFLICT', 2, 1)",
    "INSERT INTO baseline_recalc_execution (operation_type, execution_start, execution_end, status) "
    "VALUES ('commit', now(), now(), 'SUCCESS')",
)


@pytest.fixture(scope="module")
def reader(filled: Database) -> Iterator[Database]:
    with logged_in(filled, "pggit_reader") as database:
        yield database


@pytest.fixture(scope="module")
def week(filled: Database) -> Range:
    with filled.connect() as connection:
        (now,) = connection.execute("SELECT now()").fetchone()
    return Range(
        now.astimezone(UTC) - timedelta(days=7), now.astimezone(UTC) + timedelta(minutes=1), "10m", operation="commit"
    )


Answer = tuple[list[str], list[tuple[Any, ...]]]


def ask(database: Database, query: str) -> Answer:
    """As Grafana does it: the search path of the role, one statement."""
    with psycopg.connect(database.conninfo) as connection:
        cursor = connection.execute(query.encode())
        return [column.name for column in cursor.description or ()], cursor.fetchall()


def query_of(panel: Panel) -> str:
    return str(panel["targets"][0]["rawSql"])


def is_number(value: object) -> bool:
    return isinstance(value, int | float | Decimal) and not isinstance(value, bool)


def check_columns(panel: Panel, answer: Answer) -> None:
    """Assert that the rows are what the panel's type draws."""
    names, rows = answer
    assert len(names) == len(set(names)), "columns of one name"
    if panel["type"] == "timeseries":
        assert panel["targets"][0]["format"] == "time_series"
        assert names[0] == "time"
        assert all(isinstance(row[0], datetime) and row[0].tzinfo for row in rows)
        assert [row[0] for row in rows] == sorted(row[0] for row in rows), "Grafana wants them in order"
        values = [n for n in range(1, len(names)) if names[n] != "metric"]
        assert values
        assert all(row[n] is None or is_number(row[n]) for row in rows for n in values)
    else:
        assert panel["targets"][0]["format"] == "table"
    if panel["type"] == "stat":
        assert len(rows) == 1
        assert all(value is None or is_number(value) for value in rows[0])


@EACH_PANEL
def test_a_query_gives_what_its_panel_draws(reader: Database, week: Range, board: str, panel: Panel) -> None:
    answer = ask(reader, week.expand(query_of(panel)))

    check_columns(panel, answer)
    assert answer[1], "nothing to see"
    assert len(answer[1]) <= 10_000


#: what colours and units are for that appears as a value in the column `metric`
SERIES = {
    "CRITICAL",
    "WARNING",
    "INFO",
    "SUCCESS",
    "CONFLICT",
    "FAILED",
    "delivered",
    "pending",
    "failed",
    "baseline p99",
}


@EACH_PANEL
def test_what_is_formatted_is_there(reader: Database, week: Range, board: str, panel: Panel) -> None:
    names, _ = ask(reader, week.expand(query_of(panel)))
    for override in panel["fieldConfig"]["overrides"]:
        assert override["matcher"]["options"] in ({*names} if panel["type"] == "table" else SERIES)


@pytest.fixture(scope="module")
def reader_of_nothing(shared_database: Database) -> Iterator[Database]:
    with logged_in(shared_database, "pggit_reader") as database:
        yield database


@EACH_PANEL
def test_an_empty_database_and_an_operation_without_timings_give_no_error(
    reader_of_nothing: Database, week: Range, board: str, panel: Panel
) -> None:
    nobody = Range(week.start, week.end, "1m", operation="o'clock")
    check_columns(panel, ask(reader_of_nothing, nobody.expand(query_of(panel))))


@pytest.mark.parametrize("interval", ["1s", "30s", "1m", "5m", "2h", "1d", "7d"])
def test_every_interval_that_grafana_may_choose_is_one_of_postgresql(
    reader: Database, week: Range, interval: str
) -> None:
    day = Range(week.end - timedelta(hours=1), week.end, interval, operation="commit")
    for _, title, panel in PANELS:
        if "$__interval" in query_of(panel):
            check_columns(panel, ask(reader, day.expand(query_of(panel)))), title


def test_the_variable_offers_the_operations(reader: Database, week: Range) -> None:
    queries = [
        variable["query"]
        for board in dashboards()
        for variable in board["templating"]["list"]
        if variable["type"] == "query"
    ]
    assert len(queries) == 1
    _, rows = ask(reader, week.expand(queries[0]))
    assert ("commit",) in rows


def scans(plan: dict[str, Any]) -> Iterator[tuple[str, str]]:
    if "Relation Name" in plan:
        yield plan["Node Type"], plan["Relation Name"]
    for child in plan.get("Plans", ()):
        yield from scans(child)


@EACH_PANEL
def test_timings_are_read_by_an_index(filled: Database, week: Range, board: str, panel: Panel) -> None:
    day = Range(week.end - timedelta(hours=6), week.end, "1m", operation="commit")
    with psycopg.connect(filled.conninfo) as connection:
        explained = connection.execute(f"EXPLAIN (FORMAT JSON) {day.expand(query_of(panel))}".encode()).fetchone()
    assert explained is not None
    found = list(scans(explained[0][0]["Plan"]))
    assert ("Seq Scan", "performance_metrics") not in found
    assert "performance_metrics" not in query_of(panel) or "performance_metrics" in {table for _, table in found}


def test_another_schema_is_chosen_by_the_variable(empty_database: Database, week: Range) -> None:
    deploy(Database(empty_database.conninfo, "Other schema"))
    other = Range(week.start, week.end, "1h", operation="commit", schema='"Other schema"')
    for _, _, panel in PANELS:
        check_columns(panel, ask(empty_database, other.expand(query_of(panel))))


def test_the_role_of_the_guide_reads_and_may_do_nothing_else(filled: Database) -> None:
    guide = (ROOT / "docs" / "grafana.md").read_text()
    (statements,) = re.findall(r"^```sql\n(.*?)^```$", guide, re.MULTILINE | re.DOTALL)
    with psycopg.connect(filled.conninfo, autocommit=True) as connection:
        connection.execute(statements.replace("app", conninfo.conninfo_to_dict(filled.conninfo)["dbname"]).encode())
        try:
            grafana = Database(conninfo.make_conninfo(filled.conninfo, user="grafana", password="a-password"))
            assert ask(grafana, "SELECT count(*) FROM pggit.v_open_incidents")[1]
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                ask(grafana, "SELECT * FROM pggit.alert_notification_webhooks")
            with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
                ask(grafana, "CREATE TEMPORARY TABLE x (y INTEGER)")
        finally:
            connection.execute("DROP OWNED BY grafana; DROP ROLE grafana")
