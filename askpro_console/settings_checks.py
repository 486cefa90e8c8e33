"""Settings that are right one by one and wrong together."""

from __future__ import annotations

from collections.abc import Iterator

from askpro_console.settings import Settings
from backend.domain.email_addresses import usable_address

HERE = ("localhost", "::1")


def contradictions(settings: Settings) -> Iterator[tuple[str, str]]:
    """What cannot be, each with the key of a setting that says so."""
    mail = settings.notifications
    if mail.sender and usable_address(mail.sender) is None:
        yield "notifications.sender", f"`notifications.sender` is {mail.sender!r}, which is no e-mail address"
    if not mail.smtp_host:
        return
    if not mail.sender:
        yield "notifications.smtp_host", "`notifications.sender` is missing: the address that messages come from"
    if mail.smtp_security == "none" and mail.smtp_host not in HERE and not mail.smtp_host.startswith("127."):
        yield (
            "notifications.smtp_security",
            f"`notifications.smtp_security` is 'none', but {mail.smtp_host} is another machine: use starttls or tls",
        )
