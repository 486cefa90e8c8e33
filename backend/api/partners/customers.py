"""`/api/customers`: who calls and comes."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query
from pydantic import Field, StrictBool
from starlette.responses import Response

from backend.api.partners.answers import Visiting, answered, not_modified, page_answer, problems, requires
from backend.api.partners.conditions import (
    IfMatch,
    IfNoneMatch,
    expected_version,
    is_unchanged,
    require_condition,
    stale,
)
from backend.api.partners.idempotency import IdempotencyKey, once
from backend.api.partners.pages import LARGEST_PAGE, PAGE, Cursor, Page
from backend.api.partners.values import Email, Given, Line, Moment, Name, Phone, Slug, Text, Told
from backend.api.problems import Problem
from backend.domain.names import name_key
from backend.domain.vocabulary import TokenScope
from backend.postgres.pools import Connection
from backend.services.customers.listing import (
    CustomerExists,
    CustomerFilter,
    CustomerRecord,
    PlaceUnknown,
    change_customer,
    create_customer,
    list_customers,
    read_customer,
)

router = APIRouter(tags=["customers"])

MOST_TAGS = 50

Tags = Annotated[list[Annotated[Name, Field(max_length=50)]], Field(max_length=MOST_TAGS)]


class CustomerShape(Told):
    """A customer."""

    id: UUID
    version: int
    first_name: str
    last_name: str
    email: str | None
    phone: str | None = Field(description="E.164.")
    tags: list[str]
    notes: str
    is_vip: bool
    no_show_count: int
    preferred_branch: str | None = Field(description="Slug.")
    preferred_staff: str | None = Field(description="Slug.")
    consented_at: Moment | None
    erased_at: Moment | None = Field(description="When the customer's data was erased; then nothing personal is left.")
    created_at: Moment
    updated_at: Moment


class NewCustomer(Given):
    """A customer to be made."""

    first_name: Line = ""
    last_name: Name
    email: Email | None = None
    phone: Phone | None = None
    tags: Tags = Field(default_factory=list)
    notes: Text = ""
    is_vip: StrictBool = False
    preferred_branch: Slug | None = None
    preferred_staff: Slug | None = None


class CustomerChanges(Given):
    """What is to be changed (RFC 7396): a field that is left out stays, null takes a value away."""

    first_name: Line | None = None
    last_name: Name = ""
    email: Email | None = None
    phone: Phone | None = None
    tags: Tags | None = None
    notes: Text | None = None
    is_vip: StrictBool | None = None
    preferred_branch: Slug | None = None
    preferred_staff: Slug | None = None


class CustomerQuery(Given):
    """Which customers."""

    phone: Phone | None = Field(None, description="Exactly this number, however it is written.")
    email: Email | None = Field(None, description="Exactly this address.")
    name: Name | None = Field(
        None,
        description="The full name begins so, first name first. Umlauts, accents and titles make no difference.",
        examples=["Anna W"],
    )
    limit: int = Field(PAGE, ge=1, le=LARGEST_PAGE)
    cursor: Cursor | None = None


@router.get(
    "/api/customers",
    summary="List or search customers",
    description="In the order in which they became customers; with `name`, by name.",
    response_model=Page[CustomerShape],
    responses=problems(),
    dependencies=requires(TokenScope.CUSTOMERS_READ),
)
async def get_customers(visiting: Visiting, query: Annotated[CustomerQuery, Query()]) -> Response:
    """A page of customers."""
    listing = visiting.listing(query)
    position = listing.position(query.cursor)
    wanted = CustomerFilter(phone=query.phone, email=query.email, name=query.name)
    after = None if position is None else (str(position[0]), UUID(str(position[1])))
    async with visiting.company() as connection:
        rows = await list_customers(
            connection, visiting.caller.company_id, wanted, after=after, limit=listing.limit + 1
        )
    shown, following = listing.page(rows, _key)
    items = [_shape(row) for row in shown]
    return page_answer(Page(items=items, next=following), following)


@router.post(
    "/api/customers",
    summary="Make a customer",
    description="A name on a phone number is one person: the same again is refused with 409 and `customer_id`.",
    status_code=201,
    response_model=CustomerShape,
    responses=problems(409, 413, 415),
    dependencies=requires(TokenScope.CUSTOMERS_WRITE),
)
async def post_customer(visiting: Visiting, body: NewCustomer, idempotency_key: IdempotencyKey = None) -> Response:
    """A new customer."""
    fields = _fields(body)
    fields["name_key"] = name_key(f"{body.first_name} {body.last_name}")

    async def make(connection: Connection) -> Response:
        try:
            record = await create_customer(connection, visiting.caller.company_id, fields)
        except (CustomerExists, PlaceUnknown) as refused:
            raise _refusal(refused) from None
        return answered(
            _shape(record), status=201, version=record.version, headers={"location": f"/api/customers/{record.id}"}
        )

    return await once(visiting, idempotency_key, make)


@router.get(
    "/api/customers/{customer_id}",
    summary="Read a customer",
    response_model=CustomerShape,
    responses=problems(304, 404),
    dependencies=requires(TokenScope.CUSTOMERS_READ),
)
async def get_customer(visiting: Visiting, customer_id: UUID, if_none_match: IfNoneMatch = None) -> Response:
    """One customer."""
    async with visiting.company() as connection:
        record = await read_customer(connection, visiting.caller.company_id, customer_id)
    if record is None:
        raise Problem(404)
    if is_unchanged(if_none_match, record.version):
        return not_modified(record.version)
    return answered(_shape(record), version=record.version)


@router.patch(
    "/api/customers/{customer_id}",
    summary="Change a customer",
    description="Needs `If-Match`: what was not read cannot be changed.",
    response_model=CustomerShape,
    responses=problems(404, 409, 412, 413, 415, 428),
    dependencies=requires(TokenScope.CUSTOMERS_WRITE),
)
async def patch_customer(
    visiting: Visiting, customer_id: UUID, body: CustomerChanges, if_match: IfMatch = None
) -> Response:
    """A changed customer."""
    company_id = visiting.caller.company_id
    async with visiting.company() as connection:
        present = await read_customer(connection, company_id, customer_id)
        if present is None:
            raise Problem(404)
        expected_version(require_condition(if_match), present.version)
        if present.erased_at is not None:
            raise Problem(409, "the customer's data was erased", reason="customer_erased")
        fields = _fields(body)
        if not fields:
            return answered(_shape(present), version=present.version)
        first, last = (str(fields.get(name, getattr(present, name))) for name in ("first_name", "last_name"))
        fields |= {"name_key": name_key(f"{first} {last}"), "phone": fields.get("phone", present.phone)}
        try:
            changed = await change_customer(connection, company_id, customer_id, fields, version=present.version)
        except (CustomerExists, PlaceUnknown) as refused:
            raise _refusal(refused) from None
        if changed is None:
            raise stale()
    return answered(_shape(changed), version=changed.version)


def _fields(body: NewCustomer | CustomerChanges) -> dict[str, object]:
    """What was given, as the service takes it."""
    fields: dict[str, object] = body.model_dump(exclude_unset=True)
    for name, empty in (("first_name", ""), ("notes", ""), ("tags", []), ("is_vip", False)):
        if name in fields and fields[name] is None:
            fields[name] = empty
    if "phone" in fields:
        fields["phone_raw"] = fields["phone"]
    return fields


def _refusal(refused: CustomerExists | PlaceUnknown) -> Problem:
    if isinstance(refused, PlaceUnknown):
        reason = f"{refused.field.removeprefix('preferred_')}_unknown"
        return Problem(409, str(refused), field=refused.field, reason=reason)
    more = {} if refused.customer_id is None else {"customer_id": refused.customer_id}
    return Problem(409, str(refused), reason="customer_exists", more=more)


def _shape(record: CustomerRecord) -> CustomerShape:
    return CustomerShape.model_validate(record, from_attributes=True)


def _key(row: CustomerRecord) -> list[object]:
    return [row.name_key, row.id]
