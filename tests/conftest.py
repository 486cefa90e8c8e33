"""Fixtures for every test: real servers (tests/engines.py) and databases in them (tests/databases.py)."""

from __future__ import annotations

pytest_plugins = ["tests.engines", "tests.databases"]
