"""Slack accepts what is posted, and nothing in a name is markup or mentions anybody."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from hypothesis import given, settings

from data.fixtures.messages.render import HERE
from pggit_analytics.delivery import slack
from tests.unit.bodies import CASES, NASTY, fixture, many_operations, messages, row, told


def units(text: str) -> int:
    return len(text.encode("utf-16-le")) // 2


def check(payload: dict[str, Any]) -> None:
    """Slack's published rules: docs.slack.dev/reference/block-kit, .../messaging/formatting-message-text."""
    assert set(payload) == {"text", "blocks", "attachments"}
    assert 0 < units(payload["text"]) <= 4000
    (attachment,) = payload["attachments"]
    assert re.fullmatch(r"#[0-9a-f]{6}", attachment["color"])
    blocks = payload["blocks"] + attachment["blocks"]
    assert 1 <= len(payload["blocks"]) <= len(blocks) <= 50
    for block in blocks:
        check_block(block)
    for text in [payload["text"], attachment["fallback"], *(t["text"] for block in blocks for t in texts(block))]:
        check_control_sequences(text)
    assert units(json.dumps(payload, ensure_ascii=False)) < 13_000


def texts(block: dict[str, Any]) -> list[dict[str, Any]]:
    return block["elements"] if block["type"] == "context" else [block["text"]]


def check_block(block: dict[str, Any]) -> None:
    limit = {"header": 150, "section": 3000, "context": 2000}[block["type"]]
    if block["type"] == "context":
        assert 1 <= len(block["elements"]) <= 10
    for text in texts(block):
        assert text["text"].strip()
        assert units(text["text"]) <= limit
        if block["type"] == "header":
            assert text["type"] == "plain_text"
        else:
            assert text["type"] == "mrkdwn"
            assert text["verbatim"] is True
            assert text["text"].count("```") % 2 == 0


def check_control_sequences(text: str) -> None:
    """What stands between < and > is one of our dates or a link; every & begins one of the three entities."""
    for inner in re.findall(r"<([^>]*)>?", text):
        is_date = re.fullmatch(r"!date\^-?\d+\^\{date_short_pretty\} \{time\} your time\|[-:\d UTC]+", inner)
        assert is_date or re.fullmatch(r"https?://[^|<>\s]+\|Report", inner), inner
    assert len(re.findall("<", text)) == len(re.findall(">", text))
    assert text.count("&") == len(re.findall("&(?:amp|lt|gt);", text))
    assert not re.search(r"@(?=here|channel|everyone|all)", text)


@pytest.mark.parametrize("name", CASES)
def test_a_message_is_posted_as_kept_and_is_accepted(name: str) -> None:
    payload = slack.render(fixture(name))
    check(payload)
    assert payload == json.loads((HERE / name / "slack.json").read_text(encoding="utf-8"))


@settings(max_examples=100, deadline=None)
@given(message=messages())
def test_whatever_the_rows_hold_the_message_is_accepted(message) -> None:
    check(slack.render(message))


@pytest.mark.parametrize("name", NASTY)
def test_many_operations_of_any_name_are_accepted_and_counted(name: str) -> None:
    payload = slack.render(many_operations(100, f"{{}} {name}"))
    check(payload)
    assert re.search(r"\+9\d more", json.dumps(payload))


def test_marks_in_a_name_format_nothing_and_words_with_underscores_stay_as_they_are() -> None:
    payload = slack.render(told(row(operation_type="*_x_* `y` ~z~"), row(alert_id=2, operation_type="get_history")))
    shown = json.dumps(payload, ensure_ascii=False)
    assert "`*_x_* ʼyʼ ~z~`" in shown  # noqa: RUF001
    assert "`get_history`" in shown


def test_a_reader_sees_utc_and_their_own_time() -> None:
    shown = json.dumps(slack.render(fixture("opened")))
    # 2026-11-16 06:00 UTC: 20,773 days and 6 hours after 1970
    assert f"2026-11-16 06:00 UTC (<!date^{20773 * 86400 + 6 * 3600}^" in shown
