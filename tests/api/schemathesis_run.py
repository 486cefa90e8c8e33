"""schemathesis as a process: every check against a running API, described by itself."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def schemathesis_run(url: str, token: str, directory: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Run it in `directory`; its report on standard output, 0 when no check failed.

    It comes through a proxy, as far as the API can tell: from this machine itself some pages need no token.
    """
    command = [
        *(sys.executable, "-m", "schemathesis.cli", "--config-file", str(ROOT / "tests/api/schemathesis.toml")),
        *("run", f"{url}/openapi.json", "--checks", "all", "--continue-on-failure", "--generation-database", "none"),
        *("--header", f"Authorization: Bearer {token}", "--header", "X-Forwarded-For: 192.0.2.9"),
        *options,
    ]
    paths = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    environment = os.environ | {"SCHEMATHESIS_HOOKS": "tests.api.schemathesis_hooks", "PYTHONPATH": paths}
    return subprocess.run(
        command,
        cwd=directory,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
