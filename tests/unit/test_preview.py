"""The preview page: every kind, every channel, nothing fetched, nothing that a name could run."""

from __future__ import annotations

import json
from html.parser import HTMLParser
from importlib.resources import files

import pytest
from hypothesis import given, settings

from data.fixtures.messages.render import CASES, case
from pggit_analytics.delivery.message import KINDS
from pggit_analytics.delivery.preview import Sample, page, sample_messages
from tests.unit.bodies import NASTY, messages, row, told


class Page(HTMLParser):
    """Elements, attributes and text of a page; nothing is allowed to run or to be fetched."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag not in {
            "script",
            "img",
            "iframe",
            "object",
            "embed",
            "link",
            "form",
            "svg",
            "base",
            "audio",
            "video",
        }
        for name, value in attrs:
            assert not name.startswith("on")
            assert name != "src"
            assert name != "href" or (value or "").startswith(("#", "http://", "https://")), value

    def handle_data(self, data: str) -> None:
        self.text += data


def test_the_samples_are_the_fixtures_and_show_every_kind() -> None:
    samples = json.loads((files("pggit_analytics.delivery") / "templates" / "samples.json").read_text(encoding="utf-8"))
    by_name = {sample["name"]: sample for sample in samples}
    assert by_name == {found["name"]: found for found in map(case, CASES)}
    assert {sample.message.kind for sample in sample_messages()} == set(KINDS)


def test_the_page_shows_every_sample_in_every_channel() -> None:
    text = Page(page(sample_messages())).text
    for sample in sample_messages():
        assert sample.name in text
        # headline of Slack, Mattermost, e-mail; summary of PagerDuty; title in payloads
        assert text.count(sample.message.headline) >= 6
    assert text.count("Generic webhook") == len(sample_messages())


def test_the_page_holds_no_secret_and_loads_nothing() -> None:
    shown = page(sample_messages())
    assert "default-src 'none'" in shown
    assert "url(" not in shown
    assert "@import" not in shown


@pytest.mark.parametrize("name", NASTY)
def test_no_name_can_run_anything_in_the_page(name: str) -> None:
    Page(page([Sample(name, name, told(row(operation_type=name), row(alert_id=2, operation_type=f"{name}2")))]))


@settings(max_examples=40, deadline=None)
@given(message=messages())
def test_any_message_can_be_shown(message) -> None:
    Page(page([Sample("any", "any", message)]))
