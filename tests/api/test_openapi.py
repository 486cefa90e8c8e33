"""The API's description: complete, not for strangers, and true (schemathesis tries all of it)."""

from __future__ import annotations

import asyncio
from pathlib import Path

import httpx
import pytest

from tests.api.partner import Partner, add_call
from tests.api.schemathesis_run import schemathesis_run
from tests.api.shared_api import SharedApi
from tests.api.test_isolation import CASES
from tests.databases import OwnConnection


async def test_every_route_is_described(partner: Partner) -> None:
    document = (await partner.client.get("/openapi.json")).json()
    described = {(method.upper(), path) for path, methods in document["paths"].items() for method in methods}
    assert described == set(CASES)
    assert {"token", "operator", "retell", "calcom"} == set(document["components"]["securitySchemes"])
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            assert operation["summary"], (method, path)
            for status, answer in operation["responses"].items():
                if status.startswith(("4", "5")) and path not in {"/livez", "/readyz"}:
                    assert list(answer["content"]) == ["application/problem+json"], (method, path, status)


async def test_strangers_are_not_told(partner: Partner) -> None:
    away = {"x-forwarded-for": "192.0.2.9"}
    async with httpx.AsyncClient(base_url=partner.client.base_url, trust_env=False) as stranger:
        assert (await stranger.get("/openapi.json", headers=away)).status_code == 401
        first = await stranger.get("/openapi.json")
        assert first.status_code == 200
        again = await stranger.get("/openapi.json", headers={"if-none-match": first.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")
    assert (await partner.client.get("/openapi.json", headers=away)).status_code == 200


SHORT = (*("-n", "3", "--seed", "7", "--no-shrink"), *("--exclude-path-regex", "/(complete|no-show|restore)$"))
"""Routes of one shape are tried once; `python -m bench.schemathesis` tries all, and more of each."""


@pytest.mark.timeout(300)
async def test_what_the_description_says_is_so(
    shared_api: SharedApi, partner: Partner, administrator: OwnConnection, tmp_path: Path
) -> None:
    await add_call(administrator, partner.company_id, f"call_openapi_{partner.number}")
    done = await asyncio.to_thread(schemathesis_run, shared_api.url, partner.token, tmp_path, *SHORT)
    assert done.returncode == 0, done.stdout[-8_000:]
