"""What holds for the whole package: layers, purity, docstrings, fixtures that can be derived again."""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.scenarios import FIXTURES

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "pggit_analytics"
ANALYSIS = sorted((PACKAGE / "analysis").glob("*.py"))

#: modules that tell the time, draw numbers, or reach outside
IMPURE_MODULES = {"time", "random", "secrets", "uuid", "os", "sys", "io", "pathlib", "logging", "socket", "subprocess"}
#: attributes and functions that read a clock, the environment or the disk, whatever they are called on
IMPURE_NAMES = {"now", "utcnow", "today", "fromtimestamp", "getenv", "environ", "open", "input", "print"}
IMPURE_NAMES |= {"read_csv", "read_parquet", "scan_csv", "scan_parquet", "write_csv", "write_parquet"}
#: the same in SQL
IMPURE_SQL = (
    "now(",
    "current_timestamp",
    "current_date",
    "current_time",
    "random(",
    "uuid(",
    "read_csv",
    "read_parquet",
)

#: fixtures made of scenarios
DERIVED = sorted(p.parent for p in FIXTURES.glob("*/derive.py") if "scenario_files" in p.read_text(encoding="utf-8"))

FUNCTION = (ast.FunctionDef, ast.AsyncFunctionDef)


def impurities(source: str) -> list[str]:
    """Everything in a module that could make one answer differ from the next."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found += [a.name for a in node.names if a.name.split(".")[0] in IMPURE_MODULES]
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in IMPURE_MODULES:
            found.append(str(node.module))
        elif isinstance(node, ast.Attribute) and node.attr in IMPURE_NAMES:
            found.append(node.attr)
        elif isinstance(node, ast.Name) and node.id in IMPURE_NAMES:
            found.append(node.id)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            found += [word for word in IMPURE_SQL if word in node.value.lower()]
    return found


def undocumented(source: str) -> list[str]:
    """Public modules, classes, functions and methods without a docstring."""
    tree = ast.parse(source)
    nodes = [("module", tree), *_public(tree, "")]
    return [name for name, node in nodes if not ast.get_docstring(node)]


def _public(parent: ast.Module | ast.ClassDef, prefix: str) -> Iterator[tuple[str, ast.ClassDef | ast.FunctionDef]]:
    for node in parent.body:
        if isinstance(node, (ast.ClassDef, *FUNCTION)) and not node.name.startswith("_"):
            if not _says_itself(node, prefix):
                yield prefix + node.name, node
            if isinstance(node, ast.ClassDef):
                yield from _public(node, f"{prefix}{node.name}.")


def _says_itself(node: ast.AST, prefix: str) -> bool:
    """A method of one expression, or one whose meaning its base class states (pydantic's and click's hooks)."""
    if not prefix or not isinstance(node, FUNCTION):
        return False
    is_hook = node.name in {"settings_customise_sources", "convert"}
    return is_hook or (len(node.body) == 1 and isinstance(node.body[0], ast.Return))


def test_imports_follow_the_layers() -> None:
    done = subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--no-cache"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 broken" in done.stdout


@pytest.mark.parametrize("file", ANALYSIS, ids=lambda file: file.stem)
def test_an_analysis_module_reads_no_clock_environment_or_disk(file: Path) -> None:
    assert impurities(file.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    ("source", "fault"),
    [
        ("from datetime import datetime\nx = datetime.now()", "now"),
        ("import time", "time"),
        ("from os import environ", "os"),
        ("q = 'SELECT now()'", "now("),
        ("f = open('x')", "open"),
    ],
)
def test_an_impure_module_would_be_found(source: str, fault: str) -> None:
    assert fault in impurities(source)


@pytest.mark.parametrize(
    "file", sorted(PACKAGE.rglob("*.py")), ids=lambda file: ".".join(file.relative_to(PACKAGE).with_suffix("").parts)
)
def test_whatever_is_public_has_a_docstring(file: Path) -> None:
    assert undocumented(file.read_text(encoding="utf-8")) == []


def test_a_missing_docstring_would_be_found() -> None:
    source = """
'M.'
class A:
    'A.'
    def f(self): ...
    def g(self): return 1
    def _i(self): ...
def h(): return 1
"""
    assert undocumented(source) == ["A.f", "h"]


@pytest.mark.parametrize("directory", DERIVED, ids=lambda directory: directory.name)
def test_a_fixture_is_what_its_script_derives_without_the_package(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(ROOT))
    script = importlib.import_module(f"data.fixtures.{directory.name}.derive")
    files = importlib.import_module("data.fixtures.scenario_files").render(script.SCENARIOS, script.COLUMNS)
    for name, content in files.items():
        assert (directory / name).read_text(encoding="utf-8") == content, (
            f"{name} is stale: run {directory.name}.derive"
        )
    assert "pggit_analytics import" not in (directory / "derive.py").read_text(encoding="utf-8")
    assert "import pggit_analytics" not in (directory / "derive.py").read_text(encoding="utf-8")


def test_no_module_is_called_by_a_word_for_leftovers() -> None:
    names = {file.stem for file in PACKAGE.rglob("*.py")}
    assert not names & {"utils", "util", "helpers", "helper", "misc", "common"}
