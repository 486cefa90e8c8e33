"""History in the console: pictures of what happened, of one queue or job type, over an hour, a day, a week."""

from __future__ import annotations

from datetime import timedelta

import pytest

from backend.postgres.address import PostgresAddress, Role
from backend.watch.histogram import bucket_of
from backend.watch.history import History, HistoryStep, Percentiles, Tally
from screens.history import SPANS
from screens.history_lines import COLUMNS, HistoryRow, Picture, chart_lines
from tests.databases import OpenConnection
from tests.screens.consoles import GivenReader, console
from tests.screens.held_console import DatabaseStack
from tests.screens.queue_samples import NOW, well
from widgets.columns import lay_out
from widgets.pieces import text_of


def history(*, minutes: int = 60, until: float = NOW) -> History:
    """An hour with a burst in its middle, in which jobs failed."""
    steps = tuple(
        HistoryStep(
            until - (minutes - step) * 60,
            Tally(
                put_in=10,
                done=120 if step == 30 else 10,
                failed=3 if step == 30 else 0,
                wait=Percentiles(0.004, 0.02, 1.5 if step == 30 else 0.04),
                run=Percentiles(0.1, 0.2, 0.4),
            ),
        )
        for step in range(minutes)
    )
    return History(
        since=until - minutes * 60, until=until, step_s=60, queue=None, entrypoint=None, steps=steps, lines=(),
        total=Tally(done=710, failed=3),
    )  # fmt: skip


@pytest.mark.parametrize(("width", "room"), [(80, 12), (120, 20), (100, 57), (60, 8), (200, 30)])
def test_pictures_fit_and_what_failed_is_never_left_out(width: int, room: int) -> None:
    lines = chart_lines(Picture(history(), "webhooks", SPANS["hour"]), width, room, NOW)
    shown = text_of(lines)
    assert len(lines) <= room
    assert max(line.width for line in lines) <= width
    assert all(
        label in shown for label in ("webhooks  last hour", "done", "failed", "wait p99", "run p99", "until 14:00")
    )


def test_a_picture_tells_what_is_now_and_when_it_was_most() -> None:
    shown = text_of(chart_lines(Picture(history(), "webhooks", SPANS["hour"]), 120, 12, NOW))
    assert "now 10 /min" in shown
    assert "most 120 /min 13:30" in shown
    assert "most 1.5 s 13:30" in shown
    assert "13:00" in shown.splitlines()[-1]


def test_counting_that_stands_still_is_said() -> None:
    shown = text_of(chart_lines(Picture(history(), "webhooks", SPANS["hour"]), 80, 12, NOW + 3600))
    assert "▲ counted until 14:00" in shown


def test_at_80_columns_failures_and_the_slowest_stay() -> None:
    shown = {placed.column.key for placed in lay_out(COLUMNS, 79)}
    assert shown >= {"name", "done", "held", "share", "wait99", "run99"}
    row = HistoryRow("webhooks", "webhooks", None, Tally(done=97, failed=2, held=1))
    assert " | ".join(column.text(row) for column in COLUMNS[:6]) == "webhooks | 0 | 97 | 2 | 1 | 3.0 %"


async def test_history_is_read_for_the_row_under_the_cursor_and_for_other_spans(
    database: PostgresAddress, open_connection: OpenConnection
) -> None:
    worker = await open_connection(Role.WORKER)
    for entrypoint, done in (("webhooks.retell_call", 40), ("default.retention", 1)):
        for minutes in (1, 10, 60):
            await worker.execute(
                """insert into job_minutes (minutes, at, entrypoint, put_in, done, run_total_s, wait_buckets,
                                            wait_counts, run_buckets, run_counts)
                   select $1::integer,
                          date_bin(make_interval(mins => $1), now() - interval '30 minutes', timestamptz 'epoch'),
                          $2::text, $3::integer, $3, 4, array[$4::integer], array[$3], array[$4], array[$3]""",
                minutes, entrypoint, done, bucket_of(0.1),
            )  # fmt: skip
    await worker.execute("update job_minutes_mark set counted_until = date_trunc('minute', now())")
    async with console(GivenReader(well()), first="queues", stack=DatabaseStack(database)) as shown:
        await shown.until_shows("● works")
        await shown.press("h")
        await shown.until_shows("History, last hour", "webhooks  last hour", "Queues and job types, last hour  5")
        await shown.press("home")
        await shown.until_shows("all queues  last hour")
        await shown.press("w")
        await shown.until_shows("all queues  last 7 d", "Queues and job types, last 7 d", "retention")
        await shown.press("escape")
        await shown.until_shows("AskPro  Queues ")


async def test_without_a_database_it_says_so_and_can_be_left() -> None:
    async with console(GivenReader(well()), first="queues") as shown:
        await shown.until_shows("● works")
        for command, title in (("history", "History"), ("policies", "Policies"), ("schedule", "Schedule")):
            await shown.press("colon", *command, "enter")
            await shown.until_shows(f"Queues › {title}", "✖ The database is not known")
            await shown.press("escape")
            await shown.until_gone(f"› {title}")
    assert SPANS["week"].length == timedelta(days=7)
