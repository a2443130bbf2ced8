"""What a message says: sentences written by hand for what a person has to be told."""

from __future__ import annotations

import json
import unicodedata
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pggit_analytics.delivery import email, mattermost, pagerduty, slack, webhook
from pggit_analytics.delivery.message import UnreadableMessage, compose, parse
from pggit_analytics.delivery.text import plain
from tests.unit.bodies import CASES, DETECTED, NOW, fixture, many_operations, messages, row, told


@pytest.mark.parametrize(
    ("name", "kind", "title"),
    [
        (
            "opened",
            "opened",
            "CRITICAL: commit is 3.2x slower: p99 5.12 → 16.4 ms, since 2026-11-16 06:00 UTC, "
            "together with branch_create",
        ),
        (
            "incident",
            "opened",
            "CRITICAL: 12 operations, worst: rollback_commit is 5.2x slower: p99 41.2 → 213 ms, "
            "since 2026-11-16 06:00 UTC",
        ),
        (
            "single_calls",
            "opened",
            "WARNING: branch_delete had 2 single slow calls, worst 9.41 ms (baseline p99 1.1 ms), "
            "found 2026-11-17 18:00 UTC",
        ),
        (
            "raised",
            "raised",
            "CRITICAL (raised): get_history is 67 % slower: p99 6.1 → 10.2 ms, since 2026-11-16 06:00 UTC",
        ),
        (
            "still_open",
            "still_open",
            "WARNING, still open: merge had 12 calls over its limit of 104 ms, worst 161 ms, "
            "found 2026-11-16 18:00 UTC",
        ),
        (
            "recovered",
            "recovered",
            "Recovered (was CRITICAL): commit was slow from 2026-11-16 06:00 to 2026-11-19 00:00 UTC",
        ),
        ("over", "over", "Already over (was WARNING): get_commits was slow from 2026-11-17 06:00 to 18:00 UTC"),
        (
            "digest",
            "digest",
            "Daily digest: 2 WARNING, 2 INFO, 1 over; worst: get_history is 36 % slower: p99 6.1 → 8.3 ms",
        ),
        ("self_health", "self_health", "CRITICAL, monitoring: no check has succeeded for 13 h (allowed: 12 h)"),
        ("test", "test", "Test message from prod.pggit: this channel works"),
        (
            "incident_of_engine",
            "opened",
            "WARNING: commit is 2.1x slower: p50 5.02 → 10.6 ms, since 2026-11-17 16:05 UTC",
        ),
        (
            "forecast",
            "opened",
            "WARNING: merge will exceed its limit of 250 ms about 2026-11-19 02:30 UTC "
            "(between 2026-11-18 20:00 UTC and 2026-11-19 11:00 UTC), found 2026-11-17 18:00 UTC",
        ),
    ],
)
def test_the_first_line_says_severity_what_how_much_since_when_and_together_with_what(
    name: str, kind: str, title: str
) -> None:
    message = fixture(name)
    assert (message.kind, message.title) == (kind, title)


def test_every_case_has_a_first_line_above() -> None:
    mark = test_the_first_line_says_severity_what_how_much_since_when_and_together_with_what.pytestmark[0]
    assert sorted(name for name, *_ in mark.args[1]) == CASES


def test_alerts_of_one_operation_become_one_finding() -> None:
    found = fixture("opened").findings
    assert [finding.operation for finding in found] == ["commit"]
    assert found[0].notes == (
        "37 calls over its limit of 12.8 ms, worst 18.4 ms",
        "3 single slow calls, worst 18.4 ms (baseline p99 5.12 ms)",
    )
    assert found[0].alert_ids == (101, 103, 104, 105, 106)


def test_how_to_see_it_again_names_the_moment_the_operation_and_the_schema() -> None:
    again = told(row(schema="other", operation_type="it's")).reproduction
    assert again is not None
    assert again.sql.splitlines() == [
        "SET pggit.as_of = '2026-11-17 18:00:00+00';",
        "SELECT * FROM other.detect_performance_degradation('it''s');",
        "RESET pggit.as_of;",
    ]
    assert again.command == (
        "pggit-analytics analyze --as-of 2026-11-17T18:00:00Z --operation 'it'\"'\"'s' --schema other"
    )


@pytest.mark.parametrize("name", ["a\nb", "a`b", "@here", "x" * 201, "\u200b"])
def test_a_name_that_cannot_be_copied_faithfully_is_not_in_a_statement_to_copy(name: str) -> None:
    again = told(row(operation_type=name)).reproduction
    assert again is not None
    assert again.sql.splitlines()[1] == "SELECT * FROM pggit.v_current_findings;"
    assert "--operation" not in again.command


def test_a_moment_keeps_its_microseconds_since_another_has_other_windows() -> None:
    again = told(row(opened_at="2026-11-17T18:00:00.123456Z")).reproduction
    assert again is not None
    assert "'2026-11-17 18:00:00.123456+00'" in again.sql


@pytest.mark.parametrize(
    ("minutes", "age"),
    [(15, None), (16, "detected 16 min ago"), (180, "detected 3 h ago"), (4 * 1440, "detected 4 days ago")],
)
def test_late_news_carries_its_age_from_more_than_fifteen_minutes_on(minutes: int, age: str | None) -> None:
    now = datetime(2026, 11, 17, 18, tzinfo=UTC) + timedelta(minutes=minutes)
    assert told(row(), now=now).age == age


def test_opened_and_resolved_in_one_message_say_once_from_when_to_when() -> None:
    over = row("resolved", resolved_at="2026-11-17T20:30:00Z")
    message = told(row(), over, is_still_open=False)
    assert message.title == "Already over (was CRITICAL): commit was slow from 2026-11-17 18:00 to 20:30 UTC"
    assert message.is_resolved
    assert message.reproduction is None


def test_a_row_that_says_opened_of_what_is_closed_by_now_says_that_it_is_over() -> None:
    message = told(row(), is_still_open=False)
    assert message.kind == "over"
    assert message.is_resolved


def test_a_single_slow_call_is_news_although_nothing_is_open() -> None:
    call = {"duration_ms": 98.3, "baseline_p99_ms": 5.1, "z_score": 9.4, "metric_id": 77}
    message = told(row(alert_type="ANOMALY", resolved_at=DETECTED, evidence=call), is_still_open=False)
    assert message.headline == "CRITICAL: commit took 98.3 ms once (baseline p99 5.1 ms)"
    assert not message.is_resolved


def test_many_slow_calls_of_one_operation_are_one_line_with_count_and_worst() -> None:
    calls = [
        row(alert_id=i, alert_type="ANOMALY", resolved_at=DETECTED, evidence={"duration_ms": 10.0 + i, "z_score": 4.0})
        for i in range(1, 10)
    ]
    assert [f.statement for f in told(*calls).findings] == ["9 single slow calls, worst 19 ms"]


def test_an_incident_of_which_others_go_on_is_not_resolved_and_says_so() -> None:
    message = told(row("resolved", resolved_at=DETECTED, opened_at="2026-11-16T00:00:00Z", group_key="incident-1"))
    assert message.kind == "recovered"
    assert not message.is_resolved
    assert message.asides == ("Other operations of this incident are still slow.",)


def test_what_goes_on_comes_before_what_is_over_and_the_most_severe_first() -> None:
    message = told(
        row("resolved", alert_id=1, operation_type="a", resolved_at=DETECTED, opened_at="2026-11-16T00:00:00Z"),
        row(alert_id=2, operation_type="b", severity="INFO"),
        row("severity:WARNING", alert_id=3, operation_type="c", severity="WARNING"),
    )
    assert [finding.operation for finding in message.findings] == ["c", "b", "a"]
    assert (message.kind, message.severity) == ("opened", "WARNING")


def test_an_alert_opened_and_raised_in_one_message_counts_once_with_its_last_severity() -> None:
    message = told(row(severity="WARNING"), row("severity:CRITICAL"))
    assert [(f.state, f.severity) for f in message.findings] == [("opened", "CRITICAL")]


def test_a_pair_without_other_findings_is_the_finding() -> None:
    evidence = {
        "operation_type_1": "a",
        "operation_type_2": "b",
        "correlation_coefficient": 0.934,
        "shared_minutes": 412,
    }
    message = told(row(alert_type="CORRELATION", severity="WARNING", evidence=evidence))
    assert message.headline == "WARNING: a and b get slow in the same minutes (r = 0.93 over 412 minutes)"
    assert message.reproduction is not None
    assert "detect_correlated_degradation()" in message.reproduction.sql


def test_of_twelve_operations_five_are_shown_and_the_rest_counted() -> None:
    text = plain(fixture("incident"))
    assert text.count("slower") == 1 + 5
    assert "+7 more" in text


def test_evidence_without_any_field_leaves_parts_out_and_still_says_what_and_since_when() -> None:
    message = compose(
        ['{"transition": "opened", "alert_type": "DEGRADATION", "severity": "WARNING", "operation_type": "merge"}'],
        now=NOW,
    )
    assert message.title == "WARNING: merge is slower than before"
    assert message.reproduction is None
    assert "None" not in plain(message)


@pytest.mark.parametrize(
    "body",
    [
        "",
        "no JSON",
        "[1]",
        "null",
        "[" * 100_000,
        "{}",
        '{"transition": "opened"}',
        '{"transition": "opened", "alert_type": "ANOMALY", "severity": "LOUD"}',
        '{"transition": "shouted", "alert_type": "ANOMALY", "severity": "INFO"}',
        '{"transition": 3, "alert_type": 3, "severity": {}}',
    ],
)
def test_what_is_no_message_is_refused_with_the_place_of_its_row(body: str) -> None:
    with pytest.raises(UnreadableMessage) as refused:
        compose([json.dumps(row()), body], now=NOW)
    assert refused.value.position == 1
    assert "\n" not in str(refused.value)


def test_a_message_of_no_rows_is_refused() -> None:
    with pytest.raises(UnreadableMessage, match="at least one row"):
        compose([], now=NOW)


def test_the_same_rows_are_the_same_message_whenever_they_are_sent_but_each_test_is_a_new_one() -> None:
    later = NOW + timedelta(hours=3)
    assert told(row()).message_id == told(row(), now=later).message_id
    assert told(row()).message_id != told(row("repeat:1")).message_id
    assert told({"transition": "test"}).message_id != told({"transition": "test"}, now=later).message_id


@pytest.mark.parametrize(
    "url", ["javascript:alert(1)", "https://x/ y", "https://x/<", "ftp://x/", "https://", 3, "https://[/"]
)
def test_a_link_that_no_browser_should_open_is_left_out(url: object) -> None:
    assert told(row(report_url=url)).link is None


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(message=messages())
def test_every_text_is_one_clean_line_whatever_the_rows_hold(message) -> None:
    texts = [message.title, message.headline, message.source, message.group, *message.together, *message.asides]
    texts += [text for f in message.findings for text in (f.operation, f.statement, f.sentence, *f.notes)]
    for text in texts:
        assert {unicodedata.category(character) for character in text} & {"Cc", "Cs", "Zl", "Zp"} == set()
        assert not set(text) & set("\u200b\u202a\u202b\u202d\u202e\u2066\u2067\u2068\ufeff")
        assert len(text) < 1000
    assert "\n\n\n" not in plain(message)


@settings(max_examples=60, deadline=None)
@given(
    body=st.one_of(
        st.text(), st.recursive(st.none() | st.booleans() | st.floats() | st.text(), st.lists).map(json.dumps)
    )
)
def test_any_text_is_read_or_refused(body: str) -> None:
    with pytest.raises(UnreadableMessage):
        parse(body)


def test_five_hundred_operations_render_for_every_channel() -> None:
    message = many_operations(500)
    assert "+495 more" in plain(message)
    assert slack.render(message)["blocks"]
    assert mattermost.render(message)["attachments"]
    assert pagerduty.render(message, "k", False)["payload"]["custom_details"]["more"] == "+495 more"
    assert webhook.render(message)["more_findings"] == 500 - len(webhook.render(message)["findings"])
    assert email.render(message, "a@example.org", ["b@example.org"])["Subject"]
