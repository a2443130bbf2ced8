"""What the heartbeat takes for silence, when it speaks, what it remembers: hand-made cases, no clock, no network."""

from __future__ import annotations

import json
import stat
import tomllib
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from pggit_analytics.config import HeartbeatSettings, load_settings
from pggit_analytics.delivery import pagerduty
from pggit_analytics.errors import ConfigurationError
from pggit_analytics.heartbeat import (
    Blind,
    Decision,
    Observation,
    Trouble,
    Watched,
    channel_of,
    composed,
    decide,
    troubles,
)
from pggit_analytics.heartbeat_memory import Memory, State, StateNotWritten, StuckHeartbeat, locked
from pggit_analytics.postgres.connection import Database
from pggit_analytics.postgres.pulse import NextWindow, Pulse, WaitingChannel

ROOT = Path(__file__).parents[2]
#: the defaults: 13 hours, 15 minutes, again after 4 hours
LIMITS = HeartbeatSettings()
NOW = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)
#: the database's clock need not agree with this machine's
DATABASE_NOW = NOW + timedelta(days=3)
SECOND, MINUTE, HOUR, DAY = timedelta(seconds=1), timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)

AWAY = Blind(Trouble("away", "CRITICAL", "Cannot reach db:5432/app: connection refused", "check the URL"))
WATCHED = Watched("heartbeat-0123", "app", "pggit")


def ago(span: timedelta) -> datetime:
    """By the database's clock."""
    return DATABASE_NOW - span


def pulse(**fields: Any) -> Pulse:
    """All is well, unless said otherwise."""
    well = {
        "asked_at": DATABASE_NOW,
        "last_success_at": ago(HOUR),
        "scheduler": "crontab",
        "scheduler_since": ago(30 * DAY),
        "mute_since": None,
        "waiting": (),
        "windows": (),
    }
    return Pulse(**(well | fields))


def waiting(due: timedelta, delivered: timedelta | None = None, name: str = "ops") -> WaitingChannel:
    return WaitingChannel(name, ago(due), None if delivered is None else ago(delivered))


def window(period: timedelta, due: timedelta, job: str = "job") -> NextWindow:
    return NextWindow(job, period, ago(due))


SILENT = pulse(last_success_at=ago(14 * HOUR))
STANDING = pulse(waiting=(waiting(HOUR),))


# What is silent


def test_nothing_is_silent_in_a_database_that_is_well() -> None:
    assert troubles(pulse(), LIMITS) == ()


@pytest.mark.parametrize(
    ("fields", "since"),
    [
        ({"last_success_at": ago(13 * HOUR + SECOND)}, ago(13 * HOUR + SECOND)),
        ({"last_success_at": ago(DAY), "scheduler_since": ago(MINUTE)}, ago(DAY)),
        ({"last_success_at": ago(DAY), "scheduler": None, "scheduler_since": None}, ago(DAY)),
        ({"last_success_at": None, "scheduler_since": ago(13 * HOUR + SECOND)}, None),
        ({"last_success_at": None, "scheduler": None, "scheduler_since": None}, None),
    ],
)
def test_a_detector_without_a_successful_run_for_too_long_is_silent(
    fields: dict[str, Any], since: datetime | None
) -> None:
    (trouble,) = troubles(pulse(**fields), LIMITS)
    assert (trouble.kind, trouble.severity, trouble.since) == ("detector", "CRITICAL", since)
    assert ("ever" in trouble.statement) == (since is None)


@pytest.mark.parametrize(
    "fields",
    [
        {"last_success_at": ago(13 * HOUR)},
        {"last_success_at": None, "scheduler_since": ago(13 * HOUR)},
        {"scheduler": None, "scheduler_since": None},
    ],
)
def test_a_detector_within_its_time_is_not(fields: dict[str, Any]) -> None:
    assert troubles(pulse(**fields), LIMITS) == ()


@pytest.mark.parametrize(
    ("channel", "since"),
    [
        (waiting(15 * MINUTE + SECOND), ago(15 * MINUTE + SECOND)),
        (waiting(DAY, delivered=16 * MINUTE), ago(16 * MINUTE)),
        (waiting(16 * MINUTE, delivered=DAY), ago(16 * MINUTE)),
    ],
)
def test_messages_that_are_due_while_nothing_is_delivered_are_standing(
    channel: WaitingChannel, since: datetime
) -> None:
    (trouble,) = troubles(pulse(waiting=(channel,)), LIMITS)
    assert (trouble.kind, trouble.severity, trouble.since) == ("delivery", "CRITICAL", since)
    assert "ops" in trouble.statement


@pytest.mark.parametrize(
    "channel",
    [waiting(15 * MINUTE), waiting(DAY, delivered=15 * MINUTE), waiting(-HOUR), waiting(DAY, delivered=-HOUR)],
)
def test_messages_that_wait_their_time_or_behind_others_are_not(channel: WaitingChannel) -> None:
    assert troubles(pulse(waiting=(channel,)), LIMITS) == ()


def test_of_many_standing_channels_some_are_named_and_the_rest_is_counted() -> None:
    channels = [waiting(n * HOUR, name=name) for n, name in enumerate("abcde", 1)]
    (trouble,) = troubles(pulse(waiting=(*channels, waiting(MINUTE, name="fine"))), LIMITS)
    assert "to a, b, c, +2 more are due" in trouble.statement
    assert trouble.since == ago(5 * HOUR)


@pytest.mark.parametrize(("mute", "found"), [(15 * MINUTE, []), (15 * MINUTE + SECOND, ["channels"])])
def test_channels_that_all_fail_are_trouble_after_a_while(mute: timedelta, found: list[str]) -> None:
    assert [trouble.kind for trouble in troubles(pulse(mute_since=ago(mute)), LIMITS)] == found


@pytest.mark.parametrize(
    ("period", "allowed"),
    [(5 * MINUTE, 15 * MINUTE), (6 * HOUR, 6 * HOUR), (DAY, 13 * HOUR), (7 * DAY, 13 * HOUR)],
)
def test_a_job_is_late_a_period_after_it_was_due_within_bounds(period: timedelta, allowed: timedelta) -> None:
    assert troubles(pulse(windows=(window(period, allowed),)), LIMITS) == ()
    (trouble,) = troubles(pulse(windows=(window(period, allowed + SECOND), window(DAY, -HOUR, "other"))), LIMITS)
    assert (trouble.kind, trouble.severity, trouble.since) == ("schedule", "WARNING", ago(allowed + SECOND))
    assert "crontab has not started job" in trouble.statement
    assert "other" not in trouble.statement


def test_what_matters_most_comes_first() -> None:
    all_silent = pulse(
        last_success_at=None,
        scheduler_since=ago(DAY),
        mute_since=ago(DAY),
        waiting=(waiting(HOUR),),
        windows=(window(HOUR, DAY),),
    )
    assert [trouble.kind for trouble in troubles(all_silent, LIMITS)] == [
        "detector",
        "delivery",
        "channels",
        "schedule",
    ]


# When it speaks


def after(*steps: tuple[timedelta, Observation], taken: bool = True) -> Decision:
    """The last of several beats, each a span after NOW; what each said was taken, or was not."""
    state = State()
    for span, observation in steps:
        decision = decide(state, observation, NOW + span, LIMITS)
        state = decision.said if taken else decision.unsaid
    return decision


NONE = timedelta(0)


def test_a_trouble_is_said_when_it_begins() -> None:
    saying = after((NONE, SILENT)).saying
    assert saying is not None
    assert (saying.transition, saying.severity, saying.began_at) == ("opened", "CRITICAL", NOW)
    assert saying.summary == "No monitoring run has succeeded since 2026-03-04 22:00 UTC"
    assert "pggit-analytics schedule list" in saying.remedy


def test_it_is_not_said_again_before_its_time() -> None:
    assert after((NONE, SILENT), (4 * HOUR - SECOND, SILENT)).saying is None


def test_it_is_said_again_after_its_time_and_counted_from_then() -> None:
    again = after((NONE, SILENT), (4 * HOUR, SILENT)).saying
    assert again is not None
    assert (again.transition, again.began_at) == ("repeat:1", NOW)
    assert after((NONE, SILENT), (4 * HOUR, SILENT), (8 * HOUR - SECOND, SILENT)).saying is None
    third = after((NONE, SILENT), (4 * HOUR, SILENT), (8 * HOUR, SILENT)).saying
    assert third is not None
    assert third.transition == "repeat:2"


def test_a_second_trouble_is_said_at_once_with_the_first() -> None:
    both = pulse(last_success_at=ago(14 * HOUR), waiting=(waiting(HOUR),))
    saying = after((NONE, SILENT), (MINUTE, both)).saying
    assert saying is not None
    assert saying.transition == "repeat:1"
    assert "No monitoring run" in saying.summary
    assert "Messages to ops" in saying.summary


def test_one_of_two_troubles_that_ends_is_not_said() -> None:
    both = pulse(last_success_at=ago(14 * HOUR), waiting=(waiting(HOUR),))
    assert after((NONE, both), (MINUTE, SILENT)).saying is None


def test_a_trouble_that_comes_back_beside_another_is_said() -> None:
    both = pulse(last_success_at=ago(14 * HOUR), waiting=(waiting(HOUR),))
    assert after((NONE, both), (MINUTE, SILENT), (2 * MINUTE, both)).saying is not None


def test_the_end_is_said_once_with_what_it_was() -> None:
    decision = after((NONE, SILENT), (HOUR, pulse()))
    assert decision.saying is not None
    assert (decision.saying.transition, decision.saying.severity, decision.saying.began_at) == (
        "resolved",
        "CRITICAL",
        NOW,
    )
    assert "No monitoring run has succeeded" in decision.saying.summary
    assert decision.said == State()
    assert after((NONE, SILENT), (HOUR, pulse()), (2 * HOUR, pulse())).saying is None


def test_what_no_channel_took_is_said_by_the_next_beat_as_the_same_message() -> None:
    first, second = after((NONE, SILENT), taken=False), after((NONE, SILENT), (MINUTE, SILENT), taken=False)
    assert first.saying == second.saying is not None


def test_an_end_that_no_channel_took_is_said_again() -> None:
    told = after((NONE, SILENT)).said
    missed = decide(told, pulse(), NOW + HOUR, LIMITS)
    assert missed.unsaid == told
    again = decide(missed.unsaid, pulse(), NOW + HOUR + MINUTE, LIMITS)
    assert again.saying == missed.saying is not None


def test_a_trouble_that_nobody_heard_of_ends_in_silence() -> None:
    state = after((NONE, SILENT), taken=False).unsaid
    decision = decide(state, pulse(), NOW + MINUTE, LIMITS)
    assert (decision.saying, decision.said) == (None, State())


def test_a_clock_that_was_set_back_makes_it_say_once_more() -> None:
    assert after((NONE, SILENT), (-DAY, SILENT)).saying is not None


def test_a_database_that_is_away_is_said_with_the_moment_it_was_noticed() -> None:
    saying = after((NONE, AWAY), (4 * HOUR, AWAY)).saying
    assert saying is not None
    assert saying.summary == "Cannot reach db:5432/app: connection refused, noticed 2026-03-02 12:00 UTC"
    assert saying.remedy == "check the URL"


def test_what_was_said_before_the_database_went_away_is_not_said_again_when_it_is_back() -> None:
    assert after((NONE, SILENT), (MINUTE, AWAY), (2 * MINUTE, SILENT)).saying is None
    ended = after((NONE, SILENT), (MINUTE, AWAY), (2 * MINUTE, pulse())).saying
    assert ended is not None
    assert ended.transition == "resolved"


def test_what_is_only_found_when_the_database_is_back_is_said() -> None:
    saying = after((NONE, AWAY), (MINUTE, SILENT)).saying
    assert saying is not None
    assert "No monitoring run" in saying.summary
    assert "Cannot reach" not in saying.summary


def test_another_reason_for_seeing_nothing_is_said() -> None:
    other = Blind(Trouble("not_deployed", "CRITICAL", "There is no table", "deploy"))
    assert after((NONE, AWAY), (MINUTE, other)).saying is not None


def test_severity_is_the_worst() -> None:
    late = pulse(windows=(window(HOUR, DAY),))
    alone, both = after((NONE, late)).saying, after((NONE, late), (MINUTE, STANDING)).saying
    assert alone is not None
    assert both is not None
    assert (alone.severity, both.severity) == ("WARNING", "CRITICAL")


# What the message says


def message(decision: Decision, now: datetime = NOW) -> Any:
    assert decision.saying is not None
    return composed(decision.saying, WATCHED, now)


def test_the_message_is_complete_on_its_first_line() -> None:
    said = message(after((NONE, SILENT)))
    assert said.kind == "self_health"
    assert said.title == "CRITICAL, monitoring: No monitoring run has succeeded since 2026-03-04 22:00 UTC"
    assert (said.source, said.advice is None, said.reproduction) == ("app.pggit", False, None)


def test_all_messages_of_an_incident_have_one_key_and_the_last_resolves_it() -> None:
    beats = [(NONE, AWAY), (4 * HOUR, AWAY), (5 * HOUR, pulse())]
    said = [message(after(*beats[: n + 1]), NOW + beats[n][0]) for n in range(3)]
    events = [pagerduty.render(each, "key", each.is_resolved) for each in said]
    assert [event["event_action"] for event in events] == ["trigger", "trigger", "resolve"]
    assert {event["dedup_key"] for event in events} == {"app.pggit:heartbeat-0123"}
    assert said[2].title.startswith("Recovered (was CRITICAL), monitoring: over from 2026-03-02 12:00 to 17:00 UTC: ")
    assert len({each.message_id for each in said}) == 3


def test_two_incidents_at_different_times_are_different_messages() -> None:
    later = decide(State(), AWAY, NOW + DAY, LIMITS)
    assert message(after((NONE, AWAY))).message_id != message(later).message_id


def test_a_message_that_comes_late_says_so() -> None:
    late = after((NONE, AWAY), (3 * HOUR, AWAY), taken=False)
    assert message(late, NOW + 3 * HOUR).age == "detected 3 h ago"


def test_a_database_is_known_by_where_it_is_and_by_its_schema_but_not_by_its_password() -> None:
    def key(url: str, schema: str = "pggit", **settings: Any) -> Watched:
        return Watched.of(Database(url, schema), HeartbeatSettings(**settings))

    watched = key("postgresql://ann:topsecret@db:5432/app")
    assert (watched.instance, watched.schema) == ("app", "pggit")
    assert watched == key("postgresql://bob:changed@db:5432/app")
    others = [key("postgresql://db2/app"), key("postgresql://db:5432/other"), key("postgresql://db:5432/app", "two")]
    assert len({watched.key, *(other.key for other in others)}) == 4
    named = key("postgresql://ann:topsecret@db:5432/app", name="prod")
    assert (named.key, named.instance) == (watched.key, "prod")


# What it remembers


STATE = after((NONE, AWAY)).said


def test_what_was_kept_is_there_again_for_its_database_alone(tmp_path: Path) -> None:
    file = tmp_path / "state.json"
    Memory(file, "one", NOW).keep(STATE)
    Memory(file, "two", NOW).keep(State(messages=7))
    assert Memory(file, "one", NOW).state == STATE
    assert Memory(file, "two", NOW).state == State(messages=7)
    assert Memory(file, "three", NOW).state == State()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert [each.name for each in tmp_path.iterdir()] == ["state.json"]


def test_what_is_over_is_forgotten(tmp_path: Path) -> None:
    file = tmp_path / "state.json"
    Memory(file, "one", NOW).keep(STATE)
    Memory(file, "one", NOW).keep(State())
    assert json.loads(file.read_text())["heartbeats"] == {}


def test_as_long_as_all_is_well_no_file_is_written(tmp_path: Path) -> None:
    Memory(tmp_path / "state.json", "one", NOW).keep(State())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", ["", "{", '{"version": 2}', '{"heartbeats": {"one": {"messages": -1}}}', "\0\xff"])
def test_of_a_damaged_file_one_message_more_is_made(tmp_path: Path, content: str) -> None:
    file = tmp_path / "state.json"
    file.write_text(content)
    memory = Memory(file, "one", NOW)
    well = decide(memory.state, pulse(), NOW, LIMITS)
    assert well.saying is not None
    assert well.saying.transition == "resolved"
    assert "damaged" in well.saying.summary
    memory.keep(well.said)
    assert Memory(file, "one", NOW).state == State()
    silent = decide(memory.state, SILENT, NOW, LIMITS)
    assert silent.saying is not None
    assert silent.saying.transition == "opened"


def test_a_file_that_cannot_be_written_stays_as_it_is(tmp_path: Path) -> None:
    # with the ending of the temporary file its name is longer than a file's may be
    file = tmp_path / ("x" * 249)
    file.write_text('{"heartbeats": {}}')
    with locked(file), pytest.raises(StateNotWritten, match="will be said again"):
        Memory(file, "one", NOW).keep(STATE)
    assert file.read_text() == '{"heartbeats": {}}'


def test_a_directory_in_the_place_of_the_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="cannot be read"):
        Memory(tmp_path, "one", NOW)
    (tmp_path / "file").touch()
    with pytest.raises(ConfigurationError, match="--state"), locked(tmp_path / "file" / "state.json"):
        pass


def test_a_lock_that_is_held_for_too_long_is_named(tmp_path: Path) -> None:
    file = tmp_path / "new" / "state.json"
    with locked(file), pytest.raises(StuckHeartbeat, match=r"state\.json\.lock"), locked(file, wait_s=0):
        pass
    with locked(file, wait_s=0):
        pass


# Settings


@pytest.mark.parametrize(
    ("text", "span"),
    [
        ("13 hours", 13 * HOUR),
        ("1 hour", HOUR),
        ("15 minutes", 15 * MINUTE),
        ("15min", 15 * MINUTE),
        ("1h30m", 90 * MINUTE),
        (" 1 day 6 hours ", 30 * HOUR),
        ("90 s", 90 * SECOND),
        ("366d", 366 * DAY),
    ],
)
def test_spans_are_read_as_people_write_them(
    run_directory: Path, monkeypatch: pytest.MonkeyPatch, text: str, span: timedelta
) -> None:
    monkeypatch.setenv("PGGIT_HEARTBEAT__MAX_SILENCE", text)
    assert load_settings().heartbeat.max_silence == span


@pytest.mark.parametrize(
    "value", ["13", "'13'", "'13 weeks'", "'-1 hours'", "'0 hours'", "'367 days'", "'hours'", "''", f"'{10**30} days'"]
)
def test_other_spans_are_refused_by_name(run_directory: Path, value: str) -> None:
    Path("pggit.toml").write_text(f"[heartbeat]\nmax_silence = {value}\n", encoding="utf-8")
    with pytest.raises(ConfigurationError, match=r"^unusable configuration: heartbeat\.max_silence: "):
        load_settings()


def test_the_section_in_the_guide_is_a_configuration_with_the_defaults() -> None:
    guide = (ROOT / "docs" / "heartbeat.md").read_text(encoding="utf-8")
    section = guide.split("```toml\n")[1].split("```")[0]
    settings = HeartbeatSettings(**tomllib.loads(section)["heartbeat"])
    defaults = HeartbeatSettings(type="slack", address_file=Path("/etc/pggit-analytics/heartbeat.address"))
    assert settings == defaults


ADDRESS = "https://hooks.example.com/services/topsecret"


def test_the_address_comes_from_the_environment_or_a_file(run_directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = run_directory / "address"
    file.write_text(f"{ADDRESS}\n")
    file.chmod(0o640)
    Path("pggit.toml").write_text('[heartbeat]\ntype = "slack"\naddress_file = "address"\n', encoding="utf-8")
    from_file = channel_of(load_settings().heartbeat)
    assert from_file is not None
    assert from_file.address.url == ADDRESS
    monkeypatch.setenv("PGGIT_HEARTBEAT__ADDRESS", f"{ADDRESS}/2")
    from_environment = channel_of(load_settings().heartbeat)
    assert from_environment is not None
    assert from_environment.address.url == f"{ADDRESS}/2"
    assert "topsecret" not in f"{load_settings()!r} {from_environment!r}"


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"type": "slack"}, "PGGIT_HEARTBEAT__ADDRESS"),
        ({"address": ADDRESS}, "without a type"),
        ({"address_file": "missing"}, "without a type"),
        ({"type": "slack", "address_file": "missing"}, "missing, cannot be read"),
        ({"type": "slack", "address_file": "open"}, "chmod 600 open"),
        ({"type": "slack", "address": "http://hooks.example.com/topsecret"}, "https://"),
        ({"type": "webhook", "address": ADDRESS}, "secret of 16 characters"),
        ({"type": "email", "address": "smtps://u:topsecret@mail.example.com?from=a@example.com"}, "needs mailboxes"),
        (
            {"type": "email", "address": "smtps://u:topsecret@mail.example.com?from=a@example.com", "to": "a, b"},
            "needs mailboxes",
        ),
    ],
)
def test_a_channel_that_could_not_speak_is_refused_at_once(
    run_directory: Path, settings: dict[str, Any], named: str
) -> None:
    Path("open").write_text(ADDRESS)
    Path("open").chmod(0o644)
    with pytest.raises(ConfigurationError) as caught:
        channel_of(HeartbeatSettings(**settings))
    assert named in str(caught.value)
    assert "topsecret" not in str(caught.value)


def test_without_a_type_there_is_no_channel() -> None:
    assert channel_of(HeartbeatSettings()) is None
