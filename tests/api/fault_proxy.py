"""A proxy between the API and PostgreSQL that can stop passing anything on, or hang up."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from backend.postgres.address import PostgresAddress


class FaultProxy:
    """Passes a server's Unix socket on at another place."""

    def __init__(self, real: PostgresAddress, directory: Path) -> None:
        self._real = Path(real.host) / f".s.PGSQL.{real.port}"
        self._place = directory / f".s.PGSQL.{real.port}"
        self.address = replace(real, host=str(directory))
        """The address by which the proxy is reached."""
        self._open = asyncio.Event()
        self._open.set()
        self._server: asyncio.Server | None = None
        self._pipes: set[asyncio.Task[None]] = set()

    async def listen(self) -> None:
        """Take connections."""
        self._server = await asyncio.start_unix_server(self._serve, self._place)

    def swallow(self) -> None:
        """From now on nothing gets through, in either direction, and nobody is told."""
        self._open.clear()

    def flow(self) -> None:
        """Let everything through again."""
        self._open.set()

    async def hang_up(self) -> None:
        """End every connection and take no new ones."""
        if self._server is not None:
            self._server.close()
            self._server = None
        self._place.unlink(missing_ok=True)
        for pipe in list(self._pipes):
            pipe.cancel()
        await asyncio.gather(*self._pipes, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await self._open.wait()
        server_reader, server_writer = await asyncio.open_unix_connection(self._real)
        for source, target in ((reader, server_writer), (server_reader, writer)):
            pipe = asyncio.create_task(self._pipe(source, target))
            self._pipes.add(pipe)
            pipe.add_done_callback(self._pipes.discard)

    async def _pipe(self, source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        try:
            while data := await source.read(65_536):
                await self._open.wait()
                target.write(data)
                await target.drain()
        except OSError:
            pass
        finally:
            target.close()


@asynccontextmanager
async def fault_proxy(real: PostgresAddress) -> AsyncIterator[FaultProxy]:
    """A running proxy to a server."""
    with TemporaryDirectory(prefix="askpro-proxy-") as directory:
        proxy = FaultProxy(real, Path(directory))
        await proxy.listen()
        try:
            yield proxy
        finally:
            proxy.flow()
            with contextlib.suppress(OSError):
                await proxy.hang_up()
