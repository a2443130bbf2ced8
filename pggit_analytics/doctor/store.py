"""Checks of the store that timings are kept in between runs; it may be missing at any time."""

from __future__ import annotations

import os
import shlex
import shutil
import stat
from pathlib import Path

from pggit_analytics.config import Settings
from pggit_analytics.doctor.checks import Answer

_GIGABYTE = 10**9


def local_store(settings: Settings) -> Answer:
    """Whether runs can keep timings on this machine."""
    store = settings.store
    if not store.enabled:
        return Answer("ok", "switched off: every run reads its whole window")
    directory = store.directory
    try:
        state = directory.stat()
    except FileNotFoundError:
        return Answer("ok", f"none yet in {directory}; the next run makes it")
    except OSError as exc:
        return _unusable(directory, str(exc.strerror))
    return _unusable_by(state, directory) or _measured(directory)


def _unusable_by(state: os.stat_result, directory: Path) -> Answer | None:
    if state.st_uid != os.geteuid():
        return _unusable(directory, "it belongs to another user")
    if stat.S_IMODE(state.st_mode) & 0o022:
        return Answer(
            "fail", f"others can write {directory}, so it is not used", f"chmod 700 {shlex.quote(str(directory))}"
        )
    return None


def _measured(directory: Path) -> Answer:
    size, free = _size(directory), shutil.disk_usage(directory).free
    said = f"{size / _GIGABYTE:,.1f} GB in {directory}"
    if free < _GIGABYTE:
        return Answer(
            "warn", f"{said}; {free / _GIGABYTE:.1f} GB of the disk are free", f"df -h {shlex.quote(str(directory))}"
        )
    return Answer("ok", said)


def _unusable(directory: Path, reason: str) -> Answer:
    return Answer(
        "fail",
        f"{directory} cannot be used: {reason}; every run reads its whole window",
        "export PGGIT_STORE__DIRECTORY=$HOME/.cache/pggit-analytics",
    )


def _size(directory: Path) -> int:
    """Bytes of all files; those that go meanwhile count nothing."""
    total = 0
    for parent, _, names in os.walk(directory):
        for name in names:
            try:
                total += os.lstat(os.path.join(parent, name)).st_size
            except OSError:
                continue
    return total
