"""Every sentence that the voice agent is given to speak, in German and in English.

`{…}` are what a sentence names: both languages of a sentence name the same (a test compares them).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from backend.domain.vocabulary import RefusalReason
from backend.services.functions.refusals import FunctionRefusal, Reason
from backend.services.functions.spoken import Language


@dataclass(frozen=True, slots=True)
class Sentence:
    """One sentence in every language."""

    german: str
    english: str

    def say(self, language: Language, words: Mapping[str, str] | None = None) -> str:
        """The sentence with its gaps filled. Raises KeyError for a word that it names and `words` has not."""
        return self.text(language).format_map(words or {})

    def text(self, language: Language) -> str:
        """The sentence with its gaps."""
        return self.english if language is Language.ENGLISH else self.german


REFUSALS: Mapping[Reason, Sentence] = {
    RefusalReason.SLOT_TAKEN: Sentence(
        "Dieser Termin ist leider nicht mehr frei.", "Unfortunately that appointment is no longer free."
    ),
    RefusalReason.SERVICE_UNKNOWN: Sentence(
        "Diese Leistung kenne ich leider nicht. Was genau darf es sein?",
        "I am afraid I do not know that service. What exactly would you like?",
    ),
    RefusalReason.BRANCH_UNKNOWN: Sentence(
        "Um welche unserer Filialen geht es?", "Which of our locations would you like to visit?"
    ),
    RefusalReason.STAFF_UNKNOWN: Sentence(
        "Diesen Namen finde ich in unserem Team leider nicht.", "I am afraid I cannot find that name in our team."
    ),
    RefusalReason.NOT_OFFERED: Sentence(
        "Das bieten wir dort oder bei dieser Person leider nicht an.",
        "Unfortunately that is not offered there or by that person.",
    ),
    RefusalReason.TIME_UNREADABLE: Sentence(
        "Für welchen Tag und welche Uhrzeit darf ich nachsehen?", "For which day and time may I have a look?"
    ),
    RefusalReason.IN_PAST: Sentence("Diese Zeit ist leider schon vorbei.", "I am afraid that time has already passed."),
    RefusalReason.TOO_FAR: Sentence(
        "So weit im Voraus kann ich leider noch nicht buchen.", "Unfortunately I cannot book that far ahead yet."
    ),
    RefusalReason.OUTSIDE_HOURS: Sentence(
        "Zu dieser Zeit ist leider kein Termin möglich.", "Unfortunately no appointment is possible at that time."
    ),
    RefusalReason.TOO_SOON: Sentence("So kurzfristig geht es leider nicht.", "Unfortunately that is too short notice."),
    RefusalReason.COMPANY_INACTIVE: Sentence(
        "Zurzeit nehmen wir leider keine Termine an.", "We are not taking appointments at the moment."
    ),
    FunctionRefusal.UNKNOWN_NUMBER: Sentence(
        "Ich kann diesen Anruf leider keinem Betrieb zuordnen.",
        "I am afraid I cannot tell which business this call is for.",
    ),
    FunctionRefusal.FUNCTION_UNKNOWN: Sentence("Das kann ich leider nicht erledigen.", "I am afraid I cannot do that."),
    FunctionRefusal.UNAVAILABLE: Sentence(
        "Ich komme gerade nicht an den Kalender. Einen kleinen Moment bitte, ich versuche es noch einmal.",
        "I cannot reach the calendar right now. One moment please, I will try again.",
    ),
    FunctionRefusal.TOOL_CALL_REUSED: Sentence(
        "Das hat leider nicht geklappt. Ich versuche es noch einmal.",
        "I am afraid that did not work. I will try again.",
    ),
    FunctionRefusal.ARGUMENT_MISSING: Sentence(
        "Dazu fehlt mir noch eine Angabe: {argument}.", "I still need one detail for that: {argument}."
    ),
    FunctionRefusal.NAME_NEEDED: Sentence(
        "Wie ist bitte Ihr Vor- und Nachname?", "Could you please tell me your first and last name?"
    ),
    FunctionRefusal.PHONE_NEEDED: Sentence(
        "Unter welcher Telefonnummer sind Sie erreichbar?", "Which phone number can we reach you on?"
    ),
    FunctionRefusal.IDENTITY_UNPROVEN: Sentence(
        "Aus Datenschutzgründen kann ich Termine nur nennen, wenn Sie von der hinterlegten Nummer anrufen. Wenn Sie "
        "mir den Namen und die genaue Zeit des Termins sagen, kann ich ihn verlegen oder absagen.",
        "To protect your privacy I can only tell appointments to callers on the number we know. If you tell me the "
        "name and the exact time of the appointment, I can move or cancel it.",
    ),
    FunctionRefusal.APPOINTMENT_UNKNOWN: Sentence(
        "Dazu finde ich leider keinen Termin.", "I am afraid I cannot find an appointment for that."
    ),
    FunctionRefusal.APPOINTMENT_AMBIGUOUS: Sentence(
        "Welchen Termin meinen Sie: {appointments}?", "Which appointment do you mean: {appointments}?"
    ),
    FunctionRefusal.NOT_CHANGEABLE: Sentence(
        "Dieser Termin kann leider nicht mehr geändert werden.",
        "I am afraid that appointment can no longer be changed.",
    ),
    FunctionRefusal.HOLD_EXPIRED: Sentence(
        "Die Reservierung ist leider abgelaufen.", "I am afraid the reservation has run out."
    ),
    FunctionRefusal.POLICY_FORBIDS: Sentence(
        "Dieser Termin kann nur bis {hours} vorher kostenfrei geändert oder abgesagt werden.",
        "That appointment can only be changed or cancelled free of charge up to {hours} before.",
    ),
}

FEE = Sentence("Jetzt kostet es {fee}. Ist das in Ordnung?", "Now it costs {fee}. Is that all right?")
ASK_TEAM = Sentence("Soll Sie dazu jemand zurückrufen?", "Shall somebody call you back about it?")
ALTERNATIVES = Sentence("Möglich wäre {slots}.", "I could offer {slots}.")
SUGGESTIONS = Sentence("Meinen Sie {names}?", "Do you mean {names}?")

TODAY = Sentence("Heute ist {day}, es ist {time}.", "Today is {day}, it is {time}.")
KNOWN = Sentence("Am Telefon ist vermutlich {name}.", "The caller is probably {name}.")

RECOGNISED = Sentence("Ich habe Sie gefunden, {name}.", "I have found you, {name}.")
NOT_RECOGNISED = Sentence(
    "Sie sind noch nicht bei uns eingetragen; das ist kein Problem.",
    "You are not on our list yet; that is no problem.",
)

SERVICES = Sentence("Wir bieten an: {services}.", "We offer: {services}.")
NO_SERVICES = Sentence("Zurzeit kann leider nichts gebucht werden.", "Nothing can be booked at the moment.")
SERVICE = Sentence("{service}, {minutes}", "{service}, {minutes}")

FREE = Sentence("Frei ist {slots}.", "There is room on {slots}.")
FREE_WITH = Sentence("Bei {staff} ist frei: {slots}.", "{staff} has room on {slots}.")
NOTHING_FREE = Sentence(
    "In diesem Zeitraum ist leider nichts frei.", "Unfortunately there is nothing free in that period."
)

BOOKED = Sentence(
    "Ihr Termin ist gebucht: {service} am {when} bei {staff}.",
    "Your appointment is booked: {service} on {when} with {staff}.",
)
HELD = Sentence(
    "Ich habe {service} am {when} bei {staff} für Sie reserviert. Soll ich den Termin fest buchen?",
    "I have reserved {service} on {when} with {staff} for you. Shall I book it?",
)
MOVED = Sentence(
    "Ihr Termin ist verlegt: {service} ist jetzt am {when} bei {staff}.",
    "Your appointment has been moved: {service} is now on {when} with {staff}.",
)
CANCELLED = Sentence(
    "Ihr Termin {service} am {when} ist abgesagt.", "Your appointment for {service} on {when} is cancelled."
)
APPOINTMENTS = Sentence("Sie haben: {appointments}.", "You have: {appointments}.")
NO_APPOINTMENTS = Sentence("Es ist kein Termin für Sie eingetragen.", "There is no appointment for you.")
APPOINTMENT = Sentence("{service} am {when} bei {staff}", "{service} on {when} with {staff}")

CALLBACK = Sentence("Wir rufen Sie bis {when} zurück.", "We will call you back by {when}.")
"""With the latest time."""

ARGUMENTS: Mapping[str, Sentence] = {
    "service": Sentence("die gewünschte Leistung", "the service you would like"),
    "starts_at": Sentence("Tag und Uhrzeit", "the day and time"),
    "reason": Sentence("der Grund Ihres Anrufs", "the reason for your call"),
}
"""What an argument is called when the agent has to ask for it."""
