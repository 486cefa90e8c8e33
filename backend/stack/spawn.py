"""Starting one child process so that it cannot outlive its parent.

The order in the child matters: a change of credentials clears the parent-death signal, so it is asked for after it;
and a parent that died in between is noticed by looking at the parent afterwards.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from backend.stack.failures import EngineMissing
from backend.stack.privileges import Account

PR_SET_PDEATHSIG = 1


@dataclass(frozen=True, slots=True)
class ProcessSpec:
    """What to run, and how it wants to be ended."""

    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Added to the parent's environment."""
    account: Account | None = None
    """Who runs it; None is the present user."""
    directory: Path = Path("/")
    death_signal: signal.Signals = signal.SIGTERM
    """What the kernel sends when the parent dies."""


def spawn(
    spec: ProcessSpec,
    *,
    output: int,
    errors: int | None = None,
    input_: int = subprocess.DEVNULL,
    pass_fds: Sequence[int] = (),
    environment: Mapping[str, str] | None = None,
) -> subprocess.Popen[bytes]:
    """Start the process in a session of its own; standard error goes to `errors`, else where the output goes.

    Must be called from the main thread: the kernel takes the end of the forking thread for the parent's death.
    Raises EngineMissing when the program cannot be executed.
    """
    parent = os.getpid()
    death_signal = int(spec.death_signal)
    # Resolved before the fork: the child of a fork should load nothing.
    prctl = ctypes.CDLL(None, use_errno=True).prctl if sys.platform == "linux" else None

    def tie_to_parent() -> None:
        if prctl is not None:
            prctl(PR_SET_PDEATHSIG, death_signal, 0, 0, 0)
            if os.getppid() != parent:
                os._exit(1)

    account = spec.account
    try:
        return subprocess.Popen(  # noqa: S603 (commands of our own)
            spec.command,
            stdin=input_,
            stdout=output,
            stderr=output if errors is None else errors,
            cwd=spec.directory,
            env={**os.environ, **spec.environment, **(environment or {})},
            user=account.uid if account else None,
            group=account.gid if account else None,
            extra_groups=[] if account else None,
            umask=0o077,
            start_new_session=True,
            pass_fds=pass_fds,
            preexec_fn=tie_to_parent,  # noqa: PLW1509 (the supervisor has one thread)
        )
    except (FileNotFoundError, PermissionError, OSError) as error:
        raise EngineMissing(
            f"{spec.name} cannot be started: {spec.command[0]}: {error.strerror or error}.",
            "Run `make run` again to mend the installation; the file system must allow execution (no `noexec`).",
        ) from error
