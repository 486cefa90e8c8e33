"""Who calls: invented people with names as they are spelt and misspelt, phones and e-mail addresses.

A person is one customer by the rule of the product: one name on one phone line. Spellings of one person
differ only where the product must not care: umlauts written out, upper and lower case, an academic title.
"""

from __future__ import annotations

import random
import re
from collections.abc import Collection
from dataclasses import dataclass

FIRST_NAMES = """
    Anna Ben Charlotte David Emilia Finn Greta Hannes Ida Jakob Katharina Leon Marie Niklas Olivia Paul Romy Samuel
    Theresa Valentin Wiebke Yasmin Zoe Achim Birgit Christa Dieter Elke Frank Gabriele Heinz Ingrid Jürgen Karin Lothar
    Monika Norbert Petra Rainer Sigrid Torsten Ursula Volker Werner Jörg Björn Käthe Günther Bärbel Sören Mehmet Ayşe
    Fatma Emre Zeynep Can Elif Murat Agnieszka Tomasz Katarzyna Marek Ivana Luka Milan Jelena Giulia Matteo Chiara
    Lorenzo Sofia Nikolai Olga Svetlana Dmitri Linh Minh Amira Yusuf Layla Omar Noah Mila Luisa Jonas Clara Moritz
    Johanna Simon Helena Philipp Franziska Lukas Antonia Florian Miriam Sebastian Rebecca Dominik Vanessa Oliver
    Nadine Markus Simone Stefan Claudia Andreas Martina Michael Susanne Thomas Heike Uwe Renate Klaus Hannelore
""".split()  # noqa: SIM905 - a list of 100 names is read more easily so

LAST_NAMES = """
    Müller Schmidt Schneider Fischer Weber Meyer Wagner Becker Schulz Hoffmann Schäfer Koch Bauer Richter Klein Wolf
    Schröder Neumann Schwarz Zimmermann Braun Krüger Hofmann Hartmann Lange Schmitt Werner Schmitz Krause Meier Lehmann
    Schmid Schulze Maier Köhler Herrmann König Walter Mayer Huber Kaiser Fuchs Peters Lang Scholz Möller Weiß Jung Hahn
    Schubert Vogel Friedrich Keller Günther Frank Berger Winkler Roth Beck Lorenz Baumann Franke Albrecht Schuster Simon
    Ludwig Böhm Winter Kraus Martin Schumacher Krämer Vogt Stein Jäger Otto Sommer Groß Seidel Heinrich Brandt Haas
    Schreiber Graf Dietrich Ziegler Kuhn Kühn Pohl Engel Horn Busch Bergmann Thomas Voigt Sauer Arnold Wolff Pfeiffer
    Beyer Ernst Lindner Hübner Böttcher Jansen Kramer Paul Peter Nowak Kowalski Wiśniewski Yılmaz Kaya Demir Çelik Şahin
    Öztürk Aydın Arslan Nguyen Tran Rossi Ricci Marino Petrović Jovanović Horvat Popescu Ivanov Petrov Haddad Mansour
    Papadopoulos Garcia Fernandez Silva Santos Lüdenscheid Strauß Großmann Weißenborn Süß Preuß Thieß Rößler Häusler
    Jürgens Dörr Förster Gärtner Hänsel Löffler Nürnberger Pötter Rübsam Schönfeld Töpfer Übelacker Wölk Zöllner
""".split()  # noqa: SIM905 - a list of 100 names is read more easily so

_MOBILE = ("151", "152", "157", "159", "160", "162", "163", "170", "171", "172", "173", "174", "175", "176")
_CITY = ("30", "40", "69", "89", "221", "211", "711", "341")
_SPELT_OUT = str.maketrans(
    {"ä": "ae", "ö": "oe", "ü": "ue", "ß": "ss", "Ä": "Ae", "Ö": "Oe", "Ü": "Ue", "ş": "s", "Ş": "S", "ç": "c"}
    | {"Ç": "C"}
)


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody who calls one company."""

    business: str
    number: int
    """Distinguishes people of one run."""
    first_name: str
    last_name: str
    spellings: tuple[str, ...]
    """Full names as this person may be understood on the phone; the first one is the usual."""
    phone: str
    """E.164."""
    email: str | None
    """Given in every call or in none."""

    @property
    def name(self) -> str:
        """The full name."""
        return f"{self.first_name} {self.last_name}"


class People:
    """Invents the callers of one run; phones in `avoid` belong to somebody already."""

    def __init__(self, rng: random.Random, avoid: Collection[str] = ()) -> None:
        self._rng = rng
        self._taken = set(avoid)
        self._count = 0
        self._on_line: dict[tuple[str, str], list[str]] = {}

    def stranger(self, business: str, *, with_email: bool, phone: str | None = None) -> Person:
        """A person nobody knows yet, on a line of their own or on the given one."""
        line = phone or self.fresh_phone()
        household = self._on_line.setdefault((business, line), [])
        while True:
            first, last = self._rng.choice(FIRST_NAMES), self._rng.choice(LAST_NAMES)
            plain = plain_name(f"{first} {last}")
            if plain not in household:
                household.append(plain)
                break
        self._count += 1
        mailbox = f"{_mailbox(first)}.{_mailbox(last)}{self._rng.randrange(10, 100_000)}"
        email = f"{mailbox}@example.org" if with_email else None
        return Person(business, self._count, first, last, self._spellings(first, last), line, email)

    def fresh_phone(self) -> str:
        """A line that nobody uses yet, E.164."""
        while True:
            if self._rng.random() < 0.8:
                prefix = self._rng.choice(_MOBILE)
                digits = 8 if prefix.startswith("15") else 7
            else:
                prefix, digits = self._rng.choice(_CITY), 8
            phone = f"+49{prefix}{self._rng.randrange(10 ** (digits - 1), 10**digits)}"
            if phone not in self._taken:
                self._taken.add(phone)
                return phone

    def _spellings(self, first: str, last: str) -> tuple[str, ...]:
        usual = f"{first} {last}"
        found = [usual]
        if (spelt_out := usual.translate(_SPELT_OUT)) != usual:
            found.append(spelt_out)
        chance = self._rng.random()
        if chance < 0.10:
            found.append(f"Dr. {usual}")
        elif chance < 0.30 and "ı" not in usual:  # whose upper case is the upper case of another letter too
            found.append(usual.upper() if chance < 0.20 else usual.lower())
        return tuple(found)


def plain_name(text: str) -> str:
    """A full name with everything taken off in which spellings of one person may differ.

    The product's fold is `backend.domain.names`; this one is independent of it and only as good as the simulator's
    own names need (no title but "Dr.", no letters outside its lists).
    """
    lowered = re.sub(r"\bdr\.?\s+", "", text.casefold())
    for written, plain in (
        ("ä", "a"), ("ö", "o"), ("ü", "u"), ("ae", "a"), ("oe", "o"), ("ue", "u"), ("ß", "s"), ("ss", "s"),
        ("ş", "s"), ("ç", "c"), ("ć", "c"), ("ś", "s"), ("ı", "i"), ("i̇", "i"),
    ):  # fmt: skip
        lowered = lowered.replace(written, plain)
    return " ".join(lowered.split())


def _mailbox(name: str) -> str:
    spelt_out = name.translate(_SPELT_OUT).casefold()
    return re.sub(r"[^a-z]", "", spelt_out) or "post"
