"""Settings from the environment and an optional ``pggit.toml`` in the working directory.

The environment wins over the file, explicit arguments win over both.
"""

from __future__ import annotations

import os
import re
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    model_validator,
)
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from pggit_analytics.errors import ConfigurationError

_UNITS = {"d": "days", "h": "hours", "m": "minutes", "s": "seconds"}
_SPAN_PART = r"(\d+)\s*(d|days?|h|hours?|m|min|minutes?|s|seconds?)"


def _span(value: object) -> object:
    """A length of time such as ``13 hours``, ``90m`` or ``1 day 6 hours``."""
    if isinstance(value, timedelta):
        return value
    # a bare number would leave its unit open
    if not isinstance(value, str) or not re.fullmatch(rf"\s*(?:{_SPAN_PART}\s*)+", value, re.ASCII):
        raise ValueError(f"{value!r} is not a span such as 13 hours or 15 minutes")
    parts = re.findall(_SPAN_PART, value, re.ASCII)
    try:
        return sum((timedelta(**{_UNITS[unit[0]]: int(number)}) for number, unit in parts), timedelta())
    except OverflowError:
        raise ValueError(f"{value!r} is longer than any span can be") from None


Span = Annotated[timedelta, BeforeValidator(_span), Field(gt=timedelta(0), le=timedelta(days=366))]


class SourceSettings(BaseModel):
    """Where the timings are read from; by default the table ``performance_metrics`` of the schema."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    #: a ready-made source
    preset: Literal["native", "pggit-0.2.1"] = "native"
    #: a SELECT that yields metric_id, operation_type, duration_ms and created_at; wins over ``preset``
    query: str | None = None
    #: another database to read from, such as a replica; None = the one results are written to
    database_url: SecretStr | None = None


class MergesSettings(BaseModel):
    """Where the merges are copied from by ``sync``: the table ``merge_history`` of pgGit 0.2.1."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    #: the schema that pgGit is installed in
    schema_name: str = Field(default="pggit", min_length=1, max_length=63)
    #: the zone of its timestamps, which have none: that of the sessions that merged
    time_zone: str = Field(default="UTC", min_length=1, max_length=63)
    #: another database to read from; None = the one written to
    database_url: SecretStr | None = None


class StatementOperation(BaseModel):
    """Statements that count as one operation."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    #: the operation_type of its metrics
    name: str = Field(min_length=1, max_length=500)
    #: of pg_stat_statements; changes with a major version and when a table is made anew
    queryid: int | None = None
    #: a regular expression found anywhere in the text of the statement
    pattern: re.Pattern[str] | None = None

    @model_validator(mode="after")
    def _is_either(self) -> StatementOperation:
        if (self.queryid is None) == (self.pattern is None):
            raise ValueError(f"operation {self.name}: give either queryid or pattern")
        return self


class StatementsSettings(BaseModel):
    """Which statements of pg_stat_statements ``sample statements`` makes metrics of."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    #: what statements are called; the first that fits
    operations: tuple[StatementOperation, ...] = ()
    #: how many of the others are recorded, those that took most time between two samples
    top: int = Field(default=50, ge=0, le=10_000)
    #: the database whose statements are sampled; None = the one written to
    database_url: SecretStr | None = None


def _cache_directory() -> Path:
    """Where a program of this user keeps what it could make again."""
    given = os.environ.get("XDG_CACHE_HOME", "")
    cache = given if os.path.isabs(given) else os.path.expanduser("~/.cache")
    return Path(cache) / "pggit-analytics"


class StoreSettings(BaseModel):
    """The local store of timings, by which a run reads only what is new."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    #: False = every run reads its whole window from the database
    enabled: bool = True
    #: only this user may read it; it may be deleted at any time
    directory: Annotated[Path, AfterValidator(Path.expanduser)] = Field(default_factory=_cache_directory)
    #: timings older than this, counted from the moment a run looks back from, go unless that run needs them
    keep: Span = timedelta(days=8)
    #: a store that would take more is not kept
    max_gigabytes: float = Field(default=20.0, gt=0, allow_inf_nan=False)


class ScaleSettings(BaseModel):
    """Other machines that do a part of a monitoring run."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    #: of the scheduler of a Dask cluster, such as tcp://scheduler:8786; None = this machine does everything
    dask_address: str | None = Field(default=None, min_length=1)
    #: into how many shares the operations are divided; two to four for each thread of a worker even out their sizes
    shares: int = Field(default=8, ge=1, le=1000)


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


class HeartbeatSettings(BaseModel):
    """What the heartbeat allows to be silent, and how it says so when that is exceeded."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    #: what `address` belongs to; None = nobody is told but by the exit status and `ping_url`
    type: Literal["slack", "mattermost", "pagerduty", "email", "webhook"] | None = None
    #: of the channel, in the form of its type
    address: SecretStr | None = None
    #: a file that holds it; `address` wins
    address_file: Path | None = None
    #: recipients of mail, separated by commas
    to: str | None = None
    #: whether the channel and `ping_url` may lie in a private network, and do without TLS
    allow_private: bool = False
    #: requested after each beat that finds all well
    ping_url: SecretStr | None = None
    #: what messages call the database; None = its name
    name: str | None = Field(default=None, min_length=1, max_length=63)
    #: since the moment that the last successful monitoring run looked at
    max_silence: Span = timedelta(hours=13)
    #: how long a message may be due without anything being delivered
    max_delivery_delay: Span = timedelta(minutes=15)
    #: what goes on is said again
    repeat_every: Span = timedelta(hours=4)
    #: seconds in which the database has to answer everything
    database_timeout_s: float = Field(default=15.0, ge=0.1, le=300, allow_inf_nan=False)


class Settings(BaseSettings):
    """What one invocation needs to know."""

    model_config = SettingsConfigDict(env_prefix="PGGIT_", env_nested_delimiter="__", extra="ignore", frozen=True)

    #: libpq URL; None = an embedded PostgreSQL below ``embedded_directory``
    database_url: SecretStr | None = None
    #: name of the schema everything lives in (environment: PGGIT_SCHEMA)
    schema_name: str = "pggit"
    embedded_directory: Path = Path(".pggit")
    source: SourceSettings = SourceSettings()
    merges: MergesSettings = MergesSettings()
    statements: StatementsSettings = StatementsSettings()
    store: StoreSettings = Field(default_factory=StoreSettings)
    scale: ScaleSettings = ScaleSettings()
    #: the master key of the channels' addresses: 32 bytes in base64; wins over ``webhook_key_file``
    webhook_key: SecretStr | None = None
    #: a file that holds it
    webhook_key_file: Path | None = None
    delivery: DeliverySettings = DeliverySettings()
    heartbeat: HeartbeatSettings = HeartbeatSettings()

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
