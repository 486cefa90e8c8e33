"""`askpro notify`: send one test message the way customers get theirs, and say what the mail server answered."""

from __future__ import annotations

import argparse
import asyncio
import os
from datetime import UTC, datetime

import msgspec

from askpro_console.printed import print_json
from askpro_console.refusal import Refused, WrongUsage
from askpro_console.system import System
from backend.domain.email_addresses import usable_address

NAME = "notify"
HELP = "send a test message through the mail server"


class Sent(msgspec.Struct, frozen=True, kw_only=True):
    """What became of the message."""

    to: str
    channel: str
    answer: str
    """The server's words, or where the file is."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the verb."""
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
    test = verbs.add_parser("test", help="send one message to an address and say what happened")
    test.add_argument("address", metavar="ADDRESS")
    test.add_argument("--json", action="store_true", help="print JSON")


def run(args: argparse.Namespace) -> int:
    """Send it; 1 when the server did not take it."""
    address = usable_address(args.address)
    if address is None:
        raise WrongUsage(f"{args.address!r} is no e-mail address that can be used.")
    sent = asyncio.run(_send(System.load(), address))
    if args.json:
        print_json(sent)
    elif sent.channel == "smtp":
        print(f"The mail server took it: {sent.answer}")
    else:
        print(f"No mail server is set, so the message is a file: {sent.answer}")
        print("The setting notifications.smtp_host names a server.")
    return 0


async def _send(system: System, address: str) -> Sent:
    from backend.services.notifications.channel import ChannelFailure
    from backend.services.notifications.file_channel import FileChannel
    from backend.services.notifications.message import Mailbox, Message
    from backend.services.notifications.smtp_channel import SmtpChannel

    server = system.mail()
    channel: SmtpChannel | FileChannel
    channel = (
        FileChannel(system.outbox, system.settings.notifications.sender) if server is None else SmtpChannel(server)
    )
    message = Message(
        key=f"test-{os.urandom(8).hex()}",
        day=datetime.now(UTC),
        sender_name="AskPro",
        to=Mailbox("", address),
        language="en",
        subject="A test message from AskPro",
        text="This is a test: messages to customers leave this system the same way.\n",
    )
    try:
        answer = await channel.send(message)
    except ChannelFailure as failure:
        raise Refused(f"The message was not taken: {failure}.", "The settings are notifications.*.") from failure
    finally:
        await channel.close()
    if isinstance(channel, FileChannel):
        answer = str(system.outbox / answer)
    return Sent(to=address, channel=channel.name, answer=answer)
