"""The commands webhooks and deliver as a person or a script meets them: real PostgreSQL, real servers."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest

from pggit_analytics.postgres.connection import Database
from tests.commands import run_here
from tests.deliveries import KEY, OTHER_KEY, SECRET, Deliveries, body
from tests.servers import HttpServer, MailServer, answers, waits_for

TOKEN = "T0K3N-that-nobody-may-see"

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def run(shared_database: Database, run_directory: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run a command in an empty directory, with an address on stdin if there is one."""
    monkeypatch.setenv("PGGIT_DATABASE_URL", shared_database.conninfo)
    monkeypatch.setenv("PGGIT_WEBHOOK_KEY", KEY)
    return run_here


@pytest.fixture
def outbox(shared_database: Database) -> Deliveries:
    outbox = Deliveries(shared_database)
    outbox.clear()
    return outbox


@pytest.fixture
def server() -> Iterator[HttpServer]:
    with HttpServer() as server:
        yield server


def add(run: Run, server: HttpServer, name: str = "ops", *more: str) -> subprocess.CompletedProcess[str]:
    address = f"{server.url}/hooks/{TOKEN}#{SECRET}\n"
    return run("webhooks", "add", name, "--type", "webhook", "--allow-private", *more, stdin=address)


def answer(done: subprocess.CompletedProcess[str], status: int = 0) -> dict:
    """The one JSON object on stdout."""
    assert done.returncode == status, done.stderr
    return json.loads(done.stdout)


def one_line(done: subprocess.CompletedProcess[str], status: int) -> str:
    assert (done.returncode, done.stdout) == (status, ""), done.stderr
    assert done.stderr.count("\n") == 1, done.stderr
    return done.stderr


def test_a_webhook_from_its_address_to_a_delivered_message(run: Run, outbox: Deliveries, server: HttpServer) -> None:
    assert "127.0.0.1" in add(run, server).stdout
    (listed,) = answer(run("webhooks", "list", "--json"))["webhooks"]
    assert (listed["name"], listed["host"], listed["enabled"], listed["breaker"]) == (
        "ops",
        "127.0.0.1",
        True,
        "closed",
    )
    assert (listed["pending"], listed["failed"], listed["test_status"]) == (0, 0, None)

    assert answer(run("webhooks", "test", "ops", "--json"))["outcome"] == "delivered"
    (request,) = server.requests
    assert request.path == f"/hooks/{TOKEN}"
    assert request.json["kind"] == "test"
    outbox.put("ops", body(), "no JSON")
    delivered = answer(run("deliver", "--json"))
    assert {key: delivered[key] for key in ("messages", "delivered", "failed", "waiting", "other_keys")} == {
        "messages": 2,
        "delivered": 1,
        "failed": 1,
        "waiting": 0,
        "other_keys": [],
    }
    (listed,) = answer(run("webhooks", "list", "--json"))["webhooks"]
    assert (listed["failed"], listed["test_status"]) == (1, "delivered")
    assert "JSON" in listed["last_error"]
    shown = run("webhooks", "list").stdout
    assert "1 failed" in shown
    assert f"last error: {listed['last_error']}" in shown


def test_the_address_is_seen_nowhere(run: Run, outbox: Deliveries, server: HttpServer, run_directory: Path) -> None:
    """Neither in any output nor table, whatever goes wrong; nor in a list of processes or statements."""
    server.answer(answers(500, f"no such hook: {TOKEN}"))
    said = [add(run, server), add(run, server), run("webhooks", "list"), run("webhooks", "list", "--json")]
    said.append(run("webhooks", "test", "ops", PGGIT_DEBUG="1"))
    outbox.put("ops", body())
    said += [run("deliver"), run("deliver", "--redrive", "--json"), run("deliver", "--preview")]
    said.append(run("webhooks", "add", "x", "--type", "slack", stdin=f"ftp://{TOKEN}#{SECRET}"))
    texts = [text for done in said for text in (done.stdout, done.stderr)]
    with psycopg.connect(outbox.database.conninfo) as connection:
        for (table,) in connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'pggit'").fetchall():
            texts += [str(row) for row in connection.execute(f"SELECT t::TEXT FROM pggit.{table} AS t".encode())]
        texts += [str(row) for row in connection.execute("SELECT query FROM pg_stat_activity")]
    texts += [file.read_text() for file in run_directory.iterdir()]
    assert len(texts) > 20
    for secret in (TOKEN, SECRET, KEY):
        assert not [text for text in texts if secret in text or secret.encode().hex() in text]


def test_a_running_worker_shows_no_secret_and_ends_on_sigterm_without_losing_anything(
    run: Run, outbox: Deliveries, server: HttpServer, run_directory: Path
) -> None:
    goes_on = threading.Event()
    server.answer(waits_for(goes_on))
    add(run, server)
    outbox.put("ops", *[body()] * 5)
    with subprocess.Popen(
        [sys.executable, "-m", "pggit_analytics", "deliver", "--watch", "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as worker:
        server.wait_for_requests(1)
        seen = Path(f"/proc/{worker.pid}/cmdline").read_text()
        seen += str(outbox.rows("SELECT query, application_name FROM pg_stat_activity"))
        worker.send_signal(signal.SIGTERM)
        goes_on.set()
        out, err = worker.communicate()
    assert worker.returncode == 0, err
    sent = len(server.requests)
    assert json.loads(out)["delivered"] == sent
    assert outbox.queue("status, retry_count, lease_token") == (
        [("delivered", 0, None)] * sent + [("pending", 0, None)] * (5 - sent)
    )
    for secret in (TOKEN, SECRET, KEY):
        assert secret not in seen + out + err


def test_a_test_message_that_does_not_arrive_says_why(run: Run, outbox: Deliveries, server: HttpServer) -> None:
    server.answer(answers(404))
    add(run, server)
    said = one_line(run("webhooks", "test", "ops"), 1)
    assert "did not arrive" in said
    assert "404" in said
    (listed,) = answer(run("webhooks", "list", "--json"))["webhooks"]
    assert listed["last_tested_at"] is not None
    assert "404" in listed["test_status"]


def test_messages_under_another_key_are_a_failure_that_names_both_keys(
    run: Run, outbox: Deliveries, server: HttpServer
) -> None:
    outbox.webhook("theirs", server.url, key=OTHER_KEY)
    outbox.put("theirs", body())
    done = run("deliver", "--json")
    (other,) = answer(done, 1)["other_keys"]
    assert (other["name"], other["waiting"]) == ("theirs", 1)
    last = done.stderr.splitlines()[-1]
    assert last.startswith("pggit-analytics: messages wait for another master key: theirs (1 row) needs the key ")
    assert other["key_id"] in last
    (listed,) = answer(run("webhooks", "list", "--json"))["webhooks"]
    assert listed["host"] is None
    assert "under the key" in run("webhooks", "list").stdout


def test_a_disabled_webhook_keeps_its_messages_until_it_is_enabled(
    run: Run, outbox: Deliveries, server: HttpServer
) -> None:
    add(run, server)
    outbox.put("ops", body())
    assert answer(run("webhooks", "disable", "ops", "--json")) == {"name": "ops", "enabled": False, "changed": True}
    assert "was already disabled" in run("webhooks", "disable", "ops").stdout
    assert "DISABLED" in run("webhooks", "list").stdout
    assert answer(run("deliver", "--json"))["waiting"] == 1
    assert run("webhooks", "enable", "ops").returncode == 0
    assert answer(run("deliver", "--json"))["delivered"] == 1


def test_failed_messages_are_put_back_and_sent(run: Run, outbox: Deliveries, server: HttpServer) -> None:
    server.answer(answers(404), answers(404), answers())
    add(run, server)
    add(run, server, "second")
    outbox.put("ops", body())
    outbox.put("second", body())
    assert answer(run("deliver", "--json"))["failed"] == 2
    again = answer(run("deliver", "--redrive", "--webhook", "ops", "--json"))
    assert (again["redriven"], again["delivered"]) == (1, 1)
    assert outbox.queue("status") == [("delivered",), ("failed",)]


def test_routes_by_default_chosen_changed_and_kept(run: Run, outbox: Deliveries, server: HttpServer) -> None:
    query = """
        SELECT alert_type, severity, delivery FROM alert_notification_settings
        WHERE delivery = %s ORDER BY alert_type, severity
    """
    add(run, server)
    assert outbox.rows(query, "digest") == [("ANOMALY", "WARNING", "digest"), ("CORRELATION", "WARNING", "digest")]
    assert len(outbox.rows(query, "immediate")) == 14
    assert "ANOMALY:WARNING:digest" in run("webhooks", "route", "ops").stdout.splitlines()

    chosen = answer(
        run("webhooks", "route", "ops", "--route", "ALL:CRITICAL", "--route", "forecast:critical:digest", "--json")
    )["routes"]
    assert len(chosen) == 8
    assert {"alert_type": "FORECAST", "severity": "CRITICAL", "delivery": "digest"} in chosen
    assert add(run, server, "ops", "--replace").returncode == 0
    assert len(outbox.rows(query, "immediate")) == 7
    assert add(run, server, "ops", "--replace", "--route", "INCIDENT:INFO").returncode == 0
    assert outbox.rows(query, "immediate") == [("INCIDENT", "INFO", "immediate")]


def test_a_new_master_key_takes_all_addresses_or_none(
    run: Run, outbox: Deliveries, server: HttpServer, run_directory: Path
) -> None:
    new = run_directory / "new.key"
    new.write_text(OTHER_KEY)
    new.chmod(0o600)
    add(run, server)
    add(run, server, "second")
    addresses = "SELECT webhook_url_encrypted, encryption_key_id FROM alert_notification_webhooks ORDER BY name"
    before = outbox.rows(addresses)
    with outbox.database.connect() as connection:
        connection.execute("UPDATE alert_notification_webhooks SET encryption_key_id = 'lost' WHERE name = 'second'")
    said = one_line(run("webhooks", "rotate-key", "--new-key-file", str(new)), 1)
    assert "second: " in said
    assert "no address was changed" in said
    assert outbox.rows(addresses) == [before[0], (before[1][0], "lost")]

    with outbox.database.connect() as connection:
        connection.execute(
            "UPDATE alert_notification_webhooks SET encryption_key_id = %s WHERE name = 'second'", (before[1][1],)
        )
    assert answer(run("webhooks", "rotate-key", "--new-key-file", str(new), "--json"))["changed"] == 2
    assert answer(run("webhooks", "rotate-key", "--new-key-file", str(new), "--json"))["changed"] == 0
    outbox.put("ops", body())
    assert answer(run("deliver", "--json", PGGIT_WEBHOOK_KEY=OTHER_KEY))["delivered"] == 1
    assert server.requests[0].path == f"/hooks/{TOKEN}"


def test_mail_goes_to_every_recipient(run: Run, outbox: Deliveries) -> None:
    with MailServer() as mail:
        address = f"smtp://{mail.host}:{mail.port}?from=pggit@example.com&tls=none"
        done = run(
            "webhooks", "add", "post", "--type", "email", "--to", "a@example.com, b@example.com", "--allow-private",
            PGGIT_WEBHOOK_URL=address,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        outbox.put("post", body())
        assert answer(run("deliver", "--json"))["delivered"] == 1
        (sent,) = mail.mails
    assert (sent.sender, sent.recipients) == ("pggit@example.com", ("a@example.com", "b@example.com"))
    assert b"commit" in sent.content


def test_slack_mattermost_and_pagerduty_get_their_formats(run: Run, outbox: Deliveries, server: HttpServer) -> None:
    key = "R" * 32
    for kind, address in (("slack", server.url), ("mattermost", server.url), ("pagerduty", f"{server.url}#{key}")):
        done = run("webhooks", "add", kind, "--type", kind, "--allow-private", PGGIT_WEBHOOK_URL=address)
        assert done.returncode == 0, done.stderr
        assert run("webhooks", "test", kind).returncode == 0
    slack, mattermost, trigger, resolve = [request.json for request in server.requests]
    assert "attachments" in slack
    assert "attachments" in mattermost
    assert (trigger["event_action"], resolve["event_action"]) == ("trigger", "resolve")
    assert trigger["routing_key"] == key
    assert trigger["dedup_key"] == resolve["dedup_key"]


def test_a_preview_shows_what_waits_and_sends_nothing(
    run: Run, outbox: Deliveries, server: HttpServer, run_directory: Path
) -> None:
    assert answer(run("deliver", "--preview", "--json"))["is_sample"] is True
    assert "<html" in (run_directory / "messages.html").read_text()
    add(run, server)
    outbox.put("ops", body(operation_type="an-operation-of-mine"))
    done = run("deliver", "--preview", "--out", "page.html")
    assert "the first 1 messages that wait" in done.stdout
    assert "an-operation-of-mine" in (run_directory / "page.html").read_text()
    assert server.requests == []
    assert outbox.queue() == [("pending", 0)]


@pytest.mark.parametrize(
    ("arguments", "stdin", "status", "words"),
    [
        (["deliver", "--batch-size", "0"], "", 2, ["batch_size is 0", "greater than or equal to 1"]),
        (["deliver", "--max-retries", "21"], "", 2, ["max_retries is 21", "less than or equal to 20"]),
        (["deliver", "--webhook", "ops"], "", 2, ["--redrive"]),
        (["deliver", "--preview", "--watch"], "", 2, ["--watch"]),
        (["deliver", "--redrive", "--webhook", "nobody"], "", 2, ["'nobody'", "webhooks list"]),
        (["webhooks", "test", "nobody"], "", 2, ["'nobody'", "webhooks list"]),
        (["webhooks", "disable", "nobody"], "", 2, ["'nobody'", "webhooks list"]),
        (["webhooks", "add", "x", "--type", "slack"], "", 2, ["no address was given", "PGGIT_WEBHOOK_URL"]),
        (["webhooks", "add", "x", "--type", "slack"], f"http://h/{TOKEN}", 2, ["https://", "--allow-private"]),
        (["webhooks", "add", "x", "--type", "webhook"], f"https://h/{TOKEN}", 2, ["secret of 16"]),
        (["webhooks", "add", "", "--type", "slack"], f"https://h/{TOKEN}", 2, ["name is ''"]),
        (["webhooks", "add", "x", "--type", "email"], "", 2, ["--to"]),
        (["webhooks", "add", "x", "--type", "slack", "--to", "a@b"], "", 2, ["--to"]),
        (
            ["webhooks", "add", "x", "--type", "email", "--to", "nobody"],
            f"smtps://u:{TOKEN}@h?from=a@b",
            2,
            ["recipient is 'nobody'"],
        ),
        (["webhooks", "add", "x", "--type", "slack", "--route", "ANY:NONE"], "https://h/x", 2, ["'ANY:NONE'", "INFO"]),
        (
            ["webhooks", "add", "x", "--type", "slack", "--min-interval-ms", "-1"],
            "https://h/x",
            2,
            ["min_interval_ms is -1"],
        ),
        (["webhooks", "rotate-key", "--new-key-file", "nowhere"], "", 2, ["nowhere"]),
    ],
)
def test_wrong_usage_is_one_line_that_repeats_no_address(
    run: Run, outbox: Deliveries, *, arguments: list[str], stdin: str, status: int, words: list[str]
) -> None:
    said = one_line(run(*arguments, stdin=stdin), status)
    assert all(word in said for word in words), said
    assert TOKEN not in said
    assert outbox.rows("SELECT count(*) FROM alert_notification_webhooks") == [(0,)]


def test_without_a_master_key_the_line_says_how_to_make_one(run: Run, outbox: Deliveries, server: HttpServer) -> None:
    done = run("webhooks", "add", "x", "--type", "slack", stdin="https://hooks.example.com/x", PGGIT_WEBHOOK_KEY="")
    assert done.returncode == 2
    assert "openssl rand -base64 32" in done.stderr


def test_an_existing_webhook_is_only_replaced_when_asked(run: Run, outbox: Deliveries, server: HttpServer) -> None:
    add(run, server)
    assert "--replace" in one_line(add(run, server), 2)


def test_the_pipeline_role_may_test_and_deliver_but_change_no_address(
    run: Run, outbox: Deliveries, server: HttpServer
) -> None:
    add(run, server)
    outbox.put("ops", body())
    with psycopg.connect(outbox.database.conninfo, autocommit=True) as connection:
        connection.execute("DROP ROLE IF EXISTS worker_of_the_cli_test")
        connection.execute("CREATE ROLE worker_of_the_cli_test LOGIN IN ROLE pggit_pipeline")
    try:
        url = psycopg.conninfo.make_conninfo(outbox.database.conninfo, user="worker_of_the_cli_test")
        tested = run("webhooks", "test", "ops", "--database-url", url)
        assert tested.returncode == 0, tested.stderr
        delivered = run("deliver", "--json", "--database-url", url)
        assert answer(delivered)["delivered"] == 1
        refused = run("webhooks", "disable", "ops", "--database-url", url)
        assert "permission denied" in one_line(refused, 1)
    finally:
        with psycopg.connect(outbox.database.conninfo, autocommit=True) as connection:
            connection.execute("DROP ROLE worker_of_the_cli_test")


def test_on_a_terminal_the_address_is_asked_for_and_not_echoed(run: Run, outbox: Deliveries) -> None:
    ours, theirs = os.openpty()
    arguments = ("webhooks", "add", "chat", "--type", "slack", "--database-url", outbox.database.conninfo)
    with subprocess.Popen(
        [sys.executable, "-m", "pggit_analytics", *arguments],
        stdin=theirs,
        stdout=subprocess.PIPE,
        stderr=theirs,
        text=True,
        start_new_session=True,
    ) as process:
        os.close(theirs)
        shown = b""
        while b"Address" not in shown:
            shown += os.read(ours, 1000)
        os.write(ours, f"https://hooks.slack.com/services/{TOKEN}\n".encode())
        out, _ = process.communicate()
    with contextlib.suppress(OSError):  # the other end is closed
        shown += os.read(ours, 10_000)
    os.close(ours)
    assert (process.returncode, TOKEN in shown.decode() + out) == (0, False), shown
    assert "slack at hooks.slack.com" in out
