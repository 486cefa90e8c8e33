"""`askpro queue`: nothing that was typed is ignored in silence, or goes to the database as it is."""

from __future__ import annotations

import pytest

from tests.home import Shell

CHOICES = ("--queue", "--type", "--cause", "--company", "--text", "--since", "--before", "--limit")


@pytest.mark.parametrize("option", CHOICES)
async def test_causes_are_all_of_them_and_a_choice_beside_them_is_wrong(askpro_queue: Shell, option: str) -> None:
    value = {"--queue": "webhooks", "--since": "1h", "--before": "1h", "--limit": "1"}.get(option, "x")
    told = await askpro_queue("held", "--causes", option, value, code=2)
    assert f"{option} means nothing with --causes" in told
    assert "No job is held" in await askpro_queue("held", "--causes")


async def test_all_that_is_unused_is_named(askpro_queue: Shell) -> None:
    told = await askpro_queue("held", "--causes", "--queue", "webhooks", "--type", "x", "--text", "y", code=2)
    assert "--queue, --type and --text mean nothing with --causes" in told


@pytest.mark.parametrize(
    ("line", "unused"),
    [
        ("quarantine --company nord", "--company"),
        ("quarantine --until 2h --reason x", "--until and --reason"),
        ("quarantine --lift 1 --contains x", "--contains"),
        ("quarantine webhooks.retell_call --lift 1", "--lift"),
        ("breaker calcom --ramp 5m", "--ramp"),
        ("breaker calcom close --until 5m", "--until"),
        ("schedule --reason x", "--reason"),
        ("schedule run default.retention --until 5m", "--until"),
        ("history --step 10m", "--step"),
        ("bulk --reason x", "--reason"),
    ],
)
async def test_an_option_that_has_no_meaning_there_is_refused(askpro_queue: Shell, line: str, unused: str) -> None:
    assert unused in await askpro_queue(*line.split(), code=2)


@pytest.mark.parametrize(
    "line",
    [
        "find --company=",
        "held --cause=",
        "retry --type= --yes",
        "pause --node= --reason x --yes",
        "scale webhooks 20 --node= --yes",
        "quarantine webhooks.retell_call --company= --reason x --yes",
    ],
)
async def test_an_empty_name_means_nothing_and_not_everything(askpro_queue: Shell, line: str) -> None:
    assert "name that was given is empty" in await askpro_queue(*line.split(), code=2)


@pytest.mark.parametrize(
    "line",
    ["find \udcff", "held --text \udcff", "retry --cause \udcff --yes", "pause webhooks --reason \udcff --yes"],
)
async def test_bytes_that_are_no_text_are_refused_in_words(askpro_queue: Shell, line: str) -> None:
    assert "no text in UTF-8" in await askpro_queue(*line.split(), code=2)


@pytest.mark.parametrize("limit", ["0", "-5", "many", "9" * 5000, "١٢"])
async def test_a_limit_is_a_number_of_lines(askpro_queue: Shell, limit: str) -> None:
    for verb in ("held", "find"):
        told = await askpro_queue(verb, f"--limit={limit}", code=2)
        assert "is no number of lines" in told
        assert len(told) < 300
