"""Delivery inside the database: the key, addresses at rest, real servers on loopback, and pg_cron's procedure."""

from __future__ import annotations

import base64
import email
import email.policy
import hashlib
import hmac
import json
import os
import re
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import conninfo, errors, sql

from pggit_analytics.delivery import pagerduty
from pggit_analytics.delivery.encryption import MasterKey
from pggit_analytics.delivery.message import compose
from pggit_analytics.errors import WrongKey
from pggit_analytics.postgres.connection import Database
from pggit_analytics.postgres.deploy import deploy
from tests.integration.test_roles import logged_in
from tests.servers import (
    Authority,
    HttpServer,
    MailServer,
    answers,
    closes,
    drips_headers,
    hangs,
    redirects,
    says,
    waits_for,
)

pytestmark = pytest.mark.debian

KEY = base64.b64encode(bytes(range(32))).decode()
OTHER_KEY = base64.b64encode(bytes(range(1, 33))).decode()
#: HMAC-SHA256 of the id's text under bytes 0 to 31, by openssl dgst -mac HMAC
KEY_ID = "bc533e8f5b726290"
SECRET = "open-sesame-0123456789"
INTEGRATION_KEY = "0123456789abcdef0123456789ABCDEF"


@pytest.fixture(scope="module")
def key_directory(server_url: str) -> Iterator[Path]:
    """A directory of the server's user."""
    with psycopg.connect(server_url) as connection:
        row = connection.execute("SHOW data_directory").fetchone()
    assert row is not None
    directory = Path(f"{row[0]}_keys_{os.getpid()}")
    directory.mkdir(mode=0o755)
    yield directory
    shutil.rmtree(directory)


@pytest.fixture(scope="module")
def key_file(key_directory: Path) -> Callable[[str, str | bytes], Path]:
    """Call it for a file that the server's user alone can read."""

    def make(name: str, content: str | bytes) -> Path:
        file = key_directory / name
        file.write_bytes(content if isinstance(content, bytes) else content.encode())
        owner = key_directory.parent.stat()
        os.chown(file, owner.st_uid, owner.st_gid)
        file.chmod(0o600)
        return file

    return make


def administer(database: Database, *statements: str) -> None:
    with psycopg.connect(database.conninfo, autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement.encode())


def name_of(database: Database) -> str:
    return str(conninfo.conninfo_to_dict(database.conninfo)["dbname"])


def use_key(database: Database, file: Path | str) -> None:
    administer(database, f"ALTER DATABASE {name_of(database)} SET pggit.webhook_key_file = '{file}'")


@pytest.fixture(scope="module")
def template(request: pytest.FixtureRequest, create_database: Callable[..., str]) -> str:
    """A database with both extensions, deployed."""
    assert request.config.getoption("--server-url"), "these tests need Debian's server: make test-all"
    database = Database(create_database())
    administer(database, "CREATE EXTENSION pgcrypto", "CREATE EXTENSION plpython3u")
    deploy(database)
    return name_of(database)


@pytest.fixture
def without_key(create_database: Callable[..., str], template: str) -> Database:
    return Database(create_database(template))


@pytest.fixture
def database(without_key: Database, key_file: Callable[[str, str], Path]) -> Database:
    use_key(without_key, key_file("key", f"{KEY}\n"))
    return without_key


@pytest.fixture(scope="module")
def shared(create_database: Callable[..., str], template: str, key_file: Callable[[str, str], Path]) -> Database:
    """With the key; for tests that change nothing."""
    database = Database(create_database(template))
    use_key(database, key_file("key", f"{KEY}\n"))
    return database


@pytest.fixture
def server() -> Iterator[HttpServer]:
    with HttpServer() as running:
        yield running


def rows(database: Database, query: str, *values: Any) -> list[tuple[Any, ...]]:
    """The rows of a statement, which is committed; errors as PostgreSQL gives them."""
    with psycopg.connect(database.conninfo, options="-c search_path=pggit,pg_temp") as connection:
        cursor = connection.execute(query.encode(), values or None)
        return cursor.fetchall() if cursor.description else []


def store(database: Database, name: str, webhook_type: str, address: str, recipient: str | None = None) -> int:
    query = "SELECT store_webhook_encrypted(%s, %s, %s, %s, TRUE)"
    return int(rows(database, query, name, webhook_type, address, recipient)[0][0])


def body(**fields: Any) -> str:
    said = {"text": "WARNING commit is 221.6 % slower", "transition": "opened", "severity": "WARNING", "alert_id": 7}
    return json.dumps(said | {"instance": "shop", "schema": "pggit"} | fields)


def put(database: Database, webhook_id: int, *bodies: str, bundle: str | None = None, priority: int = 1) -> None:
    for each in bodies:
        rows(
            database,
            "INSERT INTO alert_notification_queue (webhook_id, message_body, dedup_key, bundle_key, priority)"
            " VALUES (%s, %s, gen_random_uuid()::TEXT, %s, %s)",
            webhook_id,
            each,
            bundle,
            priority,
        )


def deliver(database: Database, arguments: str = "") -> tuple[Any, ...]:
    query = f"SELECT notification_count, delivered_count, failed_count, retry_count FROM {{}}({arguments})"
    return rows(database, query.format("deliver_pending_notifications"))[0]


def queue(database: Database) -> list[tuple[Any, ...]]:
    return rows(database, "SELECT status, retry_count, last_error FROM alert_notification_queue ORDER BY 1, 2, 3")


def sent(database: Database, url: str, allow_private: bool = True) -> tuple[Any, ...]:
    query = "SELECT outcome, http_status, retry_after_seconds, error FROM send_to_address(%s, '{}', '{}', %s)"
    return rows(database, query, url, allow_private)[0]


# the key


def test_the_key_has_the_id_that_openssl_computes(shared: Database) -> None:
    assert rows(shared, "SELECT webhook_key_id()") == [(KEY_ID,)]


@pytest.mark.parametrize("who", ["session", "role"])
def test_what_a_session_or_a_role_has_set_is_not_looked_at(
    shared: Database, key_file: Callable[[str, str], Path], who: str
) -> None:
    other = key_file("other", OTHER_KEY)
    with logged_in(shared, "pggit_delivery") as as_delivery:
        if who == "role":
            user = conninfo.conninfo_to_dict(as_delivery.conninfo)["user"]
            administer(shared, f"ALTER ROLE {user} SET pggit.webhook_key_file = '{other}'")
        with as_delivery.connect() as connection:
            if who == "session":
                connection.execute("SELECT set_config('pggit.webhook_key_file', %s, FALSE)", (str(other),))
            assert connection.execute("SHOW pggit.webhook_key_file").fetchone() == (str(other),)
            assert connection.execute("SELECT webhook_key_id()").fetchone() == (KEY_ID,)


def test_a_setting_in_the_configuration_of_the_server_counts_where_the_database_has_none(
    without_key: Database, key_file: Callable[[str, str], Path]
) -> None:
    file = key_file("of_the_server", KEY)
    with psycopg.connect(without_key.conninfo, autocommit=True) as connection:
        connection.execute("SET pggit.webhook_key_file = ''")  # PostgreSQL 15 must have heard of it
        connection.execute(sql.SQL("ALTER SYSTEM SET pggit.webhook_key_file = {}").format(sql.Literal(str(file))))
        try:
            assert rows(without_key, "SELECT webhook_key_id()") == [(KEY_ID,)]
        finally:
            connection.execute("ALTER SYSTEM RESET pggit.webhook_key_file")


def test_without_a_setting_the_error_gives_the_command(without_key: Database) -> None:
    with pytest.raises(
        errors.ObjectNotInPrerequisiteState, match=r"as a superuser run ALTER DATABASE .* SET pggit\.webhook_key_file"
    ):
        rows(without_key, "SELECT * FROM deliver_pending_notifications()")


@pytest.mark.parametrize(
    "content", ["", "not base64 but secret", "c2VjcmV0", f"{KEY}{KEY}", f"x{KEY}", b"\xff\xfe\x00secret"]
)
def test_a_file_that_holds_no_key_is_refused_and_its_content_not_repeated(
    without_key: Database, key_file: Callable[[str, str | bytes], Path], content: str | bytes
) -> None:
    use_key(without_key, key_file("bad", content))
    with pytest.raises(errors.ObjectNotInPrerequisiteState, match="does not hold 32 bytes in base64") as raised:
        rows(without_key, "SELECT webhook_key_id()")
    text = f"{raised.value} {raised.value.diag.message_detail} {raised.value.diag.context}"
    assert "secret" not in text
    assert KEY not in text


def test_a_file_that_is_not_there_is_said(without_key: Database, key_directory: Path) -> None:
    use_key(without_key, key_directory / "nowhere")
    with pytest.raises(errors.ObjectNotInPrerequisiteState, match=r"nowhere' that .* cannot be read"):
        rows(without_key, "SELECT webhook_key_id()")


# addresses at rest


def test_what_the_database_encrypts_the_pipeline_decrypts(database: Database) -> None:
    address = f"https://example.com/hook?x=%C3%BC#{SECRET}"
    webhook_id = store(database, "oncall", "webhook", address)
    ((encrypted, iv, key_id),) = rows(
        database, "SELECT webhook_url_encrypted, webhook_url_iv, encryption_key_id FROM alert_notification_webhooks"
    )
    assert MasterKey.from_base64(KEY).decrypt(encrypted, iv, key_id).get_secret_value() == address
    with pytest.raises(WrongKey):
        MasterKey.from_base64(OTHER_KEY).decrypt(encrypted, iv, key_id)
    assert rows(database, "SELECT get_webhook_decrypted(%s)", webhook_id) == [(address,)]


@pytest.mark.parametrize("length", [1, 15, 16, 17, 2000])
def test_what_the_pipeline_encrypts_the_database_decrypts(shared: Database, length: int) -> None:
    text = "ü" + "x" * (length - 1)
    stored = MasterKey.from_base64(KEY).encrypt(text)
    query = "SELECT decrypt_webhook_address(%s, %s, %s)"
    assert rows(shared, query, stored.ciphertext, stored.iv, stored.key_id) == [(text,)]


@pytest.mark.parametrize("part", ["ciphertext", "mac", "iv", "cut", "empty"])
def test_a_damaged_address_is_refused(shared: Database, part: str) -> None:
    stored = MasterKey.from_base64(KEY).encrypt(f"https://example.com/#{SECRET}")
    encrypted, iv = bytearray(stored.ciphertext), bytearray(stored.iv)
    if part == "iv":
        iv[0] ^= 1
    elif part in {"ciphertext", "mac"}:
        encrypted[0 if part == "ciphertext" else -1] ^= 1
    else:
        del encrypted[slice(-1, None) if part == "cut" else slice(None)]
    with pytest.raises(errors.ObjectNotInPrerequisiteState, match="damaged or was changed") as raised:
        rows(shared, "SELECT decrypt_webhook_address(%s, %s, %s)", bytes(encrypted), bytes(iv), stored.key_id)
    assert SECRET not in str(raised.value)


def test_another_key_is_refused_by_name(shared: Database) -> None:
    stored = MasterKey.from_base64(OTHER_KEY).encrypt("https://example.com/")
    with pytest.raises(errors.ObjectNotInPrerequisiteState, match=rf"with the key {stored.key_id}, .* {KEY_ID}"):
        rows(shared, "SELECT decrypt_webhook_address(%s, %s, %s)", stored.ciphertext, stored.iv, stored.key_id)


def test_storing_a_name_again_replaces_its_address_and_keeps_its_id(database: Database) -> None:
    first = store(database, "oncall", "slack", "https://hooks.slack.com/services/one")
    assert store(database, "oncall", "slack", "https://hooks.slack.com/services/two") == first
    found = rows(database, "SELECT get_webhook_decrypted(%s)", first)
    assert found == [("https://hooks.slack.com/services/two",)]


def test_a_bare_integration_key_is_made_an_address(database: Database) -> None:
    webhook_id = store(database, "pager", "pagerduty", INTEGRATION_KEY)
    found = rows(database, "SELECT get_webhook_decrypted(%s)", webhook_id)
    assert found == [(f"https://events.pagerduty.com/v2/enqueue#{INTEGRATION_KEY}",)]


@pytest.mark.parametrize(
    ("webhook_type", "address", "fault"),
    [
        ("slack", "http://example.com/s3cret", "does not begin with https://"),
        ("slack", "s3cret", "is no URL"),
        ("slack", "https://example.com/s3cret x", "holds a blank"),
        ("slack", "https://example.com/#s3cret", "has a part after #"),
        ("webhook", "https://example.com/#s3cret", "a secret of at least 16 characters"),
        ("pagerduty", "https://events.pagerduty.com/v2/enqueue#s3cret", "an integration key of 32"),
        ("email", "https://s3cret.example.com", "does not begin with smtps://"),
        ("email", "smtps://me:s3cret@example.com", "does not say who sends"),
        ("email", "smtp://s3cret.example.com?from=a@b.c&tls=none", "has tls=none"),
        ("slack", None, "is NULL"),
        ("fax", "s3cret", "webhook_type and allow_private are 'fax'"),
    ],
)
def test_an_address_that_does_not_fit_is_refused_without_being_repeated(
    shared: Database, webhook_type: str, address: str | None, fault: str
) -> None:
    with pytest.raises(errors.InvalidParameterValue) as raised:
        rows(shared, "SELECT store_webhook_encrypted('x', %s, %s, 'a@b.c')", webhook_type, address)
    assert fault in str(raised.value)
    assert "s3cret" not in f"{raised.value} {raised.value.diag.context}"


def test_an_email_without_recipients_and_an_unknown_webhook_are_refused(shared: Database) -> None:
    with pytest.raises(errors.InvalidParameterValue, match=r"channel_or_recipient .* is 'nobody'"):
        store(shared, "x", "email", "smtps://mail.example.com?from=a@b.c", "nobody")
    with pytest.raises(errors.InvalidParameterValue, match="webhook_id is 4711"):
        rows(shared, "SELECT get_webhook_decrypted(4711)")


# rights


FOR_DELIVERY_ALONE = [
    "SELECT pggit.webhook_master_key()",
    "SELECT pggit.webhook_key_id()",
    "SELECT pggit.get_webhook_decrypted(1)",
    "SELECT pggit.store_webhook_encrypted('a', 'slack', 'https://example.com/')",
    "SELECT pggit.decrypt_webhook_address('', '', '')",
    "SELECT pggit.deliver_webhook('https://example.com/', '{}')",
    "SELECT pggit.send_to_address('https://example.com/', '{}', '', TRUE)",
    "SELECT pggit.deliver_pending_notifications()",
]


@pytest.mark.parametrize("role", ["pggit_reader", "pggit_pipeline", None])
def test_only_the_delivery_role_may_touch_the_key_or_send(shared: Database, role: str | None) -> None:
    with logged_in(shared, *([role] if role else [])) as database:
        for call in FOR_DELIVERY_ALONE:
            with pytest.raises(errors.InsufficientPrivilege):
                rows(database, call)


def test_every_function_of_delivery_is_closed_to_the_other_roles(shared: Database) -> None:
    files = (Path(__file__).parents[2] / "sql" / "functions").glob("*.sql")
    names = [file.stem for file in files if file.read_text().startswith("-- needs extension: ")]
    query = """
        SELECT p.proname::TEXT, r.rolname::TEXT
        FROM pg_proc AS p
        CROSS JOIN pg_roles AS r
        WHERE p.pronamespace = 'pggit'::REGNAMESPACE AND p.proname = ANY (%s)
          AND r.rolname IN ('pggit_reader', 'pggit_pipeline', 'pggit_delivery')
          AND has_function_privilege(r.oid, p.oid, 'EXECUTE')
    """
    assert set(rows(shared, query, names)) == {(name, "pggit_delivery") for name in names}


def test_the_delivery_role_stores_and_delivers_but_reads_no_file_of_the_server(
    database: Database, server: HttpServer, key_directory: Path
) -> None:
    with logged_in(database, "pggit_delivery") as as_delivery:
        put(database, store(as_delivery, "hook", "webhook", f"{server.url}/in#{SECRET}"), body())
        assert deliver(as_delivery) == (1, 1, 0, 0)
        with (
            pytest.raises(errors.InsufficientPrivilege),
            psycopg.connect(as_delivery.conninfo) as connection,
        ):
            connection.execute("SELECT pg_read_file(%s)", (str(key_directory / "key"),))
    assert len(server.requests) == 1


# what is sent


def test_a_generic_webhook_gets_a_body_that_its_secret_signs(database: Database, server: HttpServer) -> None:
    put(database, store(database, "hook", "webhook", f"{server.url}/in?a=b#{SECRET}"), body(group_key="incident-5"))

    assert deliver(database) == (1, 1, 0, 0)
    (request,) = server.requests
    assert (request.method, request.path) == ("POST", "/in?a=b")
    signed = request.headers["x-pggit-timestamp"].encode() + b"." + request.body
    expected = hmac.new(SECRET.encode(), signed, hashlib.sha256).hexdigest()
    assert request.headers["x-pggit-signature"] == f"sha256={expected}"
    assert request.headers["content-type"] == "application/json"
    said = request.json
    assert (said["version"], said["severity"], said["is_resolved"]) == (1, "WARNING", False)
    assert (said["instance"], said["schema"], said["group_key"], said["alert_ids"]) == (
        "shop",
        "pggit",
        "incident-5",
        [7],
    )
    assert said["text"] == said["title"] == "WARNING commit is 221.6 % slower"
    assert queue(database) == [("delivered", 0, None)]
    assert rows(database, "SELECT outcome, http_status FROM alert_notification_log") == [("delivered", 200)]


def test_names_neither_format_nor_notify_in_slack_and_mattermost(database: Database, server: HttpServer) -> None:
    text = "WARNING <!channel> & @here *bold* [x](y)"
    for webhook_type in ("slack", "mattermost"):
        put(database, store(database, webhook_type, webhook_type, f"{server.url}/{webhook_type}"), body(text=text))

    assert deliver(database) == (2, 2, 0, 0)
    said = {request.path: request.json for request in server.requests}
    assert said["/slack"] == {"text": "WARNING &lt;!channel&gt; &amp; @here *bold* [x](y)"}
    assert said["/mattermost"] == {"text": "WARNING \\<!channel\\> & @\u200bhere \\*bold\\* \\[x\\](y)"}


def test_pagerduty_is_triggered_and_resolved_under_one_key(shared: Database) -> None:
    query = "SELECT webhook_payload('pagerduty', %s, %s, %s)"
    bodies = [body(severity="CRITICAL"), body(severity="CRITICAL", alert_id=5)]
    trigger = json.loads(rows(shared, query, bodies, INTEGRATION_KEY, True)[0][0])
    over = json.loads(rows(shared, query, [body(alert_id=5, transition="resolved")], INTEGRATION_KEY, False)[0][0])
    partly = json.loads(rows(shared, query, [body(alert_id=5, transition="resolved")], INTEGRATION_KEY, True)[0][0])

    assert (trigger["routing_key"], trigger["event_action"]) == (INTEGRATION_KEY, "trigger")
    assert trigger["payload"] == {
        "summary": "WARNING commit is 221.6 % slower\nWARNING commit is 221.6 % slower",
        "source": "shop.pggit",
        "severity": "critical",
    }
    assert over == {
        "routing_key": INTEGRATION_KEY,
        "event_action": "resolve",
        "dedup_key": "shop.pggit:alert-5",
    }
    assert trigger["dedup_key"] == over["dedup_key"]
    assert partly["event_action"] == "trigger"


@pytest.mark.parametrize("group", [None, "incident-3"])
def test_pagerduty_gets_the_same_key_from_the_pipeline(shared: Database, group: str | None) -> None:
    facts = {"alert_type": "DEGRADATION", "operation_type": "commit", "opened_at": "2026-01-31T00:00:00Z"}
    bodies = [body(alert_id=12, **facts), body(alert_id=9, group_key=group, **facts)]
    by_database = json.loads(rows(shared, "SELECT webhook_payload('pagerduty', %s, 'x', TRUE)", bodies)[0][0])
    by_pipeline = pagerduty.render(compose(bodies, now=datetime(2026, 2, 1, tzinfo=UTC)), "x", is_resolved=False)

    assert by_database["dedup_key"] == by_pipeline["dedup_key"] == f"shop.pggit:{group or 'alert-9'}"


def test_a_bundle_is_one_message_with_the_latest_of_each_alert_and_a_count_of_what_does_not_fit(
    database: Database, server: HttpServer
) -> None:
    webhook_id = store(database, "hook", "slack", f"{server.url}/in")
    put(database, webhook_id, body(text="opened"), body(text="resolved"), bundle="group:a")
    put(database, webhook_id, *[body(text=f"{n} " + "x" * 990, alert_id=n) for n in range(1, 8)], bundle="group:b")

    assert deliver(database) == (9, 9, 0, 0)
    one, other = (request.json["text"] for request in server.requests)
    assert one == "resolved"
    assert [line[:2] for line in other.split("\n")] == ["1 ", "2 ", "3 ", "+4"]
    assert other.endswith("\n+4 more")
    assert len(other) <= 3000


def test_the_more_urgent_message_goes_first(database: Database, server: HttpServer) -> None:
    webhook_id = store(database, "hook", "webhook", f"{server.url}/in#{SECRET}")
    put(database, webhook_id, body(text="later"), priority=2)
    put(database, webhook_id, body(text="first"), priority=0)
    deliver(database)

    assert [request.json["text"] for request in server.requests] == ["first", "later"]


# how it goes


@pytest.mark.parametrize(
    ("behaviour", "expected"),
    [
        (answers(204, b""), ("delivered", 204, None, None)),
        (answers(500), ("retry", 500, None, "127.0.0.1 answered HTTP 500")),
        (answers(408), ("retry", 408, None, "127.0.0.1 answered HTTP 408")),
        (answers(429, headers={"Retry-After": "17"}), ("rate_limited", 429, 17, "127.0.0.1 answered HTTP 429")),
        (answers(429, headers={"Retry-After": "9" * 30}), ("rate_limited", 429, 3600, "127.0.0.1 answered HTTP 429")),
        (answers(429, headers={"Retry-After": "soon"}), ("rate_limited", 429, None, "127.0.0.1 answered HTTP 429")),
        (answers(404), ("rejected", 404, None, "127.0.0.1 answered HTTP 404")),
        (
            redirects("http://127.0.0.1/s3cret"),
            ("rejected", 302, None, "127.0.0.1 answered HTTP 302 (a redirect, which is not followed)"),
        ),
        (closes(), ("retry", None, None, "127.0.0.1 ended the connection or does not speak the protocol")),
        (
            says(b"garbage\r\n\r\n"),
            ("retry", None, None, "127.0.0.1 ended the connection or does not speak the protocol"),
        ),
    ],
    ids=["204", "500", "408", "429", "429 for ever", "429 soon", "404", "302", "nothing", "garbage"],
)
def test_each_answer_has_its_outcome(
    shared: Database, server: HttpServer, behaviour: Any, expected: tuple[Any, ...]
) -> None:
    server.answer(behaviour)
    assert sent(shared, f"{server.url}/s3cret") == expected
    assert len(server.requests) == 1


def test_a_date_to_retry_after_counts_from_the_date_of_the_answer(shared: Database, server: HttpServer) -> None:
    head = b"HTTP/1.1 429 Slow\r\nDate: Sun, 01 Mar 2026 12:00:00 GMT\r\nContent-Length: 0\r\nRetry-After: "
    server.answer(
        says(head + b"Sun, 01 Mar 2026 12:01:30 GMT\r\n\r\n"), says(head + b"Sun, 01 Mar 2026 11:00:00 GMT\r\n\r\n")
    )
    assert sent(shared, server.url)[2] == 90
    assert sent(shared, server.url)[2] == 0


def test_no_connection_no_name_and_no_url_are_outcomes_and_not_errors(shared: Database) -> None:
    assert sent(shared, "http://127.0.0.1:1/s3cret") == (
        "retry",
        None,
        None,
        "no connection to 127.0.0.1: Connection refused",
    )
    assert sent(shared, "http://nowhere.invalid/s3cret")[3] == "the name nowhere.invalid cannot be resolved"


@pytest.mark.parametrize("behaviour", [hangs(), drips_headers()], ids=["hangs", "drips"])
def test_a_server_that_never_ends_its_answer_is_left(database: Database, server: HttpServer, behaviour: Any) -> None:
    """The limits are shortened for this once; the function is otherwise as it was deployed."""
    text = rows(database, "SELECT pg_get_functiondef('send_to_address'::REGPROC)")[0][0]
    limits = "CONNECT_S, ANSWER_S, TOTAL_S, LONGEST_PAUSE_S = 5, 10, 20, 3600"
    assert limits in text
    rows(
        database,
        text.replace(limits, "CONNECT_S, ANSWER_S, TOTAL_S, LONGEST_PAUSE_S = 5, 10, 0.5, 3600").replace("%", "%%"),
    )
    server.answer(behaviour)

    assert sent(database, server.url) == ("retry", None, None, "127.0.0.1 did not answer in time")
    server.wait_for_closed_connections(1)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]", "[::ffff:127.0.0.1]", "2130706433", "0.0.0.0"])
def test_a_private_target_is_refused_before_anything_is_sent(shared: Database, server: HttpServer, host: str) -> None:
    outcome, status, _, error = sent(shared, f"http://{host}:{server.port}/s3cret", allow_private=False)

    assert (outcome, status) == ("rejected", None)
    assert error.endswith(" is in a private network, and the webhook does not allow that")
    assert "s3cret" not in error
    assert server.connections == 0


def test_an_address_is_public_or_not(shared: Database) -> None:
    public = ("1.1.1.1", "172.15.255.255", "172.32.0.0", "2606:4700:4700::1111", "::ffff:1.1.1.1", "64:ff9b::1.1.1.1")
    public += ("2002:101:101::1",)
    others = ("10.1.2.3", "172.16.0.0", "172.31.255.255", "192.168.1.1", "127.0.0.1", "100.64.0.1", "169.254.169.254")
    others += ("224.0.0.1", "255.255.255.255", "0.0.0.0", "::", "::1", "fe80::1", "fd00::1", "ff02::1", "2001:db8::1")
    others += ("::ffff:10.0.0.1", "64:ff9b::10.0.0.1", "64:ff9b:1::1", "2002:a00:1::1", "::1.1.1.1")
    query = "SELECT a FROM unnest(%s::TEXT[]) AS a WHERE is_public_address(a::INET)"

    assert [address for (address,) in rows(shared, query, [*public, *others])] == list(public)


@contextmanager
def trusting(database: Database, ca_file: Path | None) -> Iterator[psycopg.Connection]:
    """A session whose server process trusts this authority."""
    with database.connect() as connection:
        if ca_file is not None:
            code = f"import os; os.environ['SSL_CERT_FILE'] = {str(ca_file)!r}"
            connection.execute(f"DO LANGUAGE plpython3u $$ {code} $$".encode())
        yield connection


@pytest.fixture
def authority(key_file: Callable[[str, bytes], Path], tmp_path: Path) -> Authority:
    """With its certificate where the server can read it."""
    made = Authority(tmp_path)
    made.ca_file = key_file("ca.pem", made.ca_file.read_bytes())
    return made


def test_the_statements_of_the_guide_run(database: Database) -> None:
    guide = Path(__file__).parents[2] / "docs" / "delivery_in_database.md"
    blocks = re.findall(r"^```sql\n(.*?)^```$", guide.read_text(), re.MULTILINE | re.DOTALL)
    for block in blocks:
        rows(database, block)
    assert rows(database, "SELECT name FROM alert_notification_webhooks ORDER BY 1") == [("oncall",), ("team",)]
    assert "deliver_pending_notifications" in blocks[-1]


def test_https_needs_a_certificate_that_the_server_trusts(shared: Database, authority: Authority) -> None:
    query = "SELECT outcome, error FROM send_to_address(%s, '{}', '{}', TRUE)"
    with HttpServer(context=authority.context()) as server:
        url = f"{server.url}/s3cret"
        with trusting(shared, None) as connection:
            found = connection.execute(query, (url,)).fetchone()
        assert found == ("retry", "the certificate of localhost is not accepted")
        with trusting(shared, authority.ca_file) as connection:
            assert connection.execute(query, (url,)).fetchone() == ("delivered", None)
    with (
        HttpServer(context=authority.context("other.test")) as server,
        trusting(shared, authority.ca_file) as connection,
    ):
        found = connection.execute(query, (server.url,)).fetchone()
        assert found == ("retry", "the certificate of localhost is not accepted")


@pytest.mark.parametrize("is_implicit", [True, False], ids=["smtps", "starttls"])
def test_an_email_goes_over_tls_with_a_log_in(database: Database, authority: Authority, is_implicit: bool) -> None:
    with MailServer(authority.context(), is_implicit=is_implicit, login=("me", "p/w")) as server:
        scheme = "smtps" if is_implicit else "smtp"
        address = f"{scheme}://me:p%2Fw@localhost:{server.port}?from=alerts+db@example.com"
        webhook_id = store(database, "team", "email", address, "a@example.com, b@example.com")
        put(database, webhook_id, body(text="commit is slower: ü\r\nBcc: evil@example.com"))
        with trusting(database, authority.ca_file) as connection:
            found = connection.execute("SELECT delivered_count FROM deliver_pending_notifications()").fetchone()
        assert found == (1,), queue(database)
        (mail,) = server.mails
    assert (mail.sender, mail.recipients) == ("alerts+db@example.com", ("a@example.com", "b@example.com"))
    assert (mail.is_over_tls, mail.user) == (True, "me")
    message = email.message_from_bytes(mail.content, policy=email.policy.default)
    assert message["Subject"] == "[pggit_analytics] commit is slower: ü Bcc: evil@example.com"
    assert message["Bcc"] is None
    assert message.get_content().strip() == "commit is slower: ü Bcc: evil@example.com"


def test_a_mail_server_without_starttls_gets_nothing(shared: Database) -> None:
    with MailServer() as server:
        outcome, _, _, error = sent(shared, f"smtp://localhost:{server.port}?from=a@example.com")
        assert (outcome, error) == ("rejected", "localhost offers no STARTTLS")
        assert server.mails == []


@pytest.mark.parametrize(
    ("refusals", "outcome"),
    [
        ({"RCPT": "550 5.1.1 unknown"}, "rejected"),
        ({"RCPT": "450 4.2.0 later"}, "retry"),
        ({"DATA": "554 5.7.1 no"}, "rejected"),
        ({"MAIL": "451 4.3.0 later"}, "retry"),
    ],
)
def test_what_a_mail_server_refuses_for_now_is_tried_again(
    shared: Database, refusals: dict[str, str], outcome: str
) -> None:
    with MailServer(refusals=refusals) as server:
        address = f"smtp://127.0.0.1:{server.port}?from=a@example.com&tls=none"
        query = "SELECT outcome FROM send_messages('email', %s, 'b@example.com', TRUE, %s, TRUE)"
        assert rows(shared, query, address, [body()]) == [(outcome,)]
        assert server.mails == []


# deliver_webhook, the plan's call


def test_deliver_webhook_refuses_a_private_target_with_a_warning_that_has_no_path(
    shared: Database, server: HttpServer
) -> None:
    notices: list[str] = []
    with shared.connect() as connection:
        connection.add_notice_handler(lambda notice: notices.append(str(notice.message_primary)))
        for address, message in (
            (f"{server.url}/s3cret", "{}"),
            ("no url s3cret", "{}"),
            (server.url, "no json"),
            (None, "{}"),
        ):
            found = connection.execute("SELECT deliver_webhook(%s, %s)", (address, message)).fetchone()
            assert found == (False,)
    assert server.connections == 0
    assert len(notices) == 4
    assert all(notice.startswith("pggit_analytics: webhook delivery failed: ") for notice in notices)
    assert not any("s3cret" in notice for notice in notices)


def test_deliver_webhook_posts_the_message_as_it_is(database: Database, server: HttpServer) -> None:
    """Loopback counts as public for this once: nothing but loopback is at hand."""
    rows(
        database,
        "CREATE OR REPLACE FUNCTION is_public_address(p_address INET) RETURNS BOOLEAN LANGUAGE sql IMMUTABLE STRICT"
        " AS 'SELECT TRUE'",
    )
    query = "SELECT deliver_webhook(%s, %s)"
    assert rows(database, query, f"{server.url}/plain", '{"a": 1}') == [(True,)]
    assert rows(database, query, f"{server.url}/signed#{SECRET}", body()) == [(True,)]
    plain, signed = server.requests
    assert plain.json == {"a": 1}
    assert signed.headers["x-pggit-signature"].startswith("sha256=")
    server.answer(answers(500))
    assert rows(database, query, server.url, "{}") == [(False,)]


# deliver_pending_notifications


def test_failures_are_put_off_then_failed_and_rate_limits_are_no_attempt(
    database: Database, server: HttpServer
) -> None:
    webhook_id = store(database, "hook", "webhook", f"{server.url}/in#{SECRET}")
    due = "UPDATE alert_notification_queue SET next_retry_at = NULL"
    again = "UPDATE webhook_delivery_state SET blocked_until = NULL"
    put(database, webhook_id, body())
    server.answer(answers(500), answers(429), answers(500))

    assert deliver(database, "50, 2") == (1, 0, 0, 1)
    assert queue(database) == [("pending", 1, "127.0.0.1 answered HTTP 500")]
    assert deliver(database, "50, 2") == (0, 0, 0, 0)  # not due yet
    rows(database, due)
    assert deliver(database, "50, 2") == (1, 0, 0, 1)
    assert queue(database)[0][:2] == ("pending", 1)
    rows(database, due)
    assert deliver(database, "50, 2") == (0, 0, 0, 0)  # the channel asked for a pause
    rows(database, again)
    assert deliver(database, "50, 2") == (1, 0, 1, 0)
    assert queue(database)[0][:2] == ("failed", 2)


def test_a_batch_ends_after_so_many_rows_and_leaves_the_rest_due(database: Database, server: HttpServer) -> None:
    for name in ("a", "b", "c"):
        webhook_id = store(database, name, "webhook", f"{server.url}/{name}#{SECRET}")
        put(database, webhook_id, body(), body())

    assert deliver(database, "2") == (2, 2, 0, 0)
    left = rows(database, "SELECT retry_count, lease_token FROM alert_notification_queue WHERE status = 'pending'")
    assert left == [(0, None)] * 4
    assert deliver(database) == (4, 4, 0, 0)
    assert len(server.requests) == 6


def test_a_channel_with_a_least_interval_is_waited_for(database: Database, server: HttpServer) -> None:
    webhook_id = store(database, "slack", "slack", f"{server.url}/in")
    rows(database, "UPDATE alert_notification_webhooks SET min_interval_ms = 50")
    put(database, webhook_id, body(), body(), body())

    assert deliver(database) == (3, 3, 0, 0)


def test_what_cannot_be_read_or_decrypted_fails_and_the_rest_is_sent(database: Database, server: HttpServer) -> None:
    good = store(database, "good", "webhook", f"{server.url}/in#{SECRET}")
    bad = store(database, "bad", "webhook", f"{server.url}/in#{SECRET}")
    rows(database, "UPDATE alert_notification_webhooks SET webhook_url_iv = '\\x00' WHERE name = 'bad'")
    put(database, good, "no json", "{}", body())
    put(database, bad, body())

    assert deliver(database) == (4, 1, 3, 0)
    assert {error for _, _, error in queue(database)} == {
        None,
        "a message body is no JSON",
        "a message body says nothing",
        "the stored address is damaged or was changed; store it again",
    }
    assert rows(database, "SELECT sum(consecutive_failures) FROM webhook_delivery_state") in ([(0,)], [(None,)])


def test_webhooks_of_another_key_are_left_alone(
    database: Database, server: HttpServer, key_file: Callable[[str, str], Path]
) -> None:
    put(database, store(database, "hook", "webhook", f"{server.url}/in#{SECRET}"), body())
    use_key(database, key_file("other", OTHER_KEY))

    assert deliver(database) == (0, 0, 0, 0)
    assert queue(database) == [("pending", 0, None)]


@pytest.mark.parametrize("arguments", ["0", "1001", "NULL", "50, 0", "50, 21", "50, NULL"])
def test_arguments_out_of_range_are_refused(shared: Database, arguments: str) -> None:
    with pytest.raises(errors.InvalidParameterValue, match="expected at least 1 and at most"):
        deliver(shared, arguments)


# the procedure that pg_cron calls


def call(database: Database) -> list[str]:
    notices: list[str] = []
    with database.connect(autocommit=True, own_path=False) as connection:
        connection.add_notice_handler(lambda notice: notices.append(str(notice.message_primary)))
        connection.execute("CALL pggit.deliver_pending_alerts_by_row()")
    return notices


@pytest.fixture
def under_pg_cron(database: Database) -> Database:
    rows(database, "SELECT activate_scheduler('pg_cron')")
    return database


def test_each_message_is_committed_before_the_next_is_sent(under_pg_cron: Database, server: HttpServer) -> None:
    webhook_id = store(under_pg_cron, "hook", "webhook", f"{server.url}/in#{SECRET}")
    put(under_pg_cron, webhook_id, body(), body())
    is_released = threading.Event()
    server.answer(answers(), waits_for(is_released))
    caller = threading.Thread(target=call, args=(under_pg_cron,))
    caller.start()
    try:
        server.wait_for_requests(2)
        statuses = "SELECT status, lease_token IS NOT NULL FROM alert_notification_queue ORDER BY notification_queue_id"
        # seen by another session while the second is still being sent
        assert rows(under_pg_cron, statuses) == [("delivered", False), ("pending", True)]
        assert rows(under_pg_cron, "SELECT status FROM job_runs") == [("RUNNING",)]
        refusal = "SELECT refusal FROM claim_job_window('deliver_pending_alerts', 'pg_cron')"
        assert rows(under_pg_cron, refusal) == [("deliver_pending_alerts is running",)]
    finally:
        is_released.set()
        caller.join()

    assert [status for status, _, _ in queue(under_pg_cron)] == ["delivered"] * 2
    assert rows(under_pg_cron, "SELECT status, message FROM job_runs") == [
        ("SUCCESS", "2 delivered, 0 failed, 0 put off")
    ]


def test_a_window_runs_once(under_pg_cron: Database) -> None:
    rows(under_pg_cron, "UPDATE scheduled_jobs SET period = '36500 days' WHERE job = 'deliver_pending_alerts'")
    assert call(under_pg_cron) == []
    (notice,) = call(under_pg_cron)
    assert notice.startswith("pggit_analytics: not run: the window ")


def test_without_a_key_the_window_fails_and_says_why(without_key: Database) -> None:
    rows(without_key, "SELECT activate_scheduler('pg_cron')")
    (warning,) = call(without_key)

    assert warning.startswith("pggit_analytics: deliver_pending_alerts failed: no administrator has set ")
    ((status, message),) = rows(without_key, "SELECT status, message FROM job_runs")
    assert status == "FAILED"
    assert message.startswith("no administrator has set pggit.webhook_key_file")
    assert rows(without_key, "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'") == [(0,)]


def test_under_another_scheduler_it_does_nothing(database: Database) -> None:
    rows(database, "SELECT activate_scheduler('crontab')")
    assert call(database) == ["pggit_analytics: not run: crontab is the active scheduler, pg_cron does nothing"]


def test_it_makes_up_another_job_that_was_missed(under_pg_cron: Database) -> None:
    rows(under_pg_cron, "UPDATE active_scheduler SET active_since = '1999-01-01 00:00+00'")
    rows(under_pg_cron, "UPDATE scheduled_jobs SET is_paused = TRUE WHERE job LIKE '%recalculate%'")
    rows(
        under_pg_cron,
        "UPDATE scheduled_jobs SET period = '36500 days', first_window = '1999-12-31 00:00+00'"
        " WHERE job = 'check_performance_anomalies'",
    )

    (notice,) = call(under_pg_cron)
    assert notice.startswith("pggit_analytics: missed, made up: check_performance_anomalies SUCCESS: run 1")
