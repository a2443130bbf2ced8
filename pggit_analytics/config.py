"""Settings from the environment and an optional ``pggit.toml`` in the working directory.

The environment wins over the file, explicit arguments win over both.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from pggit_analytics.errors import ConfigurationError


class SourceSettings(BaseModel):
    """Where the timings are read from; by default the table ``performance_metrics`` of the schema."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    #: a ready-made source
    preset: Literal["native", "pggit-0.2.1"] = "native"
    #: a SELECT that yields metric_id, operation_type, duration_ms and created_at; wins over ``preset``
    query: str | None = None
    #: another database to read from, such as a replica; None = the one results are written to
    database_url: SecretStr | None = None


class DeliverySettings(BaseModel):
    """How channels are reached."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    #: certificates (PEM) trusted besides the public ones, such as that of a company's own authority
    ca_file: Path | None = None
    #: seconds in which a connection, and then its TLS, must stand
    connect_timeout_s: float = Field(default=5.0, ge=0.1, le=60, allow_inf_nan=False)
    #: seconds a channel may be silent
    read_timeout_s: float = Field(default=10.0, ge=0.1, le=120, allow_inf_nan=False)
    #: seconds for the whole of one message, however the channel behaves
    total_timeout_s: float = Field(default=20.0, ge=0.1, le=300, allow_inf_nan=False)


class Settings(BaseSettings):
    """What one invocation needs to know."""

    model_config = SettingsConfigDict(env_prefix="PGGIT_", env_nested_delimiter="__", extra="ignore", frozen=True)

    #: libpq URL; None = an embedded PostgreSQL below ``embedded_directory``
    database_url: SecretStr | None = None
    #: name of the schema everything lives in (environment: PGGIT_SCHEMA)
    schema_name: str = "pggit"
    embedded_directory: Path = Path(".pggit")
    source: SourceSettings = SourceSettings()
    #: the master key of the channels' addresses: 32 bytes in base64; wins over ``webhook_key_file``
    webhook_key: SecretStr | None = None
    #: a file that holds it
    webhook_key_file: Path | None = None
    delivery: DeliverySettings = DeliverySettings()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        file = Path(os.environ.get("PGGIT_CONFIG", "pggit.toml"))
        return init_settings, env_settings, TomlConfigSettingsSource(settings_cls, file)


def load_settings(**overrides: object) -> Settings:
    """Read the settings; ``overrides`` that are None are ignored.

    Raises:
        ConfigurationError: the file is not TOML or a value is not acceptable. Values are never repeated in the
            message, as they may be secret.
    """
    named_file = os.environ.get("PGGIT_CONFIG")
    if named_file and not Path(named_file).is_file():
        raise ConfigurationError(f"PGGIT_CONFIG names {named_file}, which is not a file")
    given = {name: value for name, value in overrides.items() if value is not None}
    # a field cannot be called schema: it is a method of the base class
    if schema := os.environ.get("PGGIT_SCHEMA"):
        given.setdefault("schema_name", schema)
    try:
        return Settings(**given)  # type: ignore[arg-type]
    except ValidationError as exc:
        faults = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in exc.errors(include_input=False))
        raise ConfigurationError(f"unusable configuration: {faults}") from None
    except ValueError as exc:  # not TOML
        raise ConfigurationError(f"{named_file or 'pggit.toml'} cannot be read: {exc}") from exc
