"""Every command and snippet of the README is run, in its order, on the data of the demo."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path

import pytest

from pggit_analytics.postgres.connection import Database

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()

#: commands that the test run itself is made of
_MAKE = {"make demo", "make test"}


@dataclass(frozen=True)
class Snippet:
    language: str
    text: str


def snippets(text: str) -> list[Snippet]:
    return [Snippet(*found) for found in re.findall(r"^```(\w+)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)]


def commands(snippet: Snippet) -> list[str]:
    lines = [line.split("    #")[0].split("  #")[0].strip() for line in snippet.text.splitlines()]
    return [line for line in lines if line]


@pytest.fixture(scope="module")
def demo(create_database, tmp_path_factory) -> tuple[Database, Path]:
    """A database in which the demo ran, and the directory it ran in."""
    database = Database(create_database())
    directory = tmp_path_factory.mktemp("readme")
    result = run("pggit-analytics demo", database, directory)
    assert result.returncode == 0, result.stderr
    assert "get_history" in result.stdout
    return database, directory


def run(command: str, database: Database, directory: Path) -> subprocess.CompletedProcess[str]:
    program, *arguments = shlex.split(command)
    assert program == "pggit-analytics", command
    return subprocess.run(
        [sys.executable, "-m", "pggit_analytics", *arguments],
        check=False,
        capture_output=True,
        text=True,
        cwd=directory,
        env={**os.environ, "PGGIT_DATABASE_URL": database.conninfo},
        timeout=300,
    )


def test_every_shell_command_works(demo) -> None:
    database, directory = demo
    ran = 0
    for snippet in snippets(README):
        if snippet.language != "sh":
            continue
        for command in commands(snippet):
            if command in _MAKE or command.startswith("export PGGIT_DATABASE_URL="):
                continue
            result = run(command, database, directory)
            assert result.returncode == 0, (command, result.stderr)
            ran += 1
    assert ran >= 7


def test_make_targets_exist() -> None:
    makefile = (ROOT / "Makefile").read_text()
    for command in _MAKE:
        assert command in README
        assert re.search(rf"^{command.removeprefix('make ')}:", makefile, re.MULTILINE)


def test_every_sql_snippet_works(demo) -> None:
    database, _ = demo
    found = [snippet.text for snippet in snippets(README) if snippet.language == "sql"]
    assert len(found) >= 3
    for text in found:
        with database.connect() as connection:
            connection.execute(text.encode())


def test_every_python_snippet_works(demo) -> None:
    database, _ = demo
    found = [snippet.text for snippet in snippets(README) if snippet.language == "python"]
    assert len(found) >= 2
    for text in found:
        exec(compile(text, "README.md", "exec"), {"database_url": database.conninfo})


def test_every_toml_snippet_is_a_configuration() -> None:
    from pggit_analytics.config import SourceSettings

    found = [snippet.text for snippet in snippets(README) if snippet.language == "toml"]
    assert found
    for text in found:
        SourceSettings(**tomllib.loads(text)["source"])


def test_every_command_of_the_reference_exists_with_its_options() -> None:
    from pggit_analytics.cli import cli

    for words, options in re.findall(r"^\| `([a-z -]+?)((?: \[--[^`]*)?)` \|", README, re.MULTILINE):
        command = cli
        for word in words.split():
            command = command.commands[word]
        known = {name for parameter in command.params for name in parameter.opts}
        assert set(re.findall(r"--[a-z-]+", options)) <= known, words


def test_files_that_the_readme_names_exist() -> None:
    for name in re.findall(r"`((?:docs|sql|benchmarks)/[^`]*)`|\]\((docs/[^)]*)\)", README):
        assert (ROOT / (name[0] or name[1])).exists(), name
