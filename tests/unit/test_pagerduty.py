"""PagerDuty accepts the events; one incident has one dedup_key; only what says it is over resolves."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

import pytest
from hypothesis import given, settings

from data.fixtures.messages.render import HERE
from pggit_analytics.delivery import pagerduty
from tests.unit.bodies import CASES, DETECTED, NASTY, fixture, many_operations, messages, row, told

KEY = "R" * 32


def check(event: dict[str, Any]) -> None:
    """Rules of developer.pagerduty.com: send-alert-event, events-api-v2-overview."""
    assert len(event["routing_key"]) == 32
    assert event["event_action"] in {"trigger", "resolve"}
    assert 0 < len(event["dedup_key"]) <= 255
    payload = event["payload"]
    assert 0 < len(payload["summary"]) <= 1024
    assert payload["source"]
    assert payload["severity"] in {"critical", "error", "warning", "info"}
    assert datetime.fromisoformat(payload["timestamp"]).utcoffset() is not None
    assert all(isinstance(value, str) and value for value in payload["custom_details"].values())
    for link in event.get("links", []):
        assert set(link) == {"href", "text"}
        assert link["href"].startswith(("http://", "https://"))
    assert len(json.dumps(event).encode()) < 512_000


@pytest.mark.parametrize("name", CASES)
def test_a_message_is_posted_as_kept_and_is_accepted(name: str) -> None:
    message = fixture(name)
    event = pagerduty.render(message, KEY, message.is_resolved)
    check(event)
    assert event == json.loads((HERE / name / "pagerduty.json").read_text(encoding="utf-8"))


@settings(max_examples=100, deadline=None)
@given(message=messages())
def test_whatever_the_rows_hold_the_event_is_accepted(message) -> None:
    check(pagerduty.render(message, KEY, message.is_resolved))


@pytest.mark.parametrize("name", NASTY)
def test_many_operations_of_any_name_are_accepted(name: str) -> None:
    check(pagerduty.render(many_operations(100, f"{{}} {name}"), KEY, False))


def test_what_opens_and_what_ends_an_incident_have_the_same_key() -> None:
    opened, recovered = (pagerduty.render(fixture(name), KEY, name == "recovered") for name in ("opened", "recovered"))
    assert opened["dedup_key"] == recovered["dedup_key"] == "prod.pggit:incident-101"
    assert (opened["event_action"], recovered["event_action"]) == ("trigger", "resolve")


def test_an_alert_of_no_incident_has_a_key_of_its_own() -> None:
    assert pagerduty.render(told(row()), KEY, False)["dedup_key"] == "prod.pggit:alert-1"


def test_long_keys_stay_different() -> None:
    long = "x" * 290
    keys = {pagerduty.dedup_key(told(row(group_key=long + end))) for end in ("a", "b")}
    assert len(keys) == 2
    assert max(map(len, keys)) <= 255


def test_a_single_slow_call_pages_although_it_is_over() -> None:
    message = told(row(alert_type="ANOMALY", resolved_at=DETECTED, evidence={}), is_still_open=False)
    assert pagerduty.render(message, KEY, True)["event_action"] == "trigger"


def test_a_test_can_be_resolved_again() -> None:
    actions = [pagerduty.render(fixture("test"), KEY, is_resolved)["event_action"] for is_resolved in (False, True)]
    assert actions == ["trigger", "resolve"]


def test_of_an_incident_five_operations_are_told() -> None:
    details = pagerduty.render(fixture("incident"), KEY, False)["payload"]["custom_details"]
    assert [key for key in details if key.isdigit()] == ["1", "2", "3", "4", "5"]
    assert details["more"] == "+7 more"
