"""Checks of the mail server: that it can be reached, encrypts, and lets us in. Nothing is sent."""

from __future__ import annotations

from askpro_console.checks.findings import Finding
from askpro_console.refusal import Refused
from askpro_console.system import System
from backend.domain.vocabulary import Verdict

LIMIT_S = 10.0


async def check_mail(system: System) -> Finding:
    """One look at the mail server, at most some seconds."""
    from backend.services.notifications.channel import ChannelFailure
    from backend.services.notifications.smtp_channel import SmtpChannel

    try:
        server = system.mail()
    except Refused as refused:
        return _finding(Verdict.CRIT, refused.message, refused.hint)
    if server is None:
        return _finding(Verdict.OK, f"not set: messages to customers become files in {system.outbox}")
    channel = SmtpChannel(server, answer_s=LIMIT_S / 2, send_s=LIMIT_S)
    try:
        answer = await channel.check()
    except ChannelFailure as failure:
        return _finding(Verdict.CRIT, str(failure), "See the settings notifications.*; `askpro notify test ADDRESS`.")
    finally:
        await channel.close()
    return _finding(Verdict.OK, f"{server.host}:{server.port} answers: {answer}")


def _finding(verdict: Verdict, detail: str, remedy: str = "") -> Finding:
    return Finding(area="notifications", name="mail server", verdict=verdict, detail=detail, remedy=remedy)
