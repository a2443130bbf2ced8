"""Addresses at rest: what OpenSSL made is read, what was tampered with is not, and keys never show."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pggit_analytics.config import load_settings
from pggit_analytics.delivery.encryption import Encrypted, MasterKey, load_master_key
from pggit_analytics.errors import ConfigurationError, DamagedAddress, MissingKey, WrongKey

VECTOR = json.loads(
    (Path(__file__).parents[2] / "data/fixtures/webhook_encryption/vector.json").read_text(encoding="utf-8")
)
MASTER = bytes.fromhex(VECTOR["master"])
KEY_TEXT = base64.b64encode(MASTER).decode()
KEY = MasterKey.from_base64(KEY_TEXT)
OTHER = MasterKey(bytes(32))


def test_what_openssl_encrypted_is_decrypted() -> None:
    ciphertext, iv = bytes.fromhex(VECTOR["encrypted"]), bytes.fromhex(VECTOR["iv"])
    assert KEY.key_id == VECTOR["key_id"]
    assert KEY.decrypt(ciphertext, iv, VECTOR["key_id"]).get_secret_value() == VECTOR["text"]


def test_the_same_vector_gives_the_bytes_of_openssl(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.urandom", lambda size: bytes.fromhex(VECTOR["iv"])[:size])
    assert KEY.encrypt(VECTOR["text"]) == Encrypted(
        bytes.fromhex(VECTOR["encrypted"]), bytes.fromhex(VECTOR["iv"]), VECTOR["key_id"]
    )


@given(st.text(max_size=200))
def test_any_text_comes_back(text: str) -> None:
    sealed = KEY.encrypt(text)
    assert KEY.decrypt(sealed.ciphertext, sealed.iv, sealed.key_id).get_secret_value() == text


def test_the_same_text_never_gives_the_same_bytes() -> None:
    first, second = KEY.encrypt("https://example.com"), KEY.encrypt("https://example.com")
    assert first.iv != second.iv
    assert first.ciphertext != second.ciphertext


@given(st.data())
def test_any_changed_bit_is_noticed(data: st.DataObject) -> None:
    sealed = KEY.encrypt("https://example.com/services/secret")
    changed = bytearray(sealed.ciphertext + sealed.iv)
    bit = data.draw(st.integers(0, len(changed) * 8 - 1))
    changed[bit // 8] ^= 1 << bit % 8
    with pytest.raises(DamagedAddress):
        KEY.decrypt(bytes(changed[:-16]), bytes(changed[-16:]), sealed.key_id)


@pytest.mark.parametrize("size", [0, 1, 31, 32, 33, 47, 48])
def test_a_ciphertext_that_was_cut_is_noticed(size: int) -> None:
    sealed = KEY.encrypt("https://example.com/services/secret")
    with pytest.raises(DamagedAddress, match=r"^the stored address was changed or cut .*; add the webhook again$"):
        KEY.decrypt(sealed.ciphertext[:size], sealed.iv, sealed.key_id)


def test_an_address_under_another_key_names_both_keys_and_the_remedy() -> None:
    sealed = OTHER.encrypt("https://example.com")
    with pytest.raises(WrongKey, match=rf"{OTHER.key_id}.* {KEY.key_id}; give the former \(PGGIT_WEBHOOK_KEY_FILE\)"):
        KEY.decrypt(sealed.ciphertext, sealed.iv, sealed.key_id)


def test_a_key_id_that_was_exchanged_is_noticed() -> None:
    sealed = OTHER.encrypt("https://example.com")
    with pytest.raises(DamagedAddress):
        KEY.decrypt(sealed.ciphertext, sealed.iv, KEY.key_id)


def test_neither_a_key_nor_an_address_shows() -> None:
    sealed = KEY.encrypt("https://example.com/topsecret")
    secret = KEY.decrypt(sealed.ciphertext, sealed.iv, sealed.key_id)
    assert repr(KEY) == str(KEY) == f"MasterKey(key_id='{VECTOR['key_id']}')"
    assert "topsecret" not in f"{secret} {secret!r}"
    assert not hasattr(KEY, "__dict__")


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", "has 0 bytes instead of 32"),
        (base64.b64encode(bytes(31)).decode(), "has 31 bytes instead of 32"),
        (base64.b64encode(bytes(64)).decode(), "has 64 bytes instead of 32"),
        ("topsecret!", "is not base64"),
        ("topsécret", "is not base64"),
        (MASTER.hex(), "has 48 bytes instead of 32"),
    ],
)
def test_what_is_no_key_is_refused_with_the_remedy_and_not_repeated(text: str, fault: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        MasterKey.from_base64(text)
    assert str(caught.value).startswith(f"the master key {fault}")
    assert "openssl rand -base64 32 > key" in str(caught.value)
    assert "secret" not in str(caught.value)
    assert caught.value.__cause__ is None


@pytest.mark.usefixtures("run_directory")
class TestSettings:
    """Where the key comes from."""

    def test_the_environment_holds_the_key(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PGGIT_WEBHOOK_KEY", KEY_TEXT)
        settings = load_settings()
        assert load_master_key(settings).key_id == VECTOR["key_id"]
        assert KEY_TEXT not in f"{settings!r} {settings.model_dump_json()}"

    @pytest.mark.parametrize("mode", [0o600, 0o400, 0o640])
    def test_a_file_holds_the_key(self, mode: int, monkeypatch: pytest.MonkeyPatch) -> None:
        file = Path("key")
        file.write_text(KEY_TEXT + "\n", encoding="ascii")
        file.chmod(mode)
        monkeypatch.setenv("PGGIT_WEBHOOK_KEY_FILE", str(file))
        assert load_master_key(load_settings()).key_id == VECTOR["key_id"]

    @pytest.mark.parametrize("mode", [0o644, 0o604, 0o660, 0o602])
    def test_a_file_that_others_can_read_or_change_is_refused(self, mode: int) -> None:
        file = Path("key")
        file.write_text(KEY_TEXT, encoding="ascii")
        file.chmod(mode)
        with pytest.raises(ConfigurationError, match=rf"key, has mode {mode:04o}, .*; chmod 600 key$"):
            load_master_key(load_settings(webhook_key_file=file))

    def test_without_a_key_the_remedy_is_named(self) -> None:
        with pytest.raises(MissingKey, match=r"there is no master key .*export PGGIT_WEBHOOK_KEY_FILE=\$PWD/key$"):
            load_master_key(load_settings())

    def test_a_file_that_is_not_there_is_named(self) -> None:
        with pytest.raises(MissingKey, match=r"^the file of the master key, no/key, is not there; make one: openssl"):
            load_master_key(load_settings(webhook_key_file="no/key"))

    def test_a_directory_is_no_file(self) -> None:
        with pytest.raises(
            ConfigurationError, match=r"^the file of the master key, \., cannot be read: Is a directory"
        ):
            load_master_key(load_settings(webhook_key_file="."))

    def test_a_file_of_other_content_is_refused(self) -> None:
        file = Path("key")
        file.write_bytes(b"\xff\x00topsecret")
        file.chmod(0o600)
        with pytest.raises(ConfigurationError, match=r"^the master key is not base64; make one: openssl") as caught:
            load_master_key(load_settings(webhook_key_file=file))
        assert "topsecret" not in str(caught.value)
