"""Messages as files in a directory: the channel that needs no provider, and the default.

One e-mail for each message, `<day>/<key>.eml`, readable by its owner alone, complete or not there at all. The day is
the one on which the message came about, so that one sent again is found to be there already.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import shutil
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

from backend.services.notifications.channel import Busy
from backend.services.notifications.message import Message, as_email

KEPT = timedelta(days=30)
"""Life of a message in the directory."""


@dataclass(frozen=True, slots=True)
class FileChannel:
    """A directory of messages."""

    directory: Path
    sender: str = ""
    """The address they would come from."""

    @property
    def name(self) -> str:
        """As in the records."""
        return "file"

    async def send(self, message: Message) -> str:
        """Write it, unless it is there. Raises Busy when the disk refuses."""
        try:
            return await asyncio.to_thread(self.put, message)
        except OSError as error:
            raise Busy(f"{self.directory}: {error.strerror or error}") from error

    def put(self, message: Message) -> str:
        """Write it, unless it is there; where it is. Raises OSError."""
        day = self.directory / message.day.astimezone(UTC).date().isoformat()
        day.mkdir(mode=0o700, parents=True, exist_ok=True)
        target = day / f"{message.key}.eml"
        if target.exists():
            return f"{day.name}/{target.name} (there already)"
        temporary = day / f".{secrets.token_hex(8)}"
        try:
            with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                file.write(as_email(message, self.sender, datetime.now(UTC)).as_bytes())
                file.flush()
                os.fsync(file.fileno())
            with suppress(FileExistsError):
                os.link(temporary, target)
        finally:
            temporary.unlink(missing_ok=True)
        return f"{day.name}/{target.name}"

    def prune(self, today: date) -> int:
        """Delete the days that are over 30 days old; how many. Raises OSError."""
        if not self.directory.is_dir():
            return 0
        removed = 0
        for entry in list(self.directory.iterdir()):
            with suppress(ValueError):
                if date.fromisoformat(entry.name) < today - KEPT:
                    shutil.rmtree(entry, ignore_errors=True)
                    removed += 1
        return removed

    async def close(self) -> None:
        """Nothing is held."""
