"""Reading a request's body within bounds."""

from __future__ import annotations

import asyncio
import contextlib

from starlette.types import Message, Receive

from backend.api.problems import Problem

BODY_LIMIT = 1024 * 1024
"""Largest body, bytes."""

DISCARD_LIMIT = 4 * 1024 * 1024
"""So much of a body that is too large is read and forgotten before the answer, bytes: a client that still sends when
the connection ends may never see the answer."""

DISCARD_TIMEOUT_S = 1.0

EXPECT = b"expect"


class ClientGone(Exception):
    """The client hung up before its request was complete; nobody waits for an answer."""


class TooLarge(Problem):
    """The body is larger than the limit; the rest of it is not read."""

    def __init__(self, limit: int) -> None:
        super().__init__(413, f"the body may have {limit} bytes", close=True)


async def read_body(headers: list[tuple[bytes, bytes]], receive: Receive, *, limit: int = BODY_LIMIT) -> bytes:
    """The whole body. Raises `TooLarge`, `ClientGone`; keeps no more than the limit.

    How long it may take is the protocol's part (`backend.api.protocol`): what is too late counts as gone.
    """
    for name, value in headers:
        if name == b"content-length" and value.isdigit() and (len(value) > 12 or int(value) > limit):
            if not any(other == EXPECT for other, _ in headers):
                await _discard(receive)
            raise TooLarge(limit)
    message = await receive()
    if message["type"] != "http.request":
        raise ClientGone
    body: bytes = message.get("body", b"")
    if message.get("more_body", False):
        return await _read_on(bytearray(body), receive, limit)
    if len(body) > limit:
        raise TooLarge(limit)
    return body


async def _discard(receive: Receive) -> None:
    """Read what still comes and forget it, within bounds."""
    size = 0
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(DISCARD_TIMEOUT_S):
            while size < DISCARD_LIMIT:
                message = await receive()
                size += len(message.get("body", b""))
                if not message.get("more_body", False):
                    return


async def _read_on(body: bytearray, receive: Receive, limit: int) -> bytes:
    while len(body) <= limit:
        message = await receive()
        if message["type"] != "http.request":
            raise ClientGone
        body += message.get("body", b"")
        if not message.get("more_body", False):
            if len(body) > limit:
                raise TooLarge(limit)
            return bytes(body)
    body.clear()
    await _discard(receive)
    raise TooLarge(limit)


def read_already(body: bytes, receive: Receive) -> Receive:
    """A `receive` that gives the body first, and then what really comes."""
    waiting: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def received() -> Message:
        return waiting.pop() if waiting else await receive()

    return received
