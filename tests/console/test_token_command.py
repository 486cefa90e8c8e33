"""`askpro token`: from nothing to a booked appointment with curl's means, and what it says when it is used wrongly."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from askpro_console import cli
from tests.whole_system import WHOLE_SYSTEM, Running

pytestmark = WHOLE_SYSTEM


def test_a_token_books_until_it_is_revoked(system: Running) -> None:
    made = system.told(
        "token", "create", "--company", "probe", "--scope", "appointments:write", "--scope", "availability:read"
    )
    assert made["token"].startswith(f"ap_live_{made['id']}_")
    with httpx.Client(
        base_url=system.api_url, headers={"authorization": f"Bearer {made['token']}"}, timeout=20, trust_env=False
    ) as partner:
        slots = partner.get("/api/availability", params={"service": "sprechstunde", "days": "14"}).json()["slots"]
        wish = {"service": "sprechstunde", "starts_at": slots[-1]["starts_at"], "attendee": {"name": "Kim Probe"}}
        booked = partner.post("/api/appointments", json=wish, headers={"idempotency-key": "one"})
        assert booked.status_code == 201, booked.text
        assert partner.post(f"{booked.headers['location']}/cancel").json()["status"] == "cancelled"
        new = system.told("token", "rotate", made["id"], "--overlap", "1h")
        lines: Any = system.told("token", "list", "--company", "probe")
        (old_line,) = [line for line in lines if line["id"] == made["id"]]
        assert (old_line["state"], old_line["last_used_at"] is None) == ("good", False)
        revoked = system.askpro("token", "revoke", made["id"], "--yes")
        assert (revoked.returncode, revoked.stdout) == (0, f"{made['id']} is revoked.\n")
        refused = partner.get("/api/company")
        assert (refused.status_code, refused.headers["www-authenticate"]) == (401, "Bearer")
        assert partner.get("/api/company", headers={"authorization": f"Bearer {new['token']}"}).status_code == 200
    listed = system.askpro("token", "list").stdout
    assert new["id"] in listed
    assert new["token"][-40:] not in listed


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("create", "--company", "prob", "--scope", "calls:read"), "Did you mean probe?"),
        (("revoke", "abcdefg2", "--yes"), "There is no token abcdefg2"),
    ],
)
def test_what_there_is_not_is_a_sentence(system: Running, arguments: tuple[str, ...], sentence: str) -> None:
    refused = system.askpro("token", *arguments)
    assert (refused.returncode, sentence in refused.stderr) == (1, True), refused.stderr


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("create", "--company", "x"), "--scope"),
        (("create", "--company", "x", "--scope", "appointment:read"), "Did you mean appointments:read?"),
        (("create", "--company", "x", "--scope", "all", "--expires", "soon"), "is no span"),
        (("rotate", "abc", "--overlap", "-1d"), "--overlap"),
    ],
)
def test_wrong_usage_is_told_before_anything_is_asked(
    arguments: tuple[str, ...], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["token", *arguments]) == 2
    assert sentence in capsys.readouterr().err
