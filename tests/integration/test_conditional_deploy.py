"""Files that need an extension or a superuser: left out, installed later, and lost again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg import conninfo, sql

from pggit_analytics.postgres.connection import Database
from pggit_analytics.postgres.deploy import deploy, status
from pggit_analytics.postgres.rollback import roll_back
from tests.dumps import dump
from tests.integration.test_deploy import BUNDLES, run_bundle

SQL = Path(__file__).parents[2] / "sql"


def names_that_need(extension: str) -> set[str]:
    files = (SQL / "functions").glob("*.sql")
    return {f.stem for f in files if f.read_text().startswith(f"-- needs extension: {extension}\n")}


WITH_PGCRYPTO = names_that_need("pgcrypto")
WITH_PLPYTHON = names_that_need("plpython3u")
BOTH = {f"function {name}" for name in WITH_PGCRYPTO | WITH_PLPYTHON}


def administer(database: Database, *statements: str) -> None:
    with psycopg.connect(database.conninfo, autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement.encode())


def functions(database: Database) -> set[str]:
    with database.connect() as connection:
        query = "SELECT proname FROM pg_proc WHERE pronamespace = 'pggit'::REGNAMESPACE"
        return {row[0] for row in connection.execute(query)}


def reasons(database: Database) -> dict[str, str]:
    return dict(line.split(": ", 1) for line in status(database).not_installed)


# anywhere


def test_without_the_extensions_all_else_is_installed_and_one_notice_gives_the_remedy(empty_database: Database) -> None:
    deployment = deploy(empty_database)

    assert set(deployment.left_out) == BOTH | {"role pggit_delivery"}
    (notice,) = [notice for notice in deployment.notices if "CREATE EXTENSION" in notice]
    assert "CREATE EXTENSION pgcrypto and CREATE EXTENSION plpython3u as a superuser, then deploy again" in notice
    assert "\n" not in notice
    assert functions(empty_database).isdisjoint(WITH_PGCRYPTO | WITH_PLPYTHON)
    found = status(empty_database)
    assert found.is_current
    assert (found.missing, found.missing_roles) == ((), ())
    assert set(reasons(empty_database)) == BOTH | {"role pggit_delivery"}
    assert set(reasons(empty_database).values()) == {
        "the extension pgcrypto is not installed",
        "the extension plpython3u is not installed",
    }


def test_the_second_deployment_does_not_repeat_the_notice(database: Database) -> None:
    again = deploy(database)

    assert again.is_unchanged
    assert again.notices == ()
    assert set(again.left_out) > BOTH


def test_what_requires_a_file_that_is_left_out_is_left_out_with_it() -> None:
    """Else deploying would fail where only one of the extensions is installed."""
    texts = {name: (SQL / "functions" / f"{name}.sql").read_text() for name in WITH_PGCRYPTO | WITH_PLPYTHON}

    for name in WITH_PGCRYPTO:
        assert not any(f"{other}(" in texts[name] for other in WITH_PLPYTHON), name


# where the extensions are

pgcrypto_and_plpython = pytest.mark.debian


@pytest.fixture
def extended(request: pytest.FixtureRequest, empty_database: Database) -> Database:
    """A database with both extensions and without this project."""
    assert request.config.getoption("--server-url"), "these tests need Debian's server: make test-all"
    administer(empty_database, "CREATE EXTENSION pgcrypto", "CREATE EXTENSION plpython3u")
    return empty_database


@pytest.fixture
def limited(extended: Database) -> Iterator[Database]:
    """The same database for a role that owns nothing and may create schemas."""
    name = str(conninfo.conninfo_to_dict(extended.conninfo)["dbname"])
    role = f"limited_{name}"
    administer(extended, f"CREATE ROLE {role}", f"GRANT CREATE ON DATABASE {name} TO {role}")
    yield Database(conninfo.make_conninfo(extended.conninfo, options=f"-c role={role}"))
    administer(extended, f"DROP OWNED BY {role} CASCADE", f"DROP ROLE {role}")


@pgcrypto_and_plpython
def test_with_both_extensions_everything_is_installed_and_stays_unchanged(extended: Database) -> None:
    deployment = deploy(extended)

    assert deployment.left_out == ()
    assert deployment.notices == ()
    assert set(deployment.created) >= BOTH
    assert status(extended).not_installed == ()
    assert deploy(extended).is_unchanged


@pgcrypto_and_plpython
def test_an_extension_that_comes_later_is_noticed_and_deploying_again_adds_what_needs_it(database: Database) -> None:
    administer(database, "CREATE SCHEMA extensions", "CREATE EXTENSION pgcrypto SCHEMA extensions")
    assert set(status(database).missing) == {f"function {name}" for name in WITH_PGCRYPTO}

    assert set(deploy(database).created) >= {f"function {name}" for name in WITH_PGCRYPTO}
    assert status(database).is_current
    assert {name.removeprefix("function ") for name in reasons(database)} == WITH_PLPYTHON
    with database.connect() as connection:
        # RFC 4231, test case 2
        row = connection.execute(
            "SELECT encode(webhook_hmac('what do ya want for nothing?', 'Jefe'), 'hex')"
        ).fetchone()
    assert row == ("5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",)


@pgcrypto_and_plpython
def test_an_extension_moved_to_another_schema_is_followed_by_the_next_deployment(extended: Database) -> None:
    deploy(extended)
    administer(extended, "CREATE SCHEMA moved", "ALTER EXTENSION pgcrypto SET SCHEMA moved")

    assert set(deploy(extended).replaced) == {
        f"function webhook_{name}" for name in ("decrypt", "encrypt", "hmac", "random_bytes")
    }
    with extended.connect() as connection:
        assert connection.execute("SELECT length(webhook_random_bytes(16))").fetchone() == (16,)


@pgcrypto_and_plpython
def test_a_dropped_extension_is_said_and_the_rest_goes_on(extended: Database) -> None:
    deploy(extended)
    administer(extended, "DROP EXTENSION plpython3u CASCADE")

    assert status(extended).is_current
    found = reasons(extended)
    assert {name.removeprefix("function ") for name in found} == WITH_PLPYTHON
    assert found["function send_to_address"] == "the extension plpython3u is not installed any more"
    assert found["function send_messages"] == (
        "the extension plpython3u is not installed any more, so it fails when it is called"
    )
    (notice,) = deploy(extended).notices
    assert "run CREATE EXTENSION plpython3u as a superuser" in notice
    administer(extended, "CREATE EXTENSION plpython3u")
    assert deploy(extended).created == ("function send_to_address",)
    assert deploy(extended).is_unchanged


@pgcrypto_and_plpython
@pytest.mark.parametrize("stage", [1, 2])
def test_rolling_back_takes_what_needs_an_extension_too_and_deploying_restores_it(
    extended: Database, stage: int
) -> None:
    deploy(extended)
    before = dump(extended)
    roll_back(extended, stage)

    assert functions(extended).isdisjoint(WITH_PGCRYPTO | WITH_PLPYTHON)
    deploy(extended)
    assert dump(extended) == before


@pgcrypto_and_plpython
def test_what_was_left_behind_without_its_extension_is_rolled_back_as_well(extended: Database) -> None:
    deploy(extended)
    administer(extended, "DROP EXTENSION plpython3u CASCADE", "DROP EXTENSION pgcrypto CASCADE")
    roll_back(extended, 2)

    assert functions(extended) == set()


@pgcrypto_and_plpython
def test_a_role_that_is_no_superuser_installs_the_rest_and_is_told(limited: Database) -> None:
    deployment = deploy(limited)

    assert set(deployment.left_out) >= BOTH
    (notice,) = [notice for notice in deployment.notices if "left out" in notice]
    assert notice.endswith("only a superuser can install them; deploy again as one")
    assert status(limited).is_current
    assert set(reasons(limited).values()) == {"only a superuser can install it"}


@pgcrypto_and_plpython
def test_what_a_superuser_added_is_there_for_the_owner_of_the_rest_who_may_deploy_again(
    extended: Database, limited: Database
) -> None:
    deploy(limited)
    deploy(extended)

    assert status(limited).not_installed == ()
    assert status(limited).is_current
    again = deploy(limited)
    assert again.is_unchanged
    assert again.notices == ()


@pgcrypto_and_plpython
@pytest.mark.parametrize("schema", ["pggit", "it's; $$ %s"])
def test_the_bundles_install_what_deploy_installs(create_database: Callable[..., str], schema: str) -> None:
    by_psql, by_deploy = (Database(create_database(), schema) for _ in range(2))
    for database in (by_psql, by_deploy):
        administer(database, "CREATE EXTENSION pgcrypto", "CREATE EXTENSION plpython3u")
    deploy(by_deploy)
    for name in BUNDLES:
        result = run_bundle(by_psql, name)
        assert (result.returncode, result.stdout) == (0, ""), result.stderr

    assert dump(by_psql) == dump(by_deploy)
    assert deploy(by_psql).changes == ()
    assert dump(by_psql) == dump(by_deploy)


@pgcrypto_and_plpython
def test_a_bundle_without_the_extensions_says_what_is_left_out(empty_database: Database) -> None:
    result = run_bundle(empty_database, "phase7_week4_automation")

    assert (result.returncode, result.stdout) == (0, "")
    assert "delivery inside the database is left out: run CREATE EXTENSION pgcrypto" in result.stderr
    assert functions(empty_database).isdisjoint(WITH_PGCRYPTO | WITH_PLPYTHON)


@pgcrypto_and_plpython
def test_two_schemas_have_a_procedure_each_that_names_its_own(extended: Database) -> None:
    for schema in ("one", "two"):
        deploy(Database(extended.conninfo, schema))
    with extended.connect(own_path=False) as connection:
        query = sql.SQL(
            "SELECT prosrc FROM pg_proc WHERE proname = 'deliver_pending_alerts_by_row' ORDER BY pronamespace"
        )
        bodies = [row[0] for row in connection.execute(query)]

    assert bodies[0] != bodies[1]
    assert sorted(body.replace("one.", "*").replace("two.", "*") for body in bodies)[0] == bodies[0].replace(
        "one.", "*"
    )
    assert deploy(Database(extended.conninfo, "two")).is_unchanged
