"""Which terminals the console can be drawn on."""

from __future__ import annotations

import pytest

from askpro_console.terminal import harmless, not_utf8, unfit

FINE = {"TERM": "xterm-256color", "LANG": "de_DE.UTF-8"}


def judged(environ: dict[str, str], *, stdin: bool = True, stdout: bool = True) -> str | None:
    return unfit(environ, stdin_is_terminal=stdin, stdout_is_terminal=stdout)


def test_an_ordinary_terminal_is_fit() -> None:
    assert judged(FINE) is None


@pytest.mark.parametrize(
    ("stdin", "stdout", "said"),
    [
        (False, True, "Standard input is not a terminal"),
        (True, False, "Standard output is not a terminal"),
        (False, False, "Standard input and output are not a terminal"),
    ],
)
def test_a_missing_terminal_is_named(stdin: bool, stdout: bool, said: str) -> None:
    assert judged(FINE, stdin=stdin, stdout=stdout) == said


@pytest.mark.parametrize("term", ["dumb", ""])
def test_a_terminal_that_cannot_move_its_cursor_is_unfit(term: str) -> None:
    assert "TERM" in (judged(FINE | {"TERM": term}) or "")


@pytest.mark.parametrize(
    "environ",
    [
        {},
        {"LANG": "C.UTF-8"},
        {"LANG": "en_US.utf8"},
        {"LC_ALL": "de_DE.UTF-8", "LANG": "C"},
        {"LC_CTYPE": "UTF-8"},
        {"LC_CTYPE": "de_DE.UTF-8", "LANG": "C"},
        {"LC_CTYPE": "C.UTF-8"},
    ],
)
def test_utf8_and_saying_nothing_are_fine(environ: dict[str, str]) -> None:
    assert not_utf8(environ) is None


@pytest.mark.parametrize(
    ("environ", "variable"),
    [
        ({"LC_ALL": "C", "LANG": "de_DE.UTF-8"}, "LC_ALL=C"),
        ({"LANG": "POSIX"}, "LANG=POSIX"),
        ({"LANG": "de_DE.ISO-8859-1"}, "LANG=de_DE.ISO-8859-1"),
        ({"LANG": "de_DE"}, "LANG=de_DE"),
        ({"LC_CTYPE": "C.UTF-8", "LANG": "C"}, "LANG=C"),
    ],
)
def test_another_character_set_is_named_with_its_variable(environ: dict[str, str], variable: str) -> None:
    assert not_utf8(environ) == variable


def test_printed_data_can_tell_a_terminal_nothing() -> None:
    assert harmless("Müller 🙂") == "Müller 🙂"
    assert harmless("a\x1b]52;c;x\x07\x9b31m\u202eb\n") == "a�]52;c;x��31m�b�"
