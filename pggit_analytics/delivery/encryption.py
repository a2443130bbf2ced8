"""Addresses of channels at rest: AES-256-CBC and HMAC-SHA256, each with a key derived from one master key.

::

    k_enc                  = HMAC-SHA256(master, "pggit webhook encryption")
    k_mac                  = HMAC-SHA256(master, "pggit webhook authentication")
    key_id                 = the first 16 hexadecimal digits of HMAC-SHA256(master, "pggit webhook key id")
    aes                    = AES-256-CBC(k_enc, webhook_url_iv, PKCS#7-padded UTF-8 text)
    webhook_url_encrypted  = aes || HMAC-SHA256(k_mac, key_id || webhook_url_iv || aes)

pgcrypto reads and writes the same bytes (``decrypt_iv(..., 'aes-cbc/pad:pkcs')``).
"""

from __future__ import annotations

import base64
import binascii
import hmac
import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES256
from cryptography.hazmat.primitives.ciphers.modes import CBC
from cryptography.hazmat.primitives.padding import PKCS7
from pydantic import SecretStr

from pggit_analytics.config import Settings
from pggit_analytics.errors import ConfigurationError, DamagedAddress, MissingKey, WrongKey

_KEY_BYTES = 32
_MAC_BYTES = 32
_BLOCK_BITS = 128
_REMEDY = "openssl rand -base64 32 > key; chmod 600 key; export PGGIT_WEBHOOK_KEY_FILE=$PWD/key"
#: a key file is 45 bytes long; what is much longer is something else
_MAX_FILE_BYTES = 1024


@dataclass(frozen=True, slots=True)
class Encrypted:
    """An address as the columns of ``alert_notification_webhooks`` keep it."""

    #: webhook_url_encrypted: the ciphertext, then 32 bytes of HMAC
    ciphertext: bytes
    #: webhook_url_iv: 16 random bytes, new for every address
    iv: bytes
    #: encryption_key_id: 16 hexadecimal digits
    key_id: str


class MasterKey:
    """The one key that all addresses of a database are encrypted under; it shows only its id."""

    __slots__ = ("_k_enc", "_k_mac", "key_id")

    def __init__(self, master: bytes) -> None:
        if len(master) != _KEY_BYTES:
            raise ConfigurationError(
                f"the master key has {len(master)} bytes instead of {_KEY_BYTES}; make one: {_REMEDY}"
            )
        self._k_enc = _hmac(master, b"pggit webhook encryption")
        self._k_mac = _hmac(master, b"pggit webhook authentication")
        #: tells keys apart and gives nothing away about them
        self.key_id = _hmac(master, b"pggit webhook key id").hex()[:16]

    @classmethod
    def from_base64(cls, text: str) -> Self:
        """The key that ``text`` is the base64 of; white space around it is ignored.

        Raises:
            ConfigurationError: it is not base64, or not of 32 bytes.
        """
        try:
            master = base64.b64decode(text.strip(), validate=True)
        except (binascii.Error, ValueError):  # of text that is not ASCII
            raise ConfigurationError(f"the master key is not base64; make one: {_REMEDY}") from None
        return cls(master)

    def __repr__(self) -> str:
        return f"MasterKey(key_id={self.key_id!r})"

    def encrypt(self, plaintext: str) -> Encrypted:
        """Encrypt under a new initialisation vector; the same text never gives the same bytes twice."""
        iv = os.urandom(_BLOCK_BITS // 8)
        padder = PKCS7(_BLOCK_BITS).padder()
        padded = padder.update(plaintext.encode()) + padder.finalize()
        encryptor = Cipher(AES256(self._k_enc), CBC(iv)).encryptor()
        aes = encryptor.update(padded) + encryptor.finalize()
        return Encrypted(aes + self._mac(iv, aes), iv, self.key_id)

    def decrypt(self, ciphertext: bytes, iv: bytes, key_id: str) -> SecretStr:
        """The text that was encrypted.

        Raises:
            WrongKey: ``key_id`` is that of another master key.
            DamagedAddress: any of the three is not what `encrypt` returned.
        """
        if key_id != self.key_id:
            raise WrongKey(
                f"the address was encrypted with the master key {key_id}, and the one given is {self.key_id}; "
                "give the former (PGGIT_WEBHOOK_KEY_FILE), or add the webhook again"
            )
        aes, mac = bytes(ciphertext[:-_MAC_BYTES]), bytes(ciphertext[-_MAC_BYTES:])
        if not hmac.compare_digest(mac, self._mac(iv, aes)):
            raise _damaged()
        try:
            decryptor = Cipher(AES256(self._k_enc), CBC(bytes(iv))).decryptor()
            padded = decryptor.update(aes) + decryptor.finalize()
            unpadder = PKCS7(_BLOCK_BITS).unpadder()
            return SecretStr((unpadder.update(padded) + unpadder.finalize()).decode())
        except ValueError:  # authentic, and still not made by us
            raise _damaged() from None

    def _mac(self, iv: bytes, aes: bytes) -> bytes:
        return _hmac(self._k_mac, self.key_id.encode() + iv + aes)


def load_master_key(settings: Settings) -> MasterKey:
    """The master key of the settings: ``webhook_key``, else the content of ``webhook_key_file``.

    Raises:
        MissingKey: neither is set, or there is no such file.
        ConfigurationError: others may read the file or change it, it cannot be read, or holds no key.
    """
    if settings.webhook_key is not None:
        return MasterKey.from_base64(settings.webhook_key.get_secret_value())
    if settings.webhook_key_file is None:
        raise MissingKey(f"there is no master key for the addresses of webhooks; make one and keep it safe: {_REMEDY}")
    return MasterKey.from_base64(_read_private(settings.webhook_key_file))


def _read_private(file: Path) -> str:
    try:
        with file.open("rb") as stream:
            mode = stat.S_IMODE(os.fstat(stream.fileno()).st_mode)
            content = stream.read(_MAX_FILE_BYTES)
    except FileNotFoundError:
        raise MissingKey(f"the file of the master key, {file}, is not there; make one: {_REMEDY}") from None
    except OSError as exc:
        raise ConfigurationError(f"the file of the master key, {file}, cannot be read: {exc.strerror}") from None
    # as PostgreSQL has it for its own keys: a group may read at most, others nothing
    if mode & 0o027:
        raise ConfigurationError(
            f"the file of the master key, {file}, has mode {mode:04o}, so that others can read or change it; "
            f"chmod 600 {file}"
        )
    return content.decode("ascii", "replace")


def _damaged() -> DamagedAddress:
    return DamagedAddress("the stored address was changed or cut since it was encrypted; add the webhook again")


def _hmac(key: bytes, message: bytes) -> bytes:
    return hmac.digest(key, message, "sha256")
