-- needs extension: pgcrypto
-- needs superuser: it reads a file of the server
-- webhook_master_key(): the 32 bytes that the addresses of webhooks are encrypted with; never NULL.
-- They are in the file of the server that the setting pggit.webhook_key_file names, in base64. The setting counts only
-- where an administrator made it: for the database (ALTER DATABASE ... SET) or, failing that, in the server's
-- configuration files. What a session or a role has SET is not looked at, so that it cannot point to another file.
-- Raises 55000, naming the remedy, without the setting or a readable key; the file's content is never repeated.
-- With the rights of its owner; the role pggit_delivery alone may call it.
CREATE OR REPLACE FUNCTION webhook_master_key()
RETURNS BYTEA
LANGUAGE plpgsql
STABLE
SECURITY DEFINER
SET search_path FROM CURRENT
AS $$
DECLARE
    c_setting CONSTANT TEXT := 'pggit.webhook_key_file';
    v_file    TEXT;
    v_content TEXT;
BEGIN
    SELECT substr(s.setting, length(c_setting) + 2) INTO v_file
    FROM pg_db_role_setting AS d
    JOIN pg_database AS b ON b.oid = d.setdatabase AND b.datname = current_database()
    CROSS JOIN LATERAL unnest(d.setconfig) AS s (setting)
    WHERE d.setrole = 0 AND starts_with(s.setting, c_setting || '=');
    IF v_file IS NULL THEN
        SELECT f.setting INTO v_file
        FROM pg_file_settings AS f
        WHERE f.name = c_setting AND f.error IS NULL
        ORDER BY f.seqno DESC
        LIMIT 1;
    END IF;
    IF coalesce(v_file, '') = '' THEN
        RAISE EXCEPTION 'no administrator has set %; as a superuser run ALTER DATABASE % SET % = ''<file of the server>''',
            c_setting, quote_ident(current_database()), c_setting
            USING ERRCODE = 'object_not_in_prerequisite_state';
    END IF;

    BEGIN
        -- bytes: text of another encoding would be repeated in the error
        v_content := rtrim(encode(pg_read_binary_file(v_file, 0, 100), 'escape'), E' \t\r\n');
    EXCEPTION
        WHEN OTHERS THEN
            RAISE EXCEPTION 'the file % that % names cannot be read (SQLSTATE %); the user that runs the server must be able to, and nobody else',
                quote_literal(v_file), c_setting, SQLSTATE
                USING ERRCODE = 'object_not_in_prerequisite_state';
    END;
    IF v_content !~ '^[A-Za-z0-9+/]{43}=$' THEN
        RAISE EXCEPTION 'the file % that % names does not hold 32 bytes in base64; make a key with: openssl rand -base64 32',
            quote_literal(v_file), c_setting
            USING ERRCODE = 'object_not_in_prerequisite_state';
    END IF;
    RETURN decode(v_content, 'base64');
END;
$$;

COMMENT ON FUNCTION webhook_master_key() IS 'pggit_analytics: the key that addresses of webhooks are encrypted with';
REVOKE ALL ON FUNCTION webhook_master_key() FROM PUBLIC;
