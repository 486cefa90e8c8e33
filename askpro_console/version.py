"""The version of the installed program."""

from __future__ import annotations


def version() -> str:
    """As the package's metadata says it, `0+unknown` when it runs from a directory that was never installed."""
    from importlib.metadata import PackageNotFoundError
    from importlib.metadata import version as installed

    try:
        return installed("askpro-console")
    except PackageNotFoundError:
        return "0+unknown"
