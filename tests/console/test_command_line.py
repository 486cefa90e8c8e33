"""What is typed after `:`."""

from __future__ import annotations

from askpro_console.command_line import Command, CommandLine, History


def line(done: list[str]) -> CommandLine:
    """A line with a few commands that note what they were given."""
    return CommandLine(
        [
            Command("calls", "show calls", lambda rest: done.append(f"calls {rest}".strip()), also=("call",)),
            Command("theme", "take a theme", lambda rest: done.append(f"theme {rest}"), lambda: ("night", "day")),
            Command("q", "leave", lambda _: done.append("q"), also=("quit",)),
        ]
    )


async def test_a_command_runs_by_any_of_its_words_with_the_rest_of_the_line() -> None:
    done: list[str] = []
    typed = line(done)
    assert await typed.run(":calls") is None
    assert await typed.run("call /anna") is None
    assert await typed.run("  quit ") is None
    assert await typed.run("") is None
    assert done == ["calls", "calls /anna", "q"]


async def test_a_wrong_word_names_the_nearest_right_one_and_does_nothing() -> None:
    done: list[str] = []
    typed = line(done)
    assert await typed.run("cals") == "There is no command :cals. Did you mean :calls?"
    assert await typed.run("xyzzy") == "There is no command :xyzzy. ? lists them."
    assert await typed.run("theme nigt") == ":theme nigt: did you mean night?"
    assert done == []


def test_tab_completes_words_and_values() -> None:
    typed = line([])
    assert typed.complete("th") == "theme"
    assert typed.complete("ca") == "call"
    assert typed.complete("call") == "calls"
    assert typed.complete("theme n") == "theme night"
    assert typed.completions("theme ") == ["theme night", "theme day"]
    assert typed.complete("zzz") == "zzz"


def test_history_is_walked_and_comes_back_to_what_was_being_typed() -> None:
    history = History()
    for text in ("one", "two", "two"):
        history.add(text)
    assert history.older("dra") == "two"
    assert history.older("two") == "one"
    assert history.older("one") == "one"
    assert history.newer() == "two"
    assert history.newer() == "dra"
    assert history.newer() == "dra"


def test_an_empty_history_leaves_the_line_alone() -> None:
    assert History().older("dra") == "dra"
    assert History().newer() == ""


async def test_wrong_lines_are_remembered_too_so_that_they_can_be_mended() -> None:
    typed = line([])
    await typed.run("cals")
    assert typed.history.older("") == "cals"
