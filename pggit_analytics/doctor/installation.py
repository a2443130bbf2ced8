"""Checks of what is deployed and of what the current role may do with it."""

from __future__ import annotations

import re

from pggit_analytics.doctor.checks import Answer, NothingDeployed, Patient, Unknown, grant, listed
from pggit_analytics.postgres import deploy as deployment
from pggit_analytics.resources import directory

_INDEX = re.compile(r"^CREATE (?:UNIQUE )?INDEX IF NOT EXISTS (\w+)", re.MULTILINE)


def deployed(patient: Patient) -> Answer:
    """Whether what is installed is what this version brings."""
    deploy = patient.command("db deploy")
    if patient.one("SELECT to_regnamespace(quote_ident(%(name)s))", name=patient.database.schema) is None:
        return Answer("fail", f"there is no schema {patient.database.schema}: nothing is deployed", deploy)
    found = deployment.status(patient.database)
    if found.installed_version is None:
        return Answer("fail", f"nothing is deployed in the schema {found.schema}", deploy)
    if found.is_current:
        left_out = f"; {len(found.not_installed)} need an extension or a superuser" if found.not_installed else ""
        return Answer("ok", f"{found.installed_version}, {len(found.current)} objects{left_out}")
    due = [f"{len(found.missing)} missing ({listed(found.missing, 1)})"] if found.missing else []
    due += [f"{len(found.outdated)} outdated ({listed(found.outdated, 1)})"] if found.outdated else []
    versions = f"{found.installed_version} is installed, this is {found.package_version}"
    return Answer("fail", f"a deployment is due: {'; '.join([versions, *due])}", deploy)


def roles(patient: Patient) -> Answer:
    """Whether the roles that rights are given by are there."""
    missing = deployment.status(patient.database).missing_roles
    if missing:
        statement = "; ".join(f"CREATE ROLE {name} NOLOGIN" for name in missing)
        remedy = f"{patient.psql(statement)} && {patient.command('db deploy')}  # as an administrator"
        return Answer("warn", f"{listed(missing)} is not there, so rights cannot be given by it", remedy)
    return Answer("ok", "pggit_reader and pggit_pipeline are there")


def may_read(patient: Patient) -> Answer:
    """Whether the current role may look at findings and timings."""
    return _rights(patient, "pggit_reader", "read findings and timings")


def may_write(patient: Patient) -> Answer:
    """Whether it may do what analyze, baselines and deliver do."""
    answer = _rights(patient, "pggit_pipeline", "write what analyze, baselines and deliver write")
    if answer.status != "ok":
        return answer
    if not patient.one("SELECT has_database_privilege(current_database(), 'TEMPORARY')"):
        return Answer(
            "fail",
            f"{patient.role} may not make temporary tables, which findings pass through",
            patient.psql(
                "GRANT TEMPORARY ON DATABASE {} TO {}",
                patient.connection.info.dbname,
                patient.role,
                comment="as the owner of the database",
            ),
        )
    return answer


def may_store_addresses(patient: Patient) -> Answer:
    """Whether it may add webhooks."""
    allowed = patient.row(
        """
        SELECT has_table_privilege('alert_notification_webhooks', 'INSERT')
           AND has_table_privilege('alert_notification_webhooks', 'UPDATE') AS webhooks,
               has_table_privilege('alert_notification_settings', 'INSERT') AS routes
        """
    )
    if allowed["webhooks"] and allowed["routes"]:
        return Answer("ok", f"{patient.role} may add and route webhooks")
    return Answer("ok", f"{patient.role} may not add or route webhooks; the owner of the schema may")


# What the role of the project may do and the current one may not. A role that was never made has no rights to compare
# with; the owner of the tables may do everything.
_LACKS = """
    SELECT c.relname || ' ' || p.name AS lack
    FROM pg_class AS c
    CROSS JOIN unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE']) AS p (name)
    WHERE c.relnamespace = quote_ident(%(schema)s)::REGNAMESPACE AND c.relkind IN ('r', 'p', 'v')
      AND has_table_privilege(%(role)s, c.oid, p.name) AND NOT has_table_privilege(c.oid, p.name)
    UNION ALL
    SELECT f.proname || '()'
    FROM pg_proc AS f
    WHERE f.pronamespace = quote_ident(%(schema)s)::REGNAMESPACE
      AND has_function_privilege(%(role)s, f.oid, 'EXECUTE') AND NOT has_function_privilege(f.oid, 'EXECUTE')
    ORDER BY 1
"""


def _rights(patient: Patient, role: str, what: str) -> Answer:
    schema = patient.database.schema
    if isinstance(patient.closed_because, NothingDeployed):
        raise patient.closed_because
    if not patient.one("SELECT TRUE FROM pg_roles WHERE rolname = %(role)s", role=role):
        if patient.one(
            "SELECT pg_has_role(relowner, 'USAGE') FROM pg_class WHERE oid = to_regclass('performance_metrics')"
        ):
            return Answer("ok", f"{patient.role} owns the schema's tables and may {what}")
        raise Unknown(f"there is no role {role} to compare with")
    lacks = [row["lack"] for row in patient.server_rows(_LACKS, schema=schema, role=role)]
    if not lacks:
        return Answer("ok", f"{patient.role} may {what}")
    return Answer("warn", f"{patient.role} may not {what}; it lacks {listed(lacks)}", grant(patient, role))


def indexes(patient: Patient) -> Answer:
    """Whether every index is there and valid."""
    expected = {
        name for file in (directory("sql") / "tables").glob("*.sql") for name in _INDEX.findall(file.read_text("utf-8"))
    }
    found = {
        row["relname"]: row["indisvalid"]
        for row in patient.rows(
            """
            SELECT c.relname, i.indisvalid
            FROM pg_index AS i
            JOIN pg_class AS c ON c.oid = i.indexrelid
            WHERE c.relnamespace = quote_ident(%(schema)s)::REGNAMESPACE
            """,
            schema=patient.database.schema,
        )
    }
    if invalid := sorted(name for name, is_valid in found.items() if not is_valid):
        remedy = patient.psql("REINDEX INDEX CONCURRENTLY {}.{}", patient.database.schema, invalid[0])
        return Answer("warn", f"not valid, so not used: {listed(invalid)}", remedy)
    if missing := sorted(expected - found.keys()):
        return Answer("warn", f"missing, so queries read whole tables: {listed(missing)}", patient.command("db deploy"))
    return Answer("ok", f"all {len(expected)} are there")


def statistics(patient: Patient) -> Answer:
    """Whether the planner knows the tables as they are."""
    stale = patient.rows(
        """
        SELECT s.relname, s.n_mod_since_analyze AS changed, greatest(c.reltuples, 0)::BIGINT AS known
        FROM pg_stat_user_tables AS s
        JOIN pg_class AS c ON c.oid = s.relid
        WHERE s.schemaname = %(schema)s
          AND s.n_mod_since_analyze > greatest(10000, greatest(c.reltuples, 0) / 2)
        ORDER BY s.n_mod_since_analyze DESC, s.relname
        """,
        schema=patient.database.schema,
    )
    if stale:
        worst = stale[0]
        return Answer(
            "warn",
            f"{worst['relname']} has {worst['changed']:,} rows changed since it was analyzed with {worst['known']:,}",
            patient.psql("ANALYZE {}.{}", patient.database.schema, worst["relname"]),
        )
    return Answer("ok", "the planner's statistics are recent")
