"""A small node, run as `-m tests.stack.node_program`: one queue, and a small server in the API's place.

Supervisor, worker and publisher are the product's.
"""

from __future__ import annotations

import asyncio
import sys
from dataclasses import replace

from tests.stack.child_program import work


def main(arguments: list[str]) -> int:
    """Run the process that the arguments name."""
    if arguments == ["supervisor"]:
        from askpro_console.system import System
        from backend.stack.supervisor import run_supervisor

        config = System.load().stack_config()
        program = (sys.executable, "-m", "tests.stack.node_program")
        return asyncio.run(run_supervisor(replace(config, queues=("webhooks",), python=program)))
    if arguments == ["api"]:
        asyncio.run(work("api", ""))
        return 0
    from askpro_console.cli import main as askpro

    return askpro(["process", *arguments])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
