"""What is said in a call: German dialogue that fits the outcome and fills the duration."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from backend.domain.vocabulary import CallOutcome
from backend.simulate.businesses import ZONE
from backend.simulate.calls import PlannedCall
from backend.simulate.dice import seeded

WORDS_PER_S = 2.4

_AGENT, _USER = "agent", "user"

_OPENING = {
    CallOutcome.BOOKED: ("Guten Tag, ich hätte gern einen Termin.", "Hallo, haben Sie noch etwas frei?"),
    CallOutcome.ENQUIRY: ("Ich wollte nur wissen, wie lange Sie heute offen haben.", "Was kostet das bei Ihnen?"),
    CallOutcome.RESCHEDULED: ("Ich müsste meinen Termin leider verschieben.", "Ginge mein Termin auch später?"),
    CallOutcome.CANCELLED: ("Ich muss meinen Termin absagen.", "Ich schaffe es leider nicht zum Termin."),
    CallOutcome.CALLBACK: ("Könnte mich bitte jemand zurückrufen?", "Ich habe eine Frage, die etwas länger dauert."),
    CallOutcome.TRANSFER: ("Ich möchte bitte mit einem Menschen sprechen.", "Verbinden Sie mich bitte mit dem Büro."),
    CallOutcome.HANGUP: ("Hallo?", "Oh, falsch verbunden."),
    CallOutcome.ERROR: ("Hallo, hören Sie mich?", "Die Verbindung ist ganz schlecht."),
}

_SMALL_TALK = (
    (_USER, "Ich war schon einmal bei Ihnen, das ist aber eine Weile her."),
    (_AGENT, "Das finde ich sofort. Einen kleinen Augenblick bitte."),
    (_USER, "Nachmittags wäre mir lieber, ich arbeite bis zwei."),
    (_AGENT, "Da habe ich an mehreren Tagen noch etwas frei."),
    (_USER, "Muss ich etwas mitbringen?"),
    (_AGENT, "Bitte kommen Sie fünf Minuten früher, mehr brauchen Sie nicht."),
    (_USER, "Kann man bei Ihnen gut parken?"),
    (_AGENT, "Direkt vor dem Haus ist es oft voll, in der Seitenstraße findet sich meist etwas."),
    (_USER, "Und wie komme ich mit der Straßenbahn zu Ihnen?"),
    (_AGENT, "Die Haltestelle ist zwei Minuten zu Fuß entfernt, ich schicke Ihnen gern die Adresse."),
    (_USER, "Entschuldigung, können Sie das noch einmal wiederholen?"),
    (_AGENT, "Sehr gern. Ich sage es noch einmal ganz langsam."),
)


@dataclass(frozen=True, slots=True)
class Turn:
    """What one of the two says without pause."""

    role: str
    content: str


def turns(call: PlannedCall) -> list[Turn]:
    """The dialogue of a call; the same call always says the same."""
    rng = seeded(call.call_id, "talk")
    name = call.business.name if call.business else "der Zentrale"
    said = [
        Turn(_AGENT, f"Guten Tag, Sie sprechen mit der digitalen Assistentin von {name}. Wie kann ich Ihnen helfen?"),
        Turn(_USER, rng.choice(_OPENING.get(call.outcome, ("Hallo?",)))),
    ]
    if call.spoken_name:
        said += [Turn(_AGENT, "Wie ist bitte Ihr Name?"), Turn(_USER, f"{call.spoken_name}.")]
    closing = _closing(call)
    target = call.duration_ms / 1000 * WORDS_PER_S
    words = sum(len(turn.content.split()) for turn in said + closing)
    at = rng.randrange(0, len(_SMALL_TALK), 2)
    while words < target:
        turn = Turn(*_SMALL_TALK[at % len(_SMALL_TALK)])
        said.append(turn)
        words += len(turn.content.split())
        at += 1
    return said + closing


def summary(call: PlannedCall) -> str:
    """One sentence about the call, as the provider's analysis would put it."""
    who = call.spoken_name or "Der Anrufer"
    if call.booking:
        return f"{who} möchte {call.booking.service.name} am {_when(call.booking.start)}."
    return {
        CallOutcome.ENQUIRY: f"{who} hat sich nach Öffnungszeiten und Preisen erkundigt.",
        CallOutcome.RESCHEDULED: f"{who} möchte einen Termin verschieben.",
        CallOutcome.CANCELLED: f"{who} hat einen Termin abgesagt.",
        CallOutcome.CALLBACK: f"{who} bittet um Rückruf: {call.callback_reason}.",
        CallOutcome.TRANSFER: f"{who} wurde mit dem Büro verbunden.",
        CallOutcome.HANGUP: f"{who} hat gleich wieder aufgelegt.",
        CallOutcome.ERROR: "Die Verbindung brach ab.",
    }.get(call.outcome, "")


def _closing(call: PlannedCall) -> list[Turn]:
    if call.booking:
        person = f" bei {call.booking.staff.name}" if call.booking.staff else ""
        offer = f"{call.booking.service.name}{person} am {_when(call.booking.start)}"
        return [
            Turn(_AGENT, f"Ich habe {offer} für Sie. Passt das?"),
            Turn(_USER, "Ja, das passt sehr gut."),
            Turn(_AGENT, "Dann trage ich das ein. Auf Wiederhören!"),
        ]
    if call.callback_reason:
        return [Turn(_AGENT, "Ich gebe das weiter, Sie werden zurückgerufen."), Turn(_USER, "Vielen Dank.")]
    if call.outcome is CallOutcome.TRANSFER:
        return [Turn(_AGENT, "Ich verbinde Sie.")]
    if call.outcome in {CallOutcome.HANGUP, CallOutcome.ERROR}:
        return []
    return [Turn(_USER, "Danke, das war alles."), Turn(_AGENT, "Sehr gern. Auf Wiederhören!")]


def _when(start: int) -> str:
    local = datetime.fromtimestamp(start * 60, UTC).astimezone(ZONE)
    return f"{local:%d.%m.} um {local:%H:%M} Uhr"
