"""The command line on wrong usage: one clear line, exit status 2, nothing written and no secret repeated."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from pggit_analytics.cli import cli, main

SECRET_URL = "postgresql://ann:topsecret@[broken/app"


@pytest.fixture(autouse=True)
def _directory(run_directory: Path) -> None:
    """No settings but those of the test."""


def _run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["pggit-analytics", *arguments])
    with pytest.raises(SystemExit) as caught:
        main()
    return int(caught.value.code or 0)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["analyze", "--lookback-hours", "0"], ["lookback_hours is 0", "greater than or equal to 1"]),
        (["analyze", "--lookback-hours", "87601"], ["lookback_hours is 87601", "less than or equal to 87600"]),
        (["analyze", "--lookback-hours", "1.5"], ["1.5", "integer"]),
        (["analyze", "--as-of", "2026-01-31 12:00"], ["'2026-01-31 12:00'", "time zone such as"]),
        (["analyze", "--as-of", "yesterday"], ["'yesterday'", "time zone such as"]),
        (["baselines", "--lookback-days", "366"], ["lookback_days is 366", "less than or equal to 365"]),
        (["baselines", "--min-samples", "0"], ["min_samples is 0", "greater than or equal to 1"]),
        (["db", "check-parity", "--as-of", "2026-01-31"], ["'2026-01-31'", "time zone such as"]),
        (["analyse"], ["analyse"]),
        (["analyze", "--loopback-hours", "1"], ["--loopback-hours"]),
    ],
)
def test_wrong_usage_ends_with_2_and_names_the_fault(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: list[str], named: list[str]
) -> None:
    assert _run(monkeypatch, *arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert all(word in err for word in named), err
    assert "Traceback" not in err
    assert list(Path().iterdir()) == []


@pytest.mark.parametrize("command", [["analyze"], ["baselines"], ["db", "status"]])
def test_an_address_that_cannot_be_read_is_not_repeated(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], command: list[str]
) -> None:
    assert _run(monkeypatch, *command, "--database-url", SECRET_URL) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert "the database URL cannot be read" in err
    assert "topsecret" not in err
    assert "Traceback" not in err
    assert list(Path().iterdir()) == []


def test_a_broken_configuration_file_ends_with_2(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("pggit.toml").write_text("schema_name = 7\n", encoding="utf-8")
    assert _run(monkeypatch, "analyze") == 2
    assert "unusable configuration: schema_name" in capsys.readouterr().err


def _commands(group: click.Group, *words: str) -> Iterator[tuple[str, ...]]:
    for name, command in group.commands.items():
        yield from _commands(command, *words, name) if isinstance(command, click.Group) else [(*words, name)]


# completion is for the shell and looks at no database
@pytest.mark.parametrize("words", [words for words in _commands(cli) if words != ("completion",)], ids=" ".join)
def test_every_command_says_what_it_does_and_takes_the_common_options(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], words: tuple[str, ...]
) -> None:
    monkeypatch.setattr(sys, "argv", ["pggit-analytics", *words, "--help"])
    main()
    out, err = capsys.readouterr()
    assert err == ""
    usage, _, said = out.partition("\n\n")
    assert f" {' '.join(words)} " in usage
    assert said.lstrip()[:1].isupper()
    assert all(option in out for option in ("--database-url", "--schema", "--json"))


@pytest.mark.parametrize("words", [(), ("alerts",), ("alerts", "blackout"), ("webhooks",), ("db",), ("schedule",)])
def test_the_list_of_commands_says_a_whole_sentence_of_each(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], words: tuple[str, ...]
) -> None:
    monkeypatch.setattr(sys, "argv", ["pggit-analytics", *words, "--help"])
    main()
    _, _, listed = capsys.readouterr().out.partition("Commands:\n")
    assert len(listed.splitlines()) > 2
    assert "..." not in listed


def test_help_needs_no_driver_and_no_analysis() -> None:
    code = (
        "import sys\n"
        "from pggit_analytics.cli import cli\n"
        "cli(['--help'], standalone_mode=False)\n"
        "heavy = {'polars', 'duckdb', 'psycopg', 'prefect', 'connectorx', 'statsmodels', 'requests', 'jinja2'}\n"
        "heavy &= set(sys.modules)\n"
        "sys.exit(f'imported {heavy}' if heavy else 0)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "analyze" in done.stdout


_PROGRAM = Path(sys.executable).with_name("pggit-analytics")


def _shell(script: str, **variables: str) -> str:
    path = f"{_PROGRAM.parent}:{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "--norc", "-euc", script],
        env={**os.environ, "PATH": path, **variables},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == ""
    return done.stdout


def test_bash_completes_commands_and_options_with_the_script_printed_for_it() -> None:
    typed = """
        eval "$(pggit-analytics completion bash)"
        complete -p pggit-analytics
        for words in "ana" "alerts sn" "backtest --st"; do
            COMP_WORDS=(pggit-analytics $words) COMP_CWORD=$((${#COMP_WORDS[@]} - 1)) COMPREPLY=()
            _pggit_analytics_completion pggit-analytics
            echo "${COMPREPLY[@]}"
        done
    """
    registered, *completed = _shell(typed).splitlines()
    assert registered.endswith("-F _pggit_analytics_completion pggit-analytics")
    assert completed == ["analyze", "snooze", "--step"]


@pytest.mark.parametrize(("shell", "answer"), [("zsh", "analyze"), ("fish", "plain,analyze")])
def test_the_scripts_of_other_shells_ask_the_program_and_it_answers(shell: str, answer: str) -> None:
    script = _shell(f"pggit-analytics completion {shell}")
    assert f"_PGGIT_ANALYTICS_COMPLETE={shell}_complete" in script
    asked = {"zsh": "1", "fish": "ana"}[shell]
    given = {"_PGGIT_ANALYTICS_COMPLETE": f"{shell}_complete", "COMP_WORDS": "pggit-analytics ana", "COMP_CWORD": asked}
    assert answer in _shell("pggit-analytics", **given)


def test_another_shell_is_refused_with_those_there_are(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _run(monkeypatch, "completion", "tcsh") == 2
    assert "'tcsh' is not one of 'bash', 'zsh', 'fish'" in capsys.readouterr().err
