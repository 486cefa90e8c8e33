"""Inviting a node to this system, and taking an invitation: what the join file holds, and where it goes."""

from __future__ import annotations

import stat
from pathlib import Path

import msgspec

from askpro_console.policy_settings import JOBS, QUEUES
from askpro_console.refusal import Refused, WrongUsage
from askpro_console.secrets import KNOWN
from askpro_console.system import System
from askpro_console.version import version
from backend.domain.vocabulary import QueueName
from backend.stack.join import NEEDED, Join, JoinWrong, Setting, decode_join, write_join

SHARED_SECTIONS = ("limits", "notifications", "providers")
"""Settings that decide what happens to people and must not depend on which node does it."""

OWN_SETTINGS = ("notifications.smtp_ca_file",)
"""Among them those that name a file of one machine."""

OWN_SECRETS = ("database_url",)
"""Secrets that a node has no use for."""


def invitation(system: System, *, postgres: str = "", valkey: str = "", is_demo: bool = False) -> Join:
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
        secrets=secrets,
        settings=_shared_settings(system),
    )
    try:
        return decode_join(msgspec.json.encode(join), "The invitation")
    except JoinWrong as wrong:
        raise WrongUsage(wrong.message, wrong.hint) from wrong


def accept(system: System, file: Path) -> Join:
    """Keep the join file's content in this home, its secrets in the sealed file. Raises Refused, JoinWrong."""
    if system.layout.postgres_data.exists():
        raise Refused(
            f"This home has a database of its own, in {system.layout.postgres_data}: it cannot join another system.",
            "Set ASKPRO_HOME to a new directory for the node.",
        )
    from askpro_console.secrets import Place

    join = _read(file)
    # The secrets first: a sealed file that is locked leaves everything as it was.
    for name, value in join.secrets.items():
        system.secrets.put(name, value, Place.SEALED)
    write_join(system.layout.join_file, join)
    return join


def _read(file: Path) -> Join:
    """The file's content; it holds passwords, so nobody else may read it. Raises Refused, JoinWrong."""
    try:
        if not file.is_fifo() and stat.S_IMODE(file.stat().st_mode) & 0o077:
            raise Refused(f"{file} holds passwords and can be read by others.", f"Run `chmod 600 {file}`.")
        content = file.read_bytes()
    except OSError as error:
        raise Refused(
            f"{file} cannot be read: {error.strerror or error}.", "`askpro node invite` on the other system makes one."
        ) from error
    return decode_join(content, str(file))


def _place(text: str) -> tuple[str, int]:
    """`HOST:PORT`, `[V6]:PORT`, `HOST` or a directory. Raises WrongUsage."""
    if text.startswith("/"):
        return text, 5432
    host, _, port = text.rpartition(":") if ":" in text and not text.endswith("]") else (text, "", "5432")
    if not host or not port.isdecimal() or not 0 < int(port) < 65_536:
        raise WrongUsage(f"`{text}` is no place of a database.", "It is HOST:PORT, or the directory of its socket.")
    return host.strip("[]"), int(port)


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
