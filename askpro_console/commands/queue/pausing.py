"""`askpro queue pause`, `resume`, `pauses`: what does not run, by whom, why, and until when."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

import msgspec

from askpro_console.commands.queue.at_queue import acting, at_queue
from askpro_console.commands.queue.steering import (
    Would,
    add_changing,
    add_ramp,
    add_subject,
    add_until,
    named,
    seconds,
    subject_and_blast,
    until,
)
from askpro_console.printed import agree, capital, clock, print_json, print_table
from askpro_console.refusal import WrongUsage
from askpro_console.system import System
from askpro_console.terminal import harmless
from backend.domain.vocabulary import PauseKind

if TYPE_CHECKING:
    from backend.services.operating.obeying import Obeyed
    from backend.services.operating.pauses import Pause, Resumed


def add(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the verbs."""
    pause = verbs.add_parser(
        "pause", help="start no more jobs of a queue, job type, company, provider, node; what runs may end"
    )
    add_subject(pause)
    add_until(pause)
    add_ramp(pause)
    add_changing(pause, reason="why: shown to everybody who wonders; it must be said")
    pause.set_defaults(act=_pause)
    resume = verbs.add_parser("resume", help="end a pause")
    add_subject(resume)
    add_ramp(resume)
    add_changing(resume)
    resume.set_defaults(act=_resume)
    pauses = verbs.add_parser("pauses", help="what is paused: by whom, why, until when")
    pauses.add_argument("--all", action="store_true", help="also those that are over")
    pauses.set_defaults(act=_pauses)


def _pause(system: System, args: argparse.Namespace) -> int:
    kind, name = named(args)
    return pause_subject(system, args, kind, name)


def pause_subject(system: System, args: argparse.Namespace, kind: PauseKind, name: str) -> int:
    """Pause what was named, or tell what that would touch."""
    from backend.services.operating.blast import in_words
    from backend.services.operating.obeying import pause_obeyed
    from backend.services.operating.pauses import pause

    of, blast = subject_and_blast(system, kind, name)
    if not args.reason.strip():
        raise WrongUsage("A pause needs a reason.", 'Add --reason "…": whoever wonders at night reads it.')
    agree(f"{in_words(blast)} Pause {of}{_ending(args)}?", yes=args.yes or args.dry_run)
    paused = acting(
        system,
        lambda connection, by: pause(
            connection,
            by,
            kind,
            name,
            reason=args.reason,
            until=until(args),
            ramp_s=seconds(args.ramp) or 0,
            policies=system.loaded.policies,
        ),
        dry_run=args.dry_run,
    )
    if args.dry_run:
        if args.json:
            print_json(Would(would="pause", kind=kind, name=name, touches=blast))
        else:
            print(f"Would pause {of}{_ending(args)}. {in_words(blast)}")
        return 0
    obeyed = at_queue(system, lambda connection: pause_obeyed(connection, kind, name))
    if args.json:
        print_json({**msgspec.to_builtins(paused), "obeyed": obeyed})
        return 0
    changed = "was paused already; reason and end are as you said" if paused.is_changed else "is paused"
    end = f" until {clock(paused.until)}" if paused.until else ""
    print(f"{capital(str(of))} {changed}{end}. {in_words(blast)}{_obeyed(obeyed)}")
    if paused.until is None:
        print("It ends when somebody resumes it; --until 30m lets it end by itself.")
    return 0


def _ending(args: argparse.Namespace) -> str:
    end = until(args)
    return f" until {clock(end)}" if end is not None else ""


def _resume(system: System, args: argparse.Namespace) -> int:
    kind, name = named(args)
    return resume_subject(system, args, kind, name)


def resume_subject(system: System, args: argparse.Namespace, kind: PauseKind, name: str) -> int:
    """End the pause of what was named, or tell what that would touch."""
    from backend.services.operating.blast import in_words
    from backend.services.operating.obeying import pause_obeyed
    from backend.services.operating.pauses import resume

    of, blast = subject_and_blast(system, kind, name)
    agree(f"{in_words(blast)} Resume {of}?", yes=args.yes or args.dry_run)
    resumed = acting(
        system,
        lambda connection, by: resume(connection, by, kind, name, ramp_s=seconds(args.ramp), reason=args.reason),
        dry_run=args.dry_run,
    )
    if args.dry_run:
        if args.json:
            print_json(Would(would="resume", kind=kind, name=name, touches=blast))
        else:
            print(f"Would resume {of}. {in_words(blast)}")
        return 0
    obeyed = at_queue(system, lambda connection: pause_obeyed(connection, kind, name, paused=False))
    if args.json:
        print_json({**msgspec.to_builtins(resumed), "obeyed": obeyed})
    else:
        print(f"{told(resumed, str(of))}{_obeyed(obeyed)}")
    return 0


def _obeyed(obeyed: Obeyed) -> str:
    """Nothing where it concerns no worker."""
    return f" {obeyed}" if obeyed.workers else ""


def told(resumed: Resumed, of: str) -> str:
    """What a resume did, in a sentence or three."""
    ramp = resumed.pause.ramp_s
    speed = f", at full speed in {ramp} s" if ramp else ""
    released = f" {resumed.released:,} jobs that were put off may start." if resumed.released else ""
    since = f"It was paused by {harmless(resumed.pause.paused_by)} at {clock(resumed.pause.paused_at)}"
    why = f": {harmless(resumed.pause.reason)}" if resumed.pause.reason else ""
    return f"{capital(of)} is resumed{speed}.{released} {since}{why}."


def _pauses(system: System, args: argparse.Namespace) -> int:
    from backend.services.operating.pauses import list_pauses

    found = at_queue(system, lambda connection: list_pauses(connection, ended=args.all))
    if args.json:
        print_json(found)
    elif not found:
        print("Nothing was ever paused." if args.all else "Nothing is paused.")
    else:
        print_table(
            ("WHAT", "NAME", "SINCE", "UNTIL", "RAMP", "BY", "WHY", *(("RESUMED",) if args.all else ())),
            (_line(each, with_end=args.all) for each in found),
        )
    return 0


def _line(pause: Pause, *, with_end: bool) -> tuple[str, ...]:
    ended = f"{clock(pause.resumed_at)} {pause.resumed_by}" if pause.resumed_at else "-"
    return (
        pause.kind.replace("_", " "),
        pause.name,
        clock(pause.paused_at),
        clock(pause.until) if pause.until else "somebody resumes",
        f"{pause.ramp_s} s" if pause.ramp_s else "-",
        pause.paused_by,
        pause.reason or "-",
        *((ended,) if with_end else ()),
    )
