"""pgcrypto reads what Python encrypted and writes what Python decrypts, byte for byte."""

from __future__ import annotations

import base64
import os

import psycopg
import pytest

from pggit_analytics.delivery.encryption import MasterKey
from pggit_analytics.postgres.connection import Database

pytestmark = pytest.mark.debian

TEXT = "https://hooks.example.com/services/T0/B0/çédille-日本"

#: the keys as the specification derives them, by pgcrypto alone
DERIVE = """
    SELECT hmac('pggit webhook encryption'::BYTEA, %(master)s, 'sha256') AS k_enc,
        hmac('pggit webhook authentication'::BYTEA, %(master)s, 'sha256') AS k_mac,
        left(encode(hmac('pggit webhook key id'::BYTEA, %(master)s, 'sha256'), 'hex'), 16) AS key_id
"""

READ = f"""
    SELECT
        k.key_id,
        convert_from(
            decrypt_iv(substr(%(sealed)s, 1, length(%(sealed)s) - 32), k.k_enc, %(iv)s, 'aes-cbc/pad:pkcs'), 'UTF8'),
        substr(%(sealed)s, length(%(sealed)s) - 31)
            = hmac(k.key_id::BYTEA || %(iv)s || substr(%(sealed)s, 1, length(%(sealed)s) - 32), k.k_mac, 'sha256')
    FROM ({DERIVE}) AS k
"""

WRITE = f"""
    SELECT c.aes || hmac(k.key_id::BYTEA || %(iv)s || c.aes, k.k_mac, 'sha256'), k.key_id
    FROM ({DERIVE}) AS k
        CROSS JOIN LATERAL (
            SELECT encrypt_iv(convert_to(%(text)s, 'UTF8'), k.k_enc, %(iv)s, 'aes-cbc/pad:pkcs') AS aes
        ) AS c
"""


@pytest.fixture
def pgcrypto(empty_database: Database, request: pytest.FixtureRequest) -> psycopg.Connection:
    assert request.config.getoption("--server-url"), "these tests need Debian's server: make test-all"
    with psycopg.connect(empty_database.conninfo, autocommit=True) as connection:
        connection.execute("CREATE EXTENSION pgcrypto")
        yield connection


def test_pgcrypto_reads_what_was_encrypted_here(pgcrypto: psycopg.Connection) -> None:
    master = os.urandom(32)
    key = MasterKey.from_base64(base64.b64encode(master).decode())
    sealed = key.encrypt(TEXT)
    row = pgcrypto.execute(READ, {"master": master, "sealed": sealed.ciphertext, "iv": sealed.iv}).fetchone()
    assert row == (sealed.key_id, TEXT, True)


def test_what_pgcrypto_encrypted_is_read_here(pgcrypto: psycopg.Connection) -> None:
    master, iv = os.urandom(32), os.urandom(16)
    row = pgcrypto.execute(WRITE, {"master": master, "text": TEXT, "iv": iv}).fetchone()
    assert row is not None
    key = MasterKey.from_base64(base64.b64encode(master).decode())
    assert key.decrypt(row[0], iv, row[1]).get_secret_value() == TEXT
