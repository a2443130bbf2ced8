"""Settings: the environment, the file, which wins, and what a refusal may not repeat."""

from __future__ import annotations

from pathlib import Path

import pytest

from pggit_analytics.config import load_settings
from pggit_analytics.errors import ConfigurationError

FILE = """
database_url = "postgresql://file:from-file@localhost/app"
schema_name = "from_file"
embedded_directory = "elsewhere"

[source]
preset = "pggit-0.2.1"
database_url = "postgresql://file:replica-secret@localhost/replica"
"""


@pytest.fixture(autouse=True)
def _directory(run_directory: Path) -> None:
    """No settings but those of the test."""


def test_without_any_settings_the_defaults_hold() -> None:
    settings = load_settings()
    assert settings.database_url is None
    assert settings.schema_name == "pggit"
    assert settings.embedded_directory == Path(".pggit")
    assert (settings.source.preset, settings.source.query, settings.source.database_url) == ("native", None, None)


def test_the_file_in_the_working_directory_is_read() -> None:
    Path("pggit.toml").write_text(FILE, encoding="utf-8")
    settings = load_settings()
    assert settings.database_url is not None
    assert settings.database_url.get_secret_value() == "postgresql://file:from-file@localhost/app"
    assert (settings.schema_name, settings.embedded_directory) == ("from_file", Path("elsewhere"))
    assert settings.source.preset == "pggit-0.2.1"
    assert settings.source.database_url is not None
    assert settings.source.database_url.get_secret_value().endswith("/replica")


def test_a_file_named_by_the_environment_is_read_instead(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("pggit.toml").write_text('schema_name = "not_this_one"', encoding="utf-8")
    Path("other.toml").write_text('schema_name = "this_one"', encoding="utf-8")
    monkeypatch.setenv("PGGIT_CONFIG", "other.toml")
    assert load_settings().schema_name == "this_one"


def test_the_environment_wins_over_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("pggit.toml").write_text(FILE, encoding="utf-8")
    monkeypatch.setenv("PGGIT_SCHEMA", "from_environment")
    monkeypatch.setenv("PGGIT_DATABASE_URL", "postgresql://env@localhost/app")
    monkeypatch.setenv("PGGIT_SOURCE__PRESET", "native")
    settings = load_settings()
    assert settings.schema_name == "from_environment"
    assert settings.database_url is not None
    assert settings.database_url.get_secret_value() == "postgresql://env@localhost/app"
    assert settings.source.preset == "native"
    # what the environment does not say, the file still does
    assert settings.embedded_directory == Path("elsewhere")
    assert settings.source.database_url is not None


def test_arguments_win_over_both_and_none_is_no_argument(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("pggit.toml").write_text(FILE, encoding="utf-8")
    monkeypatch.setenv("PGGIT_SCHEMA", "from_environment")
    assert load_settings(schema_name="from_argument").schema_name == "from_argument"
    assert load_settings(schema_name=None).schema_name == "from_environment"


def test_settings_cannot_be_changed() -> None:
    settings = load_settings()
    with pytest.raises(ValueError, match="frozen"):
        settings.schema_name = "other"  # type: ignore[misc]


def test_secrets_do_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGGIT_DATABASE_URL", "postgresql://ann:topsecret@localhost/app")
    monkeypatch.setenv("PGGIT_SOURCE__DATABASE_URL", "postgresql://ann:replicasecret@localhost/app")
    settings = load_settings()
    for shown in (repr(settings), str(settings), settings.model_dump_json()):
        assert "secret@" not in shown


def test_a_named_file_that_is_missing_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGGIT_CONFIG", "missing.toml")
    with pytest.raises(ConfigurationError, match=r"^PGGIT_CONFIG names missing\.toml, which is not a file$") as caught:
        load_settings()
    assert caught.value.exit_code == 2


def test_a_file_that_is_not_toml_is_refused_in_one_line() -> None:
    Path("pggit.toml").write_text("schema_name = \n", encoding="utf-8")
    with pytest.raises(ConfigurationError, match=r"^pggit\.toml cannot be read: ") as caught:
        load_settings()
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_text_is_refused() -> None:
    Path("pggit.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigurationError, match=r"^pggit\.toml cannot be read: "):
        load_settings()


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        ('database_url = ["topsecret"]', "database_url"),
        ("schema_name = 7", "schema_name"),
        ('[source]\npreset = "topsecret"', "source.preset"),
        ('[source]\ntopic = "topsecret"', "source.topic"),
        ('source = "topsecret"', "source"),
    ],
)
def test_a_refusal_names_the_setting_and_never_repeats_its_value(content: str, fault: str) -> None:
    Path("pggit.toml").write_text(content, encoding="utf-8")
    with pytest.raises(ConfigurationError) as caught:
        load_settings()
    assert str(caught.value).startswith(f"unusable configuration: {fault}: ")
    assert "topsecret" not in str(caught.value)
    assert "\n" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_a_refusal_of_an_environment_variable_does_not_repeat_it_either(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGGIT_SOURCE", '{"preset": "topsecret"}')
    with pytest.raises(ConfigurationError) as caught:
        load_settings()
    assert "topsecret" not in str(caught.value)


def test_an_environment_variable_that_is_not_json_is_refused_without_its_value(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGGIT_SOURCE", "{topsecret")
    with pytest.raises(ConfigurationError) as caught:
        load_settings()
    assert "topsecret" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_every_fault_is_named() -> None:
    Path("pggit.toml").write_text('schema_name = 7\n[source]\npreset = "x"\n', encoding="utf-8")
    with pytest.raises(ConfigurationError, match=r"schema_name: .*; source\.preset: "):
        load_settings()


def test_the_store_lies_in_the_cache_of_the_user_unless_named(
    run_directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/var/cache/me")
    assert load_settings().store.directory == Path("/var/cache/me/pggit-analytics")
    monkeypatch.setenv("HOME", "/home/me")
    for unusable in ("", "relative"):
        monkeypatch.setenv("XDG_CACHE_HOME", unusable)
        assert load_settings().store.directory == Path("/home/me/.cache/pggit-analytics")
    monkeypatch.setenv("PGGIT_STORE__DIRECTORY", "~/timings")
    monkeypatch.setenv("PGGIT_STORE__ENABLED", "false")
    store = load_settings().store
    assert (store.directory, store.enabled) == (Path("/home/me/timings"), False)
