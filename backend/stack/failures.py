"""Why the system cannot start or go on, in words for a person."""

from __future__ import annotations

import errno
from pathlib import Path


class StackFailure(Exception):
    """Something the stack needs is not there; carries what, where and what to do."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        """What to do about it; empty when the message says it all."""


class EngineMissing(StackFailure):
    """A database engine is not installed or does not run on this machine."""


class PlaceUnusable(StackFailure):
    """A directory or file cannot be created, read or written."""


class AlreadyRunning(StackFailure):
    """Another supervisor owns this layout."""

    def __init__(self, pid: int) -> None:
        super().__init__(
            f"The system already runs (supervisor {pid}).", "`askpro status` shows it, `askpro down` stops it."
        )
        self.pid = pid


def place_unusable(place: Path, error: OSError) -> PlaceUnusable:
    """The operating system's refusal of `place` as a sentence with a remedy."""
    where = error.filename if isinstance(error.filename, str) else str(place)
    match error.errno:
        case errno.ENOSPC | errno.EDQUOT:
            return PlaceUnusable(
                f"No space is left for {where}.", "Free some space there, or set ASKPRO_HOME elsewhere."
            )
        case errno.EROFS:
            return PlaceUnusable(f"{where} is on a read-only file system.", "Set ASKPRO_HOME to a writable directory.")
        case errno.EACCES | errno.EPERM:
            return PlaceUnusable(
                f"No permission to write {where}.",
                "Give it to the user that runs askpro, or set ASKPRO_HOME elsewhere.",
            )
        case errno.ENOTDIR | errno.EEXIST:
            return PlaceUnusable(f"{where} is not a directory.", "Move it away, or set ASKPRO_HOME elsewhere.")
    return PlaceUnusable(f"{where}: {error.strerror or error}.", "Set ASKPRO_HOME to a directory that can be written.")
