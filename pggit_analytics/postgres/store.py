"""Timings kept on disk between runs: files of one UTC day each, and one manifest that says which of them count.

A store is a cache. What is damaged, half-written or of another database is never used; deleting it changes no answer.

- A file is written under a name never used before and synced; then the manifest, which holds the length and digest of
  each file, replaces the one before in a single rename. Files it does not name are leftovers and go with the next run.
- One process at a time works in a store (`flock`, which the system releases when the process dies).
- A run reads through hard links of its own, so that the next run may replace files meanwhile.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import shutil
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from hashlib import file_digest, sha256
from pathlib import Path
from types import TracebackType
from typing import IO, Any
from uuid import uuid4

import polars as pl

from pggit_analytics.errors import PggitAnalyticsError
from pggit_analytics.frames import METRICS

_log = logging.getLogger(__name__)

#: rises when files or manifest change their meaning
FORMAT = 2

HOUR_US = 3_600_000_000

#: a day in more files than this is merged
MOST_FILES_A_DAY = 8

#: a store that was not used for so long while another one was is removed
_FORGOTTEN_S = 30 * 86_400


class StoreUnavailable(PggitAnalyticsError):
    """The store cannot be used now; the run goes on without it."""


@dataclass(frozen=True, slots=True)
class Segment:
    """One file of timings that ended on one UTC day."""

    name: str
    #: days since 1970
    day: int
    #: bytes
    size: int
    digest: str
    #: hours since 1970 -> number of rows; never 0
    hours: dict[int, int]

    @property
    def rows(self) -> int:
        """Number of rows."""
        return sum(self.hours.values())


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a store holds: every row of the source since an hour that transactions before the horizon have written."""

    #: of the source: while it stays, its row versions can be compared with those of the store
    fingerprint: str
    #: rows of this transaction and of later ones are not in the store, those of earlier ones all are
    horizon: int
    #: in the write-ahead log when the store was brought up to date
    position: int
    #: hours since 1970 from which on rows are stored
    since: int
    segments: tuple[Segment, ...] = ()
    #: `row_versions.Watch`: its fingerprint and reach, when this was the state of the source
    watch: str | None = None
    reach: int = 0
    #: hours since 1970 in which there were rows of transactions from the horizon on
    unsettled: tuple[int, ...] = ()
    #: when this was written and when the rows were last counted, by the server's clock, microseconds since 1970
    written: int = 0
    counted: int = 0
    #: this machine's start, and the microseconds since then when this was written
    boot: str = ""
    uptime: int = 0

    @property
    def hours(self) -> Counter[int]:
        """Hours since 1970 -> number of stored rows; hours without rows are absent."""
        total: Counter[int] = Counter()
        for segment in self.segments:
            total.update(segment.hours)
        return total

    @property
    def rows(self) -> int:
        """Number of stored rows."""
        return sum(segment.rows for segment in self.segments)

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(segment.size for segment in self.segments)


@dataclass(slots=True)
class Loan:
    """Files that stay as they are until `cleanup`, whatever becomes of the store."""

    directory: Path
    _lock: IO[str]

    def cleanup(self) -> None:
        """Remove the links."""
        shutil.rmtree(self.directory, ignore_errors=True)
        self._lock.close()


@dataclass(slots=True)
class Store:
    """The store of one table below a directory; a context manager that holds its lock.

    Raises:
        StoreUnavailable: on entering, when another process is at work in it or the directory cannot be used; inside
            the block for every fault of the file system.
    """

    root: Path
    key: str
    _lock: IO[str] | None = field(default=None, init=False)
    #: files written since the last commit
    _uncommitted: list[Path] = field(default_factory=list, init=False)

    @property
    def directory(self) -> Path:
        """Where its files are."""
        return self.root / self.key

    def __enter__(self) -> Store:
        try:
            _private(self.root)
            _private(self.directory)
            self._lock = _locked(self.directory / "lock")
        except OSError as exc:
            raise StoreUnavailable(_reason(exc, self.root)) from exc
        if self._lock is None:
            raise StoreUnavailable(f"another run is at work in {self.directory}")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for file in self._uncommitted:
            with suppress(OSError):
                file.unlink(missing_ok=True)
        if self._lock is not None:
            self._lock.close()
        if isinstance(error, (OSError, pl.exceptions.PolarsError)):
            raise StoreUnavailable(_reason(error, self.directory)) from error

    def load(self) -> Manifest | None:
        """What the store holds; None where there is nothing or it is damaged."""
        try:
            text = (self.directory / "manifest.json").read_text()
            manifest = _parsed(text)
            for segment in manifest.segments:
                _check(self.directory / segment.name, segment)
        except FileNotFoundError as exc:
            if exc.filename and not str(exc.filename).endswith("manifest.json"):
                _log.warning("the store in %s has lost a file and is built again", self.directory)
            return None
        except (ValueError, KeyError, TypeError, AttributeError):
            _log.warning("the store in %s is damaged and is built again", self.directory)
            return None
        return manifest

    def write(self, rows: pl.DataFrame) -> list[Segment]:
        """Write `frames.METRICS` into files, one for each day; they count once a manifest names them."""
        if rows.is_empty():
            return []
        days = rows.select((_hour() // 24).alias("day"))["day"]
        if days.min() == days.max():
            return [self._written(int(days[0]), rows.lazy())]
        parts = rows.with_columns(days).partition_by("day", as_dict=True, include_key=False)
        return [self._written(int(key[0]), part.lazy()) for key, part in parts.items()]

    def without(self, segments: Sequence[Segment], hours: Iterable[int]) -> list[Segment]:
        """The segments with no rows of these hours; files that hold some are written anew."""
        gone = set(hours)
        kept: list[Segment] = []
        for segment in segments:
            touched = gone & segment.hours.keys()
            if not touched:
                kept.append(segment)
            elif len(touched) < len(segment.hours):
                rows = self.scan([segment]).filter(~_hour().is_in(sorted(touched)))
                kept.append(self._written(segment.day, rows))
        return kept

    def merged(self, segments: Sequence[Segment]) -> list[Segment]:
        """The segments with the smaller files of each day in one, where a day has too many."""
        days: dict[int, list[Segment]] = {}
        for segment in segments:
            days.setdefault(segment.day, []).append(segment)
        result: list[Segment] = []
        for day, ofday in sorted(days.items()):
            by_size = sorted(ofday, key=lambda s: s.rows)
            if len(by_size) > MOST_FILES_A_DAY:
                # the largest is left alone while the others together are small beside it
                keep = by_size[-1:] if 2 * sum(s.rows for s in by_size[:-1]) < by_size[-1].rows else []
                small = by_size[: len(by_size) - len(keep)]
                by_size = [*keep, self._written(day, self.scan(small))]
            result += by_size
        return result

    def commit(self, manifest: Manifest) -> None:
        """Let the manifest count, and remove the files it does not name."""
        body = json.loads(json.dumps(asdict(manifest)))  # with the keys that reading it gives
        file = self._new_file("tmp")
        with file.open("x") as stream:
            json.dump({"format": FORMAT, "digest": _digest_of(body), "manifest": body}, stream)
            stream.flush()
            os.fsync(stream.fileno())
        file.replace(self.directory / "manifest.json")
        self._uncommitted.clear()
        descriptor = os.open(self.directory, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        self._tidy({segment.name for segment in manifest.segments})

    def clear(self) -> None:
        """Forget everything."""
        (self.directory / "manifest.json").unlink(missing_ok=True)
        self._tidy(set())

    def scan(self, segments: Sequence[Segment]) -> pl.LazyFrame:
        """The rows of the segments, as `frames.METRICS`."""
        return _scan([self.directory / segment.name for segment in segments])

    def lend(self, segments: Sequence[Segment], more: pl.DataFrame) -> tuple[pl.LazyFrame, Loan]:
        """The rows of the segments and ``more``, readable after the store is left and until the loan is returned."""
        directory = self.directory / "runs" / uuid4().hex
        _private(directory.parent)
        _private(directory)
        lock = _locked(directory / "lock")
        assert lock is not None, "a directory that was made a moment ago is nobody else's"
        loan = Loan(directory, lock)
        try:
            files = [directory / segment.name for segment in segments]
            for segment, file in zip(segments, files, strict=True):
                file.hardlink_to(self.directory / segment.name)
            if not more.is_empty():
                files.append(directory / "more.parquet")
                _sink(more.lazy(), files[-1])
            return _scan(files), loan
        except BaseException:
            loan.cleanup()
            raise

    def _written(self, day: int, rows: pl.LazyFrame) -> Segment:
        file = self._new_file("parquet")
        _sink(rows, file)
        with file.open("rb+") as stream:
            os.fsync(stream.fileno())
            digest = file_digest(stream, "sha256").hexdigest()
        counts = _scan([file]).group_by(_hour().alias("hour")).len().collect(engine="streaming")
        return Segment(file.name, day, file.stat().st_size, digest, dict(counts.sort("hour").iter_rows()))

    def _new_file(self, suffix: str) -> Path:
        file = self.directory / f"{uuid4().hex}.{suffix}"
        self._uncommitted.append(file)
        return file

    def _tidy(self, named: set[str]) -> None:
        """Remove leftovers: files that do not count, links of processes that died, stores that nobody uses."""
        for file in self.directory.iterdir():
            if file.suffix in {".parquet", ".tmp"} and file.name not in named:
                file.unlink(missing_ok=True)
        runs = self.directory / "runs"
        for directory in runs.iterdir() if runs.is_dir() else ():
            lock = _locked(directory / "lock")
            if lock is not None:
                shutil.rmtree(directory, ignore_errors=True)
                lock.close()
        for other in self.root.iterdir():
            if other != self.directory and (other / "lock").is_file():
                _remove_forgotten(other, self.directory.stat().st_mtime)


def _remove_forgotten(directory: Path, now: float) -> None:
    if now - directory.stat().st_mtime < _FORGOTTEN_S:
        return
    lock = _locked(directory / "lock")
    if lock is not None:
        shutil.rmtree(directory, ignore_errors=True)
        lock.close()


def _private(directory: Path) -> None:
    """Make the directory, for this user alone.

    Raises:
        OSError: it cannot be made, or others could write into it.
    """
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = directory.stat()
    if found.st_uid != os.geteuid() or found.st_mode & 0o022:
        raise PermissionError(f"{directory} can be written by others; chmod 700 it or name another directory")


def _locked(file: Path) -> IO[str] | None:
    """The lock, held until it is closed; None when another process holds it."""
    stream = file.open("a")
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        stream.close()
        return None
    return stream


def _sink(rows: pl.LazyFrame, file: Path) -> None:
    """Write the rows as Parquet, as they come."""
    rows.sink_parquet(file, compression="lz4", statistics=True, row_group_size=250_000, engine="streaming")
    file.chmod(0o600)


def _scan(files: Sequence[Path]) -> pl.LazyFrame:
    if not files:
        return METRICS.empty().lazy()
    return pl.scan_parquet(list(files), hive_partitioning=False, glob=False).select(list(METRICS.columns))


def _hour() -> pl.Expr:
    return pl.col("created_at").dt.epoch("us") // HOUR_US


def _parsed(text: str) -> Manifest:
    """The manifest of a file's text.

    Raises:
        ValueError, KeyError, TypeError, AttributeError: it is not what `Store.commit` has written.
    """
    stored = json.loads(text)
    body: dict[str, Any] = stored["manifest"]
    if stored["format"] != FORMAT or stored["digest"] != _digest_of(body):
        raise ValueError("not what was written")
    segments = tuple(
        Segment(**{**segment, "hours": {int(hour): rows for hour, rows in segment["hours"].items()}})
        for segment in body["segments"]
    )
    return Manifest(**{**body, "segments": segments, "unsettled": tuple(body["unsettled"])})


def _digest_of(body: dict[str, Any]) -> str:
    return sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()


def _check(file: Path, segment: Segment) -> None:
    """Compare a file with what the manifest says.

    Raises:
        FileNotFoundError: it is gone.
        ValueError: it has changed.
    """
    with file.open("rb") as stream:
        size, digest = os.fstat(stream.fileno()).st_size, file_digest(stream, "sha256").hexdigest()
        if (size, digest) != (segment.size, segment.digest):
            raise ValueError(f"{file} has changed")


def _reason(exc: BaseException, directory: Path) -> str:
    """One line for a person."""
    text = exc.strerror if isinstance(exc, OSError) and exc.strerror else str(exc)
    line = (text.splitlines() or [type(exc).__name__])[0]
    return line if str(directory) in line else f"{directory}: {line}"
