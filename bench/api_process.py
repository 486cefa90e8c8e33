"""An API process of a benchmark's own, with its log, and the plainest HTTP client there is."""

from __future__ import annotations

import asyncio
import logging
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeAlias

import msgspec
import psutil
import uvloop

from backend.api.config import ApiConfig
from backend.api.limits.table import LimitFigures
from backend.api.server import serve
from backend.postgres.address import PostgresAddress

KEY = "key_bench_0123456789"
SECRET = "calcom-bench-secret"

LOGGED = "LOGGED"
"""What a line of the log begins with."""

LARGEST_ANSWER = 2 * 1024 * 1024

OpenConnection: TypeAlias = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Place(msgspec.Struct, frozen=True):
    """What the process is told."""

    host: str
    port: int
    database: str
    passwords: dict[str, str]
    valkey_url: str
    limits: dict[str, int]
    """Of `LimitFigures`, where they differ."""


@contextmanager
def api(
    address: PostgresAddress, valkey_url: str, log: Path, *, limits: dict[str, int] | None = None
) -> Iterator[tuple[int, psutil.Process]]:
    """The process, within the block; yields its port. Warnings and errors are lines of the log."""
    place = Place(address.host, address.port, address.database, dict(address.passwords), valkey_url, limits or {})
    with log.open("wb") as errors:
        child = subprocess.Popen(
            [sys.executable, "-m", "bench.api_process"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors
        )
    assert child.stdin is not None
    assert child.stdout is not None
    try:
        child.stdin.write(msgspec.json.encode(place))
        child.stdin.close()
        line = child.stdout.readline()
        if not line:
            raise SystemExit(f"the API did not start:\n{log.read_text()}")
        yield int(line), psutil.Process(child.pid)
    finally:
        child.send_signal(signal.SIGTERM)
        child.wait(30)


def main() -> None:
    """The process: told on stdin, says its port on stdout, logs to stderr."""
    logging.basicConfig(level=logging.WARNING, format=f"{LOGGED} %(levelname)s %(name)s %(message)s")
    place = msgspec.json.decode(sys.stdin.buffer.read(), type=Place)
    config = ApiConfig(
        host="127.0.0.1",
        port=0,
        postgres=PostgresAddress(place.host, place.port, place.database, place.passwords),
        valkey_url=place.valkey_url,
        retell_keys=(KEY,),
        calcom_secrets=(SECRET,),
        reject_key=bytes(32),
        version="bench",
        limits=msgspec.convert(place.limits, LimitFigures),
    )

    def say_port(url: str) -> None:
        print(url.rsplit(":", 1)[1], flush=True)

    uvloop.run(serve(config, on_ready=say_port))


def request(method: str, path: str, headers: dict[str, str], body: bytes = b"") -> bytes:
    """The bytes of a request."""
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"{method} {path} HTTP/1.1\r\nhost: x\r\n{lines}content-length: {len(body)}\r\n\r\n".encode() + body


async def exchange(port: int, idle: list[OpenConnection], sent: bytes, limit_s: float) -> int:
    """The status of the answer; 0 for none. Leaves its connection among the idle ones while that is possible."""
    try:
        async with asyncio.timeout(limit_s):
            reader, writer = (
                idle.pop() if idle else await asyncio.open_connection("127.0.0.1", port, limit=LARGEST_ANSWER)
            )
    except (OSError, TimeoutError):
        return 0
    try:
        async with asyncio.timeout(limit_s):
            writer.write(sent)
            start = await reader.readuntil(b"\r\n\r\n")
            length, closes = 0, False
            for line in start.lower().split(b"\r\n"):
                if line.startswith(b"content-length:"):
                    length = int(line.partition(b":")[2])
                closes |= line == b"connection: close"
            await reader.readexactly(length)
    except (OSError, asyncio.IncompleteReadError, TimeoutError):
        writer.close()
        return 0
    if closes:
        writer.close()
    else:
        idle.append((reader, writer))
    return int(start.split(b" ", 2)[1])


if __name__ == "__main__":
    main()
