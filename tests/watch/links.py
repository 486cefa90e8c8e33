"""A link to a server's Unix socket, from another one or from a TCP port, that can be cut, muted and mended."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path


class Link:
    """Forwards every connection on `path`, or without one on a TCP port, to `target` while it is well."""

    def __init__(self, path: Path | None, target: Path) -> None:
        self.path = path
        self.port = 0
        """The TCP port on 127.0.0.1, which stays the same; 0 with a path."""
        self._target = target
        self._server: asyncio.AbstractServer | None = None
        self._pumps: set[asyncio.Task[None]] = set()
        self._well = asyncio.Event()
        self.bytes = 0
        """Bytes forwarded so far, both ways."""

    async def mend(self) -> None:
        """Listen and forward (again)."""
        self._well.set()
        if self._server is None and self.path is not None:
            self._server = await asyncio.start_unix_server(self._accept, self.path)
        elif self._server is None:
            self._server = await asyncio.start_server(self._accept, "127.0.0.1", self.port)
            self.port = self._server.sockets[0].getsockname()[1]

    async def cut(self) -> None:
        """Refuse new connections and break those there are, as when the server is killed."""
        if self._server is not None:
            self._server.close()
            self._server = None
            if self.path is not None:
                self.path.unlink(missing_ok=True)
        for pump in tuple(self._pumps):
            pump.cancel()
        await asyncio.gather(*self._pumps, return_exceptions=True)

    def mute(self) -> None:
        """Take everything and forward nothing, as when the network swallows packets."""
        self._well.clear()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there_reader, there_writer = await asyncio.open_unix_connection(self._target)
        for source, sink in ((reader, there_writer), (there_reader, writer)):
            pump = asyncio.create_task(self._pump(source, sink, (writer, there_writer)))
            self._pumps.add(pump)
            pump.add_done_callback(self._pumps.discard)

    async def _pump(
        self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, ends: tuple[asyncio.StreamWriter, ...]
    ) -> None:
        try:
            while data := await source.read(65536):
                await self._well.wait()
                sink.write(data)
                self.bytes += len(data)
                await sink.drain()
        except OSError:
            pass
        finally:
            for end in ends:
                with contextlib.suppress(OSError, RuntimeError):
                    end.close()


@contextlib.asynccontextmanager
async def linked(path: Path | None, target: Path) -> AsyncIterator[Link]:
    """A link that is well, until the end of the block."""
    link = Link(path, target)
    await link.mend()
    try:
        yield link
    finally:
        await link.cut()
