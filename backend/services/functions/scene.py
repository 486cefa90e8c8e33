"""One tool call's scene: whose call it is, who is calling, what the company offers.

It is entered in one round trip, which names the tenant for all that follows. Functions with an effect leave it in
another: the answer is kept with what was done, in the transaction that did it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TypeVar
from uuid import UUID
from zlib import crc32

import msgspec

from backend.domain.availability import Slot
from backend.domain.function_calls import FunctionCall
from backend.domain.names import name_key
from backend.domain.phones import normalise
from backend.domain.vocabulary import CallOutcome, RefusalReason
from backend.domain.zones import zone
from backend.postgres.pools import Connection
from backend.services.companies.catalogue import Branch, Catalogue, Catalogues, Service, StaffMember, find
from backend.services.functions import wording
from backend.services.functions.arguments import Arguments
from backend.services.functions.refusals import Declined, FunctionRefusal
from backend.services.functions.spoken import Language, language_of, spoken_list, spoken_moment

Answer = dict[str, object]

ENTER = """
    select company_id, company_name, locale, company_zone, is_active, calendar_version, branch_id, call_id, outcomes,
           customer_id, tool_key, answer, is_same
    from enter_function_call($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
"""

LINE = """
    select id, first_name, last_name, name_key, email
    from customers
    where company_id = $1 and phone = $2 and erased_at is null
    order by id
    limit 20
"""

_LEAVE = """
    with kept as (
        insert into function_calls (company_id, provider_call_id, tool_key, name, payload_hash, answer)
        values ($1, $2, $3, $4, $5, $6::json)
    )
    update calls set
        function_outcomes = $8, function_customer_id = coalesce($9, function_customer_id),
        customer_id = coalesce($9, customer_id), caller_name = coalesce(caller_name, $10),
        outcome = coalesce(function_outcome($8), outcome), updated_at = now()
    where company_id = $1 and id = $7
      and (function_outcomes <> $8 or $9::uuid is distinct from function_customer_id
           or caller_name is null and $10::text is not null)
"""


@dataclass(frozen=True, slots=True)
class Entered:
    """What is known as soon as a call's tenant is."""

    company_id: UUID
    company_name: str
    language: Language
    time_zone: str
    """The company's."""
    is_active: bool
    calendar_version: int
    branch_id: UUID | None
    """The branch that was called."""
    call_id: UUID
    outcomes: tuple[str, ...]
    """What functions did in this call before."""
    customer_id: UUID | None
    """Who a function found out the caller is, before."""
    tool_key: str | None
    answer: str | None
    """JSON, when this tool call was answered before."""
    is_same: bool
    """Whether it was the same function with the same arguments then."""


@dataclass(frozen=True, slots=True)
class Person:
    """A customer on the caller's line."""

    id: UUID
    first_name: str
    last_name: str
    name_key: str
    email: str | None

    @property
    def name(self) -> str:
        """First and last name."""
        return f"{self.first_name} {self.last_name}".strip()


async def enter(connection: Connection, call: FunctionCall, *, has_effect: bool) -> Entered | None:
    """Begin: None when the call is nobody's. In a transaction, which is the company's from here on."""
    row = await connection.fetchrow(
        ENTER,
        call.dialled,
        call.agent,
        call.provider.value,
        call.provider_call_id,
        call.tool_key if has_effect else None,
        call.payload_hash,
        call.call_type,
        call.direction,
        call.from_number,
        call.to_number,
        call.started_at,
    )
    if row is None:
        return None
    return Entered(
        company_id=row["company_id"],
        company_name=row["company_name"],
        language=language_of(row["locale"]),
        time_zone=row["company_zone"],
        is_active=row["is_active"],
        calendar_version=row["calendar_version"],
        branch_id=row["branch_id"],
        call_id=row["call_id"],
        outcomes=tuple(row["outcomes"]),
        customer_id=row["customer_id"],
        tool_key=row["tool_key"],
        answer=row["answer"],
        is_same=bool(row["is_same"]),
    )


@dataclass(slots=True)
class Scene:
    """What a function works with."""

    connection: Connection
    call: FunctionCall
    entered: Entered
    catalogues: Catalogues
    now: datetime
    """Aware."""
    arguments: Arguments = field(init=False)
    outcomes: set[str] = field(init=False)
    """What functions did in this call, this one included; kept when the scene is left."""
    customer_id: UUID | None = field(init=False)
    """Who the caller is, as far as functions found out."""
    caller_name: str | None = None
    """As given, when this function was told one."""
    _line: list[Person] | None = None
    _catalogue: Catalogue | None = None

    def __post_init__(self) -> None:
        self.arguments = Arguments(self.call.arguments)
        self.outcomes = set(self.entered.outcomes)
        self.customer_id = self.entered.customer_id

    @property
    def company_id(self) -> UUID:
        """The tenant."""
        return self.entered.company_id

    @property
    def language(self) -> Language:
        """The company's."""
        return self.entered.language

    @property
    def phone(self) -> str | None:
        """The caller's line, E.164; None when it is withheld."""
        return normalise(self.call.caller_number)

    async def line(self) -> list[Person]:
        """The customers on the caller's line; at most twenty, none for a withheld number."""
        if self._line is None:
            phone = self.phone
            rows = [] if phone is None else await self.connection.fetch(LINE, self.company_id, phone)
            self._line = [Person(*row) for row in rows]
        return self._line

    async def person(self, name: str | None) -> Person | None:
        """The customer on the caller's line: of this name, or the only one when none is given."""
        people = await self.line()
        if name is None:
            return people[0] if len(people) == 1 else None
        key = name_key(name)
        return next((person for person in people if person.name_key == key), None)

    async def catalogue(self) -> Catalogue:
        """What the company offers."""
        if self._catalogue is None:
            self._catalogue = await self.catalogues.of(self.connection, self.company_id, self.entered.calendar_version)
        return self._catalogue

    async def branch(self) -> Branch:
        """The branch that is asked for, else the one that was called, else the only one. Raises Declined."""
        branches = (await self.catalogue()).branches
        spoken = self.arguments.text("branch")
        if spoken is not None:
            return self._named(spoken, branches, RefusalReason.BRANCH_UNKNOWN, "branch")
        called = next((branch for branch in branches if branch.id == self.entered.branch_id), None)
        if called is not None:
            return called
        if len(branches) == 1:
            return branches[0]
        raise Declined(RefusalReason.BRANCH_UNKNOWN, *suggested(branches, "branch", self.language))

    async def service(self) -> Service:
        """The service that is asked for. Raises Declined."""
        services = (await self.catalogue()).services
        spoken = self.arguments.text("service")
        if spoken is None:
            raise self.missing("service")
        return self._named(spoken, services, RefusalReason.SERVICE_UNKNOWN, "service")

    async def staff(self) -> StaffMember | None:
        """The person that is asked for; None for anybody. Raises Declined."""
        spoken = self.arguments.text("staff")
        if spoken is None:
            return None
        return self._named(spoken, (await self.catalogue()).staff, RefusalReason.STAFF_UNKNOWN, "staff")

    def missing(self, argument: str) -> Declined:
        """The refusal that asks for an argument."""
        words = {"argument": wording.ARGUMENTS[argument].text(self.language)}
        return Declined(FunctionRefusal.ARGUMENT_MISSING, {"argument": argument}, words)

    def _named(self, spoken: str, among: Sequence[NamedItem], reason: RefusalReason, what: str) -> NamedItem:
        found = find(spoken, among)
        if isinstance(found, Sequence):
            raise Declined(reason, *suggested(found, what, self.language))
        return found

    async def slots(self, slots: Sequence[Slot]) -> list[Answer]:
        """Slots as the agent is told them: the start with its offset, who does it, and how it is spoken."""
        people = {person.id: person for person in (await self.catalogue()).staff}
        told: list[Answer] = []
        for slot in slots:
            # Whoever is free takes turns, so that the first by name does not get every appointment.
            turn = crc32(slot.starts_at.isoformat().encode()) % len(slot.staff)
            person = people.get(slot.staff[turn])
            told.append(
                {
                    "starts_at": slot.local.isoformat(),
                    "staff": person.slug if person else None,
                    "staff_name": person.name if person else "",
                    "spoken": self.spoken(slot.local),
                }
            )
        return told

    def spoken(self, local: datetime) -> str:
        """A wall time as it is said."""
        today = self.now.astimezone(zone(self.entered.time_zone)).date()
        return spoken_moment(local, self.language, today)


NamedItem = TypeVar("NamedItem", Branch, Service, StaffMember)


def suggested(
    found: Sequence[Branch] | Sequence[Service] | Sequence[StaffMember], what: str, language: Language
) -> tuple[Answer, dict[str, str]]:
    """Right ones to name instead, as fields of a refusal and as words for its sentence."""
    fields: Answer = {"suggestions": [{what: item.slug, "name": item.name} for item in found]}
    names = spoken_list([item.name for item in found], language, choice=True)
    return fields, {"names": names} if names else {}


async def leave(scene: Scene, answer: Answer) -> None:
    """Keep the answer under the tool call's key, and in the call's row what was done."""
    await scene.connection.execute(
        _LEAVE,
        scene.company_id,
        scene.call.provider_call_id,
        scene.entered.tool_key,
        scene.call.name,
        scene.call.payload_hash,
        msgspec.json.encode(answer).decode(),
        scene.entered.call_id,
        sorted(scene.outcomes),
        scene.customer_id,
        scene.caller_name,
    )


def did(scene: Scene, outcome: CallOutcome) -> None:
    """Note what a function did."""
    scene.outcomes.add(outcome.value)
