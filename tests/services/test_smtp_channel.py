"""Messages through a real mail server: what it says decides what becomes of them."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from backend.services.notifications.channel import Busy, Refused, Unreachable
from backend.services.notifications.message import Mailbox, Message
from backend.services.notifications.smtp_channel import AT_ONCE, Security, SmtpChannel, SmtpServer
from tests.queue.scenes import until
from tests.services.mail_server import PASSWORD, USER, certificate, mail_server

MESSAGE = Message(
    key="confirmed-0198-1",
    day=datetime(2026, 3, 2, tzinfo=UTC),
    sender_name="Salon Anna",
    reply_to="anna@salon.test",
    to=Mailbox("Jürgen Groß", "juergen@kunde.test"),
    language="de",
    subject="Ihr Termin",
    text="Guten Tag,\n.allein auf einer Zeile\nGrüße\n",
)


def channel(port: int, security: Security = "none", *, send_s: float = 10.0, **changes: object) -> SmtpChannel:
    """A channel to a server on this machine."""
    at = SmtpServer(host="127.0.0.1", port=port, security=security, sender="termine@askpro.test")
    return SmtpChannel(replace(at, **changes), answer_s=5, send_s=send_s)  # type: ignore[arg-type] # its fields


async def test_a_message_arrives_as_it_was_meant() -> None:
    async with mail_server() as server:
        assert await channel(server.port).send(MESSAGE) == "250 queued as 4711"
    (envelope,), (mail,) = server.envelopes, server.messages
    assert (envelope.mail_from, envelope.rcpt_tos) == ("termine@askpro.test", ["juergen@kunde.test"])
    assert mail["From"] == "Salon Anna <termine@askpro.test>"
    assert mail["To"] == "Jürgen Groß <juergen@kunde.test>"
    assert mail["Reply-To"] == "Salon Anna <anna@salon.test>"
    assert mail["Message-ID"] == "<confirmed-0198-1@askpro.test>"
    assert mail.get_content().splitlines() == MESSAGE.text.splitlines()


async def test_the_same_message_sent_again_has_the_same_id() -> None:
    async with mail_server() as server:
        for _ in range(2):
            await channel(server.port).send(MESSAGE)
    first, second = server.messages
    assert first["Message-ID"] == second["Message-ID"]


@pytest.mark.parametrize("answer", ["450 4.2.1 greylisted, try again", "452 4.3.1 disk full"])
@pytest.mark.parametrize("place", ["to_recipient", "to_text"])
async def test_what_the_server_cannot_take_now_is_worth_another_try(place: str, answer: str) -> None:
    async with mail_server() as server:
        setattr(server, place, answer)
        with pytest.raises(Busy, match=f"127.0.0.1:{server.port}: {answer}"):
            await channel(server.port).send(MESSAGE)
        setattr(server, place, "")
        await channel(server.port).send(MESSAGE)
    assert len(server.envelopes) == 1


@pytest.mark.parametrize("answer", ["550 5.1.1 no such user here", "554 5.7.1 this is spam"])
@pytest.mark.parametrize("place", ["to_recipient", "to_text"])
async def test_what_the_server_never_takes_is_refused_in_its_words(place: str, answer: str) -> None:
    async with mail_server() as server:
        setattr(server, place, answer)
        with pytest.raises(Refused, match=answer):
            await channel(server.port).send(MESSAGE)
    assert server.envelopes == []


async def test_no_address_is_kept_of_what_a_server_says() -> None:
    async with mail_server() as server:
        server.to_recipient = "550 5.1.1 <juergen@kunde.test>: Recipient address rejected: juergen@kunde.test unknown"
        with pytest.raises(Refused) as refusal:
            await channel(server.port).send(MESSAGE)
    assert str(refusal.value).endswith("550 5.1.1 <…>: Recipient address rejected: <…> unknown")


async def test_a_connection_that_is_lost_after_the_text_is_tried_again_with_the_same_id() -> None:
    async with mail_server() as server:
        server.hangs_up_after_text = 1
        with pytest.raises(Busy, match="lost"):
            await channel(server.port).send(MESSAGE)
        await channel(server.port).send(MESSAGE)
    assert [mail["Message-ID"] for mail in server.messages] == ["<confirmed-0198-1@askpro.test>"] * 2


async def test_a_server_that_never_answers_is_given_up() -> None:
    async with mail_server() as server:
        server.is_silent = True
        with pytest.raises(Busy, match="took longer"):
            await channel(server.port, send_s=0.2).send(MESSAGE)


async def test_messages_that_were_given_up_hold_no_thread() -> None:
    async with mail_server() as server:
        server.is_silent = True
        one = channel(server.port)
        stuck = [asyncio.create_task(one.send(MESSAGE)) for _ in range(AT_ONCE)]

        async def all_wait() -> bool:
            return server.texts == AT_ONCE

        await until(all_wait, "every message waits for its answer")
        for task in stuck:
            task.cancel()
        await asyncio.gather(*stuck, return_exceptions=True)
        server.is_silent = False
        assert await one.send(MESSAGE) == "250 queued as 4711"
        await one.close()


async def test_nobody_listens() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        with pytest.raises(Busy, match="refused"):
            await channel(taken.getsockname()[1]).send(MESSAGE)


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> tuple[ssl.SSLContext, Path]:
    """A server's context and the certificate of its own making."""
    return certificate(tmp_path_factory.mktemp("tls"))


@contextmanager
def refused(words: str) -> Iterator[None]:
    with pytest.raises(Refused, match=words):
        yield


@pytest.mark.parametrize("security", ["starttls", "tls"])
async def test_a_certificate_that_nobody_vouches_for_is_refused(
    own: tuple[ssl.SSLContext, Path], security: Security
) -> None:
    context, trust = own
    async with mail_server(
        starttls=context if security == "starttls" else None, tls=context if security == "tls" else None
    ) as server:
        with refused("certificate is not trusted: self-signed certificate"):
            await channel(server.port, security).send(MESSAGE)
        assert server.envelopes == []
        await channel(server.port, security, ca_file=trust).send(MESSAGE)
    assert len(server.envelopes) == 1


@pytest.mark.filterwarnings("ignore:Requiring AUTH while not requiring TLS")
async def test_a_server_that_does_not_encrypt_gets_neither_password_nor_message() -> None:
    async with mail_server(login=True) as server:
        with refused("no encryption"):
            await channel(server.port, "starttls", user=USER, password=PASSWORD).send(MESSAGE)
    assert server.envelopes == []


async def test_who_may_enter_sends_and_who_may_not_is_told(own: tuple[ssl.SSLContext, Path]) -> None:
    context, trust = own
    async with mail_server(starttls=context, login=True) as server:
        with refused("535"):
            await channel(server.port, "starttls", ca_file=trust, user=USER, password="falsch").send(MESSAGE)
        right = channel(server.port, "starttls", ca_file=trust, user=USER, password=PASSWORD)
        assert (await right.check()).startswith("250")
        assert server.envelopes == []
        await right.send(MESSAGE)
    assert len(server.envelopes) == 1


@pytest.mark.parametrize("address", ["", "kunde@example.org", "kunde@mail.example.com", "a@b.invalid"])
async def test_who_has_no_mailbox_is_sent_nothing(address: str) -> None:
    async with mail_server() as server:
        with pytest.raises(Unreachable):
            await channel(server.port).send(replace(MESSAGE, to=Mailbox("", address)))
    assert server.envelopes == []


@pytest.mark.parametrize("address", ["a@b.test\r\nBcc: c@d.test", "a b@c.test", "a@b@c.test", "a@-b.test", "@b.test"])
async def test_an_address_that_is_none_reaches_no_server(address: str) -> None:
    async with mail_server() as server:
        with pytest.raises((Refused, Unreachable)):
            await channel(server.port).send(replace(MESSAGE, to=Mailbox("", address)))
    assert server.envelopes == []


def test_a_password_shows_in_no_printout() -> None:
    server = SmtpServer(host="h", port=1, security="tls", sender="a@b.test", user="u", password="geheim")
    assert "geheim" not in repr(server)
