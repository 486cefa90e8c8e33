"""A system's start and end: from nothing, after crashes, with what is broken; real servers, small programs."""

from __future__ import annotations

import asyncio
import os
import signal
import socket

import psutil

from backend.stack.client import ControlClient, last_failure
from backend.stack.status import Phase, ProcessState, StepState
from tests.stack.systems import LIMIT_S, SmallSystem, small_system, until


async def ended(system: SmallSystem) -> int:
    """The supervisor's exit code, once it has one."""
    assert system.supervisor is not None
    return await asyncio.to_thread(system.supervisor.wait, LIMIT_S)


async def kill_supervisor(system: SmallSystem) -> None:
    os.kill((await system.status()).supervisor_pid, signal.SIGKILL)
    await ended(system)


async def test_a_system_comes_up_beside_a_taken_port_and_goes_down_without_a_trace() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        async with small_system(ASKPRO_API_PORT=str(port)) as system:
            status = await system.start()
            assert status.ready, status
            assert [step.state for step in status.steps] == [StepState.DONE] * len(status.steps)
            moved = next(step.detail for step in status.steps if step.name == "api")
            assert moved == f"port {port} is taken, listens on {status.api_url.rpartition(':')[2]}"
            os.kill(status.supervisor_pid, signal.SIGTERM)
            assert await ended(system) == 0
            assert system.living() == []
            assert not system.layout.endpoints_file.exists()
            assert "database system is shut down" in (system.layout.logs / "postgres.log").read_text()


async def test_a_crash_loop_ends_in_failed_with_its_last_words_and_starts_again_when_told_to() -> None:
    async with small_system() as system:
        gate = system.layout.data / "mended"
        system.environment["CHILD_WORKER_DEFAULT"] = f"once {gate}"
        status = await system.start()
        assert status.phase is Phase.DEGRADED
        assert "worker-default cannot go on" in status.error
        failed = next(process for process in status.processes if process.name == "worker-default")
        assert failed.state is ProcessState.FAILED
        assert failed.restarts == 4
        gate.write_text("")
        async with ControlClient(system.layout) as client:
            await client.restart("worker-default")
        await system.when(lambda now: now.ready, "the mended process is ready")


async def test_a_process_above_its_memory_ceiling_is_recycled() -> None:
    async with small_system(CHILD_PUBLISHER="grow", CHILD_CEILING_MIB="90") as system:
        await system.start()
        status = await system.when(
            lambda now: any(one.name == "publisher" and one.restarts for one in now.processes), "it is recycled"
        )
        publisher = next(process for process in status.processes if process.name == "publisher")
        assert "above the ceiling of 90 MiB" in publisher.detail
        assert all(process.restarts == 0 for process in status.processes if process.name != "publisher")


async def test_children_do_not_outlive_a_killed_supervisor_and_the_next_start_succeeds() -> None:
    # One worker ignores SIGTERM and must end all the same.
    async with small_system(CHILD_WORKER_DEFAULT="stubborn") as system:
        await system.start()
        await kill_supervisor(system)
        await until(lambda: system.living() == [], "every child ends", limit_s=10)
        old = {process.pid for process in (await system.start()).processes}
        # PostgreSQL shut itself down instead of crashing: there was nothing to recover.
        log = (system.layout.logs / "postgres.log").read_text()
        assert log.count("database system was shut down at") == 2
        assert "was interrupted" not in log

        # At once: the orphans are waited for, and no second server meets them on the data.
        await kill_supervisor(system)
        again = await system.start()
        assert again.ready
        assert old.isdisjoint({process.pid for process in system.living()})
        stubborn = next(process.pid for process in again.processes if process.name == "worker-default")
        assert stubborn is not None
        system.environment["CHILD_WORKER_DEFAULT"] = ""
        await kill_supervisor(system)
        await until(lambda: not psutil.pid_exists(stubborn), "the stubborn one ends", limit_s=10)


async def test_a_database_that_cannot_start_says_why_and_leaves_nothing_running() -> None:
    async with small_system() as system:
        await system.start()
        await system.stop()
        (system.layout.postgres_data / "cluster" / "global" / "pg_control").unlink()
        status = await system.start()
        assert status.phase is Phase.FAILED
        assert "pg_control" in status.error
        assert "askpro logs postgres" in status.hint
        assert await ended(system) == 1
        assert system.living() == []
        told = last_failure(system.layout)
        assert told is not None
        assert told.error == status.error


async def test_a_system_whose_directory_vanished_stops_by_itself() -> None:
    async with small_system() as system:
        await system.start()
        system.layout.pid_file.rename(system.layout.pid_file.with_suffix(".gone"))
        assert await ended(system) == 0
        assert system.living() == []


async def test_a_stop_during_the_start_ends_everything() -> None:
    async with small_system(CHILD_API="silent") as system:
        starting = asyncio.create_task(system.start())
        await until(lambda: len(system.living()) >= 6, "the processes have been started")
        os.kill((await system.status()).supervisor_pid, signal.SIGTERM)
        assert await ended(system) == 0
        await asyncio.gather(starting, return_exceptions=True)
        assert system.living() == []
