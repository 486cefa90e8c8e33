"""What the lists of the Queues screen say about each state, and how they share its height."""

from __future__ import annotations

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from backend.watch.snapshots import PauseRow, QueueRow
from screens.in_force import LANES, NOTES, lanes, news_line, notes, worst
from screens.queue_actions import pause_choices
from screens.queue_lists import (
    CAUSES,
    PROVIDERS,
    Expected,
    QueueLine,
    TypeLine,
    busy_cell,
    drain_cell,
    provider_rows,
    queue_rows,
    slots_cell,
    state_cell,
)
from screens.queue_room import ALWAYS, HEAD, ORDER, heights, reachable
from screens.scaling import clear_s, places, run_s
from tests.screens.queue_samples import NOW, cause, night, queue_row, slot_row, type_row, well
from widgets.columns import Column, lay_out
from widgets.pieces import Content, Tone, pieces_of


def said(content: Content) -> str:
    """The text of a cell."""
    return "".join(piece.text for piece in pieces_of(content))


def state(row: QueueRow, **more: object) -> str:
    """What the state of a queue is called."""
    line = QueueLine(row, (slot_row(row.queue),), **more)  # type: ignore[arg-type]  # a test names fields of the record
    return said(state_cell(line, NOW))


PAUSE = PauseRow(id=1, kind="queue", name="webhooks", reason="", paused_by="anna", paused_at=NOW - 60)


def test_a_queue_says_first_what_is_worst_about_it() -> None:
    assert state(queue_row("webhooks", workers=0, paused=True)) == "✖ no worker"
    assert state(queue_row("webhooks", limits_broken=("oldest", "drain"))) == "▲ oldest, drain"
    assert state(queue_row("webhooks")) == "● works"
    assert state(queue_row("webhooks", running=0)) == "● idle"
    assert state(queue_row("webhooks"), expected=Expected(text="pauses")) == "… pauses"


def test_a_limit_that_is_broken_badly_is_critical() -> None:
    (shown,) = pieces_of(state_cell(QueueLine(queue_row("webhooks", oldest_s=90.0, limits_broken=("oldest",))), NOW))
    assert (shown.text, shown.tone) == ("✖ oldest", Tone.CRIT)


def test_a_pause_says_until_when_and_a_ramp_how_far_it_is() -> None:
    assert state(queue_row("webhooks"), pause=PAUSE) == "▲ paused"
    until = msgspec.structs.replace(PAUSE, until=NOW + 1800)
    assert state(queue_row("webhooks"), pause=until) == "▲ paused 14:30"
    ramp = msgspec.structs.replace(PAUSE, ramp_s=100, resumed_at=NOW - 40)
    assert state(queue_row("webhooks"), pause=ramp) == "▲ ramp 40 %"
    by_its_time = msgspec.structs.replace(PAUSE, ramp_s=100, until=NOW - 25)
    assert state(queue_row("webhooks"), pause=by_its_time) == "▲ ramp 25 %"


def test_slots_tell_who_said_how_many() -> None:
    row = queue_row("webhooks", running=4)
    cases = {
        "auto": QueueLine(row, (slot_row("webhooks"),)),
        "auto +3": QueueLine(row, (slot_row("webhooks", slots=33),)),
        "pinned": QueueLine(row, (slot_row("webhooks", slots=12, is_pinned=True),)),
        "fixed": QueueLine(row, (slot_row("webhooks"),), is_balancing=False),
        "→ 40": QueueLine(row, (slot_row("webhooks"),), expected=Expected(40)),
    }
    assert [said(slots_cell(line)) for line in cases.values()] == list(cases)
    assert said(busy_cell(cases["→ 40"])) == "4/40", "what was asked for is shown at once"
    two = QueueLine(row, (slot_row("webhooks", "a"), slot_row("webhooks", "b", slots=20)))
    assert (two.decided, said(slots_cell(two))) == (50, "auto -10")


def test_a_queue_that_gets_longer_has_no_time_to_drain() -> None:
    grows = queue_row("webhooks", ready=5, in_per_s=9.0, done_per_s=2.0)
    assert said(drain_cell(QueueLine(grows))) == "grows"
    assert said(drain_cell(QueueLine(queue_row("webhooks", drain_s=0.0)))) == "–"
    assert said(drain_cell(QueueLine(queue_row("webhooks", ready=9, drain_s=41.0)))) == "41 s"


def test_what_is_in_force_is_told_with_who_why_and_until_when() -> None:
    rows = {
        lane.key.partition(" ")[0] + lane.key[-1]: " | ".join(column.text(lane, NOW) for column in LANES)
        for lane in lanes(night())
    }
    assert rows["bulk1"].startswith(
        "… retry | ██▍··· 4 100 of 10 000, 12 skipped | calcom is back  200 /s at most | running"
    )
    assert rows["pause7"] == "▲ paused | queue notifications | mail server down | until 14:30 | anna | 13:48:00"
    assert "floods us  87 put off | until resumed | marie" in rows["pause8"]
    assert "webhooks.retell_call of physio-sued with “+49 30 000” | kills the parser  holds 12" in rows["quarantine3"]


def test_decisions_are_explained_and_troubles_name_the_job() -> None:
    rows = [" | ".join(column.text(note, NOW) for column in NOTES) for note in notes(night())]
    assert rows[0].endswith("✖ trouble | default.report eats memory | job 4711, 2 ×: grew to 498 MB | node-1")
    assert rows[1].endswith("+ slots | webhooks 30 → 33 | 1 240 ready clear in 41 s, default idles: +3 | balancer")


def test_providers_tell_their_breakers_and_what_is_open() -> None:
    rows = [" | ".join(column.text(line, NOW) for column in PROVIDERS) for line in provider_rows(night())]
    assert rows == [
        "calcom | ▲ held back for 3 m | 8.0 s | 900 | 410  46 % | ▲ 2 open  ▲ delayed not within the hour",
        "retell | ● answers | 400 ms | 120 | 1  1 % | never",
    ]


def test_the_worst_thing_is_told_in_one_line_whatever_the_width() -> None:
    assert "✖ default.report eats memory, job 4711" in news_line(night(), 80, NOW, [("Providers", 2)]).plain
    calm = msgspec.structs.replace(night(), troubles=())
    late = msgspec.structs.replace(calm, queues=(queue_row("webhooks", oldest_s=12.0, limits_broken=("oldest",)),))
    assert "▲ webhooks: the oldest job waits for 12 s, its limit is 10 s" in said(worst(late, NOW))
    assert "nothing is paused" in said(worst(well(), NOW))
    hidden = [(name, 40) for name in ORDER]
    assert "default.report eats memory" in news_line(night(), 50, NOW, hidden).plain, "lists give way to the verdict"
    assert all(news_line(night(), width, NOW, [("Job types", 40)]).width <= width for width in (40, 80, 200))


def columns_at(columns: tuple[Column[object], ...], width: int) -> set[str]:
    """The columns that fit."""
    return {placed.column.key for placed in lay_out(columns, width)}


def test_at_80_columns_verdict_and_figures_stay() -> None:
    from screens.queue_lists import QUEUES

    assert columns_at(QUEUES, 79) == {"queue", "state", "ready", "oldest", "drain", "busy", "slots", "held"}  # type: ignore[arg-type]  # any rows
    assert columns_at(CAUSES, 79) >= {"type", "error", "hour", "last"}  # type: ignore[arg-type]  # any rows


sizes = st.fixed_dictionaries({name: st.integers(0, 40) for name in ORDER})


@given(room=st.integers(3, 80), sizes=sizes, wanted=st.sampled_from([*ORDER, ""]))
def test_lists_share_the_room_and_the_wanted_one_is_always_there(room: int, sizes: dict[str, int], wanted: str) -> None:
    given_lines = heights(room, sizes, wanted)
    assert sum(given_lines.values()) == room, "no line is lost and none too many"
    assert not wanted or wanted in given_lines
    assert all(sizes[name] or name in ALWAYS or name == wanted for name in given_lines), "an empty list takes no room"
    if room >= HEAD + 4:
        assert min(given_lines.values()) >= HEAD + 1, "each shows a row"


def test_every_list_with_something_in_it_can_be_gone_to() -> None:
    assert reachable({"lanes": 1, "notes": 0}) == ("causes", "lanes", "types")


def test_a_forecast_is_made_of_what_waits_and_how_long_it_runs() -> None:
    types = [
        type_row("webhooks.a", ready=90, run_p50_s=0.1),
        type_row("webhooks.b", ready=10, run_p50_s=1.1),
        type_row("default.c", ready=10, run_p50_s=9.0),
    ]
    run = run_s("webhooks", types)
    assert run is not None
    assert abs(run - 0.2) < 1e-9
    assert clear_s(100, run, 20) == 100 * run / 20
    assert clear_s(100, None, 20) is None
    assert run_s("appointments", types) is None


def test_a_queue_of_several_nodes_can_be_scaled_everywhere_or_on_one() -> None:
    two = QueueLine(queue_row("webhooks"), (slot_row("webhooks", "a"), slot_row("webhooks", "b")))
    assert [(str(place), place.machines) for place in places(two)] == [("every node", 2), ("a", 1), ("b", 1)]
    assert [str(place) for place in places(QueueLine(queue_row("webhooks"), (slot_row("webhooks"),)))] == ["every node"]


def test_what_may_be_paused_follows_from_the_row() -> None:
    from_cause = [str(choice) for choice in pause_choices([cause()], night())]
    assert from_cause == [
        "job type default.calendar_sync",
        "company praxis-nord",
        "company physio-sued",
        "queue default",
        "provider calcom",
        "provider retell",
        "a company …",
    ]
    queues = queue_rows(well(), {})
    assert str(pause_choices(queues[:2], well())[0]) == "2 queues: webhooks, appointments"
    types = [TypeLine(type_row("default.a")), TypeLine(type_row("default.b"))]
    assert str(pause_choices(types, well())[0]) == "2 job types: default.a, default.b"
    assert pause_choices([], well()) == []
