"""What the flows share: where they work, their steps, how they end, and the server that records them.

Imports Prefect, so only flows import this module.
"""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable, Sequence
from functools import wraps
from typing import Annotated, Any, ParamSpec, TypeVar
from urllib.parse import urlsplit

from prefect import Flow, State, Task, get_client, tags, task
from prefect.cache_policies import NO_CACHE
from prefect.logging import get_run_logger
from prefect.runtime import flow_run
from prefect.settings import PREFECT_API_URL
from prefect.states import Completed, Failed
from prefect.utilities.annotations import quote
from pydantic import BaseModel

from pggit_analytics.config import load_settings
from pggit_analytics.errors import ConfigurationError, DatabaseUnavailable, PggitAnalyticsError
from pggit_analytics.pipeline import Target
from pggit_analytics.postgres.connection import Database
from pggit_analytics.postgres.embedded import embedded_url

_P = ParamSpec("_P")
_R = TypeVar("_R")
_A = TypeVar("_A")

#: seconds before a step whose database was away is tried again: a restart and a fail-over take about that long
RETRY_DELAYS_S = [5.0, 20.0]

TAG = "pggit-analytics"


class PrefectUnavailable(PggitAnalyticsError):
    """The Prefect server that is to record the run cannot be reached."""


class UnexpectedError(PggitAnalyticsError):
    """Another library failed. Its text may repeat a connection string, so only its type is named."""


class _OneLine(logging.Filter):
    """Drops the record that shows an error of this package with its traceback: the state after it says it in a line."""

    def filter(self, record: logging.LogRecord) -> bool:
        return not (record.exc_info and isinstance(record.exc_info[1], PggitAnalyticsError))


_one_line = _OneLine()


def configured_target() -> Target:
    """Where the flow reads and writes, by PGGIT_DATABASE_URL and pggit.toml; else the embedded database.

    An address is never a parameter of a flow: Prefect stores and shows those.

    Raises:
        ConfigurationError: see `load_settings` and `embedded_url`.
    """
    settings = load_settings()
    url = settings.database_url
    conninfo = url.get_secret_value() if url is not None else embedded_url(settings.embedded_directory)
    return Target.of(Database(conninfo, settings.schema_name), settings)


def like(parameters: type[BaseModel], name: str) -> Any:
    """The type of a field with its limits and description, for the parameter of a flow of the same name."""
    field = parameters.model_fields[name]
    return Annotated[field.annotation, field]


def run_name(as_of: str) -> str:
    """The name of a flow run: the moment it looks back from, which without one is about when it was due."""
    moment = flow_run.parameters.get(as_of) or flow_run.scheduled_start_time
    return f"as of {moment:%Y-%m-%d %H:%M:%S %Z}"


def step(
    function: Callable[_P, _R],
    *,
    name: str,
    description: str,
    describe: Callable[[_R], str],
    retry_delays_s: list[float] = RETRY_DELAYS_S,
) -> Callable[_P, _R]:
    """The function as a task of the flow run it is called in; tried again while the database is away.

    Arguments and result may hold millions of rows: they stay in memory as they are, never hashed, stored, copied or
    searched for futures. What ``describe`` says of the result is the message of the task run and a line of the log.
    """

    made = _task(function, name=name, description=description, describe=describe, retry_delays_s=retry_delays_s)

    @wraps(function)
    def call(*args: _P.args, **kwargs: _P.kwargs) -> _R:
        # a task that returns a state returns it to its caller as well
        state: Any = made(*map(quote, args), **{key: quote(value) for key, value in kwargs.items()})
        result: _R = state.result()
        return result

    return call


def steps_side_by_side(
    *, name: str, description: str, describe: Callable[[_R], str]
) -> Callable[[Callable[[_A], _R], Sequence[_A]], list[_R]]:
    """Like `step`, for many arguments at once: each is a task of its own, on the task runner of the flow.

    Returns:
        Called with the function that does the work, and the arguments; the results in their order.
    """

    def do(work: Callable[[_A], _R], argument: _A) -> _R:
        return work(argument)

    made = _task(do, name=name, description=description, describe=describe, retry_delays_s=RETRY_DELAYS_S)

    def call(work: Callable[[_A], _R], arguments: Sequence[_A]) -> list[_R]:
        futures = [made.submit(quote(work), quote(argument)) for argument in arguments]
        return [future.result() for future in futures]

    return call


def _task(
    function: Callable[..., _R],
    *,
    name: str,
    description: str,
    describe: Callable[[_R], str],
    retry_delays_s: list[float],
) -> Task[..., Any]:
    @wraps(function)
    def described(*args: Any, **kwargs: Any) -> State[_R]:
        result = function(*args, **kwargs)
        return Completed(message=describe(result), data=result)

    return task(
        name=name,
        description=description,
        retries=len(retry_delays_s),
        retry_delay_seconds=retry_delays_s,
        retry_condition_fn=_database_was_away,
        cache_policy=NO_CACHE,
        persist_result=False,
    )(_clear_errors(described))


def _database_was_away(task: Task[..., Any], run: object, state: State[Any]) -> bool:  # noqa: ARG001
    """Whether a failed step is worth another try; every other fault would be the same again."""
    return isinstance(state.data, DatabaseUnavailable)


def _clear_errors(function: Callable[_P, _R]) -> Callable[_P, _R]:
    """The function, raising only this package's errors."""

    @wraps(function)
    def wrapped(*args: _P.args, **kwargs: _P.kwargs) -> _R:
        try:
            return function(*args, **kwargs)
        except PggitAnalyticsError:
            raise
        except Exception as exc:
            name = type(exc).__name__
            # where, without the values: a traceback's frames are source lines
            get_run_logger().error("%s in\n%s", name, "".join(traceback.format_tb(exc.__traceback__)).rstrip())
            raise UnexpectedError(f"unexpected {name}; the log of the run says where") from None

    return wrapped


def concluded(work: Callable[[], _R], describe: Callable[[_R], str]) -> State[_R]:
    """Do a flow's work; the flow's final state, whose message is one line in either case.

    A returned state is stored without its data: result and error stay in this process.
    """
    logging.getLogger("prefect.task_runs").addFilter(_one_line)
    try:
        result = _clear_errors(work)()
    except PggitAnalyticsError as exc:
        get_run_logger().error("%s", exc)
        return Failed(message=str(exc), data=exc)
    return Completed(message=describe(result), data=result)


def run_here(flow: Flow[..., Any], parameters: BaseModel) -> Any:
    """Run the flow in this process, recorded by the server that PREFECT_API_URL names; its result.

    Raises:
        PrefectUnavailable: the server does not answer, before or during the run.
        PggitAnalyticsError: the run failed.
    """
    check_server()
    try:
        with tags(TAG):
            return flow(**dict(parameters))
    except PggitAnalyticsError:
        raise
    except Exception:
        check_server()
        raise


def check_server() -> None:
    """Nothing, if the server answers that PREFECT_API_URL names.

    Raises:
        PrefectUnavailable: it does not.
        ConfigurationError: that is no address of a server.
    """
    place = _server()
    with get_client(sync_client=True) as client:
        fault = client.api_healthcheck()
    if fault is not None:
        raise PrefectUnavailable(
            f"the Prefect server at {place}, named by PREFECT_API_URL, does not answer ({type(fault).__name__}); "
            "start it, or unset PREFECT_API_URL to run without Prefect"
        ) from fault


def _server() -> str:
    """Host and port of the server; the address itself may hold a password."""
    try:
        parts = urlsplit(PREFECT_API_URL.value() or "")
        place = f"{parts.hostname}:{parts.port or {'http': 80, 'https': 443}[parts.scheme]}"
    except (ValueError, KeyError) as exc:
        raise ConfigurationError(
            "PREFECT_API_URL is not an address such as http://127.0.0.1:4200/api; correct it, or unset it to run "
            "without Prefect"
        ) from exc
    return place
