"""Nothing exists in one engine alone without being declared, and every twin is proved by fixtures and tests."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Collection
from pathlib import Path

import polars as pl
import pytest

import pggit_analytics.analysis
from pggit_analytics.parity import DATAFRAME_ONLY, SQL_ONLY, TWINS
from pggit_analytics.resources import directory
from tests.scenarios import FIXTURES

TESTS = Path(__file__).parent

#: the same computation with one column less shares its fixture
SHARED_FIXTURES = {"correlated_operation_pairs": "detect_correlated_degradation"}


def sql_faults(root: Path, twins: Collection[str], sql_only: dict[str, str]) -> list[str]:
    """What is wrong with the declarations, given the functions and views below ``root``."""
    present = {file.stem for kind in ("functions", "views") for file in (root / kind).glob("*.sql")}
    declared = {*twins, *sql_only}
    return [
        *(f"{name} is in both TWINS and SQL_ONLY" for name in sorted(set(twins) & set(sql_only))),
        *(f"{name} has neither a twin nor a reason in SQL_ONLY" for name in sorted(present - declared)),
        *(f"{name} is declared but there is no such file" for name in sorted(declared - present)),
        *(f"{name} has no reason in SQL_ONLY" for name in sorted(sql_only) if not sql_only[name].strip()),
    ]


def dataframe_faults(functions: Collection[str], twins: Collection[str], dataframe_only: dict[str, str]) -> list[str]:
    """The same for the public functions that return a frame."""
    declared = {*twins, *dataframe_only}
    return [
        *(f"{name} has neither a twin nor a reason in DATAFRAME_ONLY" for name in sorted(set(functions) - declared)),
        *(f"{name} is declared but there is no such function" for name in sorted(set(dataframe_only) - set(functions))),
        *(f"{name} has no reason in DATAFRAME_ONLY" for name in sorted(dataframe_only) if not dataframe_only[name]),
    ]


def proof_faults(names: Collection[str], fixtures: Path, tests: Path) -> list[str]:
    """What is missing to prove the twins."""
    faults = []
    for name in sorted(names):
        fixture = fixtures / SHARED_FIXTURES.get(name, name)
        files = ("input.*", "expected.*", "SOURCE.md")
        faults += [f"{fixture / file} is missing" for file in files if not list(fixture.glob(file))]
        if not (tests / f"test_{name}.py").is_file():
            faults.append(f"tests/parity/test_{name}.py is missing")
    return faults


def _frame_functions() -> set[str]:
    """Public functions of the analysis that return a DataFrame."""
    found = set()
    for module_info in pkgutil.iter_modules(pggit_analytics.analysis.__path__, "pggit_analytics.analysis."):
        module = importlib.import_module(module_info.name)
        for name, function in inspect.getmembers(module, inspect.isfunction):
            is_own = function.__module__ == module.__name__ and not name.startswith("_")
            if is_own and function.__annotations__.get("return") in ("pl.DataFrame", pl.DataFrame):
                found.add(name)
    return found


def _names() -> list[str]:
    return [twin.sql_object for twin in TWINS]


def test_every_sql_function_and_view_has_a_twin_or_a_reason() -> None:
    assert sql_faults(directory("sql"), _names(), SQL_ONLY) == []


def test_every_dataframe_function_has_a_twin_or_a_reason() -> None:
    assert dataframe_faults(_frame_functions(), _names(), DATAFRAME_ONLY) == []


def test_every_twin_has_fixtures_and_a_parity_test() -> None:
    assert proof_faults(_names(), FIXTURES, TESTS) == []


def test_every_twin_has_a_dataframe_function() -> None:
    missing = set(_names()) - _frame_functions()
    assert missing == set(SHARED_FIXTURES)


def test_no_twin_is_named_twice() -> None:
    assert len(_names()) == len(set(_names()))


@pytest.fixture
def sql_directory(tmp_path: Path) -> Path:
    """One function and one view."""
    for kind, name in (("functions", "one"), ("views", "two")):
        (tmp_path / kind).mkdir()
        (tmp_path / kind / f"{name}.sql").touch()
    return tmp_path


def test_declarations_that_match_the_files_have_no_fault(sql_directory: Path) -> None:
    assert sql_faults(sql_directory, ["one"], {"two": "why"}) == []


@pytest.mark.parametrize("kind", ["functions", "views"])
def test_an_extra_sql_file_is_a_fault(sql_directory: Path, kind: str) -> None:
    (sql_directory / kind / "three.sql").touch()
    assert sql_faults(sql_directory, ["one"], {"two": "why"}) == [
        "three has neither a twin nor a reason in SQL_ONLY",
    ]


def test_a_declaration_without_a_file_is_a_fault(sql_directory: Path) -> None:
    assert sql_faults(sql_directory, ["one", "four"], {"two": "why", "three": "why"}) == [
        "four is declared but there is no such file",
        "three is declared but there is no such file",
    ]


def test_a_declaration_without_a_reason_or_in_both_lists_is_a_fault(sql_directory: Path) -> None:
    assert sql_faults(sql_directory, ["one"], {"two": " "}) == ["two has no reason in SQL_ONLY"]
    assert sql_faults(sql_directory, ["one", "two"], {"two": "why"}) == ["two is in both TWINS and SQL_ONLY"]


def test_an_undeclared_dataframe_function_is_a_fault() -> None:
    assert dataframe_faults({"one", "two"}, ["one"], {}) == ["two has neither a twin nor a reason in DATAFRAME_ONLY"]
    assert dataframe_faults({"one"}, ["one"], {"three": "why"}) == ["three is declared but there is no such function"]
    assert dataframe_faults({"one", "two"}, ["one"], {"two": ""}) == ["two has no reason in DATAFRAME_ONLY"]


def test_a_twin_without_proof_is_a_fault(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    for name in ("input.csv", "expected.json"):
        (tmp_path / "one" / name).touch()
    assert proof_faults(["one"], tmp_path, tmp_path) == [
        f"{tmp_path / 'one' / 'SOURCE.md'} is missing",
        "tests/parity/test_one.py is missing",
    ]
