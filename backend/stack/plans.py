"""The processes of one system: what each runs, how it tells that it is ready, how it is ended."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

import backend
from backend.stack.config import StackConfig
from backend.stack.listener import Listener
from backend.stack.postgres_server import PORT, PostgresServer
from backend.stack.probes import TIMEOUT_S, http_answers, postgres_answers, valkey_answers
from backend.stack.process import ProcessPlan, StopStage
from backend.stack.spawn import ProcessSpec
from backend.stack.valkey_server import ValkeyServer

POSTGRES_STOP = (
    # Fast shutdown, then immediate; a kill loses nothing but costs a recovery, and comes last.
    StopStage(signal.SIGINT, 30.0),
    StopStage(signal.SIGQUIT, 20.0),
    StopStage(signal.SIGKILL, 5.0),
)
VALKEY_STOP = (StopStage(signal.SIGTERM, 10.0), StopStage(signal.SIGKILL, 5.0))
API_STOP = (StopStage(signal.SIGTERM, 12.0), StopStage(signal.SIGKILL, 5.0))
WORKER_STOP = (StopStage(signal.SIGTERM, 28.0), StopStage(signal.SIGKILL, 5.0))
OTHER_STOP = (StopStage(signal.SIGTERM, 10.0), StopStage(signal.SIGKILL, 5.0))


def postgres_plan(server: PostgresServer) -> ProcessPlan:
    """PostgreSQL. A recovery after a crash may take minutes, and interrupting it would only make it start over."""

    def spec() -> ProcessSpec:
        server.clear_stale_locks()
        return server.command()

    return ProcessPlan(
        name="postgres",
        spec=spec,
        stop=POSTGRES_STOP,
        probe=server.ready,
        answers=lambda: postgres_answers(server.sockets / f".s.PGSQL.{PORT}"),
        restart_when_silent=False,
        start_limit_s=600.0,
    )


def valkey_plan(server: ValkeyServer) -> ProcessPlan:
    """Valkey. It reads little when it starts, hence fast."""

    def spec() -> ProcessSpec:
        server.prepare_start()
        return server.command()

    return ProcessPlan(
        name="valkey",
        spec=spec,
        stop=VALKEY_STOP,
        probe=lambda _pid: server.ready(),
        answers=lambda: valkey_answers(server.socket),
        start_limit_s=20.0,
    )


def python_plans(config: StackConfig, listener: Listener) -> tuple[ProcessPlan, ...]:
    """The API, a worker for each queue, the publisher, and in a demo the traffic."""
    ceiling = config.memory_ceiling_bytes
    # A demo invents customers: whatever is set, nobody may get mail from it.
    invented = config.demo or (config.join is not None and config.join.is_demo)
    files_only = ("--files-only",) if invented else ()
    plans = [
        ProcessPlan(
            name="api",
            spec=_python(config, "api", "api"),
            stop=API_STOP,
            listener=listener.open,
            answers=lambda: http_answers(
                listener.local_host, listener.port, limit_s=min(TIMEOUT_S, config.ask_every_s)
            ),
            ask_every_s=config.ask_every_s,
            memory_ceiling_bytes=ceiling,
        )
    ]
    plans.extend(
        ProcessPlan(
            name=f"worker-{queue}",
            spec=_python(config, f"worker-{queue}", "worker", queue, *files_only),
            stop=WORKER_STOP,
            may_crash_at_work=True,
            memory_ceiling_bytes=ceiling,
        )
        for queue in config.queues
    )
    plans.append(
        ProcessPlan(
            name="publisher",
            spec=_python(config, "publisher", "publisher"),
            stop=OTHER_STOP,
            memory_ceiling_bytes=ceiling,
        )
    )
    if config.demo:
        plans.append(
            ProcessPlan(
                name="simulator",
                spec=_python(config, "simulator", "simulator"),
                stop=OTHER_STOP,
                memory_ceiling_bytes=ceiling,
                start_limit_s=300.0,
                needed_for_ready=False,
            )
        )
    return tuple(plans)


def _python(config: StackConfig, name: str, *arguments: str) -> Callable[[], ProcessSpec]:
    """How to run one of our own processes."""
    spec = ProcessSpec(name=name, command=(*config.python, *arguments), environment=python_environment(config))
    return lambda: spec


def python_environment(config: StackConfig) -> dict[str, str]:
    """What our own processes need: to find our packages from any directory, and to say why they crashed."""
    ours = str(Path(backend.__file__).parents[1])
    path = os.environ.get("PYTHONPATH")
    return {
        "PYTHONPATH": f"{ours}{os.pathsep}{path}" if path else ours,
        "PYTHONFAULTHANDLER": "1",
        **config.environment,
    }
