"""The connection to Valkey (or Redis): how it is opened, and the one error that leaves this package.

Valkey holds only what can be rebuilt: snapshots, notices, timings of the last seconds. Everybody who asks it
must have an answer for `ValkeyUnavailable`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from redis.asyncio import Redis

CONNECT_S = 0.5
"""Longest wait for a connection."""

COMMAND_S = 1.0
"""Longest wait for the answer to one command."""

EXCHANGE_S = 2.0
"""Longest wait for a whole exchange, reconnecting once included."""

POOL_SIZE = 16
"""Connections of one process; who comes later waits for a free one."""


class ValkeyUnavailable(Exception):
    """Valkey did not answer in time, refused, or is not there; the message says which, in a few words."""


def open_valkey(url: str, *, size: int = POOL_SIZE) -> Redis:
    """A client for `unix:///path` or `redis://host:port/0`; connects at the first command.

    Waits are bounded by the constants of this module, answers are bytes, a connection that broke is replaced once
    before a command fails. Close it with `aclose()`.
    """
    from redis.asyncio import BlockingConnectionPool, Redis
    from redis.asyncio.retry import Retry
    from redis.backoff import NoBackoff
    from redis.exceptions import ConnectionError as RedisConnectionError

    retry = Retry(NoBackoff(), 1, supported_errors=(RedisConnectionError,))
    pool = BlockingConnectionPool.from_url(
        url,
        max_connections=size,
        timeout=COMMAND_S,
        protocol=3,
        socket_connect_timeout=CONNECT_S,
        socket_timeout=COMMAND_S,
        retry=retry,
        retry_on_error=[RedisConnectionError],
    )
    return Redis.from_pool(pool)


@asynccontextmanager
async def exchange(seconds: float = EXCHANGE_S) -> AsyncIterator[None]:
    """Bound what is asked of Valkey inside, and translate its failures to `ValkeyUnavailable`."""
    from redis.exceptions import RedisError

    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError as error:
        raise ValkeyUnavailable("no answer in time") from error
    except (RedisError, OSError, EOFError) as error:
        raise ValkeyUnavailable(in_few_words(error)) from error


def in_few_words(error: BaseException) -> str:
    """The failure on one short line, for a badge or a log."""
    if isinstance(error, FileNotFoundError):
        words = "nothing listens there: no such socket"
    elif isinstance(error, ConnectionRefusedError):
        words = "nothing listens there"
    else:
        silent = "no answer in time" if isinstance(error, TimeoutError) else type(error).__name__
        words = " ".join(str(error).split()) or silent
    return words if len(words) <= 120 else words[:119] + "…"
