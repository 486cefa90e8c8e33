"""Fixtures for every test: real servers (tests/engines.py), databases in them (tests/databases.py), one whole
system (tests/whole_system.py)."""

from __future__ import annotations

from hypothesis import settings

pytest_plugins = ["tests.engines", "tests.databases", "tests.whole_system", "tests.api.shared_api"]

# How long an example takes says nothing on a busy machine, so no example fails for it.
# Sixty examples instead of a hundred keep the whole suite below ten minutes.
settings.register_profile("askpro", deadline=None, max_examples=60)
settings.load_profile("askpro")
