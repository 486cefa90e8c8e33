"""What every documented resource owes: who asks, what can be understood and said, and every refusal as a problem."""

from __future__ import annotations

from uuid import uuid4

import httpx
import pytest

from backend.api.partners.conditions import is_unchanged
from backend.api.partners.entrance import RESOURCE_BODY_LIMIT, is_acceptable
from backend.api.partners.values import EARLIEST, LATEST, read_day, read_moment
from backend.domain.vocabulary import TokenScope
from tests.api.conftest import until
from tests.api.partner import Partner, at
from tests.api.shared_api import Partners


def assert_problem(response: httpx.Response, status: int, reason: str | None = None) -> None:
    """A problem with the request's id, and nothing else."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    problem = response.json()
    assert problem["status"] == status
    assert problem["request_id"] == response.headers["x-request-id"]
    assert problem.get("reason") == reason


async def test_without_a_good_token_there_is_401_and_nothing_about_why(partner: Partner) -> None:
    wrong = [
        None,
        "",
        "Bearer",
        f"Basic {partner.token}",
        f"Bearer {partner.token}x",
        f"Bearer {partner.token[:-1]}",
        "Bearer dashboard-tests-token",
        f"Bearer ap_live_zzzzzzz9_{partner.token[-43:]}",
    ]
    async with httpx.AsyncClient(base_url=partner.client.base_url, trust_env=False) as stranger:
        for authorization in wrong:
            headers = {} if authorization is None else {"authorization": authorization}
            response = await stranger.get("/api/appointments", headers=headers)
            assert_problem(response, 401)
            assert response.headers["www-authenticate"] == "Bearer"
            assert set(response.json()) == {"type", "title", "status", "request_id"}
        assert (await stranger.get(f"/api/company?access_token={partner.token}")).status_code == 401
        twice = [("authorization", f"Bearer {partner.token}")] * 2
        assert (await stranger.get("/api/company", headers=twice)).status_code == 401
        assert (
            await stranger.get("/api/company", headers={"authorization": f"bearer {partner.token}"})
        ).status_code == 200


async def test_a_method_that_is_not_there_is_answered_with_those_that_are(partner: Partner) -> None:
    response = await partner.client.put("/api/appointments", json={})
    assert_problem(response, 405)
    assert set(response.headers["allow"].split(", ")) == {"GET", "HEAD", "POST"}
    response = await partner.client.delete(f"/api/customers/{uuid4()}")
    assert_problem(response, 405)
    assert set(response.headers["allow"].split(", ")) == {"GET", "HEAD", "PATCH"}
    assert_problem(await partner.client.get(f"/api/appointments/{uuid4()}/confirm"), 405)
    for path in ("/api/appointments/", "/api", "/api/appointments/x/y/z", "/api/Company"):
        assert_problem(await partner.client.get(path), 404)


async def test_a_head_is_a_get_without_its_body(partner: Partner) -> None:
    got = await partner.client.get("/api/company")
    head = await partner.client.head("/api/company")
    assert (head.status_code, head.content, head.headers["etag"]) == (200, b"", got.headers["etag"])


async def test_answers_that_a_client_does_not_take_are_406(partner: Partner) -> None:
    assert_problem(await partner.client.get("/api/company", headers={"accept": "text/html"}), 406)
    assert (await partner.client.get("/api/company", headers={"accept": "text/html, */*;q=0.1"})).status_code == 200
    for accept, acceptable in (
        ("", True),
        ("application/json", True),
        ("APPLICATION/JSON; charset=utf-8", True),
        ("application/*;q=0.5", True),
        ("application/json;q=0", False),
        ("application/json;q=0.000, text/plain", False),
        ("text/*", False),
    ):
        assert is_acceptable([(b"accept", accept.encode())]) is acceptable, accept
    assert is_acceptable([])


async def test_bodies_that_cannot_be_understood_are_told_apart(partner: Partner) -> None:
    post = partner.client.post

    async def sent(body: bytes, content_type: str = "application/json") -> httpx.Response:
        return await post("/api/customers", content=body, headers={"content-type": content_type})

    assert_problem(await sent(b"last_name=Kim", "application/x-www-form-urlencoded"), 415)
    assert_problem(await sent(b'{"last_name": "Kim"}', "text/plain"), 415)
    too_large = await sent(b'{"last_name": "' + b"x" * RESOURCE_BODY_LIMIT + b'"}')
    assert_problem(too_large, 413)
    assert too_large.json()["detail"] == f"the body may have {RESOURCE_BODY_LIMIT} bytes"
    assert_problem(await sent(b""), 422, "invalid")
    deep = b'{"last_name": ' + b"[" * 10_000 + b"]" * 10_000 + b"}"
    for body in (
        b"{",
        b"[]",
        b"\xff",
        b'{"last_name": NaN}',
        b'{"last_name": "a", "last_name": "b"}',
        b'{"last_name": "a\\u0000"}',
        b'{"last_name": "\\ud800"}',
        b'{"last_name": 1e999}',
        deep,
    ):
        assert_problem(await sent(body), 422)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"last_name": "x" * 201}, "last_name"),
        ({"last_name": "a\nb"}, "last_name"),
        ({"last_name": "a\x1b]52;c;x"}, "last_name"),
        ({"last_name": ["a"]}, "last_name"),
        ({"last_name": " "}, "last_name"),
        ({"first_name": "Kim"}, "last_name"),
        ({"last_name": "Kim", "is_vip": "yes"}, "is_vip"),
        ({"last_name": "Kim", "phone": "12"}, "phone"),
        ({"last_name": "Kim", "email": "nobody"}, "email"),
        ({"last_name": "Kim", "tags": ["x"] * 51}, "tags"),
        ({"last_name": "Kim", "tags": ["x" * 51]}, "tags.0"),
        ({"last_name": "Kim", "notes": "x" * 10_001}, "notes"),
        ({"last_name": "Kim", "nmae": "x"}, "nmae"),
        ({"last_name": "Kim", "preferred_staff": "Anna Weiß"}, "preferred_staff"),
    ],
)
async def test_the_field_that_is_wrong_is_named(partner: Partner, body: dict[str, object], field: str) -> None:
    response = await partner.client.post("/api/customers", json=body)
    assert_problem(response, 422, "invalid")
    assert response.json().get("field", "") == field
    assert response.json()["errors"][0]["message"]


async def test_a_query_that_says_something_unknown_is_refused(partner: Partner) -> None:
    for path, field in (
        ("/api/appointments?form=2026-01-01T00:00:00Z", "form"),
        ("/api/appointments?from=2026-01-01", "from"),
        ("/api/appointments?from=1767225600", "from"),
        ("/api/appointments?limit=201", "limit"),
        ("/api/appointments?limit=", "limit"),
        ("/api/appointments?status=no-show", "status.0"),
        ("/api/availability?service=schnitt&days=63", "days"),
        ("/api/availability", "service"),
        ("/api/customers?name=%00", "name"),
        ("/api/calls?customer_id=x", "customer_id"),
    ):
        response = await partner.client.get(path)
        assert_problem(response, 422, "invalid")
        assert response.json()["field"] == field


async def test_what_is_no_id_is_not_there(partner: Partner) -> None:
    for path in ("/api/appointments/x", "/api/customers/1", "/api/calls/%00", f"/api/calls/{uuid4()}"):
        assert_problem(await partner.client.get(path), 404)


async def test_a_company_s_token_opens_its_own_dashboard_only(partners: Partners) -> None:
    own, other = await partners(), await partners()
    reader = await partners([TokenScope.CALLS_READ], of=own)

    async def shown() -> bool:
        return (await own.client.get("/api/dashboard")).status_code == 200

    await until(shown)
    content = (await own.client.get("/api/dashboard")).json()
    assert content["company"] == content["today"]["company"] == own.slug
    assert "queues" not in content
    assert (await own.client.get(f"/api/dashboard?company={own.slug}")).json()["company"] == own.slug
    assert_problem(await own.client.get(f"/api/dashboard?company={other.slug}"), 404)
    assert_problem(await reader.client.get("/api/dashboard"), 403, "scope_missing")
    assert_problem(await own.client.get("/metrics", headers={"x-forwarded-for": "192.0.2.1"}), 401)


async def test_requests_are_counted_under_their_route(partner: Partner) -> None:
    made = await partner.booked(at(9, 10))
    await partner.client.get(f"/api/appointments/{made['id']}")
    await partner.client.get(f"/api/appointments/{uuid4()}")
    text = (await partner.client.get("/metrics", headers={"authorization": ""})).text
    assert 'route="GET /api/appointments/{appointment_id}"' in text
    assert made["id"] not in text


def test_moments_are_read_as_rfc_3339_and_nothing_else() -> None:
    assert read_moment("2026-03-04T10:00:00+01:00").isoformat() == "2026-03-04T09:00:00+00:00"
    assert read_moment("2026-03-04t09:00:00.123456789z").microsecond == 123_456
    assert read_moment("2016-12-31T23:59:60Z").second == 59
    assert read_moment("0001-01-01T00:00:00+23:59") == EARLIEST
    assert read_moment("9999-12-31T23:59:59-23:59") == LATEST
    for wrong in (
        "2026-03-04T10:00:00",
        "2026-03-04",
        "2026-02-30T10:00:00Z",
        "2026-03-04 10:00:00Z",
        "1767225600",
        1767225600,
        None,
        "２026-03-04T10:00:00Z",
        "2026-03-04T10:00:00Z\n",
    ):
        with pytest.raises(ValueError, match=r"must be|no date"):
            read_moment(wrong)
    assert read_day("0000-01-01") < read_day("2026-03-04") < read_day("9999-12-31")


def test_tags_are_compared_weakly_for_reading() -> None:
    assert is_unchanged('W/"3"', 3)
    assert is_unchanged('"1","3"', 3)
    assert not is_unchanged('"33"', 3)
    assert not is_unchanged(None, 3)
