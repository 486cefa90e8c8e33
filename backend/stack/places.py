"""The directories of a layout: made for one user alone, and tried before anything relies on them."""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
from pathlib import Path

from backend.stack.failures import PlaceUnusable, place_unusable
from backend.stack.layout import Layout

SPACE_NEEDED = 200 * 1024 * 1024
"""For a new database with its first write-ahead log, in bytes."""

TRIAL = b"\0" * 65_536


def make_places(layout: Layout, *, with_database: bool = True) -> None:
    """Make the directories for data, logs and sockets and try to write to them. Raises PlaceUnusable."""
    for directory in (layout.run, layout.data, layout.state, layout.logs):
        try:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=directory) as trial:
                trial.write(TRIAL)
        except OSError as error:
            raise place_unusable(directory, error) from error
    _keep_private(layout.run)
    if with_database and not layout.postgres_data.exists():
        _need_space(layout.data)


def _keep_private(directory: Path) -> None:
    """Nobody else may have made the directory of the sockets, nor enter it."""
    found = directory.stat()
    if found.st_uid != os.geteuid():
        raise PlaceUnusable(
            f"{directory} belongs to another user (id {found.st_uid}).",
            "Start askpro as that user, or set ASKPRO_HOME elsewhere.",
        )
    if stat.S_IMODE(found.st_mode) & 0o077 and os.geteuid() != 0:
        directory.chmod(0o700)


def _need_space(directory: Path) -> None:
    free = shutil.disk_usage(directory).free
    if free < SPACE_NEEDED:
        raise PlaceUnusable(
            f"A new database needs {SPACE_NEEDED // 2**20} MB in {directory}; {free // 2**20} MB are free.",
            "Free some space there, or set ASKPRO_HOME elsewhere.",
        )
