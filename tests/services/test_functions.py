"""What functions do and answer, asked as the provider asks, at a fixed time: Monday, 2 March 2026, 9:00 in Berlin."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime
from uuid import UUID, uuid4

import msgspec
import pytest

from backend.postgres.address import Role
from backend.postgres.pools import Connection
from backend.providers.retell.functions import read_function_call
from backend.services.companies.applying import apply_company
from backend.services.functions.answering import Functions
from backend.services.functions.appointments import AT_TIME, BY_ID, OF_CALL, OF_CUSTOMERS
from backend.services.functions.scene import LINE as LINE_OF_CALLER
from backend.services.housekeeping import prune_function_calls
from tests.databases import OpenPool, SuperuserConnection
from tests.voice_agent import CALLER, LINE_NORTH, OTHER_CALLER, SALON, Agent, at, field_of

NOW = datetime(2026, 3, 2, 8, 0, tzinfo=UTC)


def on(ahead: int, hour: int, minute: int = 0) -> str:
    return at(ahead, hour, minute, today=NOW)


@pytest.fixture
async def company(setup: Connection) -> UUID:
    return (await apply_company(setup, SALON)).company_id


@pytest.fixture
async def agent(company: UUID, open_role_pool: OpenPool) -> Agent:
    """An agent in a first call of CALLER to Mitte."""
    functions = Functions(await open_role_pool(Role.API, 4), answer_s=20.0, clock=lambda: NOW)

    async def deliver(body: bytes) -> bytes:
        return await functions.answer(read_function_call(body))

    return Agent(deliver).calling()


async def outcome(setup: Connection, agent: Agent) -> str | None:
    found: str | None = await setup.fetchval("select outcome from calls where provider_call_id = $1", agent.call_id)
    return found


async def test_a_call_begins_with_the_date_the_place_and_what_is_offered(agent: Agent) -> None:
    first = await agent.ask("initialize_call")
    assert (first["today"], first["weekday"], first["now"]) == ("2026-03-02", "Montag", "2026-03-02T09:00+01:00")
    assert (first["company"], first["branch"], first["known_caller"]) == ("Salon Anna", "mitte", False)
    assert first["message"] == "Heute ist Montag, den 2. März 2026, es ist 9 Uhr."
    offer = await agent.ask("get_services")
    assert field_of(offer, "services", "service") == ["beratung", "farbe", "kur", "schnitt"]
    assert field_of(offer, "services", "price")[1] == "80 Euro 50"
    assert "Haarschnitt, 30 Minuten" in str(offer["message"])
    north = await agent.calling(to_number=LINE_NORTH).ask("get_services")
    assert field_of(north, "services", "service") == ["schnitt"]
    by_agent = await agent.calling(to_number=None, call_type="web_call").ask("initialize_call")
    assert (by_agent["company"], by_agent["branch"]) == ("Salon Anna", None)


async def test_free_slots_are_told_near_the_wished_time(agent: Agent) -> None:
    offer = await agent.ask("check_availability", service="haarschnit", date="2026-03-04", time="14 Uhr 30", limit=3)
    assert field_of(offer, "slots", "starts_at") == [on(2, 14), on(2, 14, 30), on(2, 15)]
    assert offer["message"] == (
        "Frei ist Mittwoch, den 4. März um 14 Uhr; Mittwoch, den 4. März um 14 Uhr 30 oder "
        "Mittwoch, den 4. März um 15 Uhr."
    )
    assert set(field_of(offer, "slots", "staff")) == {"anna", "ben"}
    anybody = await agent.ask("check_availability", service="schnitt")
    assert field_of(anybody, "slots", "starts_at")[0] == on(0, 9)
    named = await agent.ask("check_availability", service="schnitt", staff="Frau Weiß", date="4.3.2026", limit="1")
    assert named["message"] == "Bei Anna Weiß ist frei: Mittwoch, den 4. März um 8 Uhr."
    near = await agent.ask("get_alternatives", service="Farbe", starts_at="2026-03-04 10:30")
    assert field_of(near, "alternatives", "starts_at") == [on(2, 10), on(2, 11), on(2, 9, 30)]


async def test_a_day_behind_the_horizon_is_too_far_and_not_merely_full(agent: Agent) -> None:
    last = await agent.ask("check_availability", service="schnitt", date="2026-05-29", limit=1)
    assert (last["ok"], len(field_of(last, "slots", "starts_at"))) == (True, 1)
    behind = await agent.ask("check_availability", service="schnitt", date="2026-06-03")
    assert (behind["ok"], behind["reason"]) == (False, "too_far")
    assert max(map(str, field_of(behind, "alternatives", "starts_at"))) < "2026-06-01"
    far = await agent.ask("check_availability", service="schnitt", date="2026-12-02")
    assert (far["reason"], far["alternatives"]) == ("too_far", [])


async def test_a_day_that_is_told_as_a_moment_is_the_branch_s(agent: Agent) -> None:
    for moment in ("2026-03-04T09:30:00Z", "2026-03-04T04:30:00-05:00", "2026-03-04T10:30"):
        offer = await agent.ask("check_availability", service="schnitt", date=moment, limit=1)
        assert field_of(offer, "slots", "starts_at") == [on(2, 10, 30)]
    evening = await agent.ask("check_availability", service="schnitt", date="2026-03-03T23:30:00Z", limit=1)
    assert str(field_of(evening, "slots", "starts_at")[0]).startswith("2026-03-04"), "past midnight at the branch"
    for edge in ("0001-01-01T00:00+14:00", "9999-12-31T23:59-12:00"):
        assert (await agent.ask("check_availability", service="schnitt", date=edge))["reason"] == "time_unreadable"


async def test_an_appointment_is_booked_moved_and_cancelled(agent: Agent, setup: Connection) -> None:
    booked = await agent.book(on(2, 10), staff="anna")
    assert booked["message"] == (
        "Ihr Termin ist gebucht: Haarschnitt am Mittwoch, den 4. März um 10 Uhr bei Anna Weiß."
    )
    assert (booked["status"], booked["staff"], booked["starts_at"]) == ("confirmed", "anna", on(2, 10))
    assert await outcome(setup, agent) == "booked"

    later = agent.calling()
    mine = await later.ask("get_customer_appointments")
    assert field_of(mine, "appointments", "appointment") == [booked["appointment"]]
    moved = await later.ask("reschedule_appointment", starts_at=on(3, 11, 30))
    assert (moved["appointment"], moved["starts_at"], moved["staff"]) == (booked["appointment"], on(3, 11, 30), "anna")
    assert await outcome(setup, later) == "rescheduled"

    last = agent.calling()
    gone = await last.ask("cancel_appointment", starts_at=on(3, 11, 30))
    assert (gone["ok"], gone["status"]) == (True, "cancelled")
    again = await last.ask("cancel_appointment", "asked again", appointment=gone["appointment"])
    assert again == gone, "it is cancelled already"
    for start in (on(3, 11, 30), on(4, 9)):
        moved = await last.ask("reschedule_appointment", appointment=gone["appointment"], starts_at=start)
        assert moved["reason"] == "not_changeable"
    assert await outcome(setup, last) == "cancelled"
    nothing = await last.ask("get_customer_appointments")
    assert (nothing["appointments"], nothing["message"]) == ([], "Es ist kein Termin für Sie eingetragen.")
    assert await setup.fetchval("select count(*) from customers") == 1


async def test_a_slot_is_held_and_then_booked(agent: Agent, setup: Connection) -> None:
    held = await agent.book(on(2, 10), hold=True)
    assert held["status"] == "held"
    assert "hold_expires_at" in held
    assert await outcome(setup, agent) is None
    other = await agent.calling(from_number=OTHER_CALLER).book(on(2, 10), staff=held["staff"])
    assert (other["ok"], other["reason"]) == (False, "slot_taken")
    booked = await agent.ask("book_appointment", appointment=held["appointment"])
    assert (booked["status"], booked["appointment"]) == ("confirmed", held["appointment"])
    assert "hold_expires_at" not in booked
    assert await outcome(setup, agent) == "booked"

    again = await agent.book(on(2, 12), hold=True)
    assert (await agent.book(on(2, 12)))["appointment"] == again["appointment"], "the held one is what is meant"
    late = await agent.book(on(2, 13), hold=True)
    await setup.execute("update appointments set hold_expires_at = now() where id = $1", UUID(str(late["appointment"])))
    refused = await agent.ask("book_appointment", appointment=late["appointment"])
    assert refused["reason"] == "hold_expired"
    stranger = await agent.calling(from_number=OTHER_CALLER).ask("book_appointment", appointment=again["appointment"])
    assert stranger["reason"] == "appointment_unknown"


async def test_a_lost_slot_is_refused_with_others_and_leaves_nothing_behind(agent: Agent, setup: Connection) -> None:
    assert (await agent.book(on(2, 10), staff="anna"))["ok"]
    other = agent.calling(from_number=OTHER_CALLER)
    refused = await other.book(on(2, 10), staff="anna", name="Eva Klein")
    assert (refused["ok"], refused["reason"]) == (False, "slot_taken")
    alternatives = refused["alternatives"]
    assert isinstance(alternatives, list)
    assert [(one["starts_at"], one["staff"]) for one in alternatives] == [
        (on(2, 10), "ben"),
        (on(2, 9, 30), "anna"),
        (on(2, 10, 30), "anna"),
    ]
    assert refused["message"] == (
        "Dieser Termin ist leider nicht mehr frei. Möglich wäre Mittwoch, den 4. März um 10 Uhr; "
        "Mittwoch, den 4. März um 9 Uhr 30 oder Mittwoch, den 4. März um 10 Uhr 30."
    )
    assert await setup.fetchval("select count(*) from callback_requests") == 0
    assert await outcome(setup, other) is None
    taken = await other.book(on(2, 9, 30), staff="anna", name="Eva Klein")
    assert taken["ok"], "another one in the same call"
    assert await outcome(setup, other) == "booked"


async def test_reasons_for_which_nothing_is_booked(agent: Agent) -> None:
    async def reason(starts_at: str = "2026-03-04T10:00", **args: object) -> object:
        return (await agent.book(starts_at, **args))["reason"]

    assert await reason(service="Maniküre") == "service_unknown"
    assert await reason(service=None) == "argument_missing"
    assert await reason(staff="Gundula") == "staff_unknown"
    assert await reason(staff="cem") == "not_offered"
    assert await reason(branch="Wannsee") == "branch_unknown"
    assert await reason(branch="nord", service="farbe") == "not_offered"
    assert await reason("irgendwann") == "time_unreadable"
    assert await reason("2026-03-01T10:00") == "in_past"
    assert await reason("2027-03-04T10:00") == "too_far"
    assert await reason("9999-12-31T23:59:59") == "too_far"
    assert await reason("2026-03-04T20:00") == "outside_hours"
    assert await reason("2026-03-04T10:10") == "outside_hours"
    assert await reason(name=None) == "name_needed"
    assert await reason(name="unbekannt") == "name_needed"


async def test_who_is_not_understood_is_offered_the_nearest_right_names(agent: Agent) -> None:
    refused = await agent.ask("check_availability", service="Haar")
    assert field_of(refused, "suggestions", "name") == ["Haarkur", "Haarschnitt"]
    assert refused["message"] == (
        "Diese Leistung kenne ich leider nicht. Was genau darf es sein? Meinen Sie Haarkur oder Haarschnitt?"
    )
    staff = await agent.ask("check_availability", service="schnitt", staff="Ana Kaja")
    assert field_of(staff, "suggestions", "staff")[0] in {"anna", "ben"}
    colour = await agent.book(on(2, 10), service="farbe", staff="ben")
    assert (colour["reason"], field_of(colour, "suggestions", "staff")) == ("not_offered", ["anna"])
    assert str(colour["message"]).endswith("Meinen Sie Anna Weiß?")
    north = await agent.ask("check_availability", service="farbe", branch="Nord")
    assert (north["reason"], field_of(north, "suggestions", "branch")) == ("not_offered", ["mitte"])
    nowhere = await agent.calling(to_number=None).ask("check_availability", service="schnitt")
    assert nowhere["reason"] == "branch_unknown"
    assert field_of(nowhere, "suggestions", "branch") == ["mitte", "nord"]


async def test_late_changes_cost_what_the_policy_says(agent: Agent, setup: Connection) -> None:
    booked = await agent.book(on(2, 10), service="beratung")
    refused = await agent.ask("cancel_appointment", appointment=booked["appointment"])
    assert (refused["reason"], refused["fee_cents"], refused["hours_before"]) == ("policy_forbids", 2000, 240)
    assert refused["message"] == (
        "Dieser Termin kann nur bis 240 Stunden vorher kostenfrei geändert oder abgesagt werden. "
        "Jetzt kostet es 20 Euro. Ist das in Ordnung?"
    )
    agreed = await agent.ask("cancel_appointment", appointment=booked["appointment"], accept_fee=True)
    assert agreed["status"] == "cancelled"
    assert await setup.fetchval("select fee_cents from appointments") == 2000
    assert await outcome(setup, agent) == "cancelled", "what was booked in the call is cancelled in it"
    strict = await agent.book(on(2, 12), service="kur")
    refused = await agent.ask("reschedule_appointment", appointment=strict["appointment"], starts_at=on(20, 12))
    assert refused["reason"] == "policy_forbids"
    assert str(refused["message"]).endswith("Soll Sie dazu jemand zurückrufen?")


async def test_a_callback_is_due_when_it_was_wished_for(agent: Agent, setup: Connection) -> None:
    kept = await agent.ask("request_callback", reason="Frage zur Rechnung", when="2026-03-03T10:00", name="Hans Müller")
    assert kept["due_at"] == "2026-03-03T10:30+01:00"
    assert kept["message"] == "Wir rufen Sie bis Dienstag, den 3. März um 10 Uhr 30 zurück."
    row = await setup.fetchrow("select * from callback_requests")
    assert row is not None
    assert (str(row["id"]), row["phone"], row["reason"]) == (kept["callback"], CALLER, "Frage zur Rechnung")
    assert await outcome(setup, agent) == "callback"
    again = await agent.ask("request_callback", "other", reason="Frage zur Rechnung")
    assert again["callback"] == kept["callback"]
    assert (await agent.book(on(2, 10)))["ok"]
    assert await outcome(setup, agent) == "booked"

    hidden = agent.calling(from_number="anonymous")
    assert (await hidden.ask("request_callback", reason="Frage"))["reason"] == "phone_needed"
    assert (await hidden.ask("request_callback"))["reason"] == "argument_missing"
    assert (await hidden.ask("request_callback", reason="slot_taken", phone="030 1234567"))["ok"]
    assert (await hidden.book(on(2, 11)))["ok"], "a reason that is a word of booking's refuses nothing"


async def test_a_line_with_one_customer_needs_no_name(agent: Agent, setup: Connection) -> None:
    await agent.book(on(2, 10))
    later = agent.calling()
    assert (await later.ask("initialize_call"))["customer_name"] == "Hans Müller"
    known = await later.ask("check_customer")
    assert (known["known"], known["name"]) == (True, "Hans Müller")
    assert (await later.book(on(3, 10), name=None))["ok"]
    assert await setup.fetchval("select count(*) from customers") == 1
    assert (await later.ask("check_customer", name="Hans Mueller"))["known"], "spelt in another way"
    assert not (await later.ask("check_customer", name="Eva Klein"))["known"]
    assert (await later.ask("get_customer_appointments", name="Eva Klein"))["ok"], "made in this call"
    assert (await agent.calling().ask("get_customer_appointments", name="Eva Klein"))["reason"] == "identity_unproven"


async def test_a_shared_line_is_told_apart_by_name(agent: Agent, setup: Connection) -> None:
    hans = await agent.book(on(2, 10))
    eva = await agent.calling().book(on(2, 11), name="Eva Müller")
    assert await setup.fetchval("select count(*) from customers") == 2
    later = agent.calling()
    first = await later.ask("initialize_call")
    assert (first["known_caller"], first["shared_line"], first["customer_name"]) == (False, True, "")
    asked = await later.ask("check_customer")
    assert (asked["known"], asked["name_needed"]) == (False, True)
    assert (await later.ask("get_customer_appointments"))["reason"] == "name_needed"
    assert (await later.ask("cancel_appointment"))["reason"] == "name_needed"
    assert (await later.book(on(3, 10), name=None))["reason"] == "name_needed"
    mine = await later.ask("get_customer_appointments", name="Eva Müller")
    assert field_of(mine, "appointments", "appointment") == [eva["appointment"]]
    gone = await later.ask("cancel_appointment", starts_at=on(2, 10))
    assert gone["appointment"] == hans["appointment"], "the exact time is enough on one's own line"


async def test_a_number_that_is_only_spoken_opens_nothing(agent: Agent, setup: Connection) -> None:
    booked = await agent.book(on(2, 10))
    for line in (OTHER_CALLER, "anonymous"):
        stranger = agent.calling(from_number=line)
        asked = await stranger.ask("get_customer_appointments", name="Hans Müller", phone=CALLER)
        assert asked["reason"] == "identity_unproven"
        assert not (await stranger.ask("check_customer", name="Hans Müller", phone=CALLER))["known"]
        for args in (
            {"appointment": booked["appointment"]},
            {"starts_at": on(2, 10)},
            {"starts_at": on(2, 10), "name": "Müller"},
            {"starts_at": on(2, 10, 30), "name": "Hans Müller"},
            {"name": "Hans Müller"},
            {"appointment": str(uuid4())},
        ):
            refused = await stranger.ask("cancel_appointment", phone=CALLER, **args)
            assert refused["reason"] in {"appointment_unknown", "name_needed", "identity_unproven"}
            assert "appointments" not in refused
    assert await setup.fetchval("select status from appointments") == "confirmed"
    exact = await agent.calling(from_number="anonymous").ask(
        "reschedule_appointment", name="Hans Mueller", current_starts_at=on(2, 10), starts_at=on(3, 10)
    )
    assert exact["appointment"] == booked["appointment"], "the full name and the exact time name one appointment"


async def test_an_anonymous_caller_books_by_name_and_changes_it_in_the_same_call(
    agent: Agent, setup: Connection
) -> None:
    hidden = agent.calling(from_number="anonymous")
    assert (await hidden.book(on(2, 10), name=None))["reason"] == "name_needed"
    booked = await hidden.book(on(2, 10))
    assert booked["ok"]
    assert await setup.fetchval("select count(*) from customers") == 0
    mine = await hidden.ask("get_customer_appointments")
    assert field_of(mine, "appointments", "appointment") == [booked["appointment"]]
    assert (await hidden.ask("reschedule_appointment", starts_at=on(3, 9)))["starts_at"] == on(3, 9)
    with_phone = await agent.calling(from_number="anonymous").book(on(2, 12), phone="0151 12345678")
    assert with_phone["ok"]
    assert await setup.fetchval("select phone from customers") == CALLER


async def test_what_can_mean_several_appointments_is_asked_back(agent: Agent) -> None:
    first = await agent.book(on(2, 10))
    await agent.book(on(3, 10))
    asked = await agent.calling().ask("cancel_appointment")
    assert asked["reason"] == "appointment_ambiguous"
    assert len(field_of(asked, "appointments", "appointment")) == 2
    later = agent.calling()
    gone = await later.ask("cancel_appointment", appointment=first["appointment"], name="Hans Miller")
    assert gone["ok"], "the id is enough on one's own line, however the name was understood"
    unknown = await later.ask("reschedule_appointment", current_starts_at=on(5, 10), starts_at=on(6, 10))
    assert unknown["reason"] == "appointment_unknown"
    taken = await later.ask("reschedule_appointment", starts_at=on(3, 7))
    assert (taken["reason"], len(field_of(taken, "alternatives", "starts_at"))) == ("outside_hours", 3)


async def test_the_same_tool_call_has_one_effect_and_one_answer(agent: Agent, setup: Connection) -> None:
    booked = await agent.book(on(2, 10), "tool_1")
    assert await agent.book(on(2, 10), "tool_1") == booked
    reused = await agent.book(on(2, 11), "tool_1")
    assert reused["reason"] == "tool_call_reused"
    assert (await agent.book(on(2, 10), "tool_2"))["appointment"] == booked["appointment"], "asked twice by the agent"
    assert await setup.fetchval("select count(*) from appointments") == 1
    # Without an id the same arguments mean the same tool call, until something else was done in the call.
    other = agent.calling()
    once = await other.book(on(3, 10), staff="anna")
    assert await other.book(on(3, 10), staff="anna") == once
    gone = await other.ask("cancel_appointment", appointment=once["appointment"])
    assert await other.ask("cancel_appointment", appointment=once["appointment"]) == gone
    anew = await other.book(on(3, 10), staff="anna")
    assert anew["ok"]
    assert anew["appointment"] != once["appointment"]
    assert await setup.fetchval("select count(*) from function_calls where answer ->> 'ok' = 'true'") == 5


async def test_an_english_company_is_spoken_to_in_english(agent: Agent, setup: Connection) -> None:
    await setup.execute("update companies set locale = 'en_GB'")
    booked = await agent.book(on(2, 14, 30), staff="ben")
    assert booked["message"] == (
        "Your appointment is booked: Haarschnitt on Wednesday, March 4 at 2:30 pm with Ben Kaya."
    )
    refused = await agent.ask("fly_to_the_moon")
    assert (refused["reason"], refused["message"]) == ("function_unknown", "I am afraid I cannot do that.")


async def test_whose_call_it_is_comes_from_the_number_then_the_agent_and_from_nothing_else(
    agent: Agent, setup: Connection
) -> None:
    nobody = await agent.calling(to_number="+49309999999", agent_id="agent_x").ask("initialize_call")
    assert nobody["reason"] == "unknown_number"
    other = msgspec.structs.replace(
        SALON,
        slug="other",
        name="Other",
        agents=("agent_other",),
        branches=tuple(msgspec.structs.replace(branch, numbers=()) for branch in SALON.branches),
    )
    await apply_company(setup, other)
    await agent.book(on(2, 10))
    elsewhere = agent.calling(to_number=None, agent_id="agent_other")
    assert (await elsewhere.ask("initialize_call"))["company"] == "Other"
    assert (await elsewhere.ask("get_customer_appointments"))["appointments"] == []
    by_number = agent.calling(agent_id="agent_other")
    assert (await by_number.ask("initialize_call"))["company"] == "Salon Anna"
    stolen = agent.calling(to_number=None, agent_id="agent_other", call_id=agent.call_id)
    assert (await stolen.ask("get_customer_appointments"))["reason"] == "unknown_number", "another company's call"
    await setup.execute("update companies set is_active = false where slug = 'other'")
    assert (await elsewhere.ask("get_services"))["reason"] == "company_inactive"


async def test_an_outbound_call_is_our_own_number_s(agent: Agent) -> None:
    call = agent.calling(direction="outbound", from_number="+493012300100", to_number=CALLER)
    assert (await call.ask("initialize_call"))["branch"] == "mitte"
    assert (await call.book(on(2, 10)))["ok"]
    assert (await agent.calling().ask("check_customer"))["name"] == "Hans Müller"


async def test_kept_answers_are_deleted_after_a_day(
    agent: Agent, setup: Connection, open_role_pool: OpenPool, superuser_connection: SuperuserConnection
) -> None:
    booked = await agent.book(on(2, 10), "tool_1")
    administrator = await superuser_connection()
    worker = await open_role_pool(Role.WORKER, 1)
    async with worker.acquire() as connection:
        assert await prune_function_calls(connection) == 0
    assert await agent.book(on(2, 10), "tool_1") == booked
    await administrator.execute("update askpro.function_calls set created_at = now() - interval '25 hours'")
    async with worker.acquire() as connection:
        assert await prune_function_calls(connection) == 1
    assert (await agent.book(on(2, 10), "tool_1"))["appointment"] == booked["appointment"], "still the same wish"


async def test_every_statement_of_a_function_has_its_index(
    agent: Agent, company: UUID, superuser_connection: SuperuserConnection
) -> None:
    administrator = await superuser_connection()
    await administrator.execute(
        """
        set search_path = askpro, public;
        insert into customers (company_id, phone, name_key)
        select c.id, '+49170' || n, 'n' || n from companies c, generate_series(1000000, 1001500) n;
        insert into calls (company_id, provider, provider_call_id, status, started_at)
        select c.id, 'retell', 'call_plan_' || n, 'ended', now() from companies c, generate_series(1, 1500) n;
        insert into appointments (company_id, branch_id, staff_id, service_id, customer_id, call_id, starts_at, ends_at,
                                  time_zone, status, source, version)
        select c.company_id, b.id, p.id, s.id, c.id, k.id, t.at, t.at + interval '30 minutes', 'Europe/Berlin',
               'completed', 'import', 1
        from (select id, company_id, row_number() over (order by id) as n from customers) c
        join (select id, row_number() over (order by id) as n from calls) k using (n)
        cross join lateral (select timestamptz '2026-03-04 00:00Z' + n * interval '1 hour' as at) t
        join branches b on b.slug = 'nord' join staff p on p.slug = 'cem' join services s on s.slug = 'schnitt';
        analyze;
        """
    )
    call_id = uuid4()
    for statement, arguments, index in (
        (OF_CUSTOMERS, (company, [call_id], NOW), "idx_appointments_company_customer_date"),
        (OF_CALL, (company, call_id), "appointments_call"),
        (BY_ID, (company, call_id), "appointments_company_id_id_key"),
        (AT_TIME, (company, [NOW]), "Index Scan using appointments_"),
        (LINE_OF_CALLER, (company, CALLER), "on customers"),
    ):
        plan = "\n".join(row[0] for row in await administrator.fetch(f"explain {statement}", *arguments))
        assert index in plan, plan
        assert "Seq Scan on appointments" not in plan
        assert "Seq Scan on customers" not in plan


def test_what_the_first_caller_would_wait_for_is_loaded_at_the_start() -> None:
    program = (
        "import sys\n"
        "from backend.services.functions.warm_up import warm_up\n"
        "warm_up()\n"
        "loaded = set(sys.modules)\n"
        "from datetime import date, datetime\n"
        "from backend.domain.phones import normalise\n"
        "from backend.domain.public_holidays import public_holidays\n"
        "from backend.domain.zones import instant\n"
        "public_holidays('BY', date.today().year)\n"
        "normalise('0151 12345678')\n"
        "instant(datetime(2026, 3, 2), 'Europe/Berlin')\n"
        "assert public_holidays.cache_info().hits == 1\n"
        "assert {'holidays', 'phonenumbers'} <= loaded\n"
        "assert set(sys.modules) == loaded, set(sys.modules) - loaded\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
