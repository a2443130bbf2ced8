"""A real Dask cluster on loopback: a scheduler and workers, each a process of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

#: seconds until something that should happen counts as not happening
PATIENCE_S = 120


def until(condition: Callable[[], Any], what: str) -> Any:
    """The first true value of ``condition``, asked again and again; an assertion fails when it stays false."""
    pause = threading.Event()
    for _ in range(int(PATIENCE_S / 0.05)):
        if value := condition():
            return value
        pause.wait(0.05)
    raise AssertionError(f"never came about: {what}")


class DaskCluster:
    """A scheduler, and workers that read their settings from `pggit.toml` in the cluster's directory."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._workers: dict[str, subprocess.Popen[bytes]] = {}
        # workers find the database by the file alone
        self._environment = {name: value for name, value in os.environ.items() if not name.startswith("PGGIT_")}
        file = directory / "scheduler.json"
        self._scheduler = self._start("scheduler", "--port", "0", "--scheduler-file", str(file))
        self.address = str(until(lambda: _address(file), "the scheduler's file"))

    def _start(self, kind: str, *arguments: str) -> subprocess.Popen[bytes]:
        with (self._directory / "log").open("ab") as log:
            return subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    "distributed.cli.dask_" + kind,
                    "--host",
                    "127.0.0.1",
                    "--no-dashboard",
                    *arguments,
                ],
                cwd=self._directory,
                env=self._environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def configure(self, text: str) -> None:
        """What workers read for the shares they begin from now on."""
        (self._directory / "pggit.toml").write_text(text)

    def have_workers(self, count: int) -> None:
        """Start workers until there are so many, and wait until the scheduler knows them."""
        for name in [name for name, process in self._workers.items() if process.poll() is not None]:
            del self._workers[name]
        while len(self._workers) < count:
            name = f"worker-{len(self._workers)}-{os.urandom(2).hex()}"
            self._workers[name] = self._start(
                "worker", self.address, "--name", name, "--nthreads", "1", "--no-nanny",
                "--local-directory", str(self._directory),
            )  # fmt: skip
        with self.client() as client:
            client.wait_for_workers(count, timeout=PATIENCE_S)

    def busy_worker(self) -> str | None:
        """The name of a worker that is doing something."""
        with self.client() as client:
            names = {address: worker["name"] for address, worker in client.scheduler_info(-1)["workers"].items()}
            busy = [names[address] for address, tasks in client.processing().items() if tasks and address in names]
            return busy[0] if busy else None

    def kill(self, worker: str) -> None:
        """SIGKILL, as a machine that loses power."""
        self._workers[worker].send_signal(signal.SIGKILL)
        self._workers[worker].wait()

    @contextmanager
    def client(self) -> Iterator[Any]:
        """A client for a moment."""
        import distributed

        with distributed.Client(self.address, set_as_default=False) as client:
            yield client

    def log(self) -> str:
        """Everything the processes said."""
        return (self._directory / "log").read_text()

    def stop(self) -> None:
        """End all processes."""
        for process in (*self._workers.values(), self._scheduler):
            with suppress(ProcessLookupError):  # it has ended by itself
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _address(file: Path) -> str | None:
    try:
        return str(json.loads(file.read_text())["address"])
    except (FileNotFoundError, json.JSONDecodeError):
        return None
