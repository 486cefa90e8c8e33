"""Rate limits over the restart of a whole system: in good order, and after its supervisor was killed."""

from __future__ import annotations

import os
import signal
import uuid

from backend.valkey.gcra import Check, Limit
from backend.valkey.rates import Rates
from tests.stack.systems import SmallSystem, small_system, until

FIVE = Limit("five", 5, period_s=3600.0)


async def granted(system: SmallSystem, key: str, tries: int) -> int:
    """Of so many requests, by a process that knows nothing but what Valkey tells it."""
    rates = Rates(f"unix://{system.layout.valkey_socket}", uuid.uuid4().hex, answer_s=10.0, hang_s=10.0)
    await rates.start()
    try:
        assert rates.mode == "shared"
        return sum([(await rates.check([Check(FIVE, key)])).granted for _ in range(tries)])
    finally:
        await rates.aclose()


async def test_limits_survive_the_restart_of_the_whole_system() -> None:
    async with small_system() as system:
        assert (await system.start()).ready
        assert await granted(system, "orderly", 2) == 2
        await system.stop()
        assert system.living() == []
        assert (await system.start()).ready
        assert await granted(system, "orderly", 9) == 3
        assert await granted(system, "killed", 4) == 4
        os.kill((await system.status()).supervisor_pid, signal.SIGKILL)
        await until(lambda: not system.living(), "its processes end with it")
        assert system.supervisor is not None
        system.supervisor.wait(10)
        assert (await system.start()).ready
        assert await granted(system, "killed", 9) == 1
        assert await granted(system, "orderly", 9) == 0
