"""Whether a running server still answers: the smallest question each protocol has, bounded in time."""

from __future__ import annotations

import asyncio
import contextlib
import struct
from collections.abc import Coroutine
from pathlib import Path

TIMEOUT_S = 2.0

POSTGRES_QUESTION = struct.pack("!ii", 8, 80_877_103)
"""Asks for TLS; the server says yes or no (`S` or `N`) before it asks who is there."""


async def http_answers(host: str, port: int, *, limit_s: float = TIMEOUT_S) -> bool:
    """Whether anything that speaks HTTP answers, whatever it says."""
    question = f"GET /livez HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n".encode()
    return (await _ask(asyncio.open_connection(host, port), question, limit_s)).startswith(b"HTTP/1.")


async def postgres_answers(socket: Path) -> bool:
    """Whether PostgreSQL takes a connection and starts a process for it."""
    return (await _ask(asyncio.open_unix_connection(str(socket)), POSTGRES_QUESTION))[:1] in {b"N", b"S"}


async def valkey_answers(socket: Path) -> bool:
    """Whether Valkey answers, be it that it is busy."""
    return (await _ask(asyncio.open_unix_connection(str(socket)), b"PING\r\n"))[:1] in {b"+", b"-"}


async def _ask(
    connecting: Coroutine[object, object, tuple[asyncio.StreamReader, asyncio.StreamWriter]],
    question: bytes,
    limit_s: float = TIMEOUT_S,
) -> bytes:
    """The first bytes of the answer, none when there is no answer in time."""
    with contextlib.suppress(OSError, TimeoutError):
        async with asyncio.timeout(limit_s):
            reader, writer = await connecting
            try:
                writer.write(question)
                return await reader.read(16)
            finally:
                writer.close()
    return b""
