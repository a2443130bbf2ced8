"""Columns of calls that are too long for memory, in files that nobody else sees and that go with the process."""

from __future__ import annotations

import mmap
import os
import tempfile
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pggit_analytics.errors import DiskFull


class DiskColumns:
    """`ordered_calls.Room` on disk: the system reads what is looked at and forgets what was let go."""

    def __init__(self) -> None:
        self._maps: list[mmap.mmap] = []

    def column(self, dtype: type[np.generic], size: int) -> NDArray[Any]:
        """An array of so many values, of any content.

        Raises:
            DiskFull: the directory for temporary files has not so much room.
        """
        length = max(1, size * np.dtype(dtype).itemsize)
        with tempfile.TemporaryFile(prefix="pggit_analytics_") as file:
            try:
                # otherwise a full disk would end the process when the array is written
                os.posix_fallocate(file.fileno(), 0, length)
            except OSError as exc:
                raise DiskFull(
                    f"{tempfile.gettempdir()} has no room for {length:,} bytes of calls: {exc.strerror}; free some, or "
                    "name another directory in TMPDIR"
                ) from exc
            mapped = mmap.mmap(file.fileno(), length)
        self._maps.append(mapped)
        return np.frombuffer(mapped, dtype=dtype, count=size)

    def let_go(self) -> None:
        """What was read or written of the columns need not stay in memory; it stays in the files."""
        for mapped in self._maps:
            mapped.madvise(mmap.MADV_DONTNEED)
