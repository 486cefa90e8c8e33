"""`askpro queue`: queues at a glance, jobs found, held jobs, one job's history; retry or discard what is held.

Each module of verbs offers `add`, which adds its parsers and names the function that does each verb.
"""

from __future__ import annotations

import argparse
from typing import cast

from askpro_console.commands.queue import (
    breakers,
    deciding,
    finding,
    histories,
    looking,
    one_job,
    overview,
    pausing,
    policies,
    quarantining,
    scaling,
    scheduling,
)
from askpro_console.system import System

NAME = "queue"
HELP = "look at queues and held jobs; retry, pause, scale, quarantine"

MODULES = (
    overview,
    looking,
    one_job,
    finding,
    histories,
    policies,
    deciding,
    pausing,
    scaling,
    quarantining,
    breakers,
    scheduling,
)


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the verbs."""
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
    for module in MODULES:
        module.add(verbs)
    for verb in verbs.choices.values():
        verb.add_argument("--json", action="store_true", help="print JSON")


def run(args: argparse.Namespace) -> int:
    """Do what the verb says."""
    return cast("int", args.act(System.load(), args))
