"""Commands of the command line run within the process of the test, which spares them a second of imports each."""

from __future__ import annotations

import contextlib
import io
import subprocess
import sys
from unittest import mock

from pggit_analytics.cli import main


def run_here(*arguments: str, stdin: str = "", **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a command as a process would: its output, and its exit status."""
    out, err = io.StringIO(), io.StringIO()
    with (
        mock.patch.object(sys, "argv", ["pggit-analytics", *arguments]),
        mock.patch.object(sys, "stdin", io.StringIO(stdin)),
        mock.patch.dict("os.environ", variables),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        try:
            main()
            status = 0
        except SystemExit as exc:
            status = int(exc.code or 0)
    return subprocess.CompletedProcess(arguments, status, out.getvalue(), err.getvalue())
