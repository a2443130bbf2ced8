"""Every command and snippet of the README and the guides is run, in its order, on the data of the demo."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from pggit_analytics.cli import cli
from pggit_analytics.config import SourceSettings
from pggit_analytics.postgres.connection import Database

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()

#: the documents whose snippets are run
DOCUMENTS = ("README.md", "docs/anomaly_detection_guide.md", "docs/monitoring_guide.md", "docs/runbooks.md")

#: commands that the test run itself is made of
_MAKE = {"make demo", "make test"}


def snippets(text: str, language: str) -> list[str]:
    """The fenced blocks of one language, in their order."""
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def commands(text: str) -> list[str]:
    """The lines of a document's shell blocks, without comments."""
    lines = "\n".join(snippets(text, "sh")).splitlines()
    return [command for line in lines if (command := line.split("  #")[0].strip())]


@pytest.fixture(scope="module")
def demo(create_database, tmp_path_factory) -> tuple[Database, Path]:
    """A database in which the demo ran, and the directory it ran in."""
    database = Database(create_database())
    directory = tmp_path_factory.mktemp("documents")
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


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_command_and_snippet_works(demo, document: str) -> None:
    database, directory = demo
    text = (ROOT / document).read_text()
    ran = 0
    for command in commands(text):
        if command in _MAKE or command.startswith("export PGGIT_DATABASE_URL="):
            continue
        result = run(command, database, directory)
        assert result.returncode == 0, (command, result.stderr)
        ran += 1
    for snippet in snippets(text, "sql"):
        with database.connect() as connection:
            connection.execute(snippet.encode())
        ran += 1
    for snippet in snippets(text, "python"):
        exec(compile(snippet, document, "exec"), {"database_url": database.conninfo})
        ran += 1
    assert ran >= 3


def test_make_targets_exist() -> None:
    makefile = (ROOT / "Makefile").read_text()
    for command in _MAKE:
        assert command in README
        assert re.search(rf"^{command.removeprefix('make ')}:", makefile, re.MULTILINE)


def test_every_toml_snippet_is_a_configuration() -> None:
    found = snippets(README, "toml")
    assert found
    for text in found:
        SourceSettings(**tomllib.loads(text)["source"])


def test_every_command_of_the_reference_exists_with_its_options() -> None:
    rows = "\n".join(re.findall(r"^\| (`[^|]+) \|", README.split("## Reference")[1], re.MULTILINE))
    # words of the command, then what is an option, optional or a value to be given
    found = re.findall(r"`([a-z-]+(?: [a-z][a-z-]*)*)((?: (?:--|\[|[A-Z])[^`]*)?)`", rows)
    assert {"analyze", "db rollback", "schedule run", "serve"} <= {words for words, _ in found}
    for words, options in found:
        command = cli
        for word in words.split():
            command = command.commands[word]
        known = {name for parameter in command.params for name in parameter.opts}
        assert set(re.findall(r"--[a-z-]+", options)) <= known, words


@pytest.mark.parametrize("document", DOCUMENTS)
def test_files_that_a_document_names_exist(document: str) -> None:
    for name in re.findall(
        r"`((?:docs|sql|benchmarks|contrib)/[^`]*)`|\]\((docs/[^)]*)\)", (ROOT / document).read_text()
    ):
        assert (ROOT / (name[0] or name[1])).exists(), name


def test_every_criterion_of_the_acceptance_has_a_figure_and_a_counted_verdict() -> None:
    text = (ROOT / "docs" / "acceptance.md").read_text()
    rows = [line.strip("| ").split(" | ") for line in text.splitlines() if re.match(r"\| (?!criterion|---)", line)]
    assert all(len(row) == 4 and all(row) for row in rows)
    verdicts = [row[3] for row in rows]
    (counts,) = re.findall(r"^\*\*(.+)\*\*, of (\d+)\.$", text, re.MULTILINE)
    said = {verdict: int(number) for number, verdict in re.findall(r"(\d+) ([a-z ]+)", counts[0])}
    assert said == {verdict: verdicts.count(verdict) for verdict in verdicts}
    assert set(said) <= {"met", "not met", "not yet", "not measured"}
    assert int(counts[1]) == len(rows) == sum(said.values())
