"""What SQL refuses, the dataframes refuse as well, and both name the value and the allowed range."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import psycopg
import pytest
from psycopg import errors, sql

from pggit_analytics.analysis.arguments import check_operation_types
from pggit_analytics.errors import InvalidArgument
from pggit_analytics.parity import DETECTION_TWINS
from pggit_analytics.postgres.connection import Database
from tests.bad_arguments import BAD_ARGUMENTS, NOT_FINITE, OF_ONE_OPERATION, POSITIONAL, BadArgument

#: parameters that SQL names otherwise
_SQL_NAMES = {"force": "p_force_recalc"}


@pytest.fixture(scope="module")
def connection(shared_database: Database):
    with shared_database.connect() as connection:
        yield connection


def _ask(connection: psycopg.Connection, function: str, **arguments: Any) -> list[tuple]:
    """The function with arguments by name, about commit unless said otherwise."""
    if function in OF_ONE_OPERATION:
        arguments = {"operation_type": "commit", **arguments}
    names = [_SQL_NAMES.get(name, f"p_{name}") for name in arguments]
    call = sql.SQL("SELECT * FROM {}({})").format(
        sql.Identifier(function),
        sql.SQL(", ").join(sql.SQL("{} => %s").format(sql.Identifier(name)) for name in names),
    )
    with connection.transaction(force_rollback=True):
        return connection.execute(call, list(arguments.values())).fetchall()


def _refusal(connection: psycopg.Connection, function: str, **arguments: Any) -> str:
    with pytest.raises(errors.InvalidParameterValue) as caught:
        _ask(connection, function, **arguments)
    assert caught.value.sqlstate == "22023"
    return str(caught.value.diag.message_primary)


def _numeric(value: Any) -> Any:
    """A float as NUMERIC: the parameters are, and SQL does not guess."""
    return Decimal(str(value)) if isinstance(value, float) else value


def test_every_twin_is_asked() -> None:
    assert set(POSITIONAL) == {twin.sql_object for twin in DETECTION_TWINS}
    assert {bad.function for bad in BAD_ARGUMENTS} == set(POSITIONAL)


@pytest.mark.parametrize("bad", [*BAD_ARGUMENTS, *NOT_FINITE], ids=str)
def test_both_refuse_an_argument_outside_its_range(connection: psycopg.Connection, bad: BadArgument) -> None:
    from_sql = _refusal(connection, bad.function, **{bad.name: _numeric(bad.value)})
    with pytest.raises(InvalidArgument) as caught:
        bad.call()
    shown = {"None": "NULL", "inf": "Infinity", "-inf": "-Infinity", "nan": "NaN"}.get(str(bad.value), str(bad.value))
    assert from_sql == f"p_{bad.name} is {shown}, expected {bad.allowed}"
    assert str(bad.value) in str(caught.value)
    assert bad.allowed in str(caught.value)


@pytest.mark.parametrize("function", sorted(OF_ONE_OPERATION))
@pytest.mark.parametrize("name", ["comit", "", "COMMIT", "'; DROP TABLE x; --"])
def test_both_refuse_an_unknown_operation(connection: psycopg.Connection, function: str, name: str) -> None:
    message = _refusal(connection, function, operation_type=name)
    assert message.startswith("p_operation_type is '")
    assert message.endswith("', expected one of performance_operation_types")
    assert name.replace("'", "''") in message
    with pytest.raises(InvalidArgument, match="expected one of performance_operation_types") as caught:
        check_operation_types([name], {"commit"})
    assert name in str(caught.value)


@pytest.mark.parametrize("function", sorted(OF_ONE_OPERATION))
def test_sql_refuses_a_null_operation(connection: psycopg.Connection, function: str) -> None:
    assert "p_operation_type is NULL" in _refusal(connection, function, operation_type=None)


@pytest.mark.parametrize("function", POSITIONAL)
@pytest.mark.parametrize(("as_of", "shown"), [(None, "NULL"), ("infinity", "infinity"), ("-infinity", "-infinity")])
def test_sql_refuses_an_as_of_that_is_no_finite_instant(
    connection: psycopg.Connection, function: str, as_of: str | None, shown: str
) -> None:
    assert _refusal(connection, function, as_of=as_of) == f"p_as_of is {shown}, expected a finite instant"


@pytest.mark.parametrize("value", [-1, 86401, None])
def test_sql_refuses_an_execution_time_outside_a_day(connection: psycopg.Connection, value: int | None) -> None:
    message = _refusal(connection, "recalculate_all_baselines_rolling", max_execution_time_seconds=value)
    shown = "NULL" if value is None else value
    assert message == f"p_max_execution_time_seconds is {shown}, expected at least 0 and at most 86400"


def test_sql_refuses_to_force_by_null(connection: psycopg.Connection) -> None:
    message = _refusal(connection, "recalculate_all_baselines_rolling", force=None)
    assert message == "p_force_recalc is NULL, expected true or false"


@pytest.mark.parametrize("function", POSITIONAL)
@pytest.mark.parametrize(
    "setting", ["2026-01-31 12:00:00", "2026-01-31", "now", "infinity", "31.01.2026 12:00+00", " ", "yesterday"]
)
def test_sql_refuses_a_setting_without_time_zone(connection: psycopg.Connection, function: str, setting: str) -> None:
    with connection.transaction(force_rollback=True):
        connection.execute("SELECT set_config('pggit.as_of', %s, true)", (setting,))
        message = _refusal(connection, function)
    assert message == (
        f"pggit.as_of is '{setting}', expected a date, time and time zone such as 2026-01-31 12:00:00+00"
    )


@pytest.mark.parametrize("setting", ["", None])
def test_an_empty_setting_means_now(connection: psycopg.Connection, setting: str | None) -> None:
    with connection.transaction(force_rollback=True):
        if setting is not None:
            connection.execute("SELECT set_config('pggit.as_of', %s, true)", (setting,))
        row = connection.execute("SELECT analysis_time() = now()").fetchone()
        for function in POSITIONAL:
            _ask(connection, function)
    assert row == (True,)


@pytest.mark.parametrize("time_zone", ["UTC", "America/New_York", "Asia/Kolkata"])
@pytest.mark.parametrize(
    "setting",
    [
        "2026-01-31 12:00:00+00",
        "2026-01-31T12:00:00Z",
        "2026-01-31 17:30+05:30",
        "2026-01-31 12:00:00.000000 UTC",
        "2026-01-31 07:00:00 America/New_York",
    ],
)
def test_a_setting_means_the_same_instant_in_every_session(
    connection: psycopg.Connection, setting: str, time_zone: str
) -> None:
    with connection.transaction(force_rollback=True):
        connection.execute("SELECT set_config('timezone', %s, true)", (time_zone,))
        connection.execute("SELECT set_config('pggit.as_of', %s, true)", (setting,))
        row = connection.execute("SELECT analysis_time()").fetchone()
    assert row == (datetime(2026, 1, 31, 12, tzinfo=UTC),)
