"""A run whose reading and whose work on single operations is done in shares by the workers of a Dask cluster.

What needs all operations (correlation, the levels' common season, causes in common, incidents) is done afterwards by
the process that runs it, and that alone writes, in one transaction. So a share that is computed again, because its
worker was lost, writes nothing twice.

The address of the database never leaves a process: each worker reads it from its own environment or `pggit.toml`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import polars as pl

from pggit_analytics.analysis.detect_correlated_degradation import correlated_minutes, minute_sums
from pggit_analytics.analysis.ordered_calls import Calls, ordered_calls
from pggit_analytics.analysis.shares import balanced_shares, joined_by_operation, joined_calls
from pggit_analytics.config import load_settings
from pggit_analytics.errors import ConfigurationError, PggitAnalyticsError
from pggit_analytics.frames import METRICS
from pggit_analytics.pipeline import (
    Inputs,
    MonitorParameters,
    Progress,
    Target,
    detect,
    gather,
    watched,
    within,
)
from pggit_analytics.postgres.connection import Database
from pggit_analytics.postgres.extract import Metrics, extract_metrics
from pggit_analytics.postgres.snapshots import held_snapshot
from pggit_analytics.postgres.sources import Source, configured
from pggit_analytics.postgres.write_back import Findings
from pggit_analytics.version import __version__

#: seconds until a scheduler that does not answer counts as away
CONNECT_TIMEOUT_S = 10


class ClusterUnavailable(PggitAnalyticsError):
    """The Dask cluster that the settings name cannot do the work."""


class WorkerFailed(PggitAnalyticsError):
    """A worker failed unexpectedly; only the type of its error is told, whose text may repeat a connection string."""


@dataclass(frozen=True, slots=True)
class Share:
    """One share of a run, for whoever does it. It goes through the scheduler and names no address."""

    operations: tuple[str, ...]
    #: of the whole run; without metrics
    inputs: Inputs
    parameters: MonitorParameters
    source: Source
    schema: str
    #: by which the worker reads the state that all others read
    snapshot: str
    #: of the package that cut it
    version: str = __version__


@dataclass(frozen=True, slots=True)
class Part:
    """What a share yields."""

    rows: int
    #: of its operations, each by itself
    findings: Findings
    #: `detect_correlated_degradation.minute_sums`
    minutes: pl.DataFrame
    #: those the engine looks at
    calls: Calls


#: does a share somewhere; called from several threads at once
Worker = Callable[[Share], Part]


def side_by_side(work: Worker, shares: Sequence[Share]) -> list[Part]:
    """The parts of all shares, each waited for by a thread of its own."""
    with ThreadPoolExecutor(max(1, len(shares))) as pool:
        return list(pool.map(work, shares))


def monitored_in_shares(
    target: Target,
    parameters: MonitorParameters,
    *,
    each: Callable[[Worker, Sequence[Share]], list[Part]] = side_by_side,
    progress: Progress = lambda _: None,
) -> tuple[Inputs, Findings]:
    """Read and detect on the cluster: what `pipeline.gather`, `detect` and `correlate` yield, with the calls in order.

    Args:
        target: whose settings name the cluster.
        parameters: of the run.
        each: has all shares done.
        progress: told what is done.

    Raises:
        PggitAnalyticsError: see its hierarchy; of a worker as of this process.
    """
    with dask_worker(target.scale.dask_address or "") as work, shared_out(target, parameters) as (inputs, shares):
        progress(f"Reading the timings in {len(shares)} shares on the Dask cluster")
        parts = each(work, shares)
    return joined(inputs, parameters, parts)


@contextmanager
def shared_out(target: Target, parameters: MonitorParameters) -> Iterator[tuple[Inputs, list[Share]]]:
    """The inputs of a run without its metrics, and its shares, which can be done as long as the block lasts.

    Raises:
        InvalidArgument, DatabaseError, InvalidSource: see `pipeline.gather`.
    """
    inputs = gather(target, parameters, read=lambda *_: Metrics(METRICS.empty(), 0))
    with held_snapshot(
        target.source_database, target.source, inputs.window_start, inputs.as_of, parameters.operations
    ) as snapshot:
        yield (
            inputs,
            [
                Share(names, inputs, parameters, target.source, target.source_database.schema, snapshot.name)
                for names in balanced_shares(snapshot.rows, target.scale.shares)
            ],
        )


def done(share: Share) -> Part:
    """Do a share: what a worker runs, with the address that its own settings name.

    Raises:
        PggitAnalyticsError: see its hierarchy.
    """
    try:
        return _done(share)
    except PggitAnalyticsError:
        raise
    except Exception as exc:
        raise WorkerFailed(f"a worker failed with an unexpected {type(exc).__name__}; see its log") from None


def _done(share: Share) -> Part:
    if share.version != __version__:
        raise ConfigurationError(
            f"this worker has pggit-analytics {__version__}, the run {share.version}; install that"
        )
    parameters, as_of = share.parameters, share.inputs.as_of
    with extract_metrics(
        _database_of_worker(share),
        share.source,
        start=share.inputs.window_start,
        end=as_of,
        operations=share.operations,
        snapshot=share.snapshot,
    ) as metrics:
        inputs = replace(share.inputs, metrics=metrics)
        followed = METRICS.empty() if parameters.operations else within(watched(inputs, parameters), as_of)
        return Part(
            metrics.rows,
            detect(inputs, parameters),
            minute_sums(metrics.frame, inputs.operation_types, as_of=as_of, lookback_hours=parameters.lookback_hours),
            ordered_calls(followed),
        )


def _database_of_worker(share: Share) -> Database:
    settings = load_settings()
    if settings.database_url is None and settings.source.database_url is None:
        raise ConfigurationError(
            "this worker knows no database: set PGGIT_SOURCE__DATABASE_URL, or PGGIT_DATABASE_URL, in its environment"
        )
    own = settings.database_url.get_secret_value() if settings.database_url else ""
    return configured(settings.source, Database(own, share.schema))[0]


def joined(inputs: Inputs, parameters: MonitorParameters, parts: Sequence[Part]) -> tuple[Inputs, Findings]:
    """The inputs and findings of the whole run; pure."""
    found = [part.findings for part in parts]
    if not found:
        nothing = replace(inputs, calls=ordered_calls(METRICS.empty()))
        return nothing, detect(nothing, parameters)
    findings = Findings(
        anomalies=joined_by_operation([one.anomalies for one in found]),
        degradations=joined_by_operation([one.degradations for one in found]),
        correlations=correlated_minutes(
            pl.concat([part.minutes for part in parts]),
            as_of=inputs.as_of,
            correlation_threshold=parameters.correlation_threshold,
        ),
        thresholds=joined_by_operation([one.thresholds for one in found]),
        operations=parameters.operations,
        seen_operation_types=tuple(sorted(name for one in found for name in one.seen_operation_types)),
        slow_since=joined_by_operation([one.slow_since for one in found]),
    )
    whole = replace(
        inputs,
        metrics=Metrics(METRICS.empty(), sum(part.rows for part in parts)),
        calls=joined_calls([part.calls for part in parts]),
    )
    return whole, findings


@contextmanager
def dask_worker(address: str) -> Iterator[Worker]:
    """Has shares done by the cluster whose scheduler has this address.

    A share whose worker is lost goes to another one, as Dask does it.

    Raises:
        ConfigurationError: the extra ``dask`` is not installed, or that is no address.
        ClusterUnavailable: the scheduler does not answer, or has no workers.
    """
    try:
        import distributed
    except ImportError:
        raise ConfigurationError(
            "dask_address is set, but Dask is not installed; run: pip install 'pggit-analytics[dask]'"
        ) from None
    try:
        client: Any = distributed.Client(  # type: ignore[no-untyped-call]
            address, timeout=CONNECT_TIMEOUT_S, set_as_default=False
        )
    except ValueError as exc:
        raise ConfigurationError(f"dask_address is {address!r}, expected such as tcp://scheduler:8786") from exc
    except OSError as exc:
        raise ClusterUnavailable(
            f"the Dask scheduler at {address} does not answer; start it, or unset dask_address to run on this machine"
        ) from exc

    def work(share: Share) -> Part:
        try:
            part: Part = client.submit(done, share, pure=False).result()
        except distributed.KilledWorker as exc:
            raise ClusterUnavailable(
                "every worker that took a share was lost, so it was given up; see the logs of the workers"
            ) from exc
        return part

    with client:
        if not client.scheduler_info()["workers"]:
            raise ClusterUnavailable(
                f"the Dask scheduler at {address} has no workers; start one with: dask worker {address}"
            )
        yield work
