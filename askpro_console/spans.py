"""Lengths of time as people type them: `90s`, `30m`, `2h`, `3d`, `52w`."""

from __future__ import annotations

import argparse
import re
from datetime import timedelta

LONGEST = timedelta(days=3_650)

UNITS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}


def span(text: str) -> timedelta:
    """The length of time; for `type=` of an argument. Raises argparse.ArgumentTypeError."""
    match = re.fullmatch(r"([0-9]{1,6})([smhdw])", text.strip().lower())
    if match is None:
        raise argparse.ArgumentTypeError(f"{text!r} is no span such as 30m, 2h or 3d")
    length = timedelta(seconds=int(match[1]) * UNITS[match[2]])
    if not timedelta() < length <= LONGEST:
        raise argparse.ArgumentTypeError(f"{text!r} is not within ten years")
    return length
