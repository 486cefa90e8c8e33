"""The traffic of a kill loop: runs of the simulator, each judged by its own check."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Mapping

from backend.stack.kill_report import TrafficRun

LIMIT_S = 900.0

PACE = ("--rate", "0.3", "--speed", "30", "--connections", "16")
"""Nine calls a second, each thirty times as fast as in life: deliveries are on their way at nearly every kill."""


async def simulate(environment: Mapping[str, str], *, calls: int, seed: int) -> TrafficRun:
    """One run of `askpro simulate --patient --check`; cancelled, it ends with its caller."""
    arguments = ("--calls", str(calls), "--seed", str(seed), *PACE)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "askpro_console", "simulate", "--patient", "--check", "--json", *arguments),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, **environment},
        # Ctrl-C is for the loop, which ends its traffic itself.
        start_new_session=True,
    )
    try:
        async with asyncio.timeout(LIMIT_S):
            output, errors = await process.communicate()
    except TimeoutError:
        return TrafficRun(seed=seed, code=-1, shown=(f"did not end within {LIMIT_S:.0f} s",))
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return _run(seed, process.returncode or 0, output, errors)


def _run(seed: int, code: int, output: bytes, errors: bytes) -> TrafficRun:
    try:
        told = json.loads(output)
        return TrafficRun(
            seed=seed,
            code=code,
            deliveries=told["deliveries"],
            accepted=told["accepted"],
            retries=told["retries"],
            differences=told["differences"],
            shown=tuple(told["shown"]),
        )
    except (ValueError, KeyError, TypeError):
        words = (output + errors).decode("utf-8", "replace").strip()[-2000:]
        return TrafficRun(seed=seed, code=code or 1, shown=(words,))
