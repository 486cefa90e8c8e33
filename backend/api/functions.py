"""What the voice agent asks for during a call: verified, understood, answered with something it can speak.

Refusals of the business are answers like others, with 200: the agent could not speak an error (docs/functions.md).
"""

from __future__ import annotations

from starlette.types import Receive, Scope, Send

from backend.api.limits.limiting import enter_gate
from backend.api.problems import Problem, send_bytes
from backend.api.resources import Resources
from backend.api.webhooks import Door, Sender
from backend.domain.vocabulary import RejectReason
from backend.providers.delivery import Malformed
from backend.providers.retell.functions import read_function_call

RETELL_FUNCTION = "/api/retell/function"


class FunctionEndpoint:
    """Answers tool calls; a plain ASGI application."""

    def __init__(self, resources: Resources, sender: Sender) -> None:
        self._resources = resources
        self._door = Door(resources, sender)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one tool call. Raises the `Problem` for a body that is too large, unsigned or unreadable."""
        body = await self._door.verified_body(scope, receive, keep=False, enter=False)
        try:
            call = read_function_call(body)
        except Malformed as fault:
            self._door.refuse(scope, RejectReason.MALFORMED, None)
            raise Problem(422, fault.problem, field=fault.field) from None
        functions = self._resources.running.functions
        try:
            await enter_gate(scope)
        except Problem:
            answer = functions.unavailable(call)  # there is no place for it; an error could not be spoken
        else:
            answer = await functions.answer(call)
        await send_bytes(send, 200, answer, content_type=b"application/json")
