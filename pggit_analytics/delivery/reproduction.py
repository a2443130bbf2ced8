"""How to see again what a message says: SQL for psql, and the command line."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from pggit_analytics.delivery.findings import Finding
from pggit_analytics.delivery.wording import clean

DEFAULT_SCHEMA = "pggit"

#: the command names at most this many operations
MOST_OPERATIONS = 5

#: a name longer than this is not repeated in a statement to copy
_NAME_LENGTH = 200

_DETECTORS = {
    "DEGRADATION": "detect_performance_degradation",
    "THRESHOLD_EXCEEDED": "detect_threshold_exceeded",
    "ANOMALY": "detect_anomalies_statistical",
}


@dataclass(frozen=True, slots=True)
class Reproduction:
    """Statements and a command to copy; both look at the moment of the message."""

    sql: str
    command: str


def reproduction(found: Sequence[Finding], *, as_of: datetime, schema: str | None) -> Reproduction | None:
    """How to look at these findings again; None when the schema's name cannot be copied faithfully.

    A name that cannot be copied faithfully from a message (control characters, backticks, @, over 200 characters) is
    not repeated; the statement then asks for everything that is open.

    Args:
        found: findings that are going on; none asks for everything that is open.
        as_of: the moment to look at.
        schema: of the project's objects; None is the default.
    """
    schema = schema or DEFAULT_SCHEMA
    if not _is_faithful(schema) or schema.endswith("…"):
        return None
    prefix = schema if re.fullmatch(r"[a-z_][a-z0-9_]*", schema) else '"' + schema.replace('"', '""') + '"'
    lines = [
        f"SET pggit.as_of = '{_sql_instant(as_of)}';",
        f"SELECT * FROM {prefix}.{_source(found)};",  # noqa: S608 -- to read and copy; names are quoted
        "RESET pggit.as_of;",
    ]
    return Reproduction("\n".join(lines), _command(found, as_of, schema))


def _sql_instant(as_of: datetime) -> str:
    """With microseconds where there are any: another moment has other windows."""
    return as_of.astimezone(UTC).replace(tzinfo=None).isoformat(" ") + "+00"


def _source(found: Sequence[Finding]) -> str:
    if {kind for finding in found for kind in finding.alert_types} == {"CORRELATION"}:
        return "detect_correlated_degradation()"
    if len(found) != 1 or not _is_faithful(found[0].recorded_name):
        return "v_current_findings"
    main = found[0].alert_types[0]
    if main not in _DETECTORS:
        return "v_current_findings"
    literal = "'" + str(found[0].recorded_name).replace("'", "''") + "'"
    if "\\" in literal:
        literal = "E" + literal.replace("\\", "\\\\")
    of_metric = ""
    if main == "ANOMALY" and found[0].metric_ids:
        of_metric = f" WHERE metric_id IN ({', '.join(map(str, found[0].metric_ids[:10]))})"
    return f"{_DETECTORS[main]}({literal}){of_metric}"


def _is_faithful(recorded: str | None) -> bool:
    """Channels alter backticks (the end of code) and @ (a mention)."""
    return bool(recorded) and clean(str(recorded), _NAME_LENGTH) == recorded and not set(str(recorded)) & {"`", "@"}


def _command(found: Sequence[Finding], as_of: datetime, schema: str) -> str:
    kinds = {kind for finding in found for kind in finding.alert_types}
    words = ["pggit-analytics", "schedule", "list"]
    if kinds != {"SELF_HEALTH"}:
        as_of = as_of.astimezone(UTC).replace(tzinfo=None)
        words = ["pggit-analytics", "analyze", "--as-of", f"{as_of.isoformat()}Z"]
        names = [finding.recorded_name for finding in found]
        if len(names) <= MOST_OPERATIONS and all(_is_faithful(name) for name in names):
            words += [part for name in names for part in ("--operation", str(name))]
    if schema != DEFAULT_SCHEMA:
        words += ["--schema", schema]
    return shlex.join(words)
