"""What can be named by an operator: queues, job types, companies, providers, nodes, schedules; and what is near."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from uuid import UUID

from backend.domain.nearest import nearest
from backend.domain.vocabulary import PauseKind, Provider, QueueName
from backend.postgres.pools import Connection
from backend.queue.policies import Policies, in_force
from backend.services.operating.refusals import NotPossible

_COMPANY = "select company_named($1)"

# A node that was forgotten may still be drained: it can be named until somebody resumes it.
_NODES = """
select node from nodes
union select name from pauses where kind = 'node' and resumed_at is null
union select node from workers where heartbeat_at > now() - interval '30 days'
order by 1
"""

_SEEN_TYPE = """
select exists (select from pgqueuer where entrypoint = $1)
    or exists (select from job_runs where entrypoint = $1)
    or exists (select from held_jobs where entrypoint = $1)
"""


@dataclass(frozen=True, slots=True)
class Subject:
    """One thing that can be paused."""

    kind: PauseKind
    name: str
    company_id: UUID | None = None

    def __str__(self) -> str:
        match self.kind:
            case PauseKind.QUEUE:
                return f"queue {self.name}"
            case PauseKind.JOB_TYPE:
                return f"job type {self.name}"
            case _:
                return f"{self.kind} {self.name}"


async def subject(connection: Connection, kind: PauseKind, name: str, policies: Policies | None = None) -> Subject:
    """The thing of that kind and name. Raises NotPossible when there is none."""
    match kind:
        case PauseKind.QUEUE:
            known_queue(name)
        case PauseKind.JOB_TYPE:
            await known_type(connection, name, policies)
        case PauseKind.COMPANY:
            return Subject(kind, name, await known_company(connection, name))
        case PauseKind.PROVIDER:
            known_provider(name)
        case PauseKind.NODE:
            await known_node(connection, name)
        case PauseKind.SCHEDULE:
            known_schedule(name)
    return Subject(kind, name)


def known_queue(name: str) -> QueueName:
    """The queue of that name. Raises NotPossible."""
    try:
        return QueueName(name)
    except ValueError:
        raise NotPossible(f"There is no queue {name}.", _one_of(name, QueueName)) from None


def known_provider(name: str) -> Provider:
    """The provider of that name. Raises NotPossible."""
    try:
        return Provider(name)
    except ValueError:
        raise NotPossible(f"There is no provider {name}.", _one_of(name, Provider)) from None


async def known_node(connection: Connection, name: str) -> str:
    """The node, if it is registered, drained, or has had workers lately. Raises NotPossible."""
    nodes = [row["node"] for row in await connection.fetch(_NODES)]
    if name not in nodes:
        raise NotPossible(f"There is no node {name}.", _one_of(name, nodes))
    return name


async def known_type(connection: Connection, name: str, policies: Policies | None = None) -> str:
    """The job type, if workers know it or such a job was ever put in. Raises NotPossible."""
    known = (policies or in_force()).job_types()
    if name not in known and not await connection.fetchval(_SEEN_TYPE, name):
        raise NotPossible(f"There is no job type {name}.", _one_of(name, known))
    return name


async def known_company(connection: Connection, slug: str) -> UUID:
    """The company of that slug. Raises NotPossible."""
    found: UUID | None = await connection.fetchval(_COMPANY, slug)
    if found is None:
        raise NotPossible(f"There is no company {slug}.", "`askpro company list` shows them.")
    return found


def known_schedule(name: str) -> str:
    """The job type that comes round by itself. Raises NotPossible."""
    from backend.queue.periodic import SCHEDULE  # the schedule's jobs need services themselves

    known = [item.entrypoint for item in SCHEDULE]
    if name not in known:
        raise NotPossible(f"{name} does not come round by itself.", _one_of(name, known))
    return name


def _one_of(name: str, known: Iterable[str]) -> str:
    names = [str(each) for each in known]
    if (near := nearest(name, names)) is not None:
        return f"Did you mean {near}?"
    return f"There are: {', '.join(names)}." if names else "There are none."
