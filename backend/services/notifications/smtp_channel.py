"""Messages as e-mails through one SMTP server (RFC 5321): encrypted, or on this machine.

Each message has a connection of its own, in a thread, since the standard library's client waits. What the server says
decides: 5xx is for good, 4xx and a lost connection are worth another try. A connection that is lost after the text
was sent leaves open whether the server has it; it is sent again with the same Message-ID.
"""

from __future__ import annotations

import asyncio
import re
import smtplib
import socket
import ssl
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from backend.domain.email_addresses import belongs_to_nobody
from backend.services.notifications.channel import Busy, ChannelFailure, Refused, Unreachable
from backend.services.notifications.message import Message, as_email

Security = Literal["starttls", "tls", "none"]

ANSWER_S = 15.0
"""Longest wait for any one answer of the server."""

SEND_S = 45.0
"""Longest time for a whole message; shorter than its job's."""

AT_ONCE = 10
"""Messages under way at the same time: as many as their queue works on."""

OK, FORWARDED = 250, 251

WORDS = 300
"""Characters of a server's answer that are kept."""


_SOMEBODY = re.compile(r"<?[^\s<>,;:]+@[^\s<>,;:]+>?")


@dataclass(frozen=True, slots=True, kw_only=True)
class SmtpServer:
    """Where e-mails are handed over."""

    host: str
    port: int
    security: Security
    """starttls: begins in the clear and must be encrypted then; tls: encrypted from the start; none: never is."""
    sender: str
    """The address that messages come from."""
    user: str = ""
    """Empty: the server wants no name."""
    password: str = field(default="", repr=False)
    ca_file: Path | None = None
    """Certificates of authorities to trust instead of the machine's."""


class SmtpChannel:
    """Hands e-mails to one server."""

    def __init__(self, server: SmtpServer, *, answer_s: float = ANSWER_S, send_s: float = SEND_S) -> None:
        self._server = server
        self._answer_s = answer_s
        self._send_s = send_s
        self._threads = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="smtp")

    @property
    def name(self) -> str:
        """As in the records."""
        return "smtp"

    @property
    def sender(self) -> str:
        """The address that messages come from."""
        return self._server.sender

    async def send(self, message: Message) -> str:
        """Hand the message over; the server's answer. Raises Refused, Busy, Unreachable."""
        if not message.to.email:
            raise Unreachable("no e-mail address")
        if belongs_to_nobody(message.to.email):
            raise Unreachable("an address for examples")
        try:
            content = as_email(message, self._server.sender, datetime.now(UTC))
        except ValueError as error:
            raise Refused(str(error)) from error
        return await self._in_thread(_Handover(self._server, self._answer_s, message.to.email, content.as_bytes()))

    async def check(self) -> str:
        """Connect, encrypt and log in without sending anything; the server's greeting. Raises Refused, Busy."""
        return await self._in_thread(_Handover(self._server, self._answer_s))

    async def close(self) -> None:
        """End the threads that wait for work."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _in_thread(self, handover: _Handover) -> str:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self._send_s):
                return await loop.run_in_executor(self._threads, handover.run)
        except TimeoutError as error:
            raise Busy(f"{self._named}: took longer than {self._send_s:g} s") from error
        except ChannelFailure as failure:
            raise type(failure)(f"{self._named}: {failure}") from failure.__cause__
        finally:
            # The thread may wait for a server that says a little every now and then: this ends its wait.
            handover.cut()

    @property
    def _named(self) -> str:
        return f"{self._server.host}:{self._server.port}"


class _Handover:
    """One connection, from its beginning to its end. Runs in a thread."""

    def __init__(self, server: SmtpServer, answer_s: float, recipient: str = "", content: bytes = b"") -> None:
        self._server = server
        self._answer_s = answer_s
        self._recipient = recipient
        self._content = content
        self._client: smtplib.SMTP | None = None
        self._is_cut = False

    def run(self) -> str:
        try:
            client = self._connected()
            self._client = client
            if self._is_cut:
                raise Busy("given up")
            return self._talk(client)
        except ssl.SSLCertVerificationError as error:
            raise Refused(f"its certificate is not trusted: {error.verify_message}") from error
        except ssl.SSLError as error:
            raise Busy(f"no encrypted connection: {error.reason or error}") from error
        except smtplib.SMTPException as error:
            raise _judged(error) from error
        except OSError as error:
            raise Busy(f"cannot be reached: {error.strerror or error}") from error
        finally:
            self.cut()

    def cut(self) -> None:
        """End the connection, from whichever thread."""
        self._is_cut = True
        sock = self._client.sock if self._client is not None else None
        if sock is not None:
            with suppress(OSError):
                # Closing alone would leave the thread waiting.
                sock.shutdown(socket.SHUT_RDWR)
            sock.close()

    def _connected(self) -> smtplib.SMTP:
        server = self._server
        if server.security == "tls":
            return smtplib.SMTP_SSL(server.host, server.port, timeout=self._answer_s, context=_trust(server))
        return smtplib.SMTP(server.host, server.port, timeout=self._answer_s)

    def _talk(self, client: smtplib.SMTP) -> str:
        server = self._server
        client.ehlo_or_helo_if_needed()
        if server.security == "starttls":
            if not client.has_extn("starttls"):
                raise Refused("it offers no encryption (STARTTLS)")
            client.starttls(context=_trust(server))
            client.ehlo()
        if server.user:
            _log_in(client, server)
        if not self._recipient:
            code, answer = client.noop()
        else:
            code, answer = client.mail(server.sender)
            if code == OK:
                code, answer = client.rcpt(self._recipient)
                if code in {OK, FORWARDED}:
                    code, answer = client.data(self._content)
        if not 200 <= code < 300:
            raise _answered(code, answer)
        told = _words(answer)
        with suppress(smtplib.SMTPException, OSError):
            client.quit()  # it has the message: how the connection ends does not matter
        return f"{code} {told}"


def _log_in(client: smtplib.SMTP, server: SmtpServer) -> None:
    """By the first way that the server offers. A refusal is final: trying the other ways could lock the account."""
    client.user, client.password = server.user, server.password
    offered = client.esmtp_features.get("auth", "").upper().split()
    for mechanism, answers in (("PLAIN", client.auth_plain), ("LOGIN", client.auth_login)):
        if mechanism in offered:
            client.auth(mechanism, answers)
            return
    raise Refused("it offers no way to log in that is known here (PLAIN, LOGIN)")


def _trust(server: SmtpServer) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(server.ca_file) if server.ca_file else None)


def _judged(error: smtplib.SMTPException) -> ChannelFailure:
    if isinstance(error, smtplib.SMTPResponseException):
        return _answered(error.smtp_code, error.smtp_error)
    if isinstance(error, smtplib.SMTPNotSupportedError) or type(error) is smtplib.SMTPException:
        return Refused(str(error))  # what it offers is not enough: no encryption, no way to log in
    return Busy(f"the connection was lost: {error}")


def _answered(code: int, answer: bytes | str) -> ChannelFailure:
    told = f"{code} {_words(answer)}"
    return Refused(told) if 500 <= code < 600 else Busy(told)


def _words(answer: bytes | str) -> str:
    """What a server said, on one line, without the addresses that it repeats: it is kept longer than they may be."""
    text = answer.decode("utf-8", "replace") if isinstance(answer, bytes) else answer
    return _SOMEBODY.sub("<…>", " ".join(text.split())[:WORDS])
