"""Snapshots as a living system gives them, for tests of screens."""

from __future__ import annotations

import random

from backend.watch.snapshots import CallRow, CallsSnapshot, Trend

NOW = 1_763_989_200.0
"""Mon 24 Nov 2025 14:00:00 in Berlin."""

NAMES = (
    "Anna Schmidt", "Jürgen Weiß", "Ayşe Yılmaz", "Mehmet Öztürk", "Sophie-Charlotte von der Heide", "", "Li Wei",
    "Björn Åkesson", "Hanna Schmid", "", "Dr. Karl-Heinz Müller-Lüdenscheidt", "Zoë Łukaszewicz",
)  # fmt: skip
OUTCOMES = ("booked", "enquiry", "booked", "hangup", "callback", "booked", "rescheduled", "unknown", "transfer")
COMPANIES = (("praxis-nord", "Nord"), ("zahnarzt-weiss", "Mitte"), ("physio-sued", "Süd"))


def call_row(number: int, *, now: float = NOW, seed: int = 1) -> CallRow:
    """The `number`th newest call; the same for the same arguments."""
    dice = random.Random(seed * 1_000_003 + number)
    ongoing = number < 4
    company, branch = dice.choice(COMPANIES)
    length = dice.expovariate(1 / 120) + 8
    outcome = "unknown" if ongoing else dice.choice(OUTCOMES)
    started = now - number * 23 - (dice.random() * 10 + 4 if ongoing else length)
    return CallRow(
        id=f"0198-{seed:02}-{number:06}",
        provider_call_id=f"call_{number:08x}",
        company=company,
        branch=branch,
        direction="inbound",
        from_number=f"+49 151 {dice.randrange(10**7):07}" if number % 9 else "",
        to_number="+49 30 1234567",
        caller=dice.choice(NAMES),
        status="ongoing" if ongoing else "ended",
        outcome=outcome,
        sentiment=dice.choice(("positive", "neutral", "neutral", "negative", "unknown")),
        started_at=started,
        ended_at=None if ongoing else started + length,
        duration_s=None if ongoing else length,
        cost_cents=None if ongoing else dice.randrange(4, 60),
        customer_id=None,
        appointment_id=None,
        summary="" if ongoing else "Möchte einen Termin zur Kontrolle, am liebsten vormittags; gebucht bei Dr. Weiß.",
    )


def calls_snapshot(count: int = 300, *, now: float = NOW, seed: int = 1) -> CallsSnapshot:
    """A busy hour."""
    dice = random.Random(seed)
    return CallsSnapshot(
        taken_at=now,
        took_ms=1.4,
        node="node-1",
        ongoing=4,
        started_last_hour=157,
        started_today=1204,
        median_duration_s=94.0,
        by_outcome_today={"booked": 512, "enquiry": 301, "hangup": 120},
        per_minute=Trend(values=tuple(float(dice.randrange(0, 9)) for _ in range(60)), step_s=60, unit="calls"),
        rows=tuple(call_row(number, now=now, seed=seed) for number in range(count)),
    )
