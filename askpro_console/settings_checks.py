"""Settings that no system could run with, though each is of the right kind; and those that are wrong together."""

from __future__ import annotations

import os
from collections.abc import Iterator

from askpro_console.settings import MIB, ProviderSettings, Settings
from backend.domain.email_addresses import usable_address

HERE = ("localhost", "::1")

LEAST_SIZES = {
    "logs.file_size": 64 * 1024,
    "logs.total_size": MIB,
    "stack.memory_ceiling": 128 * MIB,
    "postgres.shared_buffers": MIB,
    "valkey.max_memory": 16 * MIB,
}
"""Below these, bytes: logs rotate with every record, processes are drained as soon as they run, servers do not start.
A number alone counts bytes, so `5` is seldom what was meant."""

IN_MEMORY = ("stack.memory_ceiling", "postgres.shared_buffers", "valkey.max_memory")
"""Sizes of what has to fit into the machine's memory; the first only means anything below it."""


def contradictions(settings: Settings) -> Iterator[tuple[str, str]]:
    """What cannot be, each with the key of a setting that says so."""
    yield from _sizes(settings)
    yield from _addresses(settings)
    yield from _places(settings)
    yield from _mail(settings)


def _sizes(settings: Settings) -> Iterator[tuple[str, str]]:
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    for key, least in LEAST_SIZES.items():
        section, _, name = key.partition(".")
        size: int = getattr(getattr(settings, section), name)
        if size < least:
            yield key, f"`{key}` is {_spoken(size)}, but must be at least {_spoken(least)}"
        elif key in IN_MEMORY and size > memory:
            yield key, f"`{key}` is {_spoken(size)}, but this machine has {_spoken(memory)} of memory"


def _spoken(size: int) -> str:
    for unit, factor in (("GB", 1024 * MIB), ("MB", MIB), ("kB", 1024)):
        if size >= factor:
            return f"{size / factor:.0f} {unit}"
    return f"{size} bytes"


def _addresses(settings: Settings) -> Iterator[tuple[str, str]]:
    if not settings.api.host.strip():
        yield "api.host", "`api.host` is empty; `0.0.0.0` listens on all addresses, `127.0.0.1` on this machine's own"
    for text in filter(None, (part.strip() for part in settings.api.trusted_proxies.split(","))):
        from ipaddress import ip_network

        try:
            ip_network(text, strict=False)
        except ValueError:
            yield "api.trusted_proxies", f"`api.trusted_proxies` names {text!r}, which is no network"
    for name in ("calcom_url", "retell_url"):
        url: str = getattr(settings.providers, name)
        if url != getattr(ProviderSettings(), name) and not _is_web_address(url):
            yield f"providers.{name}", f"`providers.{name}` is {url!r}, which is no address of a web server"


def _is_web_address(url: str) -> bool:
    from urllib.parse import urlsplit

    try:
        parts = urlsplit(url)
        return parts.scheme in {"https", "http"} and bool(parts.hostname) and parts.port != 0 and url.isprintable()
    except ValueError:
        return False


def _places(settings: Settings) -> Iterator[tuple[str, str]]:
    """How many requests are worked on at once: the least, the first and the most."""
    told = settings.limits
    if told.concurrency_least > told.concurrency_most:
        key = "limits.concurrency_least"
        yield key, f"`{key}` is {told.concurrency_least}, above `concurrency_most`, {told.concurrency_most}"
    elif not told.concurrency_least <= told.concurrency_start <= told.concurrency_most:
        key, bounds = "limits.concurrency_start", f"{told.concurrency_least} to {told.concurrency_most}"
        yield (
            key,
            f"`{key}` is {told.concurrency_start}, outside of `concurrency_least` to `concurrency_most`, {bounds}",
        )


def _mail(settings: Settings) -> Iterator[tuple[str, str]]:
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
