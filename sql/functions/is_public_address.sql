-- needs extension: plpython3u
-- needs superuser: plpython3u is not trusted
-- is_public_address(address): whether it is one of the public Internet: not loopback, private, link-local, multicast,
-- shared (CGNAT), unspecified or reserved, nor such an IPv4 address in an IPv6 form (mapped, 6to4, NAT64).
-- NULL gives NULL.
CREATE OR REPLACE FUNCTION is_public_address(p_address INET)
RETURNS BOOLEAN
LANGUAGE plpgsql
IMMUTABLE
STRICT
SET search_path FROM CURRENT
AS $$
DECLARE
    c_not_public CONSTANT INET[] := ARRAY[
        '0.0.0.0/8', '10.0.0.0/8', '100.64.0.0/10', '127.0.0.0/8', '169.254.0.0/16', '172.16.0.0/12', '192.0.0.0/24',
        '192.0.2.0/24', '192.88.99.0/24', '192.168.0.0/16', '198.18.0.0/15', '198.51.100.0/24', '203.0.113.0/24',
        '224.0.0.0/4', '240.0.0.0/4', '2001::/23', '2001:db8::/32', '3fff::/20'];
    v_bytes   CONSTANT BYTEA := inet_send(p_address);
    -- where the bytes of an IPv4 address begin, behind the four of the header
    v_offset  CONSTANT INTEGER := CASE
        WHEN p_address <<= '::ffff:0:0/96' OR p_address <<= '64:ff9b::/96' THEN 16
        WHEN p_address <<= '2002::/16' THEN 6
    END;
    v_address INET := host(p_address);
BEGIN
    IF v_offset IS NOT NULL THEN
        v_address := concat_ws(
            '.', get_byte(v_bytes, v_offset), get_byte(v_bytes, v_offset + 1), get_byte(v_bytes, v_offset + 2),
            get_byte(v_bytes, v_offset + 3));
    END IF;
    RETURN NOT v_address <<= ANY (c_not_public) AND (family(v_address) = 4 OR v_address <<= '2000::/3');
END;
$$;

COMMENT ON FUNCTION is_public_address(INET) IS 'pggit_analytics: whether an address is one of the public Internet';
REVOKE ALL ON FUNCTION is_public_address(INET) FROM PUBLIC;
