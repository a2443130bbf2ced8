"""What is in the wheel works without the checkout beside it."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The unpacked wheel, as pip would lay it out."""
    directory = tmp_path_factory.mktemp("wheel")
    built = subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(directory)],
        check=False,
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert built.returncode == 0, built.stderr
    (wheel,) = directory.glob("*.whl")
    zipfile.ZipFile(wheel).extractall(directory / "site")
    return directory / "site"


def test_the_wheel_holds_every_sql_file_and_flow(installed: Path) -> None:
    for folder in ("sql", "flows"):
        expected = {file.relative_to(ROOT) for file in (ROOT / folder).rglob("*") if file.suffix in {".sql", ".py"}}
        found = {file.relative_to(installed / "pggit_analytics") for file in (installed / "pggit_analytics").rglob("*")}
        assert expected
        assert expected <= found


def test_the_installed_package_deploys_from_its_own_files(installed: Path, empty_database, tmp_path: Path) -> None:
    command = "import pggit_analytics, sys; print(pggit_analytics.__file__, file=sys.stderr); "
    command += "from pggit_analytics.cli import main; main()"
    result = subprocess.run(
        [sys.executable, "-c", command, "db", "deploy"],
        check=False,
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(installed), "PGGIT_DATABASE_URL": empty_database.conninfo},
    )
    assert result.returncode == 0, result.stderr
    assert str(installed) in result.stderr
    with empty_database.connect() as connection:
        assert connection.execute("SELECT analysis_time() IS NOT NULL").fetchone() == (True,)
