"""`askpro process`: one process of the system in the foreground, as the supervisor starts it."""

from __future__ import annotations

import argparse
import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any

from askpro_console.refusal import Refused
from askpro_console.system import System
from askpro_console.version import version
from backend.domain.vocabulary import QueueName
from backend.stack.failures import StackFailure
from backend.stack.log_records import write_to_stderr

NAME = "process"
HELP = "run one process of the system in the foreground"

logger = logging.getLogger("askpro.process")


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the processes."""
    processes = parser.add_subparsers(dest="process", metavar="PROCESS", required=True)
    supervisor = processes.add_parser("supervisor", help="run and watch all the others")
    supervisor.add_argument("--demo", action="store_true", help="with demo traffic")
    processes.add_parser("api", help="answer HTTP")
    worker = processes.add_parser("worker", help="work off one queue")
    worker.add_argument("queue", choices=[queue.value for queue in QueueName])
    worker.add_argument("--files-only", action="store_true", help="send no mail: messages go into the outbox")
    processes.add_parser("publisher", help="take snapshots, enqueue periodic jobs")
    processes.add_parser("simulator", help="send demo traffic")


def run(args: argparse.Namespace) -> int:
    """Run the process until it is told to stop. The supervisor's own refusals are for whoever started it."""
    system = System.load()
    name = f"worker-{args.queue}" if args.process == "worker" else args.process
    written = write_to_stderr(name, level=system.settings.logs.level)
    logger.info("%s starts, version %s", name, version())
    try:
        return _run(system, args)
    except Refused as refused:
        if args.process == "supervisor":
            raise
        logger.critical("%s %s", refused.message, refused.hint)
        return refused.exit_code
    except StackFailure:
        raise
    except Exception:
        logger.critical("%s ends by an error", name, exc_info=True)
        return 1
    finally:
        written.close()


def _run(system: System, args: argparse.Namespace) -> int:
    match args.process:
        case "supervisor":
            return _supervisor(system, demo=args.demo)
        case "api":
            from backend.api.server import serve

            return _loop(lambda: serve(system.api_config()))
        case "worker":
            from backend.queue.worker import run_worker

            return _loop(lambda: run_worker(system.worker_config(QueueName(args.queue), files_only=args.files_only)))
        case "publisher":
            from backend.watch.publisher import run_publisher

            return _loop(lambda: run_publisher(system.publisher_config()))
        case _:
            return _simulator(system)


def _supervisor(system: System, *, demo: bool) -> int:
    from backend.stack.supervisor import run_supervisor

    # The plain loop: it watches children through process descriptors, and has little else to do.
    return asyncio.run(run_supervisor(system.stack_config(demo=demo)))


def _simulator(system: System) -> int:
    from askpro_console.commands.simulate import run_demo

    return run_demo(system)


def _loop(work: Callable[[], Coroutine[Any, Any, None]]) -> int:
    """Run on uvloop, the quicker event loop for many small messages."""
    import uvloop

    uvloop.run(work())
    return 0
