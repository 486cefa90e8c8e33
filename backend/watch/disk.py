"""How full a file system is."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class DiskSpace:
    """Bytes of one file system, counted as `df` does: what is reserved for root is neither used nor free."""

    used: int
    free: int

    @property
    def total(self) -> int:
        """Used and free together."""
        return self.used + self.free


def disk_space(directory: Path) -> DiskSpace | None:
    """The space of the file system that holds `directory`; None when it cannot be asked."""
    try:
        disk = os.statvfs(directory)
    except OSError:
        return None
    return DiskSpace(used=(disk.f_blocks - disk.f_bfree) * disk.f_frsize, free=disk.f_bavail * disk.f_frsize)
