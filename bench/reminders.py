"""What looking for due reminders costs, by the number of appointments in the database: `python -m bench.reminders`.

50 companies with 1,000 appointments a day between them; only the past grows. Each look is what the job does every 30
seconds of the virtual time that passes here: one question for all companies, one statement and its jobs for each of
those with something to remind of. Shown are the looks of an hour in the morning, after one that caught up.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import asyncpg
import msgspec

from backend.postgres.address import PostgresAddress, Role, Superuser
from backend.postgres.pools import Connection, connect, tenant_transaction
from backend.queue.notification_jobs import REMINDER, ReminderDue
from backend.queue.port import JobQueue, NewJob
from backend.services.notifications.reminders import companies_to_remind, sweep
from bench.server import durable_server

COMPANIES = 50
A_DAY = 1_000
LOOKS = 120

PLACES = """
with made as (
    insert into companies (slug, name) select 'company-' || i, 'Praxis ' || i from generate_series(1, $1) i returning id
), places as (
    insert into branches (company_id, slug, name) select id, 'mitte', 'Mitte' from made
), offers as (
    insert into services (company_id, slug, name, duration_min) select id, 'termin', 'Termin', 30 from made
)
insert into staff (company_id, slug, name) select id, 'weiss', 'Dr. Weiß' from made
"""

ROWS = """
insert into appointments (company_id, branch_id, staff_id, service_id, starts_at, ends_at, time_zone, status, source,
                          attendee_email, version, created_at)
select b.company_id, b.id, p.id, s.id, t.at, t.at + interval '30 minutes', 'Europe/Berlin',
       case when t.at < $1 then 'completed' else 'confirmed' end, 'import', 'jemand@kunde.test', 1,
       t.at - interval '5 days'
from (select n, $1::timestamptz + interval '3 days' - n * interval '1 day' / $4 as at
      from generate_series($2::int, $3::int - 1) n) t
join (select r.*, row_number() over (order by r.id) - 1 as number from branches r) b on b.number = t.n % $5::int
join staff p on p.company_id = b.company_id
join services s on s.company_id = b.company_id
"""

EVENTS = """
insert into appointment_events (company_id, appointment_id, version, kind, actor, occurred_at)
select company_id, id, 1, 'booked', 'import', created_at from appointments a
where not exists (select from appointment_events e where e.appointment_id = a.id)
"""


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the table."""

    appointments: int
    idle_p50_ms: float
    """A look that finds nothing."""
    p50_ms: float
    p99_ms: float
    reminders: int
    """Put in during these looks."""
    catch_up_ms: float
    """The first look, which finds hours of them."""


async def fill(address: PostgresAddress, superuser: Superuser, now: datetime, first: int, last: int) -> None:
    """The appointments from number `first` to `last`, three days ahead backwards into the past."""
    server = await asyncpg.connect(
        host=superuser.host,
        port=superuser.port,
        user=superuser.user,
        password=superuser.password,
        database=address.database,
        server_settings={"search_path": "askpro, public"},
    )
    if not await server.fetchval("select count(*) from companies"):
        await server.execute(PLACES, COMPANIES)
        # Nobody books here: whose time it takes is not what is measured.
        await server.execute("alter table appointments disable trigger user")
    await server.execute(ROWS, now, first, last, A_DAY, COMPANIES)
    await server.execute(EVENTS)
    await server.execute("truncate notifications, pgqueuer, pgqueuer_log")
    await server.execute("vacuum (analyze)")
    await server.close()


async def look(connection: Connection, now: datetime) -> int:
    """As the job does it; the reminders put in."""
    owed = 0
    for company_id in await companies_to_remind(connection, now):
        async with tenant_transaction(connection, company_id):
            swept = await sweep(connection, company_id, now)
            await JobQueue().enqueue(
                connection,
                [NewJob(REMINDER, msgspec.json.encode(ReminderDue(one)), company_id) for one in swept.owed],
            )
        owed += len(swept.owed)
    return owed


async def measure(address: PostgresAddress, now: datetime, rows: int) -> Line:
    """The looks of an hour."""
    connection = await connect(address, Role.WORKER, application="bench-reminders")
    began = time.perf_counter()
    await look(connection, now)
    catch_up = time.perf_counter() - began
    busy, idle, reminders = [], [], 0
    for number in range(1, LOOKS + 1):
        moment = now + timedelta(seconds=30 * number)
        began = time.perf_counter()
        reminders += await look(connection, moment)
        busy.append((time.perf_counter() - began) * 1000)
        began = time.perf_counter()
        await look(connection, moment)
        idle.append((time.perf_counter() - began) * 1000)
    await connection.close()
    return Line(
        appointments=rows,
        idle_p50_ms=round(statistics.median(idle), 2),
        p50_ms=round(statistics.median(busy), 2),
        p99_ms=round(statistics.quantiles(busy, n=100)[98], 2),
        reminders=reminders,
        catch_up_ms=round(catch_up * 1000, 1),
    )


async def run(sizes: list[int], address: PostgresAddress, superuser: Superuser) -> None:
    """Fill, measure, print; for each size."""
    now = datetime.now(UTC).replace(hour=8, minute=0, second=0, microsecond=0) + timedelta(days=1)
    filled = 0
    print(f"{'appointments':>12} {'nothing due':>12} {'p50':>9} {'p99':>9} {'reminders':>10} {'catching up':>12}")
    for size in sizes:
        await fill(address, superuser, now, filled, size)
        filled = size
        line = await measure(address, now, size)
        print(
            f"{line.appointments:>12,} {line.idle_p50_ms:>9.2f} ms {line.p50_ms:>6.2f} ms {line.p99_ms:>6.2f} ms"
            f" {line.reminders:>10} {line.catch_up_ms:>9.1f} ms",
            flush=True,
        )


def main() -> None:
    """Start a server, measure, end it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    args = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="askpro-bench-") as base,
        durable_server(Path(base)) as (address, superuser),
    ):
        asyncio.run(run(args.sizes, address, superuser))


if __name__ == "__main__":
    main()
