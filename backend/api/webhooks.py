"""The providers' webhooks: verified, understood, stored, then answered.

An endpoint is a plain ASGI application: these routes carry nearly all of the traffic.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from starlette.types import Receive, Scope, Send

from backend.api.body import TooLarge, read_body
from backend.api.config import ApiConfig
from backend.api.limits.limiting import enter_gate
from backend.api.problems import Problem, send_json
from backend.api.resources import Resources
from backend.domain.vocabulary import Provider, RejectReason
from backend.providers.calcom import payloads as calcom
from backend.providers.calcom import signature as calcom_signature
from backend.providers.delivery import Delivery, Headers, Malformed, dialled_number, kept_headers
from backend.providers.retell import payloads as retell
from backend.providers.retell import signature as retell_signature
from backend.services.calls.callers import Caller
from backend.services.intake.accepting import IntakeUnavailable

RETELL_WEBHOOK = "/api/retell/webhook"
RETELL_INBOUND = "/api/retell/inbound"
CALCOM_WEBHOOK = "/api/calcom/webhook"

STORED = 204
"""The answer to every delivery that is in the inbox, whether this one put it there or an earlier one did."""


@dataclass(frozen=True, slots=True)
class Sender:
    """How to deal with one provider's deliveries."""

    provider: Provider
    verify: Callable[[bytes, Headers], RejectReason | None]
    read: Callable[[bytes, Headers], Delivery]


def retell_sender(config: ApiConfig) -> Sender:
    """Retell, with the configured keys."""
    keys = config.retell_keys

    def verify(body: bytes, headers: Headers) -> RejectReason | None:
        return retell_signature.verify(body, headers, keys, time.time_ns() // 1_000_000)

    return Sender(Provider.RETELL, verify, retell.read_delivery)


def calcom_sender(config: ApiConfig) -> Sender:
    """Cal.com, with the configured secrets."""
    secrets = config.calcom_secrets

    def verify(body: bytes, headers: Headers) -> RejectReason | None:
        return calcom_signature.verify(body, headers, secrets)

    return Sender(Provider.CALCOM, verify, calcom.read_delivery)


class Door:
    """What every webhook begins with: the body within its bounds, and its signature."""

    def __init__(self, resources: Resources, sender: Sender) -> None:
        self.resources = resources
        self.sender = sender

    async def verified_body(self, scope: Scope, receive: Receive, *, keep: bool, enter: bool = True) -> bytes:
        """The body, signed by the provider. Raises the `Problem` to answer with.

        A refused delivery is counted, and with `keep` also kept for replay, unless there were too many of its sender.
        A verified one takes its place at the gate, where its route has one; with `enter` false that is left to the
        caller, who has an answer for when there is none.
        """
        headers = scope["headers"]
        try:
            body = await read_body(headers, receive)
        except TooLarge:
            self.refuse(scope, RejectReason.TOO_LARGE, None)
            await self.resources.guard.note_unverified(scope)
            raise
        reason = self.sender.verify(body, headers)
        if reason is not None:
            try:
                await self.resources.guard.note_unverified(scope)
            except Problem:
                keep = False
                raise
            finally:
                self.refuse(scope, reason, body if keep else None)
            raise Problem(401)
        if enter:
            await enter_gate(scope)
        return body

    def refuse(self, scope: Scope, reason: RejectReason, body: bytes | None) -> None:
        """Count a refusal and keep the body if it is given."""
        self.resources.running.rejects.note(
            self.sender.provider,
            reason,
            self.resources.guard.clients.address(scope),
            headers=None if body is None else kept_headers(scope["headers"]),
            body=body,
        )


class Webhook:
    """Takes deliveries: 204 once they are stored with their job, or were before."""

    def __init__(self, resources: Resources, sender: Sender) -> None:
        self._resources = resources
        self._door = Door(resources, sender)
        self._read = sender.read

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one delivery."""
        body = await self._door.verified_body(scope, receive, keep=True)
        try:
            await self._resources.running.intake.accept(self._read(body, scope["headers"]))
        except Malformed as fault:
            self._door.refuse(scope, RejectReason.MALFORMED, body)
            raise Problem(422, fault.problem, field=fault.field) from None
        except IntakeUnavailable as trouble:
            raise Problem(503, str(trouble), retry_after_s=trouble.retry_after_s) from None
        await send({"type": "http.response.start", "status": STORED, "headers": []})
        await send({"type": "http.response.body", "body": b""})


class Inbound:
    """Answers before the phone is: who is calling. On any trouble it says nothing, and the call goes on."""

    def __init__(self, resources: Resources, sender: Sender) -> None:
        self._resources = resources
        self._door = Door(resources, sender)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one question; without a name when there is no place to look for one."""
        body = await self._door.verified_body(scope, receive, keep=False, enter=False)
        caller: Caller | None = None
        try:
            call = retell.read_inbound(body).call_inbound
            await enter_gate(scope)
        except Malformed:
            self._door.refuse(scope, RejectReason.MALFORMED, body)
        except Problem:
            pass  # too much to do: the phone is answered all the same
        else:
            caller = await self._resources.running.callers.find(
                dialled_number(call.to_number), call.agent_id, dialled_number(call.from_number)
            )
        answer = {} if caller is None else {"dynamic_variables": dynamic_variables(caller)}
        await send_json(send, 200, {"call_inbound": answer})


def dynamic_variables(caller: Caller) -> dict[str, str]:
    """What the voice agent's prompt may use; text only, as the provider demands (docs/webhooks.md)."""
    return {
        "company_name": caller.company,
        "branch_name": caller.branch,
        "known_caller": "true" if caller.name else "false",
        "customer_name": caller.name,
        "customer_first_name": caller.first_name,
        "customer_last_name": caller.last_name,
    }
