"""Running the servers without root: who runs them, and places that this account can reach.

PostgreSQL refuses to run as root. Started by root, both servers run under a service account; their programs and
their data must then lie where that account can go. Started by anybody else, everything here changes nothing.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import secrets
import shutil
import stat
import tempfile
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

from backend.stack.failures import EngineMissing, PlaceUnusable, place_unusable

SERVICE_ACCOUNTS = ("askpro", "postgres", "nobody")
"""Accounts that may run the servers when root starts them; the first that exists does."""

SHARED = Path("/var/lib/askpro")
"""Where copies of the engines and the servers' data live when the layout's own place is closed to the account."""


@dataclass(frozen=True, slots=True)
class Account:
    """An account of the operating system."""

    name: str
    uid: int
    gid: int


LINK_RECORD = "link"
"""In a home below `SHARED`: the place that links to it."""


def service_account() -> Account | None:
    """The account that runs the servers, None when the present user does."""
    if os.geteuid() != 0:
        return None
    for name in SERVICE_ACCOUNTS:
        try:
            found = pwd.getpwnam(name)
        except KeyError:
            continue
        if found.pw_uid != 0:
            return Account(found.pw_name, found.pw_uid, found.pw_gid)
    raise EngineMissing(
        "Root may not run PostgreSQL, and none of the accounts askpro, postgres and nobody exists.",
        "Create one: useradd --system askpro",
    )


def reachable(path: Path, account: Account) -> bool:
    """Whether the account may enter every directory above `path` (which itself need not exist)."""
    return all(_may_enter(parent, account) for parent in path.resolve().parents)


def _may_enter(directory: Path, account: Account) -> bool:
    try:
        found = directory.stat()
    except OSError:
        return False
    if found.st_uid == account.uid:
        return bool(found.st_mode & stat.S_IXUSR)
    if found.st_gid == account.gid:
        return bool(found.st_mode & stat.S_IXGRP)
    return bool(found.st_mode & stat.S_IXOTH)


def engine(distribution: str, trees: tuple[str, ...], account: Account | None) -> Path:
    """The directory that holds the engine's `trees`: where it is installed, or a copy that the account can reach.

    The copy is made once for each version. Raises EngineMissing when the distribution is not installed.
    """
    spec = find_spec(trees[0].partition("/")[0])
    if spec is None or spec.origin is None:
        raise EngineMissing(f"The package {distribution} is not installed.", "Install it: make run does.")
    installed = Path(spec.origin).parents[1]
    if account is None or all(reachable(installed / tree / "any", account) for tree in trees):
        return installed
    copy = SHARED / "engine" / f"{distribution}-{version(distribution)}"
    if not copy.is_dir():
        _copy_trees(installed, trees, copy)
    return copy


def _copy_trees(source: Path, trees: tuple[str, ...], target: Path) -> None:
    try:
        _make_open(target.parent)
        made = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
        made.chmod(0o755)
        for tree in trees:
            if (source / tree).is_dir():
                shutil.copytree(source / tree, made / tree, symlinks=True)
        try:
            made.rename(target)
        except OSError:
            # Another start was faster; a rename onto a filled directory fails.
            shutil.rmtree(made)
            if not target.is_dir():
                raise
    except OSError as error:
        raise place_unusable(target, error) from error


def private_directory(wanted: Path, account: Account | None) -> Path:
    """Create `wanted` for the account alone (mode 0700) and return its real place.

    Where the account cannot reach `wanted`, the directory is made below /var/lib/askpro and `wanted` becomes a
    symbolic link to it; the link is the only record, so a removed link means a fresh start.
    Raises PlaceUnusable.
    """
    try:
        wanted.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if wanted.is_symlink():
            real = wanted.resolve()
            _make_open(real.parent)
            real.mkdir(mode=0o700, exist_ok=True)
        elif account is None or reachable(wanted, account):
            wanted.mkdir(mode=0o700, exist_ok=True)
            real = wanted.resolve()
        elif wanted.exists():
            raise PlaceUnusable(
                f"{wanted} is there, but the account {account.name}, which runs the servers for root, cannot reach it.",
                "Start askpro as the user who made it, or set ASKPRO_HOME elsewhere.",
            )
        else:
            real = SHARED / "homes" / secrets.token_hex(6) / wanted.name
            _make_open(real.parent)
            (real.parent / LINK_RECORD).write_text(str(wanted.absolute()))
            real.mkdir(mode=0o700)
            wanted.symlink_to(real, target_is_directory=True)
        if account is not None:
            _give_to(real, account)
    except OSError as error:
        raise place_unusable(wanted, error) from error
    return real


def remove_abandoned_homes() -> None:
    """Remove the servers' data of layouts that lay in the directory for temporary files and are gone from there.

    Data of layouts elsewhere is kept whatever happens to their links.
    """
    temporary = Path(tempfile.gettempdir()).resolve()
    for record in (SHARED / "homes").glob(f"*/{LINK_RECORD}"):
        with contextlib.suppress(OSError):
            link = Path(record.read_text())
            if temporary in link.parents and not os.path.lexists(link):
                shutil.rmtree(record.parent)


def write_for(account: Account | None, path: Path, text: str) -> None:
    """Replace a file by one that the account alone may read. Raises PlaceUnusable.

    The new file is made beside the old one, so that a link planted there by the account leads nowhere.
    """
    temporary = path.with_name(f".{path.name}.new")
    try:
        temporary.unlink(missing_ok=True)
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8", errors="surrogateescape") as file:
            if account is not None:
                os.fchown(descriptor, account.uid, account.gid)
            file.write(text)
        temporary.replace(path)
    except OSError as error:
        raise place_unusable(path, error) from error


def _give_to(directory: Path, account: Account) -> None:
    """Hand an own or empty directory to the account; one that holds somebody else's files stays theirs."""
    owner = directory.stat().st_uid
    if owner == account.uid:
        return
    if owner != os.geteuid() and any(directory.iterdir()):
        raise PlaceUnusable(
            f"{directory} belongs to another user (id {owner}).",
            "Start askpro as that user, or set ASKPRO_HOME elsewhere.",
        )
    os.chown(directory, account.uid, account.gid)


def _make_open(directory: Path) -> None:
    """Create the directory and its missing parents so that every account may pass, whatever the umask."""
    for parent in (*reversed(directory.parents), directory):
        if not parent.is_dir():
            parent.mkdir(exist_ok=True)
            parent.chmod(0o755)
