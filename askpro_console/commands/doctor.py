"""`askpro doctor`: check machine, configuration, secrets and the running system; say what to do about each finding."""

from __future__ import annotations

import argparse
import asyncio

import msgspec

from askpro_console.checks.configuration import check_configuration, check_secrets
from askpro_console.checks.findings import Finding
from askpro_console.checks.machine import check_machine
from askpro_console.checks.mail import check_mail
from askpro_console.checks.running import check_running
from askpro_console.system import System
from askpro_console.terminal import coloured, harmless
from backend.domain.vocabulary import Verdict

NAME = "doctor"
HELP = "check machine, configuration and system; say what to do"

SIGNS = {
    Verdict.OK: ("ok     ", "32"),
    Verdict.WARN: ("warn   ", "33"),
    Verdict.CRIT: ("CRIT   ", "1;31"),
    Verdict.UNKNOWN: ("unknown", "36"),
}
"""Word and colour; the word alone says it all."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--all", action="store_true", help="list what is in order one by one, too")


def run(args: argparse.Namespace) -> int:
    """Look at everything; 1 when something is critical."""
    system = System.load()
    findings = look(system)
    if args.json:
        print(msgspec.json.encode({"ok": not _critical(findings), "findings": findings}).decode())
    else:
        _print(findings, in_colour=coloured(system.environ), everything=args.all)
    return 1 if _critical(findings) else 0


def look(system: System) -> list[Finding]:
    """Every finding, in the order in which a start would need things."""
    return [
        *check_machine(system),
        *check_configuration(system),
        *check_secrets(system),
        asyncio.run(check_mail(system)),
        *asyncio.run(check_running(system)),
    ]


def _critical(findings: list[Finding]) -> bool:
    return any(finding.verdict is Verdict.CRIT for finding in findings)


def _print(findings: list[Finding], *, in_colour: bool, everything: bool) -> None:
    width = max(len(finding.name) for finding in findings)
    area = ""
    for finding in findings:
        if finding.verdict is Verdict.OK and finding.detail.startswith("not set") and not everything:
            continue
        if finding.area != area:
            area = finding.area
            print(f"\n{area}" if area != findings[0].area else area)
        word, colour = SIGNS[finding.verdict]
        sign = f"\x1b[{colour}m{word}\x1b[0m" if in_colour else word
        print(f"  {sign}  {finding.name:<{width}}  {harmless(finding.detail)}")
        if finding.remedy:
            print(f"           {'':<{width}}  → {finding.remedy}")
    counts = {verdict: sum(finding.verdict is verdict for finding in findings) for verdict in Verdict}
    print(f"\n{counts[Verdict.CRIT]} critical, {counts[Verdict.WARN]} to mind, {counts[Verdict.OK]} in order")
