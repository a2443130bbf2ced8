"""E-mail that any server takes: headers that cannot be injected, lines that are short enough, both parts complete."""

from __future__ import annotations

import re
from email import policy
from email.message import EmailMessage
from email.parser import BytesParser
from html.parser import HTMLParser

import pytest
from hypothesis import given, settings

from data.fixtures.messages.render import HERE, rendered
from pggit_analytics.delivery import email
from pggit_analytics.errors import InvalidArgument
from tests.unit.bodies import CASES, NASTY, fixture, many_operations, messages, row, told

SENDER, RECIPIENTS = "pggit@example.org", ["oncall@example.org", "dba@example.org"]

HEADERS = {
    *("From", "To", "Subject", "Date", "Message-ID", "In-Reply-To", "References", "List-Id", "Auto-Submitted"),
    *("Importance", "MIME-Version", "Content-Type"),
}


class Elements(HTMLParser):
    """The elements of a page and the links in it."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.names: list[str] = []
        self.links: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.append(tag)
        self.links += [value or "" for name, value in attrs if name in {"href", "src"} or name.startswith("on")]


def check(mail: EmailMessage) -> EmailMessage:
    """As it arrives: RFC 5322 lines, the headers we set and no other, two parts."""
    sent = mail.as_bytes()
    sent.decode("ascii")
    lines = sent.split(b"\r\n")
    assert max(map(len, lines)) <= 998
    assert not any(b"\r" in line or b"\n" in line for line in lines)
    arrived = BytesParser(policy=policy.default).parsebytes(sent)
    assert set(arrived.keys()) <= HEADERS
    assert len(arrived.keys()) == len(set(arrived.keys()))
    assert str(arrived["To"]) == "oncall@example.org, dba@example.org"
    # the standard library may double a blank beside a word that it encodes
    assert 0 < len(" ".join(arrived["Subject"].split())) <= 150
    assert re.fullmatch(r"<[0-9a-f]{32}@example\.org>", arrived["Message-ID"])
    text, page = (part.get_content() for part in arrived.iter_parts())
    assert text.strip()
    found = Elements(page)
    assert not set(found.names) & {"script", "img", "iframe", "object", "form", "link", "svg"}
    assert all(link.startswith(("http://", "https://")) for link in found.links)
    return arrived


@pytest.mark.parametrize("name", CASES)
def test_a_message_is_sent_as_kept_and_is_accepted(name: str) -> None:
    check(email.render(fixture(name), SENDER, RECIPIENTS))
    assert rendered(name)["email.txt"] == (HERE / name / "email.txt").read_text(encoding="utf-8")


@settings(max_examples=60, deadline=None)
@given(message=messages())
def test_whatever_the_rows_hold_the_mail_is_accepted(message) -> None:
    check(email.render(message, SENDER, RECIPIENTS))


@pytest.mark.parametrize("name", NASTY)
def test_many_operations_of_any_name_are_accepted(name: str) -> None:
    arrived = check(email.render(many_operations(100, f"{{}} {name}"), SENDER, RECIPIENTS))
    for part in arrived.iter_parts():
        assert "+95 more" in part.get_content()


def test_the_text_part_says_by_itself_what_the_html_part_says() -> None:
    text, page = (part.get_content() for part in email.render(fixture("opened"), SENDER, RECIPIENTS).iter_parts())
    for said in (
        "CRITICAL: commit is 3.2x slower: p99 5.12 → 16.4 ms",
        "2026-11-16 06:00 UTC",
        "48,210",
        "Slow in the same minutes as branch_create",
        "Check disk I/O capacity",
        "pggit-analytics analyze --as-of 2026-11-17T18:00:00Z --operation commit",
        "https://reports.example.org/pggit/latest",
    ):
        assert said in text
        assert said in page


def test_a_name_of_html_is_text_in_the_page() -> None:
    page = email.html(told(row(operation_type="<b>x</b><script>alert(1)</script>")))
    assert "&lt;b&gt;x&lt;/b&gt;&lt;script&gt;" in page
    assert "<script" not in page


def test_follow_ups_of_an_incident_are_one_thread_and_every_message_is_its_own() -> None:
    opened, recovered, other = (
        email.render(fixture(name), SENDER, RECIPIENTS) for name in ("opened", "recovered", "raised")
    )
    assert opened["References"] == recovered["References"] != other["References"]
    assert opened["Message-ID"] != recovered["Message-ID"]


def test_the_same_rows_make_the_same_mail() -> None:
    assert (
        email.render(fixture("opened"), SENDER, RECIPIENTS).as_bytes()
        == email.render(fixture("opened"), SENDER, RECIPIENTS).as_bytes()
    )


@pytest.mark.parametrize(
    ("sender", "recipients"), [(SENDER, []), (SENDER, ["a@b\r\nBcc: c@d"]), ("a@b\nBcc: c@d", RECIPIENTS)]
)
def test_addresses_that_are_missing_or_hold_a_line_break_are_refused(sender: str, recipients: list[str]) -> None:
    with pytest.raises(InvalidArgument):
        email.render(fixture("test"), sender, recipients)
