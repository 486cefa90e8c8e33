"""The people at the companies' front desks: they tell the system through its HTTP API what became of appointments.

Each company has a token of its own, made as an operator makes one, good for as long as somebody sits there.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Final
from uuid import UUID

from backend.domain.vocabulary import AppointmentStatus, TokenScope
from backend.postgres.address import PostgresAddress, Role
from backend.postgres.pools import Connection
from backend.services.tokens import NewToken, create_token, list_tokens, revoke_token
from backend.simulate.http_client import HttpConnection, NoAnswer
from backend.simulate.patience import ask
from backend.simulate.presets import CANCELLED_LATER, COMPLETED, NO_SHOW

NAME: Final = "front desk (simulated)"
TIMEOUT_S: Final = 10.0
RETRIES: Final = 5
RETRY_AFTER_S: Final = 0.5
LONGEST_WAIT_S: Final = 5.0
LIFE: Final = timedelta(days=1)


class Fate(StrEnum):
    """What becomes of an appointment; the word is the last part of the address."""

    COMPLETE = "complete"
    NO_SHOW = "no-show"
    CANCEL = "cancel"

    @property
    def status(self) -> AppointmentStatus:
        """Of the appointment afterwards."""
        return {
            Fate.COMPLETE: AppointmentStatus.COMPLETED,
            Fate.NO_SHOW: AppointmentStatus.NO_SHOW,
            Fate.CANCEL: AppointmentStatus.CANCELLED,
        }[self]


def fate_of(dice: random.Random) -> Fate | None:
    """What becomes of an appointment; None for one that stays as it is."""
    return dice.choices(
        (Fate.COMPLETE, Fate.CANCEL, Fate.NO_SHOW, None),
        weights=(COMPLETED, CANCELLED_LATER, NO_SHOW, 1.0 - COMPLETED - CANCELLED_LATER - NO_SHOW),
    )[0]


def fate_of_past(dice: random.Random) -> Fate | None:
    """What became of an appointment that was not cancelled before it was over."""
    return dice.choices(
        (Fate.COMPLETE, Fate.NO_SHOW, None),
        weights=(COMPLETED, NO_SHOW, 1.0 - COMPLETED - CANCELLED_LATER - NO_SHOW),
    )[0]


@dataclass(frozen=True, slots=True)
class Visit:
    """What the front desk said of one appointment."""

    appointment_id: UUID
    fate: Fate
    status: int | None
    """Of the answer; None: there was none."""

    @property
    def is_done(self) -> bool:
        """The system said yes."""
        return self.status == 200


class FrontDesk:
    """Says what became of appointments, with one token for each company."""

    def __init__(self, api_url: str, address: PostgresAddress, companies: Sequence[str]) -> None:
        """`companies` are slugs."""
        self._api_url = api_url
        self._address = address
        self._companies = companies
        self._tokens: dict[str, NewToken] = {}

    async def open(self, *, patience_s: float = 0.0) -> None:
        """Get the tokens; those that somebody has left lying there are good no longer.

        Raises OSError and asyncpg's errors when the database is away for longer than `patience_s`.
        """

        async def make(connection: Connection) -> dict[str, NewToken]:
            for company in self._companies:
                for token in await list_tokens(connection, company):
                    if token.name == NAME and token.state == "good":
                        await revoke_token(connection, token.id)
            return {
                company: await create_token(
                    connection, company, name=NAME, scopes=[TokenScope.APPOINTMENTS_WRITE], life=LIFE
                )
                for company in self._companies
            }

        self._tokens = await ask(self._address, make, role=Role.SETUP, patience_s=patience_s)

    async def close(self, *, patience_s: float = 0.0) -> None:
        """Give the tokens back."""

        async def revoke(connection: Connection) -> None:
            for token in self._tokens.values():
                await revoke_token(connection, token.id)

        await ask(self._address, revoke, role=Role.SETUP, patience_s=patience_s)

    async def say(
        self, connection: HttpConnection, company: str, appointment_id: UUID, fate: Fate, *, retries: int = RETRIES
    ) -> Visit:
        """Say it, again while the answer is missing or asks for it; said twice it has one effect."""
        path = f"/api/appointments/{appointment_id}/{fate}".encode()
        headers = (
            f"authorization: Bearer {self._tokens[company].token}\r\n"
            f"idempotency-key: {fate}-{appointment_id}\r\nuser-agent: askpro-simulator\r\n"
        ).encode()
        visit = Visit(appointment_id, fate, None)
        for attempt in range(retries + 1):
            try:
                answer = await connection.post(path, headers, b"", TIMEOUT_S)
            except NoAnswer:
                visit = Visit(appointment_id, fate, None)
            else:
                visit = Visit(appointment_id, fate, answer.status)
                if answer.status < 500 and answer.status not in {408, 429}:
                    break
            if attempt < retries:
                await asyncio.sleep(min(LONGEST_WAIT_S, RETRY_AFTER_S * 2.0**attempt))
        return visit
