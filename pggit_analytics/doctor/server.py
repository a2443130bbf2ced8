"""Checks of the server, and of how this machine sees it; they need no deployment."""

from __future__ import annotations

from datetime import UTC, timedelta

from psycopg import errors

from pggit_analytics.doctor.checks import Answer, Patient

#: UNIQUE NULLS NOT DISTINCT came with it
OLDEST_VERSION = 15

#: a difference between clocks that nobody notices, and one that makes moments old
_SMALL_SKEW = timedelta(seconds=5)
_LARGE_SKEW = timedelta(minutes=1)

#: extension -> what there is without it
_LOST = {
    "pg_cron": "the database cannot run jobs itself; Prefect or cron do",
    "plpython3u": "the database cannot send messages itself; the deliver command does",
    "pgcrypto": "the database cannot read addresses of webhooks itself; the deliver command does",
    "pg_stat_statements": "no statistics of statements to sample timings from",
}


def version(patient: Patient) -> Answer:
    """Whether the server is new enough."""
    return judged_version(patient.connection.info.server_version)


def judged_version(number: int) -> Answer:
    """The same of a version as libpq writes it, such as 150004."""
    name = f"PostgreSQL {number // 10000}.{number % 10000}"
    if number // 10000 < OLDEST_VERSION:
        return Answer(
            "fail", f"{name}, but {OLDEST_VERSION} or newer is needed", "pg_upgrade --help  # on the server's machine"
        )
    return Answer("ok", name)


def clock(patient: Patient) -> Answer:
    """How far the clock of this machine is from the server's; the way there and back is no difference."""
    before = patient.clock()
    there = patient.one("SELECT clock_timestamp()").astimezone(UTC)
    after = patient.clock()
    ahead = max(before - there, timedelta(0)) - max(there - after, timedelta(0))
    seconds = abs(ahead).total_seconds()
    if abs(ahead) <= _SMALL_SKEW:
        return Answer("ok", f"within {_SMALL_SKEW.total_seconds():.0f} s of the server's clock")
    way = "ahead of" if ahead > timedelta(0) else "behind"
    return Answer(
        "fail" if abs(ahead) > _LARGE_SKEW else "warn",
        f"this machine is {seconds:,.0f} s {way} the server; timings recorded here carry its clock",
        "timedatectl set-ntp true  # on the machine whose clock is wrong",
    )


def extension(patient: Patient, name: str) -> Answer:
    """Whether an extension is there, and what is lost without it."""
    installed = patient.one("SELECT extversion FROM pg_extension WHERE extname = %(name)s", name=name)
    if installed is not None:
        return Answer("ok", f"{installed}")
    if name == "pg_cron" and (home := _home_of_pg_cron(patient)):
        return Answer("ok", f"loaded, at home in {home}")
    return Answer("ok", f"not installed: {_LOST[name]}")


def _home_of_pg_cron(patient: Patient) -> str | None:
    try:
        home = patient.one("SELECT current_setting('cron.database_name', TRUE)")
    except errors.InsufficientPrivilege:  # there is such a setting, and not everybody may see it
        return "a database that this role is not told"
    return f"the database {home}" if home else None


def fixed_moment(patient: Patient) -> Answer:
    """Whether pggit.as_of is fixed on a role, the database or the server: the analysis would stand still."""
    fixed = patient.server_rows(
        """
        SELECT d.datname, r.rolname, split_part(c.setting, '=', 2) AS value
        FROM pg_db_role_setting AS s
        CROSS JOIN LATERAL unnest(s.setconfig) AS c (setting)
        LEFT JOIN pg_database AS d ON d.oid = s.setdatabase
        LEFT JOIN pg_roles AS r ON r.oid = s.setrole
        WHERE c.setting LIKE 'pggit.as\\_of=_%%'
          AND (s.setdatabase = 0 OR d.datname = current_database())
        ORDER BY d.datname NULLS FIRST, r.rolname NULLS FIRST
        """
    )
    if fixed:
        first = fixed[0]
        return Answer("fail", _words_of(first), _reset(patient, first))
    here = patient.one("SELECT nullif(current_setting('pggit.as_of', TRUE), '')")
    if here is not None:
        return Answer(
            "fail",
            f"pggit.as_of is {here} in every new session: by the server's configuration or PGOPTIONS",
            patient.psql("ALTER SYSTEM RESET pggit.as_of", comment="and unset PGOPTIONS"),
        )
    return Answer("ok", "follows the clock")


def _words_of(fixed: dict[str, str | None]) -> str:
    places = [f"{kind} {name}" for kind, name in (("database", fixed["datname"]), ("role", fixed["rolname"])) if name]
    return f"pggit.as_of is fixed at {fixed['value']} for the {' and the '.join(places) or 'whole server'}"


def _reset(patient: Patient, fixed: dict[str, str | None]) -> str:
    database, role = fixed["datname"], fixed["rolname"]
    if role and database:
        return patient.psql('ALTER ROLE {} IN DATABASE {} RESET "pggit.as_of"', role, database)
    if role:
        return patient.psql('ALTER ROLE {} RESET "pggit.as_of"', role)
    if database:
        return patient.psql('ALTER DATABASE {} RESET "pggit.as_of"', database)
    return patient.psql('ALTER ROLE ALL RESET "pggit.as_of"')
