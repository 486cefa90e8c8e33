"""Whatever happens to appointments in whatever order: nobody is ever in two places, and the events tell it all.

Random sequences of what can be asked for, on a small calendar, against a model that knows busy minutes and nothing
else. The model never looks at the database; after each sequence the database is verified against its own events.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from uuid import UUID

from msgspec.structs import replace

from backend.domain.vocabulary import RefusalReason
from backend.postgres.address import Role
from backend.postgres.pools import Connection, tenant_transaction
from backend.postgres.verify import verify
from backend.services.booking import (
    Booked,
    BookingRequest,
    ChangeNotAllowed,
    SlotTaken,
    book,
    cancel,
    complete,
    confirm,
    no_show,
    reschedule,
    restore,
)
from backend.services.companies.applying import (
    BranchDeclaration,
    CompanyDeclaration,
    SegmentDeclaration,
    ServiceDeclaration,
    StaffDeclaration,
    apply_company,
)
from tests.databases import OpenConnection
from tests.services.atelier import ASKED, HOURS, TEN

STEPS = 120
SEEDS = (1, 2, 3)
STARTS = [TEN + timedelta(minutes=15 * number) for number in range(9)]
"""A morning, so that things meet."""

WHO = {"schnitt": ("anna", "ben"), "kurs": ("anna", "ben"), "yoga": ("anna",), "farbe": ("anna", "ben")}
SEATS = {"schnitt": 1, "kurs": 2, "yoga": 2, "farbe": 1}

SMALL = CompanyDeclaration(
    slug="small",
    name="Small",
    branches=(BranchDeclaration(slug="mitte", name="Mitte"),),
    services=(
        ServiceDeclaration(slug="schnitt", name="Schnitt", duration_min=30, buffer_after_min=15),
        ServiceDeclaration(slug="kurs", name="Kurs", duration_min=45, capacity=2),
        ServiceDeclaration(slug="yoga", name="Yoga", duration_min=45, capacity=2),
        ServiceDeclaration(
            slug="farbe",
            name="Farbe",
            segments=(
                SegmentDeclaration(label="Auftragen", duration_min=15),
                SegmentDeclaration(label="Einwirken", duration_min=30, gap=True),
                SegmentDeclaration(label="Schneiden", duration_min=15, role="cutter", skill="schnitt"),
            ),
        ),
    ),
    staff=tuple(
        StaffDeclaration(
            slug=slug,
            name=slug,
            branches=("mitte",),
            services=tuple(service for service, who in WHO.items() if slug in who),
            hours={"mitte": HOURS},
        )
        for slug in ("anna", "ben")
    ),
)

Stretch = tuple[int, int]
"""Minutes after ten o'clock, from and before."""


def needs(service: str, starts_at: datetime) -> list[list[Stretch]]:
    """For each role, when somebody must be there."""
    at = round((starts_at - TEN).total_seconds() / 60)
    return {
        "schnitt": [[(at, at + 45)]],
        "kurs": [[(at, at + 45)]],
        "yoga": [[(at, at + 45)]],
        "farbe": [[(at, at + 15)], [(at + 45, at + 60)]],
    }[service]


@dataclass(slots=True)
class Known:
    """An appointment as the model knows it."""

    service: str
    starts_at: datetime
    staff: tuple[str, ...]
    """By role."""
    seat: int
    status: str
    """`lapsed`: held, and for too long."""

    @property
    def is_active(self) -> bool:
        return self.status in {"held", "confirmed"}


@dataclass(slots=True)
class Model:
    """Who is where, minute by minute."""

    known: dict[UUID, Known] = field(default_factory=dict)

    def fits(self, person: str, service: str, stretches: list[Stretch], seat: int, without: UUID | None) -> bool:
        """Whether somebody could also do this, on that seat; only the same service is shared, seat by seat."""
        for identity, one in self.known.items():
            if identity == without or not one.is_active:
                continue
            for role, who in enumerate(one.staff):
                theirs = needs(one.service, one.starts_at)[role] if who == person else []
                meets = any(a < d and c < b for a, b in stretches for c, d in theirs)
                if meets and (one.service != service or SEATS[service] == 1 or one.seat == seat):
                    return False
        return True

    def could(self, service: str, starts_at: datetime, first: str | None, without: UUID | None = None) -> bool:
        """Whether everybody that is needed could be there."""
        roles = needs(service, starts_at)
        able = [(first,) if first else WHO[service], *([WHO["schnitt"]] * (len(roles) - 1))]
        return all(
            any(
                self.fits(person, service, stretches, seat, without)
                for person in people
                for seat in range(1, SEATS[service] + 1)
            )
            for people, stretches in zip(able, roles, strict=True)
        )

    def stands(self, identity: UUID) -> bool:
        """Whether those who do it are free for it, apart from it."""
        one = self.known[identity]
        return all(
            self.fits(person, one.service, stretches, one.seat, identity)
            for person, stretches in zip(one.staff, needs(one.service, one.starts_at), strict=True)
        )


_TOLD = """
    select a.starts_at, a.seat, a.status, coalesce(
        (select array_agg((part ->> 'staff_id')::uuid) from jsonb_array_elements(a.parts) part),
        array[a.staff_id]) as staff
    from appointments a where a.id = $1
"""


class Life:
    """One sequence of events in one company, checked step by step."""

    def __init__(self, connection: Connection, company_id: UUID, staff: dict[UUID, str], seed: int) -> None:
        self._connection = connection
        self._company_id = company_id
        self._staff = staff
        self._dice = random.Random(seed)
        self._model = Model()
        self._count = 0

    async def step(self) -> None:
        """Let something happen, or try to."""
        kinds = ("book", "hold", "lapse", "confirm", "move", "cancel", "restore", "no_show", "complete")
        kind = self._dice.choices(kinds, weights=(8, 3, 1, 3, 6, 5, 4, 1, 1))[0]
        if kind in {"book", "hold", "lapse"} or not self._model.known:
            await self._book(kind)
        else:
            await self._change(kind, self._dice.choice(list(self._model.known)))

    async def _book(self, kind: str) -> None:
        self._count += 1
        service = self._dice.choice(list(WHO))
        starts_at = self._dice.choice(STARTS)
        staff = self._dice.choice((*WHO[service], None))
        hold = {"hold": timedelta(hours=1), "lapse": timedelta(microseconds=1)}.get(kind)
        request = BookingRequest(
            key=str(self._count),
            company_id=self._company_id,
            service=service,
            starts_at=starts_at,
            asked_at=ASKED,
            staff=staff,
            hold_for=hold,
            wants_alternatives=False,
        )
        async with tenant_transaction(self._connection, self._company_id):
            answer = await book(self._connection, request)
        if not self._model.could(service, starts_at, staff):
            assert not isinstance(answer, Booked)
            assert answer.reason is RefusalReason.SLOT_TAKEN
            return
        assert isinstance(answer, Booked), (service, starts_at, staff, answer)
        status = {"hold": "held", "lapse": "lapsed"}.get(kind, "confirmed")
        self._model.known[answer.appointment_id] = Known(service, starts_at, (), 0, status)
        await self._told(answer.appointment_id)
        assert self._model.stands(answer.appointment_id)

    async def _change(self, kind: str, identity: UUID) -> None:
        one = self._model.known[identity]
        if one.status == "lapsed" and kind != "confirm":
            return
        starts_at = self._dice.choice(STARTS)
        allowed = (
            one.status
            in {
                "confirm": {"held"},
                "move": {"confirmed"},
                "cancel": {"held", "confirmed"},
                "restore": {"cancelled", "no_show"},
                "no_show": {"confirmed", "completed"},
                "complete": {"confirmed"},
            }[kind]
        )
        free = {
            "move": lambda: self._model.could(one.service, starts_at, one.staff[0], identity),
            "restore": lambda: self._model.stands(identity),
        }.get(kind, lambda: True)()
        expected = ChangeNotAllowed if not allowed else None if free else SlotTaken
        refused: type[Exception] | None = None
        try:
            await self._do(kind, identity, starts_at)
        except (ChangeNotAllowed, SlotTaken) as error:
            refused = ChangeNotAllowed if isinstance(error, ChangeNotAllowed) else SlotTaken
        assert refused is expected, (kind, one, starts_at)
        if refused is None:
            becomes = {"cancel": "cancelled", "no_show": "no_show", "complete": "completed"}
            one.status = becomes.get(kind, "confirmed")
            await self._told(identity)
            assert not one.is_active or self._model.stands(identity)

    async def _do(self, kind: str, identity: UUID, starts_at: datetime) -> None:
        async with tenant_transaction(self._connection, self._company_id):
            if kind == "move":
                await reschedule(
                    self._connection,
                    self._company_id,
                    identity,
                    starts_at=starts_at,
                    actor="test",
                    asked_at=ASKED,
                )
                self._model.known[identity].starts_at = starts_at
                return
            event = {
                "confirm": confirm,
                "cancel": cancel,
                "restore": restore,
                "no_show": no_show,
                "complete": complete,
            }[kind]
            await event(self._connection, self._company_id, identity, actor="test")

    async def _told(self, identity: UUID) -> None:
        """Who does it on which seat, as the answer says; whether that is right the model judges."""
        async with tenant_transaction(self._connection, self._company_id):
            row = await self._connection.fetchrow(_TOLD, identity)
        assert row is not None
        one = self._model.known[identity]
        one.staff = tuple(self._staff[staff] for staff in row["staff"])
        one.seat = row["seat"]
        assert row["starts_at"] == one.starts_at
        assert row["status"] == {"lapsed": "held"}.get(one.status, one.status)


async def test_nobody_is_ever_in_two_places_and_the_events_tell_everything(
    setup: Connection, open_connection: OpenConnection
) -> None:
    connection = await open_connection(Role.WORKER)
    for seed in SEEDS:
        declaration = replace(SMALL, slug=f"small-{seed}")
        company_id = (await apply_company(setup, declaration)).company_id
        rows = await setup.fetch("select id, slug from staff where company_id = $1", company_id)
        life = Life(connection, company_id, {row["id"]: row["slug"] for row in rows}, seed)
        for _ in range(STEPS):
            await life.step()
    assert [check.broken for check in await verify(await open_connection(Role.CONSOLE))] == [0] * 5
    kinds = await setup.fetchval("select count(distinct kind) from appointment_events")
    # Everything that can happen to an appointment but its start and what nobody did to it.
    assert kinds == 9
