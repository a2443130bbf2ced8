-- deployed_objects: what `db deploy` installed in this schema, by which version, with the MD5 of each source file.
CREATE TABLE IF NOT EXISTS deployed_objects (
    kind            TEXT NOT NULL,
    name            TEXT NOT NULL,
    source_md5      TEXT NOT NULL,
    package_version TEXT NOT NULL,
    deployed_at     TIMESTAMPTZ NOT NULL DEFAULT clock_timestamp(),
    deployed_by     TEXT NOT NULL DEFAULT CURRENT_USER,
    PRIMARY KEY (kind, name)
);
