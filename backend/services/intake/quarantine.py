"""Quarantined deliveries: what they are about, and giving them to the company that they belong to.

Once a number or an agent is mapped, by whatever way, the API releases what waits for it within seconds
(`backend.services.intake.inbox.release`); assigning does both at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from backend.postgres.pools import Connection
from backend.providers.delivery import dialled_number
from backend.queue.port import JobQueue
from backend.services.intake.inbox import release

GROUPS = """
    select provider, dialled, agent_id, count(*) as deliveries, count(distinct subject) as subjects,
           min(received_at) as first_at, max(received_at) as last_at
    from webhook_inbox
    where state = 'quarantined'
    group by provider, dialled, agent_id
    order by deliveries desc, last_at desc
    limit 200
"""

WAITING = "select count(*) from webhook_inbox where state = 'quarantined' and (dialled = $1 or agent_id = $1)"

COMPANY = "select id, name from companies where slug = $1"

COMPANY_SLUGS = "select slug from companies order by slug limit 1000"

BRANCHES = "select id, slug from branches where company_id = $1 order by slug"

OWNER = """
    select company.slug
    from (select company_id from phone_numbers where number = $1
          union all select company_id from agents where agent_id = $1) mapped
    join companies company on company.id = mapped.company_id
"""

MAP_NUMBER = "insert into phone_numbers (number, company_id, branch_id) values ($1, $2, $3)"

MAP_AGENT = "insert into agents (agent_id, company_id, branch_id) values ($1, $2, $3)"

RELEASE_AT_ONCE = 500


@dataclass(frozen=True, slots=True)
class QuarantineGroup:
    """Quarantined deliveries with one number and one agent."""

    provider: str
    dialled: str | None
    agent_id: str | None
    deliveries: int
    subjects: int
    """Calls or bookings that they are about."""
    first_at: datetime
    last_at: datetime


@dataclass(frozen=True, slots=True)
class Place:
    """Where a number or an agent is to belong."""

    company_id: UUID
    company: str
    """The company's name."""
    branch_id: UUID | None
    branch: str
    """The branch's slug; empty for an agent of the whole company."""


@dataclass(frozen=True, slots=True)
class Assignment:
    """What assigning did, or would do."""

    target: str
    place: Place
    waiting: int
    """Deliveries that were quarantined under the number or agent."""
    released: int
    """Deliveries that have a job now, others with a known tenant included."""


class AssignmentRefused(Exception):
    """The assignment makes no sense; the message says why, `choices` what would instead of `given`."""

    def __init__(self, message: str, given: str = "", choices: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.given = given
        self.choices = choices


async def quarantine_groups(connection: Connection) -> list[QuarantineGroup]:
    """Quarantined deliveries by number and agent, most first, at most 200 groups.

    For any role that reads across tenants.
    """
    return [QuarantineGroup(**row) for row in await connection.fetch(GROUPS)]


async def plan_assignment(connection: Connection, target: str, company: str, branch: str | None) -> Assignment:
    """What assigning the number or agent `target` to a company's branch (slugs) would do.

    Raises AssignmentRefused for an unknown company or branch, and for a target that belongs to somebody already.
    """
    target = normal_target(target)
    owner = await connection.fetchval(OWNER, target)
    if owner is not None:
        raise AssignmentRefused(f"{target} belongs to the company {owner} already.")
    place = await _place(connection, company, branch, branch_needed=target.startswith("+"))
    waiting = await connection.fetchval(WAITING, target)
    return Assignment(target=target, place=place, waiting=waiting, released=0)


async def assign(connection: Connection, queue: JobQueue, plan: Assignment) -> Assignment:
    """Map the number or agent and release what waits for it. Needs the setup role.

    The mapping is committed with the first deliveries that it releases; what remains is released in further steps,
    by this or, should it die, by the API. Raises asyncpg.UniqueViolationError when somebody was faster.
    """
    statement = MAP_NUMBER if plan.target.startswith("+") else MAP_AGENT
    async with connection.transaction():
        await connection.execute(statement, plan.target, plan.place.company_id, plan.place.branch_id)
        released = step = await release(connection, queue, at_most=RELEASE_AT_ONCE)
    while step == RELEASE_AT_ONCE:
        async with connection.transaction():
            step = await release(connection, queue, at_most=RELEASE_AT_ONCE)
        released += step
    return Assignment(target=plan.target, place=plan.place, waiting=plan.waiting, released=released)


def normal_target(text: str) -> str:
    """A phone number in the form that numbers are mapped by, or the agent's id as it is. Raises AssignmentRefused."""
    text = text.strip()
    if not text:
        raise AssignmentRefused("A number (+49…) or an agent's id is needed.")
    if text[0] in "+0" or not any(character.isalpha() for character in text):
        number = dialled_number(text)
        if number is None:
            raise AssignmentRefused(f"{text} is no phone number with its country code, such as +493012345678.")
        return number
    return text


async def _place(connection: Connection, company: str, branch: str | None, *, branch_needed: bool) -> Place:
    found = await connection.fetchrow(COMPANY, company)
    if found is None:
        slugs = tuple(row["slug"] for row in await connection.fetch(COMPANY_SLUGS))
        raise AssignmentRefused(f"There is no company {company}.", company, slugs)
    branches = {row["slug"]: row["id"] for row in await connection.fetch(BRANCHES, found["id"])}
    if branch is None and branch_needed and len(branches) == 1:
        branch = next(iter(branches))
    if branch is None:
        if branch_needed:
            raise AssignmentRefused(f"{company} has not just one branch: say which.", "", tuple(branches))
        return Place(found["id"], found["name"], None, "")
    if branch not in branches:
        raise AssignmentRefused(f"{company} has no branch {branch}.", branch, tuple(branches))
    return Place(found["id"], found["name"], branches[branch], branch)
