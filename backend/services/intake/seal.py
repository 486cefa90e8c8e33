"""Sealing what strangers sent: bodies of refused deliveries are personal data and lie in the database encrypted."""

from __future__ import annotations

import os
import zlib
from collections.abc import Mapping

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from backend.domain.vocabulary import Provider


class SealedDelivery(msgspec.Struct, frozen=True):
    """What is sealed of a refused delivery."""

    headers: dict[str, str]
    body: bytes


class SealBroken(Exception):
    """A sealed delivery cannot be opened: another key sealed it, or it was changed."""


class Seal:
    """Seals with AES-256-GCM: a version byte, a 12-byte nonce, the ciphertext; bound to the provider."""

    VERSION = b"\x01"

    def __init__(self, key: bytes) -> None:
        """`key` has 32 bytes; raises ValueError otherwise."""
        if len(key) != 32:
            raise ValueError("the key that seals refused deliveries must have 32 bytes")
        self._cipher = AESGCM(key)

    def close(self, provider: Provider, headers: Mapping[str, str], body: bytes) -> bytes:
        """Headers and body, compressed and sealed."""
        plain = zlib.compress(msgspec.msgpack.encode(SealedDelivery(dict(headers), body)), 1)
        nonce = os.urandom(12)
        return self.VERSION + nonce + self._cipher.encrypt(nonce, plain, self._bound(provider))

    def open(self, provider: Provider, sealed: bytes) -> SealedDelivery:
        """What was sealed. Raises `SealBroken`."""
        if sealed[:1] != self.VERSION:
            raise SealBroken("unknown form of seal")
        try:
            plain = self._cipher.decrypt(sealed[1:13], sealed[13:], self._bound(provider))
            return msgspec.msgpack.decode(zlib.decompress(plain), type=SealedDelivery)
        except (InvalidTag, ValueError, zlib.error) as error:
            raise SealBroken("sealed with another key, or changed") from error

    @staticmethod
    def _bound(provider: Provider) -> bytes:
        return b"askpro.reject.1|" + provider.value.encode()
