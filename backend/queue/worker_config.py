"""What a worker process has to be told before it begins."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from backend.domain.vocabulary import QueueName
from backend.postgres.address import PostgresAddress
from backend.providers.clients import ProviderConfig
from backend.queue.executor import UNWIND_S
from backend.queue.policies import BUILT_IN, DEQUEUE_WAIT_S, HEARTBEAT_S, Policies, QueuePolicy
from backend.services.notifications.channel import Channel
from backend.services.notifications.file_channel import FileChannel
from backend.services.notifications.smtp_channel import SmtpChannel, SmtpServer


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerConfig:
    """What one worker process needs to know."""

    queue: QueueName
    postgres: PostgresAddress
    valkey_url: str | None
    """Where to tell what changed; None tells nobody."""
    node: str
    version: str
    outbox: Path | None = None
    """The directory into which messages go when there is no mail server."""
    mail: SmtpServer | None = None
    """The server that messages are handed to; None: they go into the directory."""
    providers: ProviderConfig | None = None
    """How providers are called; None: jobs that need one are held."""
    policies: Policies = BUILT_IN
    policy: QueuePolicy | None = None
    """Its queue's, in place of the one in `policies`."""
    memory_ceiling: int | None = None
    """Resident bytes at which the process is recycled: jobs that make it grow are stopped before. None: never."""
    stacks: Path | None = None
    """The directory, this node's alone, in which stands who froze a worker; None: that is never known."""
    lease_s: float = HEARTBEAT_S
    """A job whose worker has been silent for so long is given to another."""
    look_s: float = DEQUEUE_WAIT_S
    """Longest pause between looks at the queue."""
    drain_s: float = 25.0
    """From being told to stop until everything is finished or given back."""
    unwind_s: float = UNWIND_S
    """A cancelled handler has so long to put its things down."""

    def all_policies(self) -> Policies:
        """Those that it works by."""
        return self.policies if self.policy is None else self.policies.with_queue(self.policy)

    def channel(self) -> Channel | None:
        """What carries messages: the mail server, else the directory."""
        if self.mail is not None:
            return SmtpChannel(self.mail)
        return None if self.outbox is None else FileChannel(self.outbox)
