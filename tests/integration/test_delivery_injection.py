"""Names of operations that are markup, mentions, links or headers, from the alert to what each channel is given."""

from __future__ import annotations

import hashlib
import hmac
import re
import shlex
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from email import message_from_bytes, policy
from email.message import EmailMessage
from html.parser import HTMLParser
from typing import Any

import pytest

from pggit_analytics.postgres.connection import Database
from tests.channel_faults import ROUTING_KEY, add_every_type
from tests.deliveries import SECRET, Deliveries
from tests.servers import HttpServer, Mail, MailServer, Received

NAMES = [
    "<script>alert(1)</script>",
    "<!channel> <!everyone> <@U024BE7LH>",
    "@here @channel @all @everyone",
    "x](http://evil.example) [y",
    "![](https://evil.example/pixel.png)<img src=x onerror=alert(1)>",
    "<https://evil.example|click>",
    "line\r\nBcc: evil@example.com\r\n\r\nand a body",
    "`*_~ | a | ```",
    "'; DROP TABLE performance_alerts; --",
    '$(reboot) "quoted" \\',
    "{{ 7 * 7 }}%s",
    "gnp.\N{RIGHT-TO-LEFT OVERRIDE}exe\x1b[31m",
]

_RAISE = """
    SELECT raise_alert('DEGRADATION', 'CRITICAL', %(name)s, alert_key('DEGRADATION', %(name)s),
        jsonb_build_object('p99_old_ms', 5.1, 'p99_new_ms', 16.4, 'degradation_percent', 221.6))
"""

# the same once more, as one message about all of them
_TOGETHER = """
    INSERT INTO alert_notification_queue (webhook_id, alert_id, message_body, dedup_key, bundle_key, priority)
    SELECT webhook_id, alert_id, message_body, dedup_key || '/together', 'group:incident-1', priority
    FROM alert_notification_queue
    ORDER BY notification_queue_id
"""


@dataclass(frozen=True, slots=True)
class Arrived:
    """What channels were given: a message about each name, and one about all."""

    requests: list[Received]
    mails: list[Mail]

    def payloads(self, webhook_type: str) -> list[Any]:
        return [request.json for request in self.requests if request.path == f"/{webhook_type}"]


@pytest.fixture(scope="module")
def arrived(shared_database: Database) -> Iterator[Arrived]:
    outbox = Deliveries(shared_database)
    with HttpServer() as server, MailServer() as mail:
        add_every_type(outbox, server, mail, routes=None)
        with shared_database.connect() as connection:
            for name in NAMES:
                connection.execute(_RAISE, {"name": name})
            connection.execute(_TOGETHER)
        result = outbox.run()
        assert (result.delivered, result.waiting) == (5 * (len(NAMES) + 1), 0)
        yield Arrived(server.requests, mail.mails)


def texts(payload: Any) -> Iterator[str]:
    """Every text in a payload."""
    if isinstance(payload, dict):
        payload = [*payload.values()]
    if isinstance(payload, list):
        for each in payload:
            yield from texts(each)
    elif isinstance(payload, str):
        yield payload


def is_clean(text: str) -> bool:
    """Neither control nor formatting characters but line breaks and the joiner that our own escaping puts in."""
    return not any(unicodedata.category(c) in {"Cc", "Cf"} for c in text if c not in "\n\N{WORD JOINER}")


MENTION = re.compile(r"@(here|channel|all|everyone)")


def test_slack_finds_no_markup_but_our_own_and_nobody_is_mentioned(arrived: Arrived) -> None:
    payloads = arrived.payloads("slack")
    assert len(payloads) == len(NAMES) + 1
    for payload in payloads:
        for text in texts(payload):
            assert all(re.fullmatch(r"<!date\^[^<>]*>", found) for found in re.findall("<[^>]*>?", text)), text
            assert not MENTION.search(text)
            assert is_clean(text)
        # no address in a text becomes a link
        assert all(element["verbatim"] for element in elements(payload, "mrkdwn"))
    alone = next(payload for payload in payloads if "script" in payload["text"])
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in alone["text"]


def elements(payload: Any, kind: str) -> Iterator[dict[str, Any]]:
    """The text objects of this type."""
    if isinstance(payload, dict):
        if payload.get("type") == kind:
            yield payload
        payload = [*payload.values()]
    if isinstance(payload, list):
        for each in payload:
            yield from elements(each, kind)


def outside_of_code(markdown: str) -> str:
    """Markdown without what is escaped, and without code: a run of backticks to the next as long (CommonMark 6.1)."""
    return re.sub(r"\\[!-/:-@\[-`{-~]|(?<!`)(`+)(?!`).+?(?<!`)\1(?!`)", "", markdown, flags=re.DOTALL)


def test_mattermost_finds_no_link_picture_or_mention(arrived: Arrived) -> None:
    payloads = arrived.payloads("mattermost")
    assert len(payloads) == len(NAMES) + 1
    for payload in payloads:
        for text in texts(payload):
            assert not MENTION.search(text)
            assert is_clean(text)
        (attachment,) = payload["attachments"]
        assert "title_link" not in attachment
        for markdown in (payload["text"], attachment["text"]):
            plain = outside_of_code(markdown)
            assert not any(mark in plain for mark in ("](", "://", "www.", "`", "~~", "| a |")), markdown
    assert any("](http" in outside_of_code(name) for name in NAMES)


def test_a_mail_has_no_header_recipient_or_element_of_a_names_making(arrived: Arrived) -> None:
    assert len(arrived.mails) == len(NAMES) + 1
    shown = ""
    for mail in arrived.mails:
        assert (mail.sender, mail.recipients) == ("alerts@example.com", ("dba@example.com",))
        message = message_from_bytes(mail.content, policy=policy.default)
        assert isinstance(message, EmailMessage)
        assert len(message.keys()) == len(set(message.keys()))
        assert set(message.keys()) <= HEADERS
        assert is_clean(str(message["Subject"]))
        plain, html = (message.get_body((kind,)) for kind in ("plain", "html"))
        assert plain is not None
        assert html is not None
        assert is_clean(plain.get_content().replace("\r\n", "\n"))
        assert not re.search(r"(?m)^Bcc:", plain.get_content())
        page = Page(html.get_content())
        assert page.tags <= TAGS
        assert page.attributes <= {"class", "style", "lang", "charset", "name", "content", "role"} | TABLE_ATTRIBUTES
        assert is_clean(page.text.replace("\r\n", "\n"))
        shown += page.text
    assert all(as_shown in shown for as_shown in ("<script>alert(1)</script>", "{{ 7 * 7 }}%s", NAMES[8]))


HEADERS = {
    "From",
    "To",
    "Subject",
    "Date",
    "Message-ID",
    "In-Reply-To",
    "References",
    "List-Id",
    "Auto-Submitted",
    "Importance",
    "MIME-Version",
    "Content-Type",
    "X-Peer",
    "X-MailFrom",
    "X-RcptTo",
}
TAGS = {"html", "head", "meta", "title", "style", "body", "div", "h1", "p", "strong", "table", "tr", "th", "td", "pre"}
TABLE_ATTRIBUTES = {"cellpadding", "cellspacing"}


class Page(HTMLParser):
    """The elements, attributes and text of a page."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes.update(name for name, _ in attrs)

    def handle_data(self, data: str) -> None:
        self.text += data


def test_pagerduty_gets_one_clean_line_and_its_key_in_one_place(arrived: Arrived) -> None:
    payloads = arrived.payloads("pagerduty")
    assert len(payloads) == len(NAMES) + 1
    for payload in payloads:
        assert payload.pop("routing_key") == ROUTING_KEY
        assert ROUTING_KEY not in str(payload)
        assert payload.keys() <= {"event_action", "dedup_key", "payload", "client"}
        assert all(is_clean(text) for text in texts(payload))
        assert "\n" not in payload["payload"]["summary"]
    assert any("<script>alert(1)</script>" in payload["payload"]["summary"] for payload in payloads)


def test_the_generic_webhook_is_signed_and_its_command_repeats_a_name_as_one_word(arrived: Arrived) -> None:
    requests = [request for request in arrived.requests if request.path == "/webhook"]
    assert len(requests) == len(NAMES) + 1
    repeated = set()
    for request in requests:
        signed = request.headers["x-pggit-timestamp"].encode() + b"." + request.body
        expected = hmac.new(SECRET.encode(), signed, hashlib.sha256).hexdigest()
        assert request.headers["x-pggit-signature"] == f"sha256={expected}"
        assert all(is_clean(text) for text in texts(request.json))
        assert not any(re.search(r"(?m)^Bcc:", text) for text in texts(request.json))
        words = shlex.split(request.json["reproduce"]["command"])
        assert words[:3] == ["pggit-analytics", "analyze", "--as-of"]
        assert set(words[4::2]) <= {"--operation"}
        repeated.update(words[5::2])
    assert {NAMES[0], NAMES[8], NAMES[9], NAMES[10]} <= repeated <= set(NAMES)


def test_a_name_in_the_statement_to_copy_is_one_literal(arrived: Arrived, shared_database: Database) -> None:
    found = set()
    with shared_database.connect() as connection:
        for payload in arrived.payloads("webhook"):
            for literal in re.findall(r"detect_performance_degradation\((.*)\);", payload["reproduce"]["sql"]):
                # a parameter makes the server take it for a single statement
                statement = f"SELECT {literal.replace('%', '%%')} WHERE %s"
                ((name,),) = connection.execute(statement.encode(), (True,)).fetchall()
                found.add(name)
        assert connection.execute("SELECT count(*) FROM performance_alerts").fetchall() == [(len(NAMES),)]
    assert {NAMES[0], NAMES[8], NAMES[9]} <= found <= set(NAMES)
