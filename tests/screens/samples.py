"""Snapshots as a living system gives them, for tests of screens."""

from __future__ import annotations

import random
from collections.abc import Sequence
from itertools import cycle

import msgspec

from backend.domain.vocabulary import NodeState
from backend.watch.snapshots import (
    CacheFigures,
    CallRow,
    CallsSnapshot,
    FleetSnapshot,
    NodeRow,
    ProcessRow,
    Trend,
    WorkerRow,
)

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


def fleet_snapshot(*, now: float = NOW, seed: int = 1) -> FleetSnapshot:
    """One machine with all its processes, one of which is in trouble, and a second machine that only works."""
    dice = random.Random(seed)
    queues = (("webhooks", 30), ("appointments", 15), ("default", 20), ("notifications", 10))
    names = ("postgres", "valkey", "api", *(f"worker-{queue}" for queue, _ in queues), "publisher")
    processes = tuple(
        ProcessRow(
            name=name,
            pid=4000 + index,
            state="backoff" if name == "worker-notifications" else "ready",
            rss_bytes=(60 + dice.randrange(40)) * 1024 * 1024,
            cpu_ratio=dice.random() / 5,
            restarts=4 if name == "worker-notifications" else 0,
            since=now - 7200,
            detail="ended with exit code 1, starts again in 4 s" if name == "worker-notifications" else "",
        )
        for index, name in enumerate(names)
    )
    workers = tuple(
        WorkerRow(
            id=f"{node}-{queue}",
            node=node,
            queue=queue,
            pid=base + index,
            version="0.1.0",
            concurrency=slots,
            busy=min(slots, dice.randrange(slots + 1)),
            done=dice.randrange(100_000),
            rss_bytes=80 * 1024 * 1024,
            state="running",
            started_at=now - 7200,
            heartbeat_at=now - (44 if queue == "default" else 1),
        )
        for node, base in (("node-1", 4003), ("node-2", 9003))
        for index, (queue, slots) in enumerate(queues)
    )
    node = NodeRow(
        node="node-1",
        version="0.1.0",
        seen_at=now,
        cpu_ratio=0.31,
        cores=4,
        load_1m=1.2,
        memory_used_bytes=int(2.1 * 2**30),
        memory_total_bytes=8 * 2**30,
        disk_used_bytes=41 * 2**30,
        disk_total_bytes=100 * 2**30,
        net_in_bytes_per_s=1_200_000,
        net_out_bytes_per_s=300_000,
        uptime_s=3 * 86400,
        processes=processes,
    )
    cache = CacheFigures(
        up=True, version="9.1.2", used_bytes=41 * 2**20, max_bytes=256 * 2**20, keys=812, keys_without_ttl=0, evicted=0,
        clients=9, commands_per_s=212.0,
    )  # fmt: skip
    return FleetSnapshot(taken_at=now, node="node-1", nodes=(node,), workers=workers, cache=cache, publisher="node-1")


def fleet_of_three(*, now: float = NOW) -> FleetSnapshot:
    """Three machines: one with the stores, one that joined and is drained, one that joined and vanished."""
    one = fleet_snapshot(now=now)
    first = msgspec.structs.replace(one.nodes[0], home="box:/one")
    own = tuple(process for process in first.processes if process.name not in {"postgres", "valkey"})
    joined = [
        msgspec.structs.replace(
            first,
            node=f"node-{number}",
            home=f"box-{number}:/data",
            is_joined=True,
            processes=tuple(
                msgspec.structs.replace(row, pid=(row.pid or 0) + 1000 * number, state="ready") for row in own
            ),
        )
        for number in (2, 3)
    ]
    drained = msgspec.structs.replace(joined[0], drained_by="bert", drained_at=now - 300, drain_reason="new kernel")
    vanished = msgspec.structs.replace(joined[1], state=NodeState.VANISHED, silent_s=12.0, seen_at=now - 12)
    own_workers = [worker for worker in one.workers if worker.node == "node-1"]
    workers = [
        msgspec.structs.replace(
            worker,
            id=f"{node}-{worker.queue}",
            node=node,
            pid=worker.pid + 1000 * number,
            busy=busy,
            heartbeat_at=now - silent_s,
        )
        for number, node, busy, silent_s in ((2, "node-2", 2, 1.0), (3, "node-3", 3, 12.0))
        for worker in own_workers
    ]
    return msgspec.structs.replace(one, nodes=(first, drained, vanished), workers=(*own_workers, *workers))


def fleet_with_texts(snapshot: FleetSnapshot, texts: Sequence[str]) -> FleetSnapshot:
    """The same with these texts in every place that could come from outside."""
    node = snapshot.nodes[0]
    processes = tuple(
        msgspec.structs.replace(row, name=text, state=text, detail=text)
        for row, text in zip(node.processes, cycle(texts), strict=False)
    )
    first = texts[0]
    nodes = (msgspec.structs.replace(node, node=first, version=first, processes=processes),)
    cache = msgspec.structs.replace(snapshot.cache, version=texts[-1])
    return msgspec.structs.replace(snapshot, nodes=nodes, cache=cache, publisher=first)
