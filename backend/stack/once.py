"""A short-lived child: started early, given its input later, its output collected."""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
from dataclasses import dataclass

from backend.stack.exits import ExitWatch
from backend.stack.spawn import ProcessSpec, spawn

OUTPUT_LIMIT = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Finished:
    """How it ended."""

    code: int
    output: bytes
    """What it wrote to standard output, at most 1 MiB."""


class OneShot:
    """One run of one command."""

    def __init__(self, spec: ProcessSpec, *, errors: int) -> None:
        """Start it; it waits for its input. `errors` takes its standard error. Raises StackFailure."""
        self._held = contextlib.ExitStack()
        read_end, write_end = os.pipe()
        self._child = spawn(spec, input_=subprocess.PIPE, output=write_end, errors=errors)
        os.close(write_end)
        os.set_blocking(read_end, False)
        self._collected = bytearray()
        self._exited = asyncio.Event()
        loop = asyncio.get_running_loop()
        loop.add_reader(read_end, self._take, read_end)
        self._held.callback(os.close, read_end)
        self._held.callback(loop.remove_reader, read_end)
        self._held.callback(self._take, read_end)
        self._held.callback(ExitWatch(self._child, self._exited.set).close)

    @property
    def pid(self) -> int:
        """The child's pid."""
        return self._child.pid

    def _take(self, descriptor: int) -> None:
        with contextlib.suppress(BlockingIOError):
            chunk = os.read(descriptor, 65_536)
            if not chunk:
                asyncio.get_running_loop().remove_reader(descriptor)
            if len(self._collected) < OUTPUT_LIMIT:
                self._collected += chunk

    async def finish(self, given: bytes, *, limit_s: float) -> Finished:
        """Give it its input (at most 64 KiB) and wait for its end. Raises TimeoutError after `limit_s`."""
        with contextlib.suppress(BrokenPipeError):
            assert self._child.stdin is not None
            self._child.stdin.write(given)
            self._child.stdin.close()
        async with asyncio.timeout(limit_s):
            await self._exited.wait()
        self._held.close()
        return Finished(self._child.returncode, bytes(self._collected))

    def abandon(self) -> None:
        """End it, whatever it does. Harmless after its end."""
        if self._child.stdin is not None:
            with contextlib.suppress(BrokenPipeError):
                self._child.stdin.close()
        if self._child.poll() is None:
            self._child.kill()
            self._child.wait()
        self._held.close()
