"""Pulse: every figure of the report on one page, the verdict never left out, at any size."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

import pytest

from backend.watch.queue_snapshots import HeldGroup, ProviderRow
from backend.watch.snapshots import CallbackFigures, Change, CompanyRow, Snapshot, Timing, Trend
from screens.pulse import page_lines
from screens.pulse_panels import Trails
from tests.screens.consoles import GivenReader, console
from tests.watch.well import NOW, business, database, fleet, process, queue, queues
from widgets.line_view import LineView
from widgets.pieces import Line, Tone, text_of

SIZES = [(80, 21), (120, 37), (200, 57), (40, 10)]


def busy() -> dict[str, Snapshot]:
    """A busy system with one queue that nobody works off."""
    trend = Trend(values=tuple(float(step % 7) for step in range(60)), step_s=60)
    routes = tuple(
        Timing(route=f"POST /api/route/{number}", per_s=number, p50_ms=4, p95_ms=11, p99_ms=23, errors=0, refused=1)
        for number in range(1, 9)
    )
    companies = tuple(
        CompanyRow(company=f"c{number}", name=f"Praxis {number}", calls=40, booked=12, revenue_cents=120_400 - number)
        for number in range(30)
    )
    return {
        "business": business(
            bookings=trend, routes=routes, companies=companies, changes=(Change(at=NOW, what="worker restarted"),)
        ),
        "queues": queues(queue(ready=12, oldest_s=0.4, ready_trend=trend), queue("notifications", workers=0, ready=3)),
        "database": database(commits_per_s=41.0, hit_ratio=0.997),
        "fleet": fleet(process()),
    }


def tones(lines: Iterable[Line]) -> set[Tone]:
    """All tones that are used."""
    return {piece.tone for line in lines for piece in line.pieces if piece.text.strip()}


@pytest.mark.parametrize(("width", "height"), SIZES)
def test_no_line_is_wider_than_the_page(width: int, height: int) -> None:
    lines = page_lines(busy(), width, height, Trails())
    assert max(line.width for line in lines) <= width


@pytest.mark.parametrize(("width", "height"), SIZES)
def test_the_verdict_is_on_the_page_whatever_its_size(width: int, height: int) -> None:
    shown = text_of(page_lines(busy(), width, height, Trails())[:height])
    assert "✖ notifications" in shown


@pytest.mark.parametrize(("width", "height"), SIZES[:3])
def test_who_is_to_be_called_back_stands_beside_what_needs_you(width: int, height: int) -> None:
    figures = CallbackFigures(open=3, overdue=1, next_at=NOW + 720)
    snapshots = {**busy(), "business": business(callbacks=figures)}
    assert "call back 3, 1 overdue, next in 12 m" in text_of(page_lines(snapshots, width, height, Trails()))
    assert "call back" not in text_of(page_lines(busy(), width, height, Trails()))


def test_a_system_that_is_well_has_no_colour() -> None:
    snapshots: dict[str, Snapshot] = {
        "business": business(), "queues": queues(), "database": database(), "fleet": fleet(process()),
    }  # fmt: skip
    lines = page_lines(snapshots, 120, 37, Trails())
    assert "Nothing needs you" in text_of(lines)
    assert tones(lines).isdisjoint({Tone.ACCENT, Tone.WARN, Tone.CRIT, Tone.UNKNOWN})


@pytest.mark.parametrize(
    "figure",
    [
        "p50", "p95", "p99", "err",  # response time and error rate by endpoint
        "ready", "oldest", "drain", "held",  # queue depths and processing times
        "conn", "commits", "hit",  # database connections and performance
        "cpu", "mem", "disk", "in ", "out",  # machine and network
        "used",  # Valkey's memory
        "Bookings", "Webhooks", "Call length", "Revenue/request",  # business
    ],
)  # fmt: skip
def test_every_figure_that_the_report_asks_for_is_on_one_page(figure: str) -> None:
    assert figure in text_of(page_lines(busy(), 120, 37, Trails())[:37])


def test_before_anything_is_known_the_page_says_that_it_waits() -> None:
    assert "Waiting" in text_of(page_lines({}, 80, 21, Trails()))


def test_a_name_that_tries_to_be_markup_or_an_escape_is_shown_as_it_is() -> None:
    snapshots = busy()
    hostile = "[red]x[/] \x1b]52;c;aGk=\x07 \u202eevil"
    row = CompanyRow(company="c", name=hostile, calls=1, booked=1, revenue_cents=10**9)
    snapshots["business"] = business(companies=(row,))
    shown = text_of(page_lines(snapshots, 200, 57, Trails()))
    assert "[red]x[/]" in shown
    assert not {"\x1b", "\x07", "\u202e"} & set(shown)


def test_a_trail_keeps_the_largest_value_of_each_step_and_sixty_steps() -> None:
    trails = Trails()
    for second in range(400):
        trails.add("cpu", 1.0 if second == 399 else 0.5, NOW + second)
    bars = trails.bars("cpu", 60).text
    assert len(bars) == 60
    assert bars[-1] == "█"
    assert bars[0] != "█"


async def test_figures_that_come_in_a_burst_are_drawn_together_and_the_last_ones_are_shown(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    reader = GivenReader(business(calls_ongoing=1), queues(), database(), fleet())
    draws = 0
    show = LineView.show

    def counted(view: LineView, lines: Sequence[Line]) -> None:
        nonlocal draws
        draws += view.id == "page"
        show(view, lines)

    async with console(reader, first="pulse") as shown:
        await shown.until_shows("Customers feel", "Stores")
        monkeypatch.setattr(LineView, "show", counted)
        for number in range(2, 22):
            reader.put(business(calls_ongoing=number))
            await shown.pilot.pause()
        await shown.until(lambda: bool(re.search(r"Calls now .* 21   Bookings", shown.text)), "the last figure")
    assert draws <= 10


@pytest.mark.parametrize("width", [80, 120, 200])
def test_figures_stand_below_each_other_whether_or_not_bars_tell_their_past(width: int) -> None:
    lines = page_lines(busy(), width, 40, Trails())
    first, second = lines[1].plain, lines[3 if width < 112 else 2].plain
    ends = [re.search(r"Calls now .*?\d(?=   )", first), re.search(r"Effect p99 .*? s(?=   )", second)]
    assert ends[0] is not None
    assert ends[1] is not None
    assert ends[0].end() == ends[1].end()
    assert "▇" in first or "█" in first, "bookings have bars, and room for them at any width"


def test_nothing_else_needs_anybody_while_customers_wait_to_be_called_back() -> None:
    figures = CallbackFigures(open=3, overdue=1, next_at=NOW + 720)
    well: dict[str, Snapshot] = {"business": business(callbacks=figures), "queues": queues()}
    assert "Nothing else needs you." in text_of(page_lines(well, 120, 37, Trails()))
    assert "Nothing needs you." in text_of(page_lines(well | {"business": business()}, 120, 37, Trails()))


def test_routes_that_differ_at_their_end_can_be_told_apart() -> None:
    routes = tuple(
        Timing(route=f"POST /api/appointments/{{appointment_id}}/{verb}", per_s=1, p50_ms=4, p95_ms=11, p99_ms=23,
               errors=0, refused=0)
        for verb in ("complete", "no-show")
    )  # fmt: skip
    shown = text_of(page_lines({"business": business(routes=routes)}, 120, 37, Trails()))
    assert "…/complete" in shown
    assert "…/no-show" in shown


def test_a_company_of_thirty_letters_has_its_whole_name_at_120_columns() -> None:
    row = CompanyRow(company="z", name="Zahnarztpraxis Kessler & Wolff", calls=1, booked=1, revenue_cents=1)
    snapshots: dict[str, Snapshot] = {"business": business(companies=(row,)), "queues": queues()}
    assert row.name in text_of(page_lines(snapshots, 120, 37, Trails()))


def test_what_the_page_has_no_room_for_is_counted() -> None:
    shown = text_of(page_lines(busy(), 120, 37, Trails())[:37])
    (more,) = re.findall(r"and (\d+) more", shown)
    assert int(more) + len(re.findall(r"Praxis \d", shown)) == 30


def test_a_wide_page_tells_what_is_held_and_how_providers_answer() -> None:
    cause = HeldGroup(
        fingerprint="f", queue="default", entrypoint="calcom.sync", error_type="HTTPError", message="429", companies=1,
        held_1h=190, held_24h=198, held_total=198, first_at=NOW - 3600, last_at=NOW - 30,
    )  # fmt: skip
    calcom = ProviderRow(provider="calcom", breaker="open", since_s=180, calls=1200, failures=41, p99_s=0.64)
    retell = ProviderRow(provider="retell", breaker="closed", since_s=9000, calls=12, failures=0, p99_s=None)
    snapshots = busy() | {"queues": queues(held=(cause,), providers=(calcom, retell))}
    shown = text_of(page_lines(snapshots, 120, 37, Trails()))
    assert re.search(r"calcom.sync  HTTPError: 429 +198 +190 +30 s", shown)
    assert re.search(r"calcom +▲ held back for 3 m +1.2 k +41 +640 ms", shown)
    assert re.search(r"retell +● answers +12 +0 +–", shown)
    well = text_of(page_lines(busy(), 120, 37, Trails()))
    assert "nothing is held" in well
    assert "none was called lately" in well


def test_a_paused_queue_says_so_in_place_of_what_it_does() -> None:
    snapshots = busy() | {"queues": queues(queue("notifications", paused=True, ready=41, oldest_s=720.0))}
    shown = text_of(page_lines(snapshots, 120, 37, Trails()))
    assert re.search(r"notifications +41 +12 m +▲ paused +0", shown)
