"""Mattermost accepts what is posted, also old servers, and nothing in a name is markup or mentions anybody."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from hypothesis import given, settings

from data.fixtures.messages.render import HERE
from pggit_analytics.delivery import mattermost
from tests.unit.bodies import CASES, NASTY, fixture, many_operations, messages, row, told


def check(payload: dict[str, Any]) -> None:
    """Limits of server/public/model/post.go (of the oldest servers), fields of message attachments."""
    assert set(payload) == {"text", "attachments"}
    assert 0 < len(payload["text"]) <= 4000
    assert len(json.dumps(payload["attachments"], ensure_ascii=False)) <= 8000 - 400
    (attachment,) = payload["attachments"]
    assert set(attachment) <= {"fallback", "color", "text", "footer", "title", "title_link"}
    assert attachment["fallback"]
    assert re.fullmatch(r"#[0-9a-f]{6}", attachment["color"])
    for text in (payload["text"], attachment["fallback"], attachment["text"], attachment["footer"]):
        # a mention is an @ before a name
        assert not re.search(r"@[a-z0-9]", text, re.IGNORECASE), text
        # nothing outside of code becomes a link
        outside = re.sub(r"```\w*\n.*?\n```", "", text, flags=re.DOTALL)
        assert not re.search(r"(?i)(https?://|www\.\w)", outside), text
    fences = re.findall(r"^```\w*$", attachment["text"], re.MULTILINE)
    assert len(fences) % 2 == 0


@pytest.mark.parametrize("name", CASES)
def test_a_message_is_posted_as_kept_and_is_accepted(name: str) -> None:
    payload = mattermost.render(fixture(name))
    check(payload)
    assert payload == json.loads((HERE / name / "mattermost.json").read_text(encoding="utf-8"))


@settings(max_examples=100, deadline=None)
@given(message=messages())
def test_whatever_the_rows_hold_the_message_is_accepted(message) -> None:
    check(mattermost.render(message))


@pytest.mark.parametrize("name", NASTY)
def test_many_operations_of_any_name_are_accepted_and_counted(name: str) -> None:
    payload = mattermost.render(many_operations(100, f"{{}} {name}"))
    check(payload)
    assert re.search(r"\+9\d more|\+100 more", payload["attachments"][0]["text"])


def test_marks_in_a_name_are_themselves() -> None:
    payload = mattermost.render(told(row(operation_type="*a* _b_ [c](d) `e` g_h")))
    assert r"\*a\* \_b\_ \[c\](d) \`e\` g_h is" in payload["text"]


def test_a_name_with_backticks_stays_inside_its_code() -> None:
    rows = [row(), row(alert_id=2, operation_type="a``b")]
    assert "``` a``b ```" in mattermost.render(told(*rows))["attachments"][0]["text"]
