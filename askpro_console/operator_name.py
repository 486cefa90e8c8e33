"""Who runs a command, for the record."""

from __future__ import annotations

import getpass
import os


def operator_name() -> str:
    """The session's user, or their number when they have no name."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"uid {os.getuid()}"
