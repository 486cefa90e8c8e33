"""A mail server that takes messages, and misbehaves when it is told to."""

from __future__ import annotations

import asyncio
import datetime
import ipaddress
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from functools import partial
from pathlib import Path

from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

USER, PASSWORD = "askpro", "geheim"


class MailServer:
    """What it has taken, and what it says next."""

    def __init__(self) -> None:
        self.port = 0
        self.envelopes: list[Envelope] = []
        self.to_recipient = ""
        """Its answer to RCPT instead of yes."""
        self.to_text = ""
        """Its answer to the text instead of yes."""
        self.hangs_up_after_text = 0
        """So many connections end after the text was taken, without an answer."""
        self.is_silent = False
        """It never answers the text."""
        self.texts = 0
        """Texts that it was given."""
        self._never = asyncio.Event()

    @property
    def messages(self) -> list[EmailMessage]:
        """What it has taken, read."""
        return [message_from_bytes(_octets(one.content), policy=default) for one in self.envelopes]

    async def handle_RCPT(
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if self.to_recipient:
            return self.to_recipient
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        self.texts += 1
        if self.is_silent:
            await self._never.wait()
        if self.to_text:
            return self.to_text
        self.envelopes.append(envelope)
        if self.hangs_up_after_text:
            self.hangs_up_after_text -= 1
            assert isinstance(server.transport, asyncio.Transport)
            server.transport.abort()
        return "250 queued as 4711"


def _octets(content: bytes | str | None) -> bytes:
    assert isinstance(content, bytes)
    return content


def _may_enter(_server: SMTP, _session: Session, _envelope: Envelope, _mechanism: str, given: object) -> AuthResult:
    right = isinstance(given, LoginPassword) and (given.login, given.password) == (USER.encode(), PASSWORD.encode())
    return AuthResult(success=right, handled=False)


@asynccontextmanager
async def mail_server(
    *, starttls: ssl.SSLContext | None = None, tls: ssl.SSLContext | None = None, login: bool = False
) -> AsyncIterator[MailServer]:
    """A server on a free port of this machine, within the block."""
    handler = MailServer()
    protocol = partial(
        SMTP,
        handler,
        tls_context=starttls,
        require_starttls=starttls is not None,
        authenticator=_may_enter if login else None,
        auth_required=login,
        # With implicit TLS the library does not know that the connection is encrypted.
        auth_require_tls=starttls is not None,
        enable_SMTPUTF8=False,
    )
    server = await asyncio.get_running_loop().create_server(protocol, "127.0.0.1", 0, ssl=tls)
    handler.port = server.sockets[0].getsockname()[1]
    try:
        yield handler
    finally:
        server.close()


def certificate(directory: Path) -> tuple[ssl.SSLContext, Path]:
    """A server's context with a certificate of its own making for 127.0.0.1, and the file to trust it by."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    today = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(today - datetime.timedelta(days=1))
        .not_valid_after(today + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    trust, private = directory / "server.crt", directory / "server.key"
    trust.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    private.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(trust, private)
    return context, trust
