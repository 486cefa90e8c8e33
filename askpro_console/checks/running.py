"""Checks of the running system: its processes, its stores, its address, and what an earlier one has left behind."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable
from typing import TYPE_CHECKING, TypeVar

from askpro_console.checks.findings import Finding, size
from askpro_console.refusal import Refused
from askpro_console.system import System
from backend.domain.vocabulary import Verdict
from backend.stack.endpoints import Endpoints
from backend.stack.lock import running_supervisor

if TYPE_CHECKING:
    from backend.postgres.address import PostgresAddress
    from backend.stack.status import ProcessStatus, Status

Answer = TypeVar("Answer")

LIMIT_S = 3.0
"""Longest wait for one part's answer."""


async def check_running(system: System) -> list[Finding]:
    """All checks of the running system; at most a few seconds."""
    findings = list(_orphans(system))
    if system.join is not None:
        findings.append(_finding("node", Verdict.OK, f"{system.node}, works on the stores at {system.join.where}"))
    supervisor = running_supervisor(system.layout.pid_file)
    if supervisor is None:
        remedy = f"Start it with `{system.start_command}`."
        findings.append(_finding("supervisor", Verdict.WARN, "the system does not run", remedy))
        return findings + (await _stores(system, system.join.valkey_url) if system.join is not None else [])
    findings.append(_finding("supervisor", Verdict.OK, f"runs, pid {supervisor}"))
    findings += [finding async for finding in _control(system)]
    try:
        endpoints, _ = system.endpoints(), system.passwords()
    except Refused as refused:
        findings.append(_finding("addresses", Verdict.CRIT, refused.message, "Wait for the start, or `askpro logs`."))
        return findings
    stores, api = await asyncio.gather(_stores(system, endpoints.valkey_url), _api(endpoints))
    return [*findings, *stores, *api]


async def _stores(system: System, valkey_url: str) -> list[Finding]:
    """Whether the stores answer, wherever they are; a node asks those of the system that it joined. Raises Refused."""
    join = system.join
    address = system.postgres() if join is None else join.address
    far = "" if join is None else f"`askpro doctor` on the machine that has the stores ({join.where}) says more."
    parts = await asyncio.gather(_postgres(address, far), _valkey(valkey_url, far))
    return [finding for part in parts for finding in part]


def _finding(name: str, verdict: Verdict, detail: str, remedy: str = "") -> Finding:
    return Finding(area="system", name=name, verdict=verdict, detail=detail, remedy=remedy)


def _orphans(system: System) -> list[Finding]:
    from backend.stack.records import ChildRecords

    if running_supervisor(system.layout.pid_file) is not None:
        return []
    orphans = ChildRecords(system.layout.children_file).orphans()
    if not orphans:
        return []
    told = ", ".join(f"{orphan.name} {orphan.pid}" for orphan in orphans)
    return [_finding("orphans", Verdict.CRIT, f"left by an earlier system: {told}", "`askpro up` ends them first.")]


async def _control(system: System) -> AsyncIterator[Finding]:
    from backend.stack.client import ControlClient, ControlUnavailable

    try:
        async with ControlClient(system.layout) as client:
            status = await _bounded(client.status())
    except (ControlUnavailable, TimeoutError) as wrong:
        remedy = "If it stays so: `askpro down`, `askpro up`."
        yield _finding("control socket", Verdict.CRIT, str(wrong) or "no answer in time", remedy)
        return
    yield _readiness(status)
    for process in status.processes:
        yield process_finding(process, system.settings.stack.memory_ceiling)


def _readiness(status: Status) -> Finding:
    if status.ready:
        return _finding("readiness", Verdict.OK, f"ready at {status.api_url}")
    verdict = Verdict.CRIT if status.error else Verdict.WARN
    words = status.error or f"not ready: {status.phase}"
    return _finding("readiness", verdict, words, status.hint or "`askpro status` shows what is missing.")


def process_finding(process: ProcessStatus, ceiling: int) -> Finding:
    """How one process stands; `ceiling`: bytes of memory above which it is started afresh."""
    from backend.stack.status import ProcessState

    detail = f"{process.state}" + (f", pid {process.pid}, {size(process.rss_bytes)}" if process.pid else "")
    if process.restarts:
        detail += f", restarted {process.restarts}×"
    why = f"{detail}: {process.detail.splitlines()[0]}" if process.detail else detail
    if process.state is ProcessState.FAILED:
        return _finding(process.name, Verdict.CRIT, why, f"`askpro logs {process.name}` says more.")
    if process.state is not ProcessState.READY:
        return _finding(process.name, Verdict.WARN, why, f"`askpro logs {process.name}` says more.")
    if process.name not in {"postgres", "valkey"} and process.rss_bytes > 0.9 * ceiling:
        return _finding(process.name, Verdict.WARN, detail, "It is near its memory ceiling and will start afresh.")
    return _finding(process.name, Verdict.OK, detail)


async def _postgres(address: PostgresAddress, far: str) -> list[Finding]:
    from backend.postgres.address import Role
    from backend.postgres.pools import DATABASE_ERRORS, connect
    from backend.postgres.verify import check_schema
    from backend.valkey.client import in_few_words

    try:
        connection = await _bounded(connect(address, Role.CONSOLE, application="askpro-doctor"))
        try:
            schema = await _bounded(check_schema(connection))
            version = await _bounded(connection.fetchval("select current_setting('server_version')"))
            used, most = await _bounded(_connections(connection))
        finally:
            connection.terminate()
    except DATABASE_ERRORS as wrong:
        remedy = far or "`askpro logs postgres` says more."
        return [_finding("PostgreSQL", Verdict.CRIT, f"cannot be reached: {in_few_words(wrong)}", remedy)]
    findings = [_finding("PostgreSQL", Verdict.OK, f"answers, version {version}")]
    if schema.broken:
        remedy = "Run `askpro db migrate`." if not far else "Bring both systems to one version."
        findings.append(_finding("schema", Verdict.CRIT, "; ".join(schema.differences), remedy))
    else:
        findings.append(_finding("schema", Verdict.OK, "at its head"))
    crowded = used > 0.8 * most
    findings.append(
        _finding(
            "connections",
            Verdict.WARN if crowded else Verdict.OK,
            f"{used} of {most}",
            "`askpro show database` says whose they are." if crowded else "",
        )
    )
    return findings


async def _connections(connection: object) -> tuple[int, int]:
    import asyncpg

    assert isinstance(connection, asyncpg.Connection)
    row = await connection.fetchrow(
        "select count(*) as used, current_setting('max_connections')::int as most"
        " from pg_stat_activity where backend_type = 'client backend'"
    )
    return (row["used"], row["most"]) if row else (0, 1)


async def _valkey(url: str, far: str) -> list[Finding]:
    from backend.valkey.client import ValkeyUnavailable, exchange, open_valkey

    client = open_valkey(url, size=1)
    try:
        async with exchange(LIMIT_S):
            await client.ping()
            told = await client.info("memory")
    except ValkeyUnavailable as wrong:
        remedy = "Nothing is lost: it is rebuilt. " + (far or "`askpro logs valkey` says more.")
        return [_finding("Valkey", Verdict.CRIT, f"cannot be reached: {wrong}", remedy)]
    finally:
        await client.aclose()
    used, most = int(told.get("used_memory", 0)), int(told.get("maxmemory", 0))
    detail = f"answers, {size(used)}" + (f" of {size(most)}" if most else "")
    if most and used > 0.8 * most:
        return [_finding("Valkey", Verdict.WARN, detail, "Raise the setting valkey.max_memory.")]
    return [_finding("Valkey", Verdict.OK, detail)]


async def _api(endpoints: Endpoints) -> list[Finding]:
    import httpx

    try:
        async with httpx.AsyncClient(timeout=LIMIT_S, trust_env=False) as client:
            answer = await client.get(f"{endpoints.api_url}/readyz")
    except httpx.HTTPError as wrong:
        reason = str(wrong) or type(wrong).__name__
        return [_finding("API", Verdict.CRIT, f"{endpoints.api_url}: {reason}", "`askpro logs api` says more.")]
    if answer.status_code != 200:
        remedy = "`askpro logs api` says more."
        return [_finding("API", Verdict.CRIT, f"{endpoints.api_url} is not ready ({answer.status_code})", remedy)]
    return [_finding("API", Verdict.OK, f"ready at {endpoints.api_url}")]


async def _bounded(work: Awaitable[Answer]) -> Answer:
    async with asyncio.timeout(LIMIT_S):
        return await work
