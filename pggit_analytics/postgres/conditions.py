"""What a SQL file needs of the server besides the rest of ``sql/``: an extension, a superuser who installs it.

The header of the file says so: ``-- needs extension: pgcrypto`` and ``-- needs superuser: why``. A file whose needs are
not met is left out, and so is what requires it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

import psycopg

_EXTENSION = re.compile(r"^-- needs extension: *(\S+)$", re.MULTILINE)
_SUPERUSER = re.compile(r"^-- needs superuser: *\S", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Conditions:
    """What one file needs."""

    #: None: no extension
    extension: str | None
    superuser: bool

    @classmethod
    def of(cls, text: str) -> Conditions:
        """What the header of a SQL file says."""
        found = _EXTENSION.search(text)
        return cls(found[1] if found else None, _SUPERUSER.search(text) is not None)


@dataclass(frozen=True, slots=True)
class Lack:
    """Why a file is left out."""

    #: the extension that the database does not have; None: the role is no superuser
    extension: str | None

    @property
    def reason(self) -> str:
        """In words, without an end to the sentence."""
        if self.extension is None:
            return "only a superuser can install it"
        return f"the extension {self.extension} is not installed"


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a database and the connected role offer."""

    extensions: frozenset[str]
    is_superuser: bool

    def lack(self, conditions: Conditions) -> Lack | None:
        """The first thing needed that is not there; None when all is."""
        if conditions.extension is not None and conditions.extension not in self.extensions:
            return Lack(conditions.extension)
        return Lack(None) if conditions.superuser and not self.is_superuser else None

    def for_a_superuser(self) -> Surroundings:
        """The same database, as a superuser finds it."""
        return Surroundings(self.extensions, True)


def read_surroundings(connection: psycopg.Connection) -> Surroundings:
    """What this database and the role of this connection offer."""
    extensions = connection.execute("SELECT extname FROM pg_extension").fetchall()
    row = connection.execute("SELECT rolsuper FROM pg_roles WHERE rolname = current_user").fetchone()
    return Surroundings(frozenset(name for (name,) in extensions), row == (True,))


def explained(names: Iterable[str], lacks: Iterable[Lack]) -> str:
    """One line for the administrator: how much is left out, why, and what to do.

    Args:
        names: what is left out; not empty.
        lacks: why, one for each, repetitions allowed.
    """
    left_out, extensions = list(names), sorted({lack.extension for lack in lacks if lack.extension is not None})
    others = f" and {len(left_out) - 1} more" if len(left_out) > 1 else ""
    if not extensions:
        return f"{left_out[0]}{others} are left out: only a superuser can install them; deploy again as one"
    commands = " and ".join(f"CREATE EXTENSION {name}" for name in extensions)
    noun, verb = ("extensions", "are") if len(extensions) > 1 else ("extension", "is")
    return (
        f"{left_out[0]}{others} are left out: the {noun} {' and '.join(extensions)} {verb} not installed; "
        f"run {commands} as a superuser, then deploy again as one"
    )
