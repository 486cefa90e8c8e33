"""What the first frame shows: snapshots fetched from the store while the rest of the program is still being imported.

A handful of bytes over the store's socket, without a client library (importing one takes longer than drawing the
screen). Everything later goes through the feed and its reader.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Sequence
from urllib.parse import urlsplit

import msgspec

from backend.valkey.store import LIFE_MS, SNAPSHOT_KEY, decode
from screens.host import Seen

CONNECT_S = 0.3
ANSWER_S = 0.3

LIVE_S = 3.0
"""A snapshot older than this is shown as stale."""


class FirstLook:
    """Fetches in a thread from the moment it is made; `seen` tells what came."""

    def __init__(self, url: str, domains: Sequence[str]) -> None:
        self._url = url
        self._domains = tuple(domains)
        self._seen: list[Seen] = []
        self._thread = threading.Thread(target=self._fetch, name="first-look", daemon=True)
        self._thread.start()

    def seen(self, timeout_s: float = 0.0) -> Sequence[Seen]:
        """What was fetched, after waiting at most `timeout_s`; empty when the store did not answer."""
        self._thread.join(timeout_s)
        return () if self._thread.is_alive() else tuple(self._seen)

    def _fetch(self) -> None:
        try:
            with _connected(self._url) as connection:
                for domain in self._domains:
                    seen = _get(connection, domain)
                    if seen is not None:
                        self._seen.append(seen)
        except (OSError, ValueError, KeyError, msgspec.MsgspecError):
            # No store, no first look: the feed will find out why.
            return


def _connected(url: str) -> socket.socket:
    """A connection to `unix:///path` or `redis://host:port/0`. Raises OSError, ValueError for other addresses."""
    parts = urlsplit(url)
    if parts.password or parts.username:
        raise ValueError("a store that asks for a password is left to the reader")
    if parts.scheme == "unix":
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(CONNECT_S)
        connection.connect(parts.path)
    elif parts.scheme == "redis":
        connection = socket.create_connection((parts.hostname or "localhost", parts.port or 6379), CONNECT_S)
    else:
        raise ValueError(f"{parts.scheme}: not a plain address")
    connection.settimeout(ANSWER_S)
    return connection


def _get(connection: socket.socket, domain: str) -> Seen | None:
    key = (SNAPSHOT_KEY + domain).encode()
    size = str(len(key)).encode()
    connection.sendall(
        b"*2\r\n$3\r\nGET\r\n$" + size + b"\r\n" + key + b"\r\n*2\r\n$4\r\nPTTL\r\n$" + size + b"\r\n" + key + b"\r\n"
    )
    with connection.makefile("rb") as answers:
        head = answers.readline()
        if not head.startswith(b"$"):
            raise ValueError(f"unexpected answer {head[:20]!r}")
        length = int(head[1:])
        data = answers.read(length + 2)[:-2] if length >= 0 else None
        left_ms = int(answers.readline()[1:])
    if data is None:
        return None
    age = max(0.0, (LIFE_MS - left_ms) / 1000)
    return Seen(
        domain=domain,
        snapshot=decode(domain, data),
        source="valkey",
        age_s=age,
        at=time.monotonic(),
        stale=age > LIVE_S,
        error="",
    )
