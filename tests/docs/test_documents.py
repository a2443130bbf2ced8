"""Every command and snippet of the README and the guides is run, in its order, on the data of the demo."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from psycopg import conninfo

from pggit_analytics.cli import cli
from pggit_analytics.config import Settings, load_settings
from pggit_analytics.postgres.connection import Database
from pggit_analytics.postgres.deploy import deploy
from tests.commands import run_here
from tests.servers import Authority, HttpServer, MailServer

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()

#: the documents whose snippets are run
DOCUMENTS = (
    "README.md",
    "docs/anomaly_detection_guide.md",
    "docs/METHODS.md",
    "docs/monitoring_guide.md",
    "docs/runbooks.md",
    "docs/heartbeat.md",
    "docs/notifications.md",
    "docs/messages.md",
    "docs/doctor.md",
    "docs/tutorial.md",
    "docs/notebooks.md",
    "docs/report.md",
)

#: documents that only name files: their commands are for a server with extensions, or for a scheduler
OTHER_DOCUMENTS = (
    "docs/sources.md",
    "docs/grafana.md",
    "docs/delivery_in_database.md",
    "docs/scheduling.md",
    "docs/store.md",
    "docs/prefect.md",
    "docs/scaling.md",
    "docs/benchmarks.md",
    "docs/differences_from_the_plan.md",
    "docs/index.md",
    "docs/python_api.md",
    "docs/python_functions.md",
)

#: commands that the test run itself is made of
_MAKE = {"make demo", "make test", "make docs"}

#: commands other than our own
_PROGRAMS = {"openssl", "chmod"}

#: what somebody has done who needs a document
_BEFORE = {
    "docs/runbooks.md": (
        "openssl rand -base64 32 > webhook.key",
        "chmod 600 webhook.key",
        "export PGGIT_WEBHOOK_KEY_FILE=$PWD/webhook.key",
        "pggit-analytics webhooks add ops --type slack",
    )
}

#: what the channels of these tests want; documents have no addresses in them
_CREDENTIALS = ("pggit", "open-sesame")


def snippets(text: str, language: str) -> list[str]:
    """The fenced blocks of one language, in their order."""
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def commands(text: str) -> list[str]:
    """The lines of a document's shell blocks, without comments."""
    lines = "\n".join(snippets(text, "sh")).splitlines()
    return [command for line in lines if (command := line.split("  #")[0].strip())]


class Channels:
    """Channels on loopback, one for each type of webhook."""

    def __init__(self, authority: Authority, server: HttpServer, mail: MailServer) -> None:
        user, password = _CREDENTIALS
        self.ca_file = authority.ca_file
        self._server, self._mail = server, mail
        self._addresses = {
            "slack": f"{server.url}/services/T/B/X",
            "mattermost": f"{server.url}/hooks/x",
            "pagerduty": f"{server.url}/v2/enqueue#{'k' * 32}",
            "webhook": f"{server.url}/tickets#a-secret-to-sign-with",
            "email": f"smtps://{user}:{password}@localhost:{mail.port}?from=alerts@example.com",
        }

    def address_for(self, command: str) -> str:
        """What is typed when the command asks for an address; it may ask for none."""
        found = re.search(r"webhooks add .*--type (\w+)", command)
        return self._addresses[found[1]] if found else ""

    def received(self) -> int:
        """How many messages have come in."""
        return len(self._server.requests) + len(self._mail.mails)


@pytest.fixture
def channels(tmp_path: Path) -> Iterator[Channels]:
    authority = Authority(tmp_path)
    with (
        HttpServer(context=authority.context()) as server,
        MailServer(authority.context(), is_implicit=True, login=_CREDENTIALS) as mail,
    ):
        yield Channels(authority, server, mail)


class Shell:
    """Runs the lines of a document in the working directory, as somebody would who types them one after another."""

    def __init__(self, database: Database, channels: Channels) -> None:
        self._channels = channels
        self._exported = {"PGGIT_DATABASE_URL": database.conninfo, "PGGIT_DELIVERY__CA_FILE": str(channels.ca_file)}

    def run(self, command: str) -> None:
        """Run a line, which must not fail."""
        program, *arguments = shlex.split(command)
        if program == "export":
            name, _, value = arguments[0].partition("=")
            self._exported[name] = value.replace("$PWD", str(Path.cwd()))
            return
        if program in _PROGRAMS:
            subprocess.run(["bash", "-euc", command], check=True, timeout=60)
            return
        assert program == "pggit-analytics", command
        # the channels of the tests are on this machine
        here = ["--allow-private"] if arguments[:2] == ["webhooks", "add"] else []
        done = run_here(*arguments, *here, stdin=self._channels.address_for(command), **self._exported)
        assert done.returncode == 0, (command, done.stdout, done.stderr)


@pytest.fixture(scope="module")
def demo_template(create_database) -> str:
    """The name of a database in which the demo ran."""
    database = Database(create_database())
    result = run_here("demo", PGGIT_DATABASE_URL=database.conninfo)
    assert result.returncode == 0, result.stderr
    assert "get_history" in result.stdout
    return str(conninfo.conninfo_to_dict(database.conninfo)["dbname"])


@pytest.fixture
def demo(create_database, demo_template: str) -> Database:
    """A database of its own in which the demo ran."""
    return Database(create_database(demo_template))


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_command_and_snippet_works(
    demo: Database, channels: Channels, run_directory: Path, document: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = demo
    text = (ROOT / document).read_text()
    shell = Shell(database, channels)
    lines = [*_BEFORE.get(document, ()), *commands(text)]
    ran = 0
    for command in lines:
        if command in _MAKE or command.startswith("export PGGIT_DATABASE_URL="):
            continue
        shell.run(command)
        ran += 1
    assert channels.received() >= sum("webhooks test" in line for line in lines)
    for snippet in snippets(text, "sql"):
        with database.connect() as connection:
            connection.execute(snippet.encode())
        ran += 1
    monkeypatch.setenv("PGGIT_DATABASE_URL", database.conninfo)
    # what a snippet has defined is there for the ones after it, as in a notebook
    names = {"database_url": database.conninfo}
    for snippet in snippets(text, "python"):
        exec(compile(snippet, document, "exec"), names)
        ran += 1
    assert ran


def test_make_targets_exist() -> None:
    makefile = (ROOT / "Makefile").read_text()
    for command in _MAKE:
        assert command in README
        assert re.search(rf"^{command.removeprefix('make ')}:", makefile, re.MULTILINE)


def test_every_toml_snippet_is_a_configuration() -> None:
    found = snippets(README, "toml")
    assert found
    for text in found:
        given = tomllib.loads(text)
        assert given.keys() <= Settings.model_fields.keys()
        Settings(**given)


def test_the_settings_of_sources_are_a_configuration(run_directory: Path) -> None:
    found = snippets((ROOT / "docs" / "sources.md").read_text(), "toml")
    (run_directory / "pggit.toml").write_text("".join(found))
    settings = load_settings()
    assert settings.merges.time_zone == "Europe/Paris"
    assert [operation.name for operation in settings.statements.operations] == ["checkout", "search"]


def test_every_setting_of_alerting_is_in_the_guide_with_its_default(empty_database: Database) -> None:
    deploy(empty_database)
    guide = (ROOT / "docs" / "notifications.md").read_text().split("## Settings")[1]
    rows = re.findall(r"^\| `(\w+)` \|.*\| *(?:`([^`]*)`)? *\|$", guide.split("\n## ")[0], re.MULTILINE)
    with empty_database.connect() as connection:
        defaults = connection.execute("SELECT name, value FROM analytics_settings").fetchall()
    assert sorted(rows) == sorted(defaults)


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


@pytest.mark.parametrize("document", [*DOCUMENTS, *OTHER_DOCUMENTS])
def test_files_that_a_document_names_exist(document: str) -> None:
    text = (ROOT / document).read_text()
    for name in re.findall(r"`((?:docs|sql|benchmarks|contrib)/[^`]*)`", text):
        assert any(ROOT.glob(name.rstrip("/"))), name
    for link in re.findall(r"\]\(([^)#:]+)[^)]*\)", text):
        assert (ROOT / document).parent.joinpath(link).exists(), link


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


def test_the_table_of_speed_holds_every_figure_that_was_kept_and_no_other() -> None:
    kept = json.loads((ROOT / "benchmarks" / "results.json").read_text())
    _, _, table = (ROOT / "README.md").read_text().partition("<!-- benchmarks: written by make bench -->\n")
    rows = table.partition("<!-- end of benchmarks -->")[0].splitlines()[2:]
    shown = sorted(tuple(cell.strip() for cell in row.split("|")[1:-1]) for row in rows)
    verdicts = {None: "", True: "yes", False: "no"}
    expected = sorted(
        (
            line["what"],
            "" if line["rows"] is None else f"{line['rows']:,}",
            line["measured"],
            line["ratio"],
            line["aim"],
            verdicts[line["met"]],
        )
        for result in kept.values()
        for line in result["lines"]
    )
    assert shown == expected
