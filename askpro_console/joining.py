"""Inviting a node to this system, and taking an invitation: what the join file holds, and where it goes."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec

from askpro_console.policy_settings import JOBS, QUEUES
from askpro_console.refusal import Refused, WrongUsage
from askpro_console.secrets import KNOWN
from askpro_console.system import System
from askpro_console.version import version
from backend.domain.vocabulary import QueueName
from backend.stack.invitation import MOST_BYTES, Invitation, Invited, KeyWrong, open_invitation, read_invitation
from backend.stack.join import NEEDED, Join, Setting, is_host, what_is_wrong_with, write_join

SHARED_SECTIONS = ("limits", "notifications", "providers")
"""Settings that decide what happens to people and must not depend on which node does it."""

OWN_SETTINGS = ("notifications.smtp_ca_file",)
"""Among them those that name a file of one machine."""

JOIN_KEY = "join_key"
"""The secret that opens an invitation where nobody can be asked for its key."""

OWN_SECRETS = ("database_url", "pagerduty_routing_key", JOIN_KEY)
"""Secrets that no process of a node reads."""

KEY_TRIES = 3


def invitation(system: System, *, postgres: str = "", valkey: str = "", is_demo: bool = False) -> Invited:
    """What a node needs to work on this running system.

    Args:
        system: The system that invites; it runs.
        postgres: Where the node finds the database, `HOST:PORT` or a socket's directory; empty: where it is from here.
        valkey: Where it finds Valkey, as an address; empty: where it is from here.
        is_demo: Whether the customers are invented.

    Raises Refused (NotRunning among them), WrongUsage.
    """
    endpoints, passwords = system.endpoints(), system.passwords()
    host, port = _place(postgres) if postgres else (endpoints.postgres_host, endpoints.postgres_port)
    if valkey and (why := what_is_wrong_with(valkey)) is not None:
        raise WrongUsage(
            f"`--valkey` is an address {why}.", "It is redis://[:PASSWORD@]HOST:PORT/0, rediss:// or unix:///path."
        )
    system.reject_key()  # Made now if need be: all nodes seal with one.
    secrets = {name: value for name in _shared_secrets(system) if (value := system.secrets.get(name))}
    join = Join(
        made_by=system.node,
        version=version(),
        postgres_host=host,
        postgres_port=port,
        postgres_database=endpoints.postgres_database,
        valkey_url=valkey or endpoints.valkey_url,
        is_demo=is_demo or (system.join is not None and system.join.is_demo),
        passwords={role.value: passwords[role.value] for role in NEEDED},
        settings=_shared_settings(system),
    )
    join.check("The invitation")
    return Invited(join=join, secrets=secrets)


def accept(system: System, file: Path, ask: Callable[[], str]) -> Join:
    """Keep what the invitation holds in this home, its secrets in the sealed file. Raises Refused, JoinWrong.

    `ask` gives the invitation's key and is asked again, a few times, when that does not open it; where nobody can be
    asked, the secret `join_key` is the key.
    """
    refuse_own_database(system)
    from askpro_console.secrets import Place

    sealed = read_invitation(_content(file), str(file))
    invited = _opened(system, sealed, str(file), ask)
    # The secrets first: a sealed file that is locked leaves everything as it was.
    for name, value in invited.secrets.items():
        system.secrets.put(name, value, Place.SEALED)
    write_join(system.layout.join_file, invited.join)
    return invited.join


def refuse_own_database(system: System) -> None:
    """Raises Refused when this home has a database itself."""
    if system.layout.postgres_data.exists():
        raise Refused(
            f"This home has a database of its own, in {system.layout.postgres_data}: it cannot join another system.",
            "Set ASKPRO_HOME to a new directory for the node.",
        )


def _opened(system: System, sealed: Invitation, name: str, ask: Callable[[], str]) -> Invited:
    """What the invitation holds. Raises Refused, JoinWrong."""
    if key := system.secrets.get(JOIN_KEY):
        return open_invitation(sealed, key, name)
    if not sys.stdin.isatty():
        raise Refused(
            f"{name} is sealed, and there is nobody to ask for its key.",
            f"Give the key that `askpro node invite` printed as ASKPRO_SECRET_{JOIN_KEY.upper()}, or in a file that"
            f" ASKPRO_SECRET_{JOIN_KEY.upper()}_FILE names.",
        )
    for left in reversed(range(KEY_TRIES)):
        try:
            return open_invitation(sealed, ask(), name)
        except KeyWrong as wrong:
            if not left:
                raise
            print(wrong.message, file=sys.stderr)  # noqa: T201
    raise AssertionError("unreachable")


def _content(file: Path) -> bytes:
    """The file's content; it is one person's, so nobody else may read it. Raises Refused."""
    hint = "`askpro node invite` on the other system makes one."
    try:
        with file.open("rb") as opened:
            mode = os.fstat(opened.fileno()).st_mode
            if stat.S_ISREG(mode) and stat.S_IMODE(mode) & 0o077:
                raise Refused(
                    f"{file} can be read by others (mode {stat.S_IMODE(mode):04o}).", f"Run `chmod 600 {file}`."
                )
            content = opened.read(MOST_BYTES + 1)
    except OSError as error:
        raise Refused(f"{file} cannot be read: {error.strerror or error}.", hint) from error
    if len(content) > MOST_BYTES:
        raise Refused(f"{file} is larger than 1 MiB: an invitation has some kilobytes.", hint)
    return content


def _place(text: str) -> tuple[str, int]:
    """`HOST:PORT`, `[V6]:PORT`, `HOST` or a directory. Raises WrongUsage."""
    if text.startswith("/"):
        return text, 5432
    host, _, port = text.rpartition(":") if ":" in text and not text.endswith("]") else (text, "", "5432")
    host = host.removeprefix("[").removesuffix("]")
    is_port = port.isascii() and port.isdigit() and len(port) <= 5 and 0 < int(port) < 65_536
    if not is_port or not is_host(host) or host.startswith("/") or (":" in host and "[" not in text):
        raise WrongUsage(
            f"`{text}` is no place of a database.",
            "It is HOST:PORT, or the directory of its socket; an IPv6 address stands in brackets.",
        )
    return host, int(port)


def _shared_secrets(system: System) -> list[str]:
    return [name for name in dict.fromkeys((*KNOWN, *system.secrets.names())) if name not in OWN_SECRETS]


def _shared_settings(system: System) -> dict[str, Setting]:
    """What was set here, and not by default, in the shared sections; policies of queues and job types among them."""
    shared: dict[str, Setting] = {}
    for key, origin in system.loaded.origins.items():
        if origin == "default" or key in OWN_SETTINGS or key.partition(".")[0] not in SHARED_SECTIONS:
            continue
        value: object = system.settings
        for name in key.split("."):
            value = getattr(value, name)
        if isinstance(value, bool | int | float | str):
            shared[key] = value
    queues = {queue.value for queue in QueueName}
    for told in system.loaded.policies.told:
        section = QUEUES if told.subject in queues else JOBS
        shared[f"{section}.{told.subject}.{told.name}"] = msgspec.convert(msgspec.to_builtins(told.value), Setting)
    return shared
