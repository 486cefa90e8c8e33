"""The command line: finds the command, loads only its module, and turns what it raises into words and an exit code.

Exit codes: 0 done, 1 failed, 2 wrong usage or configuration, 130 interrupted, 141 the reader of the output went away.
"""

from __future__ import annotations

import argparse
import errno
import io
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import NamedTuple, NoReturn, Protocol, cast

from askpro_console.refusal import Refused, WrongUsage, nearest


class Command(Protocol):
    """What a module in `askpro_console.commands` offers."""

    NAME: str
    HELP: str

    def configure(self, parser: argparse.ArgumentParser) -> None:
        """Add the command's arguments."""

    def run(self, args: argparse.Namespace) -> int:
        """Do it; the result is the exit code."""


class Entry(NamedTuple):
    """One line of `askpro --help`, known without importing the command."""

    module: str
    help: str


COMMANDS: dict[str, Entry] = {
    "up": Entry("up", "start the system and wait until it is ready"),
    "serve": Entry("serve", "start a node that works on another system's database, with no servers of its own"),
    "node": Entry("node", "the machines of the fleet: invite, list, drain, resume, restart, scale"),
    "down": Entry("down", "stop the system: finish what runs, then shut down"),
    "status": Entry("status", "say whether the system is ready, and list its processes"),
    "logs": Entry("logs", "print or follow the logs of the processes"),
    "show": Entry("show", "print what a screen shows: calls, appointments, queues, database, fleet, business"),
    "queue": Entry("queue", "look at queues and held jobs, retry them"),
    "intake": Entry("intake", "look at webhooks: quarantine, rejected deliveries, replay"),
    "reconcile": Entry("reconcile", "compare with Retell and Cal.com, repair what is safe, report the rest"),
    "company": Entry("company", "apply a company's declaration: branches, numbers, services, staff, hours"),
    "slots": Entry("slots", "list the free slots of a service, to read to a caller"),
    "calendar": Entry("calendar", "appointments in calendars at Cal.com: what is written, what was refused"),
    "callback": Entry("callback", "list the customers who are to be called back, and settle them"),
    "notify": Entry("notify", "send a test message through the mail server"),
    "token": Entry("token", "tokens of the HTTP API: create, list, rotate, revoke"),
    "simulate": Entry("simulate", "send signed traffic and check what became of it"),
    "bench": Entry("bench", "measure this machine"),
    "doctor": Entry("doctor", "check machine, configuration and system; say what to do"),
    "config": Entry("config", "print every setting and where it comes from"),
    "secrets": Entry("secrets", "list, set and check secrets"),
    "db": Entry("db", "migrate the database, verify what is in it"),
}
"""The public commands, in the order in which help lists them."""

HIDDEN: dict[str, Entry] = {
    "process": Entry("process", "run one process of the system in the foreground"),
}
"""Commands that only the system itself runs."""

NEVER_LOADED = "httpx._main"
"""The command line of httpx, with which it loads click, rich and pygments: 0.09 s of every command that talks HTTP.
It does without when the import fails."""

USAGE = "askpro [--profile NAME] [COMMAND] [arguments]"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code; raises nothing but SystemExit from argparse's own help."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    cast("dict[str, object]", sys.modules).setdefault(NEVER_LOADED, None)
    _open_closed_streams()
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A name that the output's character set lacks must not end a listing.
        sys.stdout.reconfigure(errors="replace")
    try:
        code = _dispatch(arguments)
        sys.stdout.flush()
    except Refused as refused:
        return _say(refused, as_json="--json" in arguments)
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        _give_output_up()
        return 141
    except Exception as error:
        if (told := _output_lost(error) or _stack_failure(error)) is None:
            raise
        return _say(told, as_json="--json" in arguments)
    return code


def _open_closed_streams() -> None:
    """Give standard streams that were closed by whoever started us (`>&-`) somewhere to go.

    Python has None in their place, and the next file or socket that is opened would get their number.
    """
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        if getattr(sys, name) is None:
            null = os.open(os.devnull, os.O_RDWR)
            if null != number:
                os.dup2(null, number)
                os.close(null)
            stream = open(number, mode, encoding="utf-8", closefd=False)  # noqa: SIM115 -- as long as the process
            setattr(sys, name, stream)


def _dispatch(arguments: list[str]) -> int:
    parser = _Parser(prog="askpro", usage=USAGE, add_help=False)
    _global_options(parser)
    parser.add_argument("-h", "--help", action="store_true")
    parser.add_argument("--version", action="store_true")
    parser.add_argument("--demo", action="store_true")
    parser.add_argument("command", nargs="?")
    parser.add_argument("rest", nargs=argparse.REMAINDER)
    top = parser.parse_args(arguments)
    if top.version:
        from askpro_console.version import version

        print(f"askpro {version()}")  # noqa: T201
        return 0
    if top.command == "help":
        top.help, top.command, top.rest = True, top.rest[0] if top.rest else None, []
    if top.help and top.command is None:
        print(help_text())  # noqa: T201
        return 0
    profile, top.rest = _taken_out("--profile", top.rest)
    if profile := profile or top.profile:
        os.environ["ASKPRO_PROFILE"] = profile
    _name_places_absolutely()
    if top.command is None:
        from askpro_console.start import open_console

        return open_console(demo=top.demo)
    rest = ["--help", *top.rest] if top.help else list(top.rest)
    if top.demo:
        rest.insert(0, "--demo")
    return _run_command(top.command, rest)


def _name_places_absolutely() -> None:
    """Files and directories in the environment, for processes of ours that run in another directory."""
    for name, value in os.environ.items():
        secret_file = name.startswith("ASKPRO_SECRET_") and name.endswith("_FILE")
        if value and (name == "ASKPRO_HOME" or secret_file):
            os.environ[name] = os.path.abspath(os.path.expanduser(value))  # noqa: PTH100, PTH111 pathlib loads slowly


def _run_command(name: str, rest: list[str]) -> int:
    entry = COMMANDS.get(name) or HIDDEN.get(name)
    if entry is None:
        near = nearest(name, COMMANDS)
        hint = f"Did you mean `askpro {near}`?" if near else "`askpro --help` lists the commands."
        raise WrongUsage(f"There is no command `{name}`.", hint)
    command = cast("Command", import_module(f"askpro_console.commands.{entry.module}"))
    parser = _Parser(prog=f"askpro {name}", description=sentence(command.HELP))
    _global_options(parser)
    command.configure(parser)
    return command.run(parser.parse_args(rest))


def _taken_out(option: str, arguments: list[str]) -> tuple[str | None, list[str]]:
    """The value of a global option, which may stand anywhere, and the arguments without it."""
    value: str | None = None
    left: list[str] = []
    waiting = iter(arguments)
    for argument in waiting:
        if argument == "--":
            return value, [*left, argument, *waiting]
        if argument == option:
            value = next(waiting, None)
            if value is None:
                raise WrongUsage(f"{option} needs a value.")
        elif argument.startswith(f"{option}="):
            value = argument.partition("=")[2]
        else:
            left.append(argument)
    return value, left


def _give_output_up() -> None:
    """The interpreter flushes stdout once more at exit: give it somewhere to go."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _output_lost(error: Exception) -> Refused | None:
    """A full disk under a redirected output as a refusal; it names no file, as a failure to write one of ours would."""
    if not isinstance(error, OSError) or error.errno not in {errno.ENOSPC, errno.EDQUOT, errno.EIO} or error.filename:
        return None
    _give_output_up()
    return Refused(f"The output cannot be written: {error.strerror}.")


def _stack_failure(error: Exception) -> Refused | None:
    """The stack's own failures, which say what to do already, as a refusal."""
    failures = sys.modules.get("backend.stack.failures")
    if failures is None or not isinstance(error, failures.StackFailure):
        return None
    return Refused(error.message, error.hint)


def _global_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--profile", metavar="NAME", help="settings profile, instead of the one the file names")


def _say(refused: Refused, *, as_json: bool) -> int:
    if as_json:
        import json

        told = {"error": refused.message, "hint": refused.hint}
        print(json.dumps(told, ensure_ascii=False))  # noqa: T201
    else:
        lines = (f"askpro: {refused.message}", refused.hint)
        print("\n".join(line for line in lines if line), file=sys.stderr)  # noqa: T201
    return refused.exit_code


def help_text() -> str:
    """The text of `askpro --help`."""
    width = max(map(len, COMMANDS))
    commands = "\n".join(f"  {name:<{width}}  {entry.help}" for name, entry in COMMANDS.items())
    return f"""usage: {USAGE}

Without a command: open the console, and start the system first when none runs (--demo: with demo traffic).

commands:
{commands}

options:
  --profile NAME  settings profile, instead of the one the file names
  --version       print the version
  -h, --help      print this; `askpro COMMAND --help` explains a command

Everything that prints takes --json. Exit codes: 0 done, 1 failed, 2 wrong usage or configuration."""


def sentence(text: str) -> str:
    """`text` with a capital and a full stop, as help and messages print it."""
    return text[:1].upper() + text[1:] + ("" if text.endswith((".", "!", "?")) else ".")


class _Parser(argparse.ArgumentParser):
    """Argparse whose errors leave by our own border: one sentence, exit code 2, JSON when asked for."""

    def error(self, message: str) -> NoReturn:
        command = self.prog.removeprefix("askpro").strip()
        raise WrongUsage(f"{command}: {message}" if command else message, f"`{self.prog} --help` shows what it takes.")
