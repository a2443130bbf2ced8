-- integer_sqrt: the largest whole number whose square is at most p_value (a whole number >= 0). NULL gives NULL.
-- sqrt(NUMERIC) rounds, so its result is corrected by comparing exact squares.
CREATE OR REPLACE FUNCTION integer_sqrt(p_value NUMERIC)
RETURNS NUMERIC
LANGUAGE plpgsql
IMMUTABLE
STRICT
PARALLEL SAFE
SET search_path FROM CURRENT
AS $$
DECLARE
    v_root NUMERIC := trunc(sqrt(p_value));
BEGIN
    WHILE v_root * v_root > p_value LOOP
        v_root := v_root - 1;
    END LOOP;
    WHILE (v_root + 1) * (v_root + 1) <= p_value LOOP
        v_root := v_root + 1;
    END LOOP;
    RETURN v_root;
END;
$$;

COMMENT ON FUNCTION integer_sqrt(NUMERIC) IS 'pggit_analytics: the whole part of a square root, exactly';
REVOKE ALL ON FUNCTION integer_sqrt(NUMERIC) FROM PUBLIC;
