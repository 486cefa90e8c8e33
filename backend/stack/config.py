"""What a supervisor needs to know."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field

from backend.domain.vocabulary import QueueName
from backend.stack.join import Join
from backend.stack.layout import Layout
from backend.stack.logs import LogLimits

MIB = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class StackConfig:
    """One system on one machine, all embedded; or, with `join`, a node on another system's stores."""

    layout: Layout
    version: str
    node: str = ""
    """This machine's name in the fleet; a node that joins needs one."""
    join: Join | None = None
    """Whose stores this node works on; None: servers of its own."""
    join_wait_s: float = 10.0
    """How long a node that starts waits for a database that does not answer."""
    demo: bool = False
    """Run the traffic simulator too."""
    api_host: str = "127.0.0.1"
    api_port: int = 8400
    """The next free port is taken when this one is not."""
    api_port_tries: int = 20
    logs: LogLimits = field(default_factory=LogLimits)
    memory_ceiling_bytes: int = 512 * MIB
    """Of each Python process."""
    ask_every_s: float = 5.0
    """How often the API is asked whether it still answers; it starts afresh after six silences."""
    queues: tuple[str, ...] = tuple(queue.value for queue in QueueName)
    """One worker process for each."""
    python: tuple[str, ...] = (sys.executable, "-m", "askpro_console", "process")
    """Runs one of our processes; `api`, `worker QUEUE`, `publisher` or `simulator` follow."""
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Added to the environment of every Python process."""
    postgres: Mapping[str, str] = field(default_factory=dict)
    """Settings over the server's boot settings, in postgresql.conf's spelling."""
    valkey: Mapping[str, str] = field(default_factory=dict)
    """Settings over the server's boot settings, in valkey.conf's spelling."""
