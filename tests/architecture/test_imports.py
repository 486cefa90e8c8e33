"""What loads what: the backend never loads Textual, and the console's first frame loads no store client."""

from __future__ import annotations

import pkgutil
import subprocess
import sys
from pathlib import Path

import backend

ROOT = Path(__file__).parents[2]


def modules_after(statement: str) -> set[str]:
    """Top-level names in `sys.modules` after a fresh interpreter ran the statement."""
    code = f"{statement}\nimport sys\nprint('\\n'.join({{name.partition('.')[0] for name in sys.modules}}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    return set(done.stdout.split())


def backend_modules() -> list[str]:
    """Every module of the backend, migrations with a number for a name left out."""
    found = pkgutil.walk_packages(backend.__path__, "backend.")
    return [module.name for module in found if module.name.rpartition(".")[2].isidentifier()]


def test_no_module_of_the_backend_loads_textual_or_a_screen() -> None:
    imports = "\n".join(f"import {name}" for name in backend_modules())
    loaded = modules_after(imports)
    assert "backend" in loaded
    assert loaded.isdisjoint({"textual", "screens", "widgets", "askpro_console"})


def test_the_console_draws_its_first_frame_without_store_clients() -> None:
    loaded = modules_after("import askpro_console.cli, askpro_console.console, askpro_console.app")
    assert "textual" in loaded
    assert loaded.isdisjoint({"redis", "asyncpg", "httpx", "pydantic", "pgqueuer", "phonenumbers", "keyring"})


def test_the_command_line_answers_help_without_loading_the_console_or_the_backend_services() -> None:
    loaded = modules_after("import askpro_console.cli")
    assert loaded.isdisjoint({"textual", "redis", "asyncpg", "httpx", "pydantic", "pgqueuer", "uvicorn"})
