"""The section [delivery] and the master key among the settings."""

from __future__ import annotations

from pathlib import Path

import pytest

from pggit_analytics.config import DeliverySettings, load_settings
from pggit_analytics.errors import ConfigurationError

pytestmark = pytest.mark.usefixtures("run_directory")


def test_without_any_setting_the_defaults_hold() -> None:
    settings = load_settings()
    assert settings.delivery == DeliverySettings(
        ca_file=None, connect_timeout_s=5, read_timeout_s=10, total_timeout_s=20
    )
    assert (settings.webhook_key, settings.webhook_key_file) == (None, None)


def test_the_file_and_the_environment_say_how_channels_are_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("pggit.toml").write_text(
        'webhook_key_file = "/run/key"\n[delivery]\nca_file = "/etc/ca.pem"\nread_timeout_s = 2.5\n', encoding="utf-8"
    )
    monkeypatch.setenv("PGGIT_DELIVERY__TOTAL_TIMEOUT_S", "7")
    settings = load_settings()
    assert settings.webhook_key_file == Path("/run/key")
    assert settings.delivery == DeliverySettings(ca_file=Path("/etc/ca.pem"), read_timeout_s=2.5, total_timeout_s=7)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("connect_timeout_s", "0"),
        ("connect_timeout_s", "61"),
        ("read_timeout_s", "-1"),
        ("read_timeout_s", "121"),
        ("total_timeout_s", "nan"),
        ("total_timeout_s", "301"),
        ("total_timeout_s", "inf"),
        ("retries", "3"),
    ],
)
def test_what_is_outside_the_limits_is_refused_by_name(name: str, value: str) -> None:
    Path("pggit.toml").write_text(f"[delivery]\n{name} = {value}\n", encoding="utf-8")
    with pytest.raises(ConfigurationError, match=rf"^unusable configuration: delivery\.{name}: "):
        load_settings()


def test_the_key_does_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGGIT_WEBHOOK_KEY", "topsecret")
    settings = load_settings()
    assert settings.webhook_key is not None
    assert settings.webhook_key.get_secret_value() == "topsecret"
    assert "topsecret" not in f"{settings!r} {settings.model_dump_json()}"
