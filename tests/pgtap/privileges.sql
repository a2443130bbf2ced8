-- Nothing in the schema is open to everybody, and the owner alone may give anything away.
-- Needs pgTAP in the schema public.
BEGIN;
SET LOCAL search_path TO public, pg_temp;
SELECT plan(8);

CREATE TEMPORARY TABLE granted ON COMMIT DROP AS
SELECT o.kind, o.name, o.owner, a.grantee, a.privilege_type, a.is_grantable
FROM (
    SELECT CASE c.relkind WHEN 'S' THEN 'sequence' WHEN 'v' THEN 'view' ELSE 'table' END AS kind, c.relname AS name,
        c.relowner AS owner,
        coalesce(c.relacl, acldefault(CASE c.relkind WHEN 'S' THEN 's' ELSE 'r' END::"char", c.relowner)) AS acl
    FROM pg_class AS c
    WHERE c.relnamespace = 'pggit'::REGNAMESPACE AND c.relkind NOT IN ('i', 'I')
    UNION ALL
    SELECT 'column', c.relname || '.' || t.attname, c.relowner, t.attacl
    FROM pg_class AS c
    JOIN pg_attribute AS t ON t.attrelid = c.oid
    WHERE c.relnamespace = 'pggit'::REGNAMESPACE AND t.attacl IS NOT NULL
    UNION ALL
    SELECT 'function', p.oid::REGPROCEDURE::TEXT, p.proowner, coalesce(p.proacl, acldefault('f', p.proowner))
    FROM pg_proc AS p
    WHERE p.pronamespace = 'pggit'::REGNAMESPACE
    UNION ALL
    SELECT 'schema', n.nspname, n.nspowner, coalesce(n.nspacl, acldefault('n', n.nspowner))
    FROM pg_namespace AS n
    WHERE n.nspname = 'pggit'
) AS o
CROSS JOIN LATERAL aclexplode(o.acl) AS a;

SELECT cmp_ok(
    (SELECT count(*)::INTEGER FROM granted AS g WHERE g.grantee = g.owner), '>', 100, 'privileges were looked at'
);

SELECT is_empty(
    format('SELECT g.name, g.privilege_type FROM granted AS g WHERE g.grantee = 0 AND g.kind = %L', k.kind),
    k.title || ' open to everybody'
)
FROM (
    VALUES
        ('table', 'no table is'), ('view', 'no view is'), ('column', 'no column is'), ('sequence', 'no sequence is'),
        ('function', 'no function is'), ('schema', 'the schema is not')
) AS k (kind, title);

SELECT is_empty(
    'SELECT g.* FROM granted AS g WHERE g.is_grantable AND g.grantee <> g.owner',
    'nobody but the owner may pass a privilege on'
);

SELECT * FROM finish();
ROLLBACK;
