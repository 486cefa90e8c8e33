"""Prometheus' text format, version 0.0.4: lines of metric families."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
"""Mandatory since Prometheus 3."""

Labels = Mapping[str, str]


def family(name: str, kind: str, text: str, samples: Iterable[tuple[Labels, float | None]]) -> list[str]:
    """The lines of one metric family; a value of None is unknown and left out, and without values so is the family."""
    lines = [sample(name, labels, value) for labels, value in samples if value is not None]
    return [f"# HELP {name} {text}", f"# TYPE {name} {kind}", *lines] if lines else []


def sample(name: str, labels: Labels, value: float) -> str:
    """One line: a value with its labels."""
    if not labels:
        return f"{name} {value!r}"
    inside = ",".join(f'{label}="{escaped(text)}"' for label, text in labels.items())
    return f"{name}{{{inside}}} {value!r}"


def escaped(text: str) -> str:
    """A label's value as the format wants it."""
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
