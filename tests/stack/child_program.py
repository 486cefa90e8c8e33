"""Small real programs in the places of API, workers, publisher and supervisor; run as `-m tests.stack.child_program`.

Each obeys the supervisor as the product's processes do. `CHILD_<NAME>` in the environment makes one misbehave:
`crash` ends at once, `silent` never becomes ready, `stubborn` ignores SIGTERM, `grow` takes memory after its start,
`once FILE` crashes unless FILE exists.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from pathlib import Path

from backend.stack.child import announce_ready, inherited_listener, stop_event
from backend.stack.config import StackConfig
from backend.stack.failures import StackFailure
from backend.stack.layout import Layout
from backend.stack.logs import LogLimits
from backend.stack.supervisor import run_supervisor

ANSWER = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok"

MIB = 1024 * 1024


def config(*, demo: bool = False) -> StackConfig:
    """The supervisor's configuration, with this program in the place of the product's."""
    return StackConfig(
        layout=Layout.from_environment(),
        version="test",
        demo=demo,
        api_port=int(os.environ.get("ASKPRO_API_PORT", "0")),
        ask_every_s=0.5,
        queues=("webhooks", "default"),
        logs=LogLimits(file_bytes=MIB),
        memory_ceiling_bytes=int(os.environ.get("CHILD_CEILING_MIB", "512")) * MIB,
        python=(sys.executable, "-m", "tests.stack.child_program"),
        postgres={"fsync": "off"} if os.environ.get("CHILD_FAST_POSTGRES") else {},
    )


def say(text: str) -> None:
    """Write a line to standard error at once."""
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


async def serve() -> None:
    """Answer every connection on the supervisor's listening socket."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(ANSWER)
        await writer.drain()
        writer.close()

    listener = inherited_listener()
    assert listener is not None
    await asyncio.start_server(answer, sock=listener)


async def work(name: str, order: str) -> None:
    """Be ready until told to stop."""
    stop = stop_event()
    say(json.dumps({"process": name, "message": "starts"}))
    if name == "api":
        await serve()
    if order == "silent":
        await stop.wait()
        return
    announce_ready()
    if order == "stubborn":
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().remove_signal_handler(number)
            signal.signal(number, signal.SIG_IGN)
        await asyncio.Event().wait()
    ballast = bytearray(b"x" * 96 * MIB) if order == "grow" else bytearray()
    await stop.wait()
    say(f"{name} drained {len(ballast)}")


def main(arguments: list[str]) -> int:
    """Run the process that the arguments name."""
    if arguments[0] == "supervisor":
        try:
            return asyncio.run(run_supervisor(config(demo="--demo" in arguments)))
        except StackFailure as failure:
            sys.stderr.write(f"askpro: {failure.message}\n{failure.hint}\n")
            return 1
    name = "-".join(arguments)
    order = os.environ.get(f"CHILD_{name.replace('-', '_').upper()}", "")
    if order == "crash" or (order.startswith("once ") and not Path(order[5:]).exists()):
        say(f"{name} cannot go on")
        return 3
    asyncio.run(work(name, order))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
