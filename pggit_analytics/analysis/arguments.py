"""Checks of arguments; the messages are those of the SQL functions ``check_argument`` and ``check_operation_type``."""

from __future__ import annotations

import math
from collections.abc import Collection
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from pggit_analytics.errors import InvalidArgument

#: Anything that states a number exactly; a float means the decimal number it prints as.
Number = int | float | Decimal


def check_number(name: str, value: Number, low: int, high: int, *, low_excluded: bool = False) -> Decimal:
    """The number as the decimal it was written as (0.1 is 1/10), if it is within the range.

    Args:
        name, value: the argument.
        low, high: the range, ``low <= value <= high``.
        low_excluded: ``low < value`` instead.

    Raises:
        InvalidArgument: outside that range, NULL, NaN, infinite or no number.
    """
    number = _decimal(value)
    if number is None or number < low or number > high or (low_excluded and number == low):
        word = "more than" if low_excluded else "at least"
        raise InvalidArgument(f"{name} is {_shown(value)}, expected {word} {low} and at most {high}")
    return number


def _decimal(value: object) -> Decimal | None:
    """None for what is no finite number."""
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
        return None
    number = Decimal(str(value))
    return number if number.is_finite() else None


def _shown(value: object) -> str:
    return str(value) if isinstance(value, int | float | Decimal) else repr(value)


def check_whole(name: str, value: int, low: int, high: int) -> int:
    """The whole number, if ``low <= value <= high``.

    Raises:
        InvalidArgument: outside that range or not a whole number.
    """
    if isinstance(value, bool) or not isinstance(value, int):
        raise InvalidArgument(f"{name} is {value!r}, expected a whole number, at least {low} and at most {high}")
    check_number(name, value, low, high)
    return value


def check_flag(name: str, value: bool) -> bool:
    """True or False.

    Raises:
        InvalidArgument: anything else.
    """
    if not isinstance(value, bool):
        raise InvalidArgument(f"{name} is {value!r}, expected True or False")
    return value


def check_as_of(as_of: datetime) -> datetime:
    """The instant in UTC, if it has a time zone.

    Raises:
        InvalidArgument: it has none, and so would mean another instant elsewhere; or UTC has no date for it.
    """
    if not isinstance(as_of, datetime) or as_of.utcoffset() is None:
        raise InvalidArgument(f"as_of is {as_of}, expected a date, time and time zone such as 2026-01-31 12:00:00+00")
    try:
        return as_of.astimezone(UTC)
    except OverflowError as exc:
        raise InvalidArgument(f"as_of is {as_of}, expected an instant of the years 1 to 9999 in UTC") from exc


def check_operation_types(names: Collection[str], known: Collection[str]) -> None:
    """Nothing, if every name is known.

    Raises:
        InvalidArgument: naming every unknown one.
    """
    unknown = sorted(set(names) - set(known))
    if unknown:
        raise InvalidArgument(
            f"operation_type is {', '.join(map(repr, unknown))}, expected one of performance_operation_types"
        )


def lookback(as_of: datetime, *, hours: float) -> datetime:
    """The start of a window; an hour is 3600 s whatever the calendar says.

    Raises:
        InvalidArgument: the window would begin before the year 1.
    """
    if not math.isfinite(hours):
        raise InvalidArgument(f"hours is {hours}, expected a finite number")
    try:
        return check_as_of(as_of) - timedelta(hours=hours)
    except OverflowError as exc:
        raise InvalidArgument(f"{hours} hours before {as_of} is not a date") from exc
