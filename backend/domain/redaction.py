"""Payloads without personal data: who somebody is, how to reach them and what they said is hidden, the rest stays.

Hidden are values under keys that say what they hold (`customer_name`, `fromNumber`, `notes`), and whatever looks like
an address or a phone number wherever it stands. Ids, states, times and numbers stay: they are what one looks for.
"""

from __future__ import annotations

import re

import msgspec

LONGEST = 100_000
"""Characters of an answer."""

DEEPEST = 60
"""Levels below which nothing is shown."""

_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z0-9äöüß]+")

_NAMES = frozenset(
    {
        "name", "names", "firstname", "lastname", "fullname", "surname", "forename", "vorname", "nachname", "nickname",
        "salutation",
    }
)  # fmt: skip
_NOT_A_PERSONS = frozenset(
    {
        "agent", "branch", "service", "queue", "function", "tool", "event", "job", "file", "type", "field", "provider",
        "company", "product", "plan", "voice", "model", "template", "schedule", "worker", "node",
    }
)  # fmt: skip
"""Before `name`: what it is the name of is no person."""

_PERSONS = frozenset({"caller", "callee", "customer", "attendee", "attendees", "patient", "guest", "guests", "contact"})
"""What stands under such a key is a name, a number, or more about them."""

_REACHED = {
    "phone": "phone", "phones": "phone", "telephone": "phone", "telefon": "phone", "tel": "phone", "mobile": "phone",
    "handy": "phone", "fax": "phone", "whatsapp": "phone",
    "email": "e-mail", "emails": "e-mail", "mail": "e-mail",
    "address": "address", "adresse": "address", "street": "address", "strasse": "address", "city": "address",
    "zip": "address", "zipcode": "address", "postcode": "address", "postal": "address", "plz": "address",
    "birthday": "birth date", "birthdate": "birth date", "birth": "birth date", "dob": "birth date",
    "iban": "account", "account_number": "account", "insurance": "insurance",
    "notes": "text", "note": "text", "comment": "text", "comments": "text", "remark": "text", "remarks": "text",
    "transcript": "text", "summary": "text", "utterance": "text", "said": "text", "words": "text", "content": "text",
    "description": "text", "reason": "text", "greeting": "text", "text": "text", "body": "text", "symptoms": "text",
    "recording": "recording", "audio": "recording",
    "password": "secret", "passphrase": "secret", "secret": "secret", "token": "secret", "authorization": "secret",
    "cookie": "secret", "signature": "secret", "credential": "secret", "credentials": "secret", "apikey": "secret",
}  # fmt: skip
"""Words of a key, and what stands under it."""

_PHONES_END = frozenset({"number", "from", "to"})

_MAIL = re.compile(r"[\w.!#$%&'*+/=?^`{|}~-]{1,64}@(?:[\w-]{1,63}\.){1,8}[^\W\d_]{2,24}")
_PHONE = re.compile(
    r"(?<![\w.+-])(?:\+|00)[1-9](?:[ /().-]{0,3}\d){6,14}(?![\w-])"
    r"|(?<![\w.+:-])\(?0[1-9]\d{1,4}\)?[ /-]{0,3}\d{3,5}(?:[ -]?\d{1,5}){0,3}(?![\w.:-])"
)
_PHONE_ALONE = re.compile(r"\s*\+?[\d ()/.-]{5,24}\s*")


def redacted(payload: bytes) -> str:
    """The payload as text in which personal data is hidden; JSON keeps its structure, indented.

    Of what is not JSON only its form can be judged; bytes that are no text are only counted. So is what looks like
    JSON and cannot be read (cut off, NaN in it): names stand in it that only its keys would tell. Never raises.
    """
    try:
        content = msgspec.json.decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return _unjudged(payload) if _looks_like_json(payload) else _shown_text(payload)
    try:
        shown = msgspec.json.format(msgspec.json.encode(_walk(content, None, DEEPEST)), indent=2).decode()
    except (msgspec.MsgspecError, UnicodeError, RecursionError, ValueError):
        return _unjudged(payload)
    return shown if len(shown) <= LONGEST else f"{shown[:LONGEST]}\n[{len(shown) - LONGEST:,} more characters]"


def without_contacts(text: str) -> str:
    """The text with whatever looks like an e-mail address or a phone number hidden."""
    return _PHONE.sub(_hidden("phone"), _MAIL.sub(_hidden("e-mail"), text))


def _looks_like_json(payload: bytes) -> bool:
    """Whether an object, a list or a text begins in its first bytes."""
    return payload[:64].removeprefix(b"\xef\xbb\xbf").lstrip()[:1] in {b"{", b"[", b'"'}


def _unjudged(payload: bytes) -> str:
    return f"[{len(payload):,} bytes or more of JSON that cannot be judged]"


def _shown_text(payload: bytes) -> str:
    try:
        text = payload[: 4 * LONGEST].decode("utf-8", "strict" if len(payload) <= 4 * LONGEST else "ignore")
    except UnicodeDecodeError:
        return f"[{len(payload):,} bytes that are no text]"
    more = f"\n[{len(text) - LONGEST:,} more characters]" if len(text) > LONGEST else ""
    return without_contacts(text[:LONGEST]) + more


def _walk(value: object, kind: str | None, left: int) -> object:
    """The value with what is personal hidden; `kind` is what its key says it holds."""
    if left == 0:
        return "[deeper than is shown]"
    if isinstance(value, dict):
        below = None if kind in {"number", "person"} else kind
        return {
            without_contacts(str(key)): _walk(inner, _kind_of(str(key)) or below, left - 1)
            for key, inner in value.items()
        }
    if isinstance(value, list):
        return [_walk(inner, kind, left - 1) for inner in value]
    if kind is None:
        return without_contacts(value) if isinstance(value, str) else value
    if value is None or isinstance(value, bool) or value == "":
        return value
    if kind in {"number", "person"}:
        if isinstance(value, str) and _PHONE_ALONE.fullmatch(value) and sum(map(str.isdigit, value)) > 4:
            return _hidden("phone")
        return _hidden("name") if kind == "person" and isinstance(value, str) else _walk(value, None, left)
    if kind == "text":
        return _hidden(f"text, {len(str(value)):,} characters")
    return _hidden(kind)


def _kind_of(key: str) -> str | None:
    """What the key says it holds, if that is personal."""
    words = tuple(word.lower() for word in _WORD.findall(key))
    if words[-1:] == ("id",) or words[-1:] == ("ids",):
        return None
    for word in reversed(words):
        if word in _REACHED:
            return _REACHED[word]
    if words[-2:] == ("api", "key"):
        return "secret"
    if _NAMES.intersection(words):
        is_a_things = len(words) > 1 and words[-1] in {"name", "names", "title"} and words[-2] in _NOT_A_PERSONS
        return None if is_a_things else "name"
    if words and words[-1] in _PERSONS:
        return "person"
    return "number" if words and words[-1] in _PHONES_END else None


def _hidden(what: str) -> str:
    return f"[{what}]"
