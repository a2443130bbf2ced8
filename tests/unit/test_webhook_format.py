"""The generic webhook: its documented fields, its size, and a signature that the documented snippet verifies."""

from __future__ import annotations

import json
import re
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings

from data.fixtures.messages.render import HERE
from pggit_analytics.delivery import webhook
from tests.unit.bodies import CASES, NASTY, fixture, many_operations, messages

DOCUMENT = (Path(__file__).parents[2] / "docs" / "messages.md").read_text(encoding="utf-8")


def documented(heading: str) -> set[str]:
    """The names in the first column of the table under a heading."""
    section = DOCUMENT.split(f"\n### {heading}\n")[1].split("\n#")[0]
    return {
        name for row in re.findall(r"^\| (`.*?`) \|", section, re.MULTILINE) for name in re.findall(r"`(\w+)`", row)
    }


def check(payload: dict[str, Any]) -> None:
    assert set(payload) == documented("Fields")
    assert payload["version"] == 1
    assert re.fullmatch("[0-9a-f]{32}", payload["id"])
    for finding in payload["findings"]:
        assert set(finding) == documented("Fields of a finding")
    for moment in (payload["sent_at"], payload["detected_at"]):
        assert moment is None or (datetime.fromisoformat(moment) and moment.endswith("Z"))
    assert len(payload["alert_ids"]) <= 1000
    sent = json.dumps(payload, allow_nan=False).encode()
    assert len(sent) <= 256_000
    assert json.loads(sent) == payload


@pytest.mark.parametrize("name", CASES)
def test_a_message_is_posted_as_kept_and_has_the_documented_fields(name: str) -> None:
    payload = webhook.render(fixture(name))
    check(payload)
    assert payload == json.loads((HERE / name / "webhook.json").read_text(encoding="utf-8"))


@settings(max_examples=60, deadline=None)
@given(message=messages())
def test_whatever_the_rows_hold_the_payload_is_json_of_the_documented_fields(message) -> None:
    check(webhook.render(message))


@pytest.mark.parametrize("name", NASTY)
def test_many_operations_of_any_name_fit_or_are_counted(name: str) -> None:
    payload = webhook.render(many_operations(100, f"{{}} {name}"))
    check(payload)
    assert len(payload["findings"]) + payload["more_findings"] == 100


def test_the_signature_is_the_one_openssl_makes() -> None:
    # printf '1794938530.{"version":1}' | openssl dgst -sha256 -hmac 'sixteen characters'
    assert webhook.sign("sixteen characters", 1794938530, b'{"version":1}') == {
        "X-Pggit-Timestamp": "1794938530",
        "X-Pggit-Signature": "sha256=4d3d4cef2919c543eb1166bd484a2508cac80ae1f1ffffa421e8e33f0ddfbdec",
    }


@pytest.fixture(scope="module")
def is_genuine() -> Any:
    """The function of the documented snippet."""
    (snippet,) = re.findall(r"```python\n(.*?)```", DOCUMENT, re.DOTALL)
    names: dict[str, Any] = {}
    exec(compile(snippet, "docs/messages.md", "exec"), names)
    return names["is_genuine"]


def test_the_documented_snippet_accepts_what_we_sign_and_nothing_else(is_genuine: Any) -> None:
    body = json.dumps(webhook.render(fixture("opened"))).encode()
    headers = webhook.sign("sixteen characters", 1794938530, body)
    assert is_genuine("sixteen characters", headers, body, now=1794938530 + 299)
    assert not is_genuine("sixteen characters", headers, body + b" ", now=1794938530)
    assert not is_genuine("another secret of 16", headers, body, now=1794938530)
    assert not is_genuine("sixteen characters", headers | {"X-Pggit-Timestamp": "1794938531"}, body, now=1794938530)
    assert not is_genuine("sixteen characters", headers, body, now=1794938530 + 301)
    assert not is_genuine("sixteen characters", {}, body, now=1794938530)
