"""What is in force for a worker, reckoned without a database: slots, ramps, what is taken, what is quarantined."""

from __future__ import annotations

import math
from uuid import UUID

import pytest

from backend.domain.vocabulary import PauseKind, Provider, QueueName
from backend.queue.control import RAMP_STEP_S, Control, Pause, Quarantine, Work
from backend.queue.gate import Gate

NOW = 1_000.0
OWN, OTHER, SYNC, RECONCILE = "default.own", "default.other", "default.sync", "default.reconcile"
PROVIDERS = {SYNC: Provider.CALCOM, RECONCILE: Provider.CALCOM, "webhooks.calcom": Provider.CALCOM}
WORK = Work(QueueName.DEFAULT, 20, (OWN, OTHER, SYNC, RECONCILE), PROVIDERS.get, ceiling=50)
COMPANY = UUID(int=1)


def pause(kind: PauseKind, name: str, ends: float = math.inf, ramp_s: float = 0.0) -> Control:
    """Nothing but this pause."""
    return Control(pauses=(Pause(kind, name, COMPANY if kind is PauseKind.COMPANY else None, ends, ramp_s),))


def test_while_nobody_says_anything_everything_is_taken_with_the_policys_slots_for_ever() -> None:
    control = Control()
    plan = control.plan(WORK, NOW)
    assert (plan.slots, plan.types, plan.ramped, plan.valid_until) == (20, WORK.types, (), math.inf)
    assert plan.lanes(7, lambda: pytest.fail("nobody has to be counted")) == [(WORK.types, 7)]
    assert control.is_quiet


def test_slots_that_were_decided_take_the_place_of_the_policys() -> None:
    assert Control(slots=40).slots_now(WORK, NOW) == 40
    assert Control(slots=0).slots_now(WORK, NOW) == 0
    assert Control(slots=60).slots_now(WORK, NOW) == WORK.ceiling


@pytest.mark.parametrize(("kind", "name"), [(PauseKind.QUEUE, "default"), (PauseKind.NODE, "here")])
def test_a_paused_queue_or_node_has_no_slots_until_its_pause_ends(kind: PauseKind, name: str) -> None:
    control = pause(kind, name, ends=NOW + 5)
    assert (control.slots_now(WORK, NOW), control.full(WORK)) == (0, 20)
    assert control.plan(WORK, NOW).valid_until == NOW + 5
    assert control.slots_now(WORK, NOW + 5) == 20


def test_on_a_ramp_slots_grow_from_one_to_all() -> None:
    control = pause(PauseKind.QUEUE, "default", ends=NOW, ramp_s=10)
    grown = [control.slots_now(WORK, NOW + second) for second in (0.1, 2.5, 5, 9.9, 10, 99)]
    assert grown == [1, 5, 10, 20, 20, 20]
    assert control.plan(WORK, NOW + 5).valid_until == NOW + 5 + RAMP_STEP_S
    assert control.plan(WORK, NOW + 10).valid_until == math.inf


def test_a_paused_job_type_is_not_taken_and_the_others_are() -> None:
    plan = pause(PauseKind.JOB_TYPE, OWN).plan(WORK, NOW)
    assert (plan.slots, plan.types) == (20, (OTHER, SYNC, RECONCILE))


def test_jobs_that_need_a_paused_provider_are_not_taken_and_come_back_on_its_ramp_together() -> None:
    control = pause(PauseKind.PROVIDER, "calcom", ends=NOW, ramp_s=10)
    assert control.plan(WORK, NOW - 1).types == (OWN, OTHER)
    assert control.held_open(NOW - 1) == {"calcom": NOW}
    plan = control.plan(WORK, NOW + 1)
    assert plan.ramped == ((frozenset({SYNC, RECONCILE}), 2),)
    assert plan.lanes(5, lambda: [SYNC, OWN]) == [((RECONCILE, SYNC), 1), ((OWN, OTHER), 5)]
    assert plan.lanes(5, lambda: [SYNC, RECONCILE]) == [((OWN, OTHER), 5)]
    assert control.held_open(NOW + 1) == {}


def test_a_moved_job_type_is_taken_under_its_new_name_and_paused_under_its_old_one() -> None:
    moved = Control(moved=("webhooks.calcom",))
    assert moved.plan(WORK, NOW).types == (*WORK.types, "default.webhooks.calcom")
    paused = Control(moved=moved.moved, pauses=pause(PauseKind.JOB_TYPE, "webhooks.calcom").pauses)
    assert paused.plan(WORK, NOW).types == WORK.types


def test_a_company_is_paused_until_its_pause_ends() -> None:
    control = pause(PauseKind.COMPANY, "salon", ends=NOW + 5)
    assert control.is_paused(COMPANY, NOW)
    assert not control.is_paused(COMPANY, NOW + 5)
    assert not control.is_paused(UUID(int=2), NOW)
    assert not control.is_paused(None, NOW)
    assert not control.is_quiet
    assert control.plan(WORK, NOW).types == WORK.types


def test_a_companys_pause_and_ramp_leave_the_plan_as_it_is() -> None:
    control = pause(PauseKind.COMPANY, "salon", ends=NOW + 5, ramp_s=10)
    assert control.plan(WORK, NOW) == control.plan(WORK, NOW + 7) == Control().plan(WORK, NOW)


def test_what_is_read_once_more_is_nothing_new_though_its_end_is_reckoned_a_little_differently() -> None:
    def read(ends: float, reason: str = "") -> Control:
        quarantine = Quarantine(1, OWN, reason=reason, ends=ends)
        return Control(
            pauses=(Pause(PauseKind.NODE, "here"), Pause(PauseKind.QUEUE, "default", ends=ends)),
            quarantines=(quarantine,),
        )

    gate = Gate(WORK, lambda job_id: None)
    assert gate.heed(read(NOW))
    for step in range(1, 10):
        assert not gate.heed(read(NOW + step / 100))
    assert gate.heed(read(NOW + 0.15)), "it is measured from what was known, not from what was read last"
    assert gate.control == read(NOW + 0.15)
    assert gate.heed(read(NOW + 0.15, "another reason"))
    assert gate.heed(Control())


def test_a_quarantine_matches_type_company_and_payload_in_any_case_until_it_ends() -> None:
    quarantine = Quarantine(1, OWN, COMPANY, "müller", "cause", ends=NOW + 5)

    def matches(
        entrypoint: str = OWN, company: UUID | None = COMPANY, text: str = "Frau MÜLLER", now: float = NOW
    ) -> bool:
        found = Control(quarantines=(quarantine,)).quarantined(entrypoint, company, text.encode(), now)
        return found is quarantine

    assert matches()
    assert matches(entrypoint=f"webhooks.{OWN}")
    assert not matches(entrypoint=OTHER)
    assert not matches(company=UUID(int=2))
    assert not matches(text="Frau Maier")
    assert not matches(now=NOW + 5)
    assert Quarantine(1, OWN).matches(OWN, None, b"\xff\0", NOW)


def test_what_a_quarantine_holds_counts_to_the_cause_it_was_made_for() -> None:
    assert Quarantine(1, OWN, fingerprint="cause").verdict(OWN).fingerprint == "cause"
    without = Quarantine(2, OWN, reason="bad import", made_by="anna").verdict(OWN)
    assert without.message == "held before it ran by quarantine 2 of anna: bad import"
    assert without.fingerprint == Quarantine(3, OWN, reason="bad import").verdict(f"webhooks.{OWN}").fingerprint
    assert without.fingerprint != Quarantine(2, OWN, reason="another").verdict(OWN).fingerprint


def test_the_roster_is_told_what_is_in_force() -> None:
    control = Control(slots=12, pauses=pause(PauseKind.QUEUE, "default", ends=NOW, ramp_s=10).pauses)
    assert control.told(WORK, NOW + 5) == {
        "slots": 6,
        "base": 20,
        "paused": [],
        "ramp": 0.5,
        "quarantines": 0,
        "moved": [],
    }
    assert pause(PauseKind.NODE, "here").told(WORK, NOW)["paused"] == ["node here"]
