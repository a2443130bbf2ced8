"""The recorder without a database: what it accepts, what it never does to the code it times."""

from __future__ import annotations

import asyncio
import inspect
import json
import logging
import subprocess
import sys
from datetime import datetime
from decimal import Decimal, Inexact, localcontext

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pggit_analytics.errors import ConfigurationError, InvalidArgument
from pggit_analytics.postgres.connection import Database
from pggit_analytics.recorder import Recorder, _duration_text, _metadata_text

NOWHERE = Database("host=/nonexistent dbname=timings user=somebody password=hunter2")


class Log(logging.Logger):
    """A logger that keeps its lines."""

    def __init__(self) -> None:
        super().__init__("test")
        self.lines: list[str] = []

    def handle(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


@pytest.fixture
def recorder():
    recorder = Recorder(NOWHERE, flush_interval_s=3600, logger=Log())
    yield recorder
    recorder.close(timeout_s=0)


@pytest.mark.parametrize(
    "values",
    [
        {"duration_ms": -0.001},
        {"duration_ms": float("nan")},
        {"duration_ms": float("inf")},
        {"duration_ms": float("-inf")},
        {"duration_ms": Decimal("NaN")},
        {"duration_ms": Decimal("sNaN")},
        {"duration_ms": 1e11},
        {"duration_ms": None},
        {"duration_ms": "fast"},
        {"duration_ms": True},
        {"operation_type": ""},
        {"operation_type": None},
        {"operation_type": 7},
        {"operation_type": "x" * 2001},
        {"operation_type": "nul\0"},
        {"operation_type": "surrogate\ud800"},
        {"trace_id": ""},
        {"trace_id": 7},
        {"parent_id": "x" * 2001},
        {"created_at": datetime(2026, 1, 1)},
        {"created_at": "now"},
    ],
)
def test_an_unusable_value_is_dropped_counted_and_explained_but_not_raised(recorder, values):
    recorder.record(**{"operation_type": "commit", "duration_ms": 1, **values})

    assert (recorder.dropped, recorder.written) == (1, 0)
    assert recorder.last_error


@pytest.mark.parametrize(
    ("duration_ms", "text"),
    [
        (0, "0.000"),
        (0.001, "0.001"),
        (0.0004999, "0.000"),
        (0.0005, "0.001"),
        (1.0005, "1.001"),
        (10_800_000, "10800000.000"),
        (99_999_999_999, "99999999999.000"),
        (Decimal("99999999999.9994"), "99999999999.999"),
        (Decimal("1E+3"), "1000.000"),
        (1e-300, "0.000"),
    ],
)
def test_durations_become_milliseconds_with_three_decimals(duration_ms, text):
    assert _duration_text(duration_ms) == text


@given(st.decimals(min_value=0, max_value=Decimal("1e11") - 1, allow_nan=False))
def test_a_duration_is_never_off_by_more_than_half_a_microsecond(duration_ms):
    assert abs(Decimal(_duration_text(duration_ms)) - duration_ms) <= Decimal("0.0005")


def test_a_decimal_context_that_traps_rounding_does_not_disturb(recorder):
    with localcontext() as context:
        context.traps[Inexact] = True
        recorder.record("commit", 1.23456)

    assert recorder.dropped == 0


@pytest.mark.parametrize(
    ("metadata", "expected"),
    [
        (None, None),
        ({}, {}),
        ({"a": [1, None, "é"]}, {"a": [1, None, "é"]}),
        ({"a": Decimal("1.5")}, {"a": "1.5"}),
        ({"a": float("inf")}, {"metadata_error": "ValueError"}),
        ({(1, 2): 3}, {"metadata_error": "TypeError"}),
        ([1, 2], {"metadata_error": "TypeError"}),
        ({"a": "\ud800"}, {"metadata_error": "UnicodeEncodeError"}),
        ({"a": "x\0y"}, {"metadata_error": "NUL character"}),
    ],
)
def test_metadata_that_json_cannot_hold_is_replaced_and_the_timing_kept(metadata, expected):
    text = _metadata_text(metadata)

    assert (None if text is None else json.loads(text)) == expected


def test_metadata_that_contains_itself_is_replaced():
    metadata: dict[str, object] = {}
    metadata["self"] = metadata

    assert json.loads(_metadata_text(metadata) or "") == {"metadata_error": "ValueError"}


@pytest.mark.parametrize("metadata", [7, "text", [1], object()])
def test_a_block_timed_with_unusable_metadata_runs_all_the_same(recorder, metadata):
    with recorder.time("commit", metadata=metadata) as span:
        assert list(span.metadata) == ["metadata_error"]

    assert recorder.dropped == 0


@pytest.mark.parametrize("operation_type", ["", None, 7])
def test_a_block_timed_under_an_unusable_name_runs_and_is_counted(recorder, operation_type):
    with recorder.time(operation_type):
        pass

    assert recorder.dropped == 1


def test_a_decorated_function_keeps_its_name_arguments_result_and_errors(recorder):
    fault = ValueError("unchanged")

    @recorder.time("commit", new_trace=True)
    def halve(number: int, *, exact: bool = False) -> float:
        """Half of it."""
        if exact and number % 2:
            raise fault
        return number / 2

    assert (halve.__name__, halve.__doc__) == ("halve", "Half of it.")
    assert list(inspect.signature(halve).parameters) == ["number", "exact"]
    assert halve(3) == 1.5
    with pytest.raises(ValueError, match="unchanged") as raised:
        halve(3, exact=True)
    assert raised.value is fault


def test_a_decorated_coroutine_function_stays_one_and_can_be_cancelled(recorder):
    @recorder.time("commit")
    async def wait_for_ever() -> None:
        await asyncio.Event().wait()

    async def run() -> None:
        task = asyncio.create_task(wait_for_ever())
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    assert inspect.iscoroutinefunction(wait_for_ever)
    asyncio.run(run())
    assert recorder.dropped == 0


def test_a_recursive_decorated_function_gives_each_call_a_trace_of_its_own(recorder):
    traces: list[str | None] = []

    def visit(depth: int) -> None:
        with recorder.time("rollback_cascade", new_trace=True) as span:
            traces.append(span.trace_id)
            if depth:
                visit(depth - 1)

    visit(3)

    assert len(set(traces)) == 4
    assert all(trace and len(trace) == 32 and int(trace, 16) for trace in traces)


def test_a_generator_that_ends_out_of_turn_does_not_disturb(recorder):
    def numbers():
        with recorder.time("get_objects", new_trace=True):
            yield 1

    first, second = numbers(), numbers()
    assert next(first) + next(second) == 2
    first.close()
    second.close()

    assert recorder.dropped == 0


def test_an_unreachable_database_is_said_once_without_its_password():
    log = Log()
    recorder = Recorder(NOWHERE, logger=log)
    recorder.record("commit", 1)
    for _ in range(3):
        assert not recorder.flush(timeout_s=0.1)

    assert len(log.lines) == 1
    assert "/nonexistent:5432/timings" in log.lines[0]
    assert not recorder.close(timeout_s=0)
    assert (recorder.dropped, recorder.written) == (1, 0)
    assert "hunter2" not in f"{log.lines} {recorder.last_error}"


def test_an_unreadable_address_is_said_without_its_password():
    log = Log()
    recorder = Recorder(Database("postgresql://u:hunter2@[/x"), logger=log)
    recorder.record("commit", 1)
    assert not recorder.flush(timeout_s=0.1)
    recorder.close(timeout_s=0)

    assert ConfigurationError.__name__ not in log.lines[0]
    assert "the database URL cannot be read" in log.lines[0]
    assert "hunter2" not in f"{log.lines} {recorder.last_error}"


def test_more_than_may_wait_drops_the_oldest_and_counts_them():
    recorder = Recorder(NOWHERE, batch_size=3, max_pending=10, logger=Log())
    for number in range(100):
        recorder.record("commit", number)
    recorder.close(timeout_s=0)
    recorder.record("commit", 1)

    assert (recorder.dropped, recorder.written) == (101, 0)


def test_closing_twice_and_flushing_when_closed_do_nothing():
    recorder = Recorder(NOWHERE)

    assert recorder.close()
    assert recorder.close()
    assert recorder.flush()


@pytest.mark.parametrize(
    "arguments", [{"batch_size": 0}, {"max_pending": 0}, {"flush_interval_s": 0}, {"flush_interval_s": float("nan")}]
)
def test_a_recorder_with_an_impossible_setting_is_refused(arguments):
    with pytest.raises(InvalidArgument, match=next(iter(arguments))):
        Recorder(NOWHERE, **arguments)


def test_importing_the_recorder_loads_no_dataframe_library():
    heavy = {"polars", "duckdb", "numpy", "pyarrow", "connectorx", "pydantic", "prefect"}
    program = f"import sys, pggit_analytics.recorder; print(sorted({heavy} & set(sys.modules)))"
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert found.stdout.strip() == "[]"
