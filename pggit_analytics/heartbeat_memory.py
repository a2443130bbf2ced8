"""What the heartbeat remembers between its beats, in a file beside it: it has no database to rely on."""

from __future__ import annotations

import fcntl
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from pggit_analytics.errors import ConfigurationError, PggitAnalyticsError

#: seconds to wait for another beat; longer than any takes that is not stuck
LOCK_WAIT_S = 120.0
_LOCK_POLL_S = 0.05

Severity = Literal["CRITICAL", "WARNING"]


class StuckHeartbeat(PggitAnalyticsError):
    """Another beat holds the lock and does not end."""


class StateNotWritten(PggitAnalyticsError):
    """What was said cannot be remembered, so that it will be said again."""


class Remembered(BaseModel):
    """One trouble."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: str
    severity: Severity
    #: one sentence
    summary: str
    since: AwareDatetime
    #: a channel took a message about it
    is_told: bool


class State(BaseModel):
    """What is known of one database since all was well; the default is that nothing is."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    #: the troubles at the last beat
    troubles: tuple[Remembered, ...] = ()
    #: when the first of them was noticed
    began_at: AwareDatetime | None = None
    #: when the last message was taken; None = none was
    said_at: AwareDatetime | None = None
    #: how many were taken
    messages: int = Field(default=0, ge=0)


class _Content(BaseModel):
    model_config = ConfigDict(extra="forbid")

    version: Literal[1] = 1
    #: by the database they are about
    heartbeats: dict[str, State] = {}


class Memory:
    """The content of the file for one database, valid while `locked`."""

    def __init__(self, file: Path, key: str, now: datetime) -> None:
        self._file = file
        self._key = key
        self._content = self._read(now)
        self._written = self._content.model_copy(deep=True)

    @property
    def state(self) -> State:
        """What is remembered."""
        return self._content.heartbeats.get(self._key, State())

    def _read(self, now: datetime) -> _Content:
        try:
            return _Content.model_validate_json(self._file.read_bytes())
        except FileNotFoundError:
            return _Content()
        except OSError as exc:
            raise ConfigurationError(f"the state file {self._file} cannot be read: {exc.strerror}") from None
        except ValidationError:
            # Something may have been said, and its end has to be said as well: better once too often.
            return _Content(heartbeats={self._key: _unknown(now)})

    def keep(self, state: State) -> None:
        """Remember ``state``; the file is replaced as a whole or stays as it is.

        Raises:
            StateNotWritten: there is no room or no right to write it.
        """
        if state == State():
            self._content.heartbeats.pop(self._key, None)
        else:
            self._content.heartbeats[self._key] = state
        if self._content == self._written:
            return
        try:
            _replace(self._file, self._content.model_dump_json(indent=2).encode())
        except OSError as exc:
            raise StateNotWritten(
                f"the state file {self._file} cannot be written: {exc.strerror}; what was said will be said again"
            ) from None
        self._written = self._content.model_copy(deep=True)


def _unknown(now: datetime) -> State:
    trouble = Remembered(
        kind="unknown",
        severity="WARNING",
        summary="What was said before is not known, because the state file of the heartbeat was damaged",
        since=now,
        is_told=True,
    )
    return State(troubles=(trouble,), began_at=now)


def _replace(file: Path, content: bytes) -> None:
    handle, name = tempfile.mkstemp(prefix=f"{file.name}.", dir=file.parent)
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(name, file)
    except BaseException:
        with suppress(OSError):
            os.unlink(name)
        raise


@contextmanager
def locked(file: Path, wait_s: float = LOCK_WAIT_S) -> Iterator[None]:
    """Let one beat at a time use ``file``; its directory is made if need be.

    Raises:
        ConfigurationError: there is no directory to write in.
        StuckHeartbeat: another beat holds the lock for longer than ``wait_s`` seconds.
    """
    lock = file.with_name(f"{file.name}.lock")
    try:
        lock.parent.mkdir(parents=True, exist_ok=True)
        stream = lock.open("ab")
    except OSError as exc:
        raise ConfigurationError(
            f"the lock file {lock} cannot be opened: {exc.strerror}; name a file that can be written with --state"
        ) from None
    with stream:
        deadline = time.monotonic() + wait_s
        while not _is_taken(stream.fileno()):
            if time.monotonic() > deadline:
                raise StuckHeartbeat(
                    f"another heartbeat holds {lock} for more than {wait_s:g} s; see what it waits for and end it"
                )
            time.sleep(_LOCK_POLL_S)
        yield


def _is_taken(descriptor: int) -> bool:
    """Whether the lock is now this process's; it ends with the descriptor."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
