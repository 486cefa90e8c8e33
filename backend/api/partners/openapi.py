"""`/openapi.json`: the description of the whole API, for this machine and for whoever has a token."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import msgspec
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute
from starlette.types import Receive, Scope, Send

from backend.api.access import authenticate, bearer, require_reader
from backend.api.partners.answers import ALWAYS, MEANINGS, PROBLEM_CONTENT, ProblemShape, Requires
from backend.api.partners.documented import ROUTERS, Documented
from backend.api.problems import send_bytes
from backend.api.resources import Resources
from backend.services.tokens import PREFIX

OPENAPI = "/openapi.json"

Json = dict[str, object]

ABOUT = """
Find free slots, book, move and cancel appointments, look up customers and calls.

**Begin**: `askpro token create --company SLUG --scope appointments:write` prints a token; send it as
`Authorization: Bearer ap_live_…`. `GET /api/company` tells the slugs that everything else uses.

**Conventions**: moments are RFC 3339 with an offset; money is in whole cents; errors are `application/problem+json`
with a `reason` for programs and a `request_id`; lists are pages with a `next` link; an `ETag` is the version;
`Idempotency-Key` makes a POST safe to repeat.
"""

SECURITY: Json = {
    "token": {"type": "http", "scheme": "bearer", "description": "A company's token, `ap_live_…`."},
    "operator": {
        "type": "http",
        "scheme": "bearer",
        "description": "The operator's token (secret `dashboard_token`); requests from this machine need none.",
    },
    "retell": {
        "type": "apiKey",
        "in": "header",
        "name": "x-retell-signature",
        "description": "`v={unix ms},d={hex}`: HMAC-SHA256 of body and milliseconds.",
    },
    "calcom": {
        "type": "apiKey",
        "in": "header",
        "name": "x-cal-signature-256",
        "description": "HMAC-SHA256 of the body, hex.",
    },
}

ANSWER_HEADERS: Json = {
    "X-Request-ID": {"description": "Names this request; tell it when you ask for help.", "schema": {"type": "string"}}
}

RETRY_HEADERS: Json = {
    **ANSWER_HEADERS,
    "Retry-After": {"description": "Seconds.", "schema": {"type": "integer"}},
}

REPORTS: Json = {"type": "object", "additionalProperties": True}


class OpenApi:
    """Answers `GET /openapi.json`. The document is made with the first request."""

    def __init__(self, resources: Resources, documented: Documented) -> None:
        self._resources = resources
        self._documented = documented
        self._page: tuple[bytes, bytes] | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if bearer(scope).startswith(PREFIX):
            await authenticate(scope, self._resources)
        else:
            require_reader(scope, self._resources.config.dashboard_token)
        if self._page is None:
            body = msgspec.json.encode(document(self._documented))
            self._page = body, b'"%s"' % hashlib.sha256(body).hexdigest()[:32].encode()
        body, tag = self._page
        cache = [(b"etag", tag), (b"cache-control", b"private, max-age=300")]
        if any(name == b"if-none-match" and tag in value for name, value in scope["headers"]):
            await send({"type": "http.response.start", "status": 304, "headers": cache})
            await send({"type": "http.response.body", "body": b""})
            return
        await send_bytes(send, 200, body, content_type=b"application/json", headers=cache)


def document(documented: Documented) -> Json:
    """The OpenAPI document (3.1) of the documented resources and of the routes beside them."""
    told: Json = get_openapi(
        title=documented.title,
        version=documented.version,
        description=ABOUT.strip(),
        routes=documented.routes,
        tags=[
            {"name": "company", "description": "What there is to be booked."},
            {"name": "availability", "description": "When."},
            {"name": "appointments", "description": "Booked, held, moved, cancelled."},
            {"name": "customers", "description": "Who comes."},
            {"name": "calls", "description": "What the voice agent was asked."},
            {"name": "providers", "description": "For the voice agent and the calendar; signed."},
            {"name": "operation", "description": "For those who run it."},
        ],
    )
    paths = _object(told, "paths")
    for method, path, scope in _scopes():
        operation = _object(_object(paths, path), method)
        operation["security"] = [{"token": [] if scope is None else [scope]}]
        if method == "patch":
            _demand_condition(operation)
        for status, answer in _object(operation, "responses").items():
            assert isinstance(answer, dict)
            answer["headers"] = _headers(method, path, status)
    for method, path, status, links in LINKS:
        _object(_object(_object(_object(paths, path), method), "responses"), status)["links"] = _links(links)
    for path, operations in BESIDE.items():
        _object(paths, path).update(operations)
    components = _object(told, "components")
    components["securitySchemes"] = SECURITY
    schemas = _object(components, "schemas")
    problem = ProblemShape.model_json_schema(mode="serialization", ref_template="#/components/schemas/{model}")
    for name, schema in problem.pop("$defs", {}).items():
        schemas[name] = schema
    schemas["Problem"] = problem | {"title": "Problem"}
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    return told


def _scopes() -> Iterator[tuple[str, str, str | None]]:
    """Method (lower case), path and needed scope of every documented operation."""
    for router in ROUTERS:
        for route in router.routes:
            assert isinstance(route, APIRoute)
            needed = [one.dependency.scope for one in route.dependencies if isinstance(one.dependency, Requires)]
            for method in route.methods or ():
                yield method.lower(), route.path, needed[0].value if needed else None


def _demand_condition(operation: Json) -> None:
    """Say that `If-Match` is needed. FastAPI is told that it is not, because its absence is answered 428, not 422."""
    parameters = operation["parameters"]
    assert isinstance(parameters, list)
    for parameter in parameters:
        if parameter["name"] == "If-Match":
            parameter |= {"required": True, "schema": {"type": "string", "maxLength": 500}}


def _headers(method: str, path: str, status: str) -> Json:
    headers = dict(RETRY_HEADERS if status in {"429", "503"} else ANSWER_HEADERS)
    single = path.endswith("}") or path == "/api/company" or method != "get"
    if status in {"200", "201", "304"} and single:
        headers["ETag"] = {"description": "The version.", "schema": {"type": "string"}}
    if status == "200" and not single:
        headers["Link"] = {"description": 'The next page, rel="next".', "schema": {"type": "string"}}
    if status == "201":
        headers["Location"] = {"description": "Where it is.", "schema": {"type": "string"}}
    if method == "post" and status in {"200", "201"}:
        headers["Idempotency-Replayed"] = {
            "description": "true when this key was answered before.",
            "schema": {"type": "string", "enum": ["true"]},
        }
    return headers


def _object(parent: Json, name: str) -> Json:
    child = parent.setdefault(name, {})
    assert isinstance(child, dict)
    return child


def _problems(*statuses: int) -> Json:
    return {
        str(status): {
            "description": MEANINGS[status],
            "content": PROBLEM_CONTENT,
            "headers": RETRY_HEADERS if status in {429, 503} else ANSWER_HEADERS,
        }
        for status in statuses
    }


def _signed(summary: str, scheme: str, answers: Json) -> Json:
    operation: Json = {
        "tags": ["providers"],
        "summary": summary,
        "security": [{scheme: []}],
        "requestBody": {"required": True, "content": {"application/json": {"schema": REPORTS}}},
        "responses": answers | _problems(401, 413, 422, 429, 500, 503),
    }
    return {"post": operation}


def _told(summary: str, media: str, *, security: list[Json], also: tuple[int, ...] = ()) -> Json:
    schema: Json = {"type": "string"} if media.startswith("text/") else REPORTS
    found: Json = {"description": "So it is.", "content": {media: {"schema": schema}}, "headers": ANSWER_HEADERS}
    responses: Json = {"200": found}
    operation: Json = {
        "tags": ["operation"],
        "summary": summary,
        "security": security,
        "responses": responses | _problems(*also),
    }
    return {"get": operation}


_APPOINTMENT = "/api/appointments/{appointment_id}"
_CUSTOMER = "/api/customers/{customer_id}"
_OF_APPOINTMENT = (
    ("get", _APPOINTMENT),
    ("get", f"{_APPOINTMENT}/events"),
    *(
        ("post", f"{_APPOINTMENT}/{verb}")
        for verb in ("confirm", "reschedule", "complete", "no-show", "cancel", "restore")
    ),
)

LINKS: tuple[tuple[str, str, str, dict[tuple[str, str], Json]], ...] = (
    ("post", "/api/appointments", "201", {one: {"appointment_id": "$response.body#/id"} for one in _OF_APPOINTMENT}),
    (
        "get",
        "/api/appointments",
        "200",
        {one: {"appointment_id": "$response.body#/items/0/id"} for one in _OF_APPOINTMENT},
    ),
    ("get", _APPOINTMENT, "200", {("get", _CUSTOMER): {"customer_id": "$response.body#/customer_id"}}),
    (
        "post",
        "/api/customers",
        "201",
        {
            ("get", _CUSTOMER): {"customer_id": "$response.body#/id"},
            ("patch", _CUSTOMER): {
                "customer_id": "$response.body#/id",
                "header.If-Match": "$response.header.ETag",
            },
        },
    ),
    (
        "get",
        _CUSTOMER,
        "200",
        {
            ("patch", _CUSTOMER): {
                "customer_id": "$request.path.customer_id",
                "header.If-Match": "$response.header.ETag",
            },
            ("get", "/api/appointments"): {"customer_id": "$response.body#/id"},
        },
    ),
    ("get", "/api/customers", "200", {("get", _CUSTOMER): {"customer_id": "$response.body#/items/0/id"}}),
    ("get", "/api/calls", "200", {("get", "/api/calls/{call_id}"): {"call_id": "$response.body#/items/0/id"}}),
)
"""What an answer leads to: method, path, status, and by operation the values that it gives."""


def _links(links: dict[tuple[str, str], Json]) -> Json:
    return {
        f"{method} {path}": {
            "operationRef": f"#/paths/{path.replace('~', '~0').replace('/', '~1')}/{method}",
            "parameters": parameters,
        }
        for (method, path), parameters in links.items()
    }


_STORED: Json = {"204": {"description": "Stored, now or before.", "headers": ANSWER_HEADERS}}
_UNCHANGED: Json = {"304": {"description": MEANINGS[304], "headers": ANSWER_HEADERS}}

_SPOKEN: Json = {
    "200": {
        "description": "The answer, business refusals included.",
        "headers": ANSWER_HEADERS,
        "content": {
            "application/json": {
                "schema": {
                    "type": "object",
                    "required": ["ok", "message"],
                    "properties": {
                        "ok": {"type": "boolean"},
                        "message": {"type": "string", "description": "A sentence that the agent can speak."},
                        "reason": {"type": "string", "description": "With ok false."},
                    },
                }
            }
        },
    }
}

_INBOUND: Json = {
    "200": {
        "description": "Who is calling; empty when nobody knows.",
        "headers": ANSWER_HEADERS,
        "content": {
            "application/json": {
                "schema": {
                    "type": "object",
                    "required": ["call_inbound"],
                    "properties": {"call_inbound": {"type": "object", "additionalProperties": True}},
                }
            }
        },
    }
}

_OPERATOR: list[Json] = [{"operator": []}]
_EITHER: list[Json] = [{"operator": []}, {"token": ["dashboard:read"]}]
_ANY: list[Json] = [{"operator": []}, {"token": []}]

_HEALTH: Json = {
    "503": {
        "description": "It is not.",
        "content": {"application/json": {"schema": REPORTS}},
        "headers": ANSWER_HEADERS,
    }
}

_DASHBOARD = _told("Figures of now", "application/json", security=_EITHER, also=(401, 403, 404, 422, 429, 500, 503))
_object(_DASHBOARD, "get")["parameters"] = [
    {
        "name": "company",
        "in": "query",
        "required": False,
        "schema": {"type": "string", "pattern": "^([a-z0-9][a-z0-9-]{0,62})?$"},
        "description": "A slug. Without it: all companies; with a company's token: its own.",
    }
]
_object(_object(_DASHBOARD, "get"), "responses").update(_UNCHANGED)

_LIVEZ = _told("Whether the process is not stuck", "application/json", security=[])
_object(_object(_LIVEZ, "get"), "responses").update(_HEALTH)

_READYZ = _told("Whether it can do its work", "application/json", security=[])
_object(_object(_READYZ, "get"), "responses").update(_HEALTH)

BESIDE: dict[str, Json] = {
    "/api/retell/webhook": _signed("A call's event", "retell", _STORED),
    "/api/retell/inbound": _signed("Who is calling, before the phone is answered", "retell", _INBOUND),
    "/api/retell/function": _signed("A function that the agent calls while it speaks", "retell", _SPOKEN),
    "/api/calcom/webhook": _signed("A booking's event", "calcom", _STORED),
    "/api/dashboard": _DASHBOARD,
    "/metrics": _told("Figures for Prometheus", "text/plain", security=_OPERATOR, also=(401, 429, 500, 503)),
    "/livez": _LIVEZ,
    "/readyz": _READYZ,
    OPENAPI: _told("This description", "application/json", security=_ANY, also=(401, 429, 500, 503)),
}
"""Routes that are not FastAPI's (they are hot, or older than it), by path."""

assert set(ALWAYS) <= set(MEANINGS)
