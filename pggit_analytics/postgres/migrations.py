"""Changes to tables that already exist: numbered files of ``sql/migrations``, each applied once, forward only.

The files of ``sql/tables`` are the whole present definition. What can be added to an older table (columns, keys,
indexes) the deployment finds by itself; a migration does the rest: it renames, retypes, removes, widens a check or
fills in rows. Its first line says when it runs:

``-- phase: before tables``   before the tables are compared with their files, for what the comparison would refuse
``-- phase: after tables``    once every table is as its file says, for rows

A schema without any of the tables starts with the present ones, so its migrations are recorded and not run. Tables that
came by psql have no record: a migration has to find that there is nothing left to do.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from pggit_analytics.errors import IncompatibleDatabase, PggitAnalyticsError
from pggit_analytics.resources import directory

#: kind of its row in deployed_objects
KIND = "migration"

_NAME = re.compile(r"[0-9]{4}_[a-z0-9_]+")
_PHASE = re.compile(r"-- phase: (before|after) tables\n")


@dataclass(frozen=True, slots=True)
class Migration:
    """One file."""

    #: its name without ``.sql``, which begins with its number
    name: str
    #: runs before the tables are compared, else after they are made
    is_before_tables: bool
    text: str
    md5: str

    def __str__(self) -> str:
        return f"{KIND} {self.name}"

    @property
    def file(self) -> str:
        return f"sql/migrations/{self.name}.sql"


def read_migrations(folder: Path | None = None) -> list[Migration]:
    """The migrations of ``folder`` (None: of this package) in the order of their numbers.

    Raises:
        PggitAnalyticsError: a file's name or first line is not as it has to be, or two have the same number.
    """
    files = sorted((folder or directory("sql") / "migrations").glob("*.sql"))
    migrations = [_migration(file) for file in files]
    for one, next_one in pairwise(migrations):
        if one.name[:4] == next_one.name[:4]:
            raise PggitAnalyticsError(
                f"{one.file} and {next_one.file} have the same number; give one the next free one"
            )
    return migrations


def _migration(file: Path) -> Migration:
    if not _NAME.fullmatch(file.stem):
        raise PggitAnalyticsError(
            f"sql/migrations/{file.name} is no name of a migration, expected 0001_what_it_does.sql"
        )
    text = file.read_text(encoding="utf-8")
    phase = _PHASE.match(text)
    if phase is None:
        raise PggitAnalyticsError(
            f"sql/migrations/{file.name} does not begin with '-- phase: before tables' or '-- phase: after tables'"
        )
    md5 = hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()
    return Migration(file.stem, phase[1] == "before", text, md5)


def pending(migrations: Sequence[Migration], applied: Mapping[str, str], place: str) -> list[Migration]:
    """The migrations that are not among those ``applied`` (name -> MD5 of the file).

    Args:
        place: the schema and database, for the message.

    Raises:
        IncompatibleDatabase: an applied migration is unknown here or had another text; ``differences`` names each.
    """
    by_name = {migration.name: migration for migration in migrations}
    differences = [
        f"{KIND} {name} was applied and is not part of this version, so the tables are those of a newer one"
        for name in sorted(applied.keys() - by_name.keys())
    ]
    differences += [
        f"{by_name[name]} was applied from a file with MD5 {md5}, this version's has {by_name[name].md5}"
        for name, md5 in sorted(applied.items())
        if name in by_name and by_name[name].md5 != md5
    ]
    if differences:
        more = f" and {len(differences) - 1} more" if len(differences) > 1 else ""
        raise IncompatibleDatabase(
            f"{place}: {differences[0]}{more}; nothing was changed. Deploy with the version that was installed last, "
            "or a newer one; the text of a migration never changes, a new one corrects it",
            tuple(differences),
        )
    return [migration for migration in migrations if migration.name not in applied]
