"""Rules of the house that a reader relies on: small files, short functions, no addresses of package indexes."""

from __future__ import annotations

import ast
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("askpro_console", "screens", "widgets", "backend", "tests", "bench")
LONGEST_FILE = 500
LONGEST_FUNCTION = 80
INDEX_ADDRESS = re.compile(r"--(extra-)?index-url|/simple(/|\"| |$)|\"resolved\": *\"http", re.MULTILINE)


def sources() -> list[Path]:
    """All Python files of the project."""
    return sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))


def functions(path: Path) -> Iterator[tuple[str, int]]:
    """Name and number of lines of each function of a file."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node.name, (node.end_lineno or node.lineno) - node.lineno + 1


def test_no_file_is_too_long_to_have_one_subject() -> None:
    lengths = {str(path.relative_to(ROOT)): len(path.read_text("utf-8").splitlines()) for path in sources()}
    assert {name: lines for name, lines in lengths.items() if lines > LONGEST_FILE} == {}


def test_no_function_is_too_long_to_be_read_at_once() -> None:
    long = {
        f"{path.relative_to(ROOT)}:{name}": lines
        for path in sources()
        for name, lines in functions(path)
        if lines > LONGEST_FUNCTION
    }
    assert long == {}


def test_every_file_says_what_lives_in_it() -> None:
    silent = [str(path.relative_to(ROOT)) for path in sources() if not ast.get_docstring(ast.parse(path.read_text()))]
    assert silent == []


@pytest.mark.parametrize("name", ["requirements.lock", "requirements-dev.lock"])
def test_the_lock_pins_every_package_with_hashes(name: str) -> None:
    lines = (ROOT / name).read_text().splitlines()
    pins = [line for line in lines if re.match(r"[a-z0-9]", line)]
    assert pins
    assert all("==" in line and line.endswith("\\") for line in pins)


def tracked_text() -> Iterator[tuple[str, str]]:
    """Every file that git tracks (or would), as text."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    for name in listed.stdout.splitlines():
        path = ROOT / name
        if path.is_file() and path.suffix not in {".png", ".svg"}:
            yield name, path.read_text("utf-8", errors="replace")


def test_no_file_names_a_package_index() -> None:
    own = str(Path(__file__).relative_to(ROOT))
    assert [name for name, text in tracked_text() if name != own and INDEX_ADDRESS.search(text)] == []
