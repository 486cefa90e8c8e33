"""`askpro queue show`, `edit`: everything about one job, and the job run with another payload."""

from __future__ import annotations

import argparse
import asyncio
import difflib
import os
import shlex
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from askpro_console.at_database import reaching
from askpro_console.commands.queue.at_queue import APPLICATION, acting, at_queue, number
from askpro_console.printed import agree, clock, print_json
from askpro_console.refusal import Refused, WrongUsage
from askpro_console.system import System
from askpro_console.terminal import harmless

if TYPE_CHECKING:
    from backend.watch.details import JobDetail


class Edited(msgspec.Struct, frozen=True, kw_only=True):
    """What an edit did, or with `--dry-run` would."""

    job: int
    new_job: int | None
    """None for a dry run."""
    changed: tuple[str, ...]
    """The payload's outermost fields that differ."""


def add(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the verbs."""
    show = verbs.add_parser("show", help="all that is known about one job; personal data in its payload is hidden")
    show.add_argument("job", type=number, metavar="JOB")
    show.add_argument(
        "--reveal", action="store_true", help="show the payload as it is; needs --reason, and is recorded"
    )
    show.add_argument("--reason", default="", metavar="TEXT", help="why, for the record")
    show.set_defaults(act=_show)
    edit = verbs.add_parser(
        "edit", help="run a held job with another payload, in your $EDITOR or from a file; the held one stays as it was"
    )
    edit.add_argument("job", type=number, metavar="JOB")
    edit.add_argument("--payload", metavar="FILE", help="the new payload; - reads it from the standard input")
    edit.add_argument("--reason", default="", metavar="TEXT", help="why, for the record; needed to see the payload")
    edit.add_argument("--dry-run", action="store_true", help="only say what would change")
    edit.add_argument("--yes", action="store_true", help="do not ask")
    edit.set_defaults(act=_edit)


def _show(system: System, args: argparse.Namespace) -> int:
    from backend.domain.redaction import redacted
    from backend.services.held_jobs.revealing import reveal_payload

    if args.reveal and not args.reason.strip():
        raise WrongUsage("A payload is revealed for a reason.", "Add --reason and say why in a few words.")
    detail = _detail(system, args.job)
    if args.reveal:
        revealed = acting(system, lambda connection, by: reveal_payload(connection, by, args.job, reason=args.reason))
        payload = revealed.decode("utf-8", "replace")
    else:
        payload = redacted(detail.payload)
    if args.json:
        fields = msgspec.to_builtins(detail)
        print_json({**fields, "payload": payload, "is_revealed": args.reveal})
    else:
        _print(detail, payload)
    return 0


def _detail(system: System, job_id: int) -> JobDetail:
    """Everything about a job. Raises Refused when nothing is known."""
    from backend.watch.details import Details

    async def read() -> JobDetail | None:
        details = Details(system.postgres(), application=APPLICATION)
        try:
            return await details.job(job_id)
        finally:
            await details.aclose()

    detail = asyncio.run(reaching(read()))
    if detail is None:
        raise Refused(
            f"Nothing is known about job {job_id}.",
            "Finished jobs are forgotten after an hour, failed ones after 7 days.",
        )
    return detail


def _print(detail: JobDetail, payload: str) -> None:
    held = detail.held
    facts = {
        "job": f"{detail.job_id} {detail.entrypoint}",
        "state": detail.state if held is None else f"{detail.state} ({held.state})",
        "company": detail.company,
        "enqueued": _moment(detail.enqueued_at),
        "next start": _moment(detail.execute_after) if detail.state == "queued" else "",
        "key": detail.dedupe_key,
        "cause": held.fingerprint if held else "",
        "error": f"{held.error_type}: {held.message}" if held else "",
        "held": _moment(held.held_at) if held else "",
        "decided": f"{_moment(held.decided_at)} {held.state} by {held.decided_by}" if held and held.decided_at else "",
        "webhook": detail.webhook_id,
        "call": detail.call_id,
        "customer": detail.customer_id,
        "appointment": detail.appointment_id,
    }
    for name, value in facts.items():
        if value:
            print(f"{name:12}{harmless(value)}")
    for kin in reversed(detail.came_of):
        print(f"{'came of':12}job {kin.job_id} {kin.entrypoint} ({kin.state}), {kin.how} by {harmless(kin.by)}")
    for kin in detail.became:
        print(f"{'became':12}job {kin.job_id} {kin.entrypoint} ({kin.state}), {kin.how} by {harmless(kin.by)}")
    for run in detail.runs:
        took = "no end" if run.took_s is None else f"{run.took_s:,.3f} s"
        waited = "" if run.waited_s is None else f"waited {run.waited_s:,.1f} s, "
        ending = " ".join(part for part in (run.outcome, run.error) if part)
        print(f"{'run':12}{_moment(run.started_at)}  try {run.attempt}  {waited}{took}  {harmless(ending)}".rstrip())
    for each in detail.decisions:
        print(
            f"{'record':12}{_moment(each.at)}  {each.action} by {harmless(each.by)}  {harmless(each.reason)}".rstrip()
        )
    print("payload")
    _print_lines(payload)
    if held is not None and held.traceback:
        print()
        _print_lines(held.traceback)


def _print_lines(text: str) -> None:
    for line in text.rstrip().splitlines():
        print(harmless(line))


def _moment(seconds: float | None) -> str:
    return "" if seconds is None else clock(datetime.fromtimestamp(seconds, UTC))


def _edit(system: System, args: argparse.Namespace) -> int:
    from backend.services.held_jobs.editing import changed, edit_and_retry, held_payload
    from backend.services.held_jobs.revealing import reveal_payload

    if args.payload is None and not args.reason.strip():
        raise WrongUsage("To edit a payload is to see it, and that needs a reason.", "Add --reason, or --payload FILE.")
    given = None if args.payload is None else _from_file(args.payload)
    expected = at_queue(system, lambda connection: held_payload(connection, args.job))
    if given is None:
        expected = acting(system, lambda connection, by: reveal_payload(connection, by, args.job, reason=args.reason))
        payload = _in_editor(expected)
        for line in difflib.unified_diff(_pretty(expected), _pretty(payload), "held", "edited", lineterm=""):
            print(harmless(line), file=sys.stderr)
    else:
        payload = given
    fields = tuple(changed(expected, payload))
    if payload == expected:
        raise Refused("Nothing was changed.", "To run it as it is: `askpro queue retry`.")
    agree(f"Run job {args.job} with the edited payload?", yes=args.yes or args.dry_run)
    new_job = acting(
        system,
        lambda connection, by: edit_and_retry(connection, by, args.job, payload, expected=expected, reason=args.reason),
        dry_run=args.dry_run,
    )
    return _tell(Edited(job=args.job, new_job=None if args.dry_run else new_job, changed=fields), args)


def _tell(edited: Edited, args: argparse.Namespace) -> int:
    fields = f" ({harmless(', '.join(edited.changed))})" if edited.changed else ""
    if args.json:
        print_json(edited)
    elif edited.new_job is None:
        print(f"Would run job {edited.job} with another payload{fields}. Nothing was changed.")
    else:
        print(f"Job {edited.new_job} runs with the edited payload{fields}; {edited.job} stays as it was, as replaced.")
    return 0


def _from_file(name: str) -> bytes:
    try:
        return sys.stdin.buffer.read() if name == "-" else Path(name).read_bytes()
    except OSError as wrong:
        raise Refused(f"The payload cannot be read: {wrong}.") from wrong


def _in_editor(payload: bytes) -> bytes:
    """The payload as the operator's editor leaves it, in a file that only they can read and that is gone afterwards."""
    editor = os.environ.get("VISUAL") or os.environ.get("EDITOR") or "vi"
    lines = "\n".join(_pretty(payload)) + "\n"
    with tempfile.NamedTemporaryFile("w", encoding="utf-8", prefix="askpro-job-", suffix=".json") as file:
        file.write(lines)
        file.flush()
        try:
            ended = subprocess.run([*shlex.split(editor), file.name], check=False).returncode  # noqa: S603 - theirs
        except OSError as wrong:
            raise Refused(
                f"The editor {editor} cannot be started: {wrong}.", "Set EDITOR, or give --payload."
            ) from wrong
        if ended:
            raise Refused(f"The editor ended with {ended}; nothing was changed.")
        edited = Path(file.name).read_text("utf-8")
    if edited == lines:
        return payload
    try:
        return msgspec.json.encode(msgspec.json.decode(edited))
    except (msgspec.DecodeError, RecursionError):
        return edited.rstrip("\n").encode()


def _pretty(payload: bytes) -> list[str]:
    """Its lines: JSON indented, anything else as it is."""
    try:
        return msgspec.json.format(payload, indent=2).decode().splitlines()
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return payload.decode("utf-8", "replace").splitlines()
