"""What a company offers, by the names people use: its branches, services and staff, and who does what where.

Kept in the process for the calendar's version that it belongs to: whoever knows the current version needs no look.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from difflib import SequenceMatcher
from typing import TypeVar
from uuid import UUID

import msgspec

from backend.domain.names import name_key
from backend.postgres.pools import Connection

CERTAIN = 0.85
"""How alike two names are when one is a slip of the other (1: equal)."""

CLEAR = 0.1
"""So much less alike is the next best."""

LIKELY = 0.5
"""Below that, nothing tells that it could be meant."""

NEAREST = 3
"""At most so many are named."""

LONGEST = 80
"""Letters of a name that are compared."""

MOST_COMPANIES = 1024
"""Catalogues in the process at once; the longest unused one goes."""


class Branch(msgspec.Struct, frozen=True):
    """A place that is open for business."""

    id: UUID
    slug: str
    name: str
    time_zone: str


class Service(msgspec.Struct, frozen=True):
    """Something that can be booked."""

    id: UUID
    slug: str
    name: str
    duration_min: int
    price_cents: int
    branches: frozenset[UUID]
    """Where somebody offers it."""


class StaffMember(msgspec.Struct, frozen=True):
    """Somebody who can be booked."""

    id: UUID
    slug: str
    name: str
    branches: frozenset[UUID]
    services: frozenset[UUID]


class Catalogue(msgspec.Struct, frozen=True):
    """All of a company's, each by name."""

    version: int
    """The calendar's."""
    branches: tuple[Branch, ...]
    services: tuple[Service, ...]
    staff: tuple[StaffMember, ...]


_READ = """
with here as (
    select w.staff_id, w.branch_id, p.slug, p.name
    from staff p join staff_branches w on w.company_id = $1 and w.staff_id = p.id
    where p.company_id = $1 and p.is_bookable
)
select json_build_object(
    'version', (select c.calendar_version from companies c where c.id = $1),
    'branches', coalesce((
        select json_agg(json_build_object('id', b.id, 'slug', b.slug, 'name', b.name, 'time_zone', b.time_zone)
                        order by b.name, b.id)
        from branches b where b.company_id = $1 and b.is_active), '[]'),
    'services', coalesce((
        select json_agg(json_build_object(
            'id', s.id, 'slug', s.slug, 'name', s.name, 'duration_min', s.duration_min, 'price_cents', s.price_cents,
            'branches', coalesce((
                select json_agg(distinct h.branch_id)
                from staff_services o join here h on h.staff_id = o.staff_id
                where o.company_id = $1
                  and o.service_id in (
                      select coalesce(g.skill_service_id, s.id)
                      from service_segments g
                      where g.company_id = $1 and g.service_id = s.id and not g.is_gap
                      union
                      select s.id
                      where not exists (select from service_segments g where g.company_id = $1 and g.service_id = s.id)
                  )), '[]')) order by s.name, s.id)
        from services s where s.company_id = $1 and s.is_active), '[]'),
    'staff', coalesce((
        select json_agg(json_build_object(
            'id', p.id, 'slug', p.slug, 'name', p.name,
            'branches', coalesce((select json_agg(h.branch_id) from here h where h.staff_id = p.id), '[]'),
            'services', coalesce((
                select json_agg(o.service_id) from staff_services o
                where o.company_id = $1 and o.staff_id = p.id), '[]')) order by p.name, p.id)
        from staff p where p.company_id = $1 and p.is_bookable), '[]'))::text
"""


class Catalogues:
    """The catalogues that this process knows."""

    def __init__(self) -> None:
        self._known: OrderedDict[UUID, Catalogue] = OrderedDict()

    async def of(self, connection: Connection, company_id: UUID, version: int) -> Catalogue:
        """A company's catalogue, at least as new as the calendar's `version`: read when the known one is older.

        One round trip of the company's transaction, or none. Raises asyncpg errors.
        """
        known = self._known.get(company_id)
        if known is not None and known.version == version:
            self._known.move_to_end(company_id)
            return known
        text: str = await connection.fetchval(_READ, company_id)
        known = msgspec.json.decode(text, type=Catalogue)
        self._known[company_id] = known
        self._known.move_to_end(company_id)
        while len(self._known) > MOST_COMPANIES:
            self._known.popitem(last=False)
        return known


Named = TypeVar("Named", Branch, Service, StaffMember)


def find(spoken: str, among: Iterable[Named]) -> Named | list[Named]:
    """The one that `spoken` names: by slug, by name as people say it, by a part of it that only one has, or nearly.

    A list when that can't be told: of the (at most three) nearest, the likeliest first.
    """
    items = list(among)
    key = name_key(spoken)
    words = set(key.split())
    named = [(item, set(name_key(item.name).split())) for item in items]
    for same in (
        [item for item in items if spoken == item.slug],
        [item for item in items if key in {name_key(item.name), name_key(item.slug)}],
        [item for item, own in named if words and words <= own],
        [item for item, own in named if own and own <= words],
    ):
        if len(same) == 1:
            return same[0]
    ranked = sorted(((_alike(key, item.name, item.slug), -at) for at, item in enumerate(items)), reverse=True)
    if ranked and ranked[0][0] >= CERTAIN and (len(ranked) == 1 or ranked[1][0] < ranked[0][0] - CLEAR):
        return items[-ranked[0][1]]
    shared = [item for item, own in named if words & own]
    likely = [items[-at] for score, at in ranked if score >= LIKELY]
    return (likely or shared or items)[:NEAREST]


def _alike(key: str, name: str, slug: str) -> float:
    """How alike a folded spoken name is to a name, a word of it, or a slug; 1 when equal."""
    matcher = SequenceMatcher(autojunk=False)
    matcher.set_seq2(key[:LONGEST])
    best = 0.0
    for right in (name_key(name), name_key(slug), *name_key(name).split()):
        matcher.set_seq1(right[:LONGEST])
        best = max(best, matcher.ratio())
    return best
