"""Checks of arguments; the messages are those of the SQL functions ``check_argument`` and ``check_operation_type``."""

from __future__ import annotations

import math
from collections.abc import Collection
from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation

from pggit_analytics.errors import InvalidArgument

#: Anything that states a number exactly; a float means the decimal number it prints as.
Number = int | float | Decimal


def exact(name: str, value: Number) -> Decimal:
    """The number as the decimal it was written as (0.1 is 1/10).

    Raises:
        InvalidArgument: it is not a finite number.
    """
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
        raise InvalidArgument(f"{name} is {value!r}, expected a number")
    try:
        number = Decimal(str(value))
    except InvalidOperation as exc:  # pragma: no cover - str() of a number always parses
        raise InvalidArgument(f"{name} is {value!r}, expected a number") from exc
    if not number.is_finite():
        raise InvalidArgument(f"{name} is {value}, expected a finite number")
    return number


def check_number(name: str, value: Number, low: int, high: int, *, low_excluded: bool = False) -> Decimal:
    """The number, exactly, if ``low <= value <= high`` (``low < value`` with ``low_excluded``).

    Raises:
        InvalidArgument: outside that range, NULL or NaN.
    """
    number = exact(name, value)
    if number < low or number > high or (low_excluded and number == low):
        word = "more than" if low_excluded else "at least"
        raise InvalidArgument(f"{name} is {value}, expected {word} {low} and at most {high}")
    return number


def check_whole(name: str, value: int, low: int, high: int) -> int:
    """The whole number, if ``low <= value <= high``.

    Raises:
        InvalidArgument: outside that range or not a whole number.
    """
    if isinstance(value, bool) or not isinstance(value, int):
        raise InvalidArgument(f"{name} is {value!r}, expected a whole number")
    check_number(name, value, low, high)
    return value


def check_as_of(as_of: datetime) -> datetime:
    """The instant in UTC, if it has a time zone.

    Raises:
        InvalidArgument: it has none, and so would mean another instant elsewhere.
    """
    if not isinstance(as_of, datetime) or as_of.utcoffset() is None:
        raise InvalidArgument(f"as_of is {as_of}, expected a date, time and time zone such as 2026-01-31 12:00:00+00")
    return as_of.astimezone(UTC)


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
