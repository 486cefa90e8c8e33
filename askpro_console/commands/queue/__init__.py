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
from askpro_console.refusal import WrongUsage
from askpro_console.system import System

NAME = "queue"
HELP = "look at queues and held jobs; retry, pause, scale, quarantine"

NAMES = ("company", "type", "cause", "provider", "node", "schedule", "subject", "entrypoint")
"""Arguments that name something. None of them stands for all of its kind, and least of all does an empty one."""

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
    _refuse_unreadable(args)
    return cast("int", args.act(System.load(), args))


def _refuse_unreadable(args: argparse.Namespace) -> None:
    """Raises WrongUsage for bytes that are no text, and for names that are empty, as of a script's unset variable."""
    for name, value in vars(args).items():
        words = value if isinstance(value, list) else [value]
        # A file may be called anything.
        if name != "payload" and any(isinstance(word, str) and not _is_text(word) for word in words):
            raise WrongUsage("An argument is no text in UTF-8.", "The terminal's encoding may be another one.")
        if name in NAMES and value == "":
            raise WrongUsage("A name that was given is empty.", "Give one, or leave its option out.")


def _is_text(word: str) -> bool:
    """False for what stood for bytes that could not be decoded."""
    try:
        word.encode()
    except UnicodeEncodeError:
        return False
    return True
