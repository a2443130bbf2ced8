-- merge_sync_state: how far `pggit-analytics sync` has copied the merges of another table; one row a source.
-- known_until is the newest start it has seen; open_merges are those that were not over then and are looked at again.
CREATE TABLE IF NOT EXISTS merge_sync_state (
    source      TEXT PRIMARY KEY,
    known_until TIMESTAMPTZ,
    open_merges TEXT[] NOT NULL DEFAULT '{}',
    synced_at   TIMESTAMPTZ NOT NULL DEFAULT clock_timestamp()
);
