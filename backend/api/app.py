"""The API's application: its routes, and what is around them."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from backend.api.config import ApiConfig
from backend.api.dashboard import DASHBOARD, Dashboard
from backend.api.frame import Frame
from backend.api.functions import RETELL_FUNCTION, FunctionEndpoint
from backend.api.health import LIVEZ, READYZ, Livez, Readyz
from backend.api.limits.clients import Clients
from backend.api.limits.limiting import Guard, Guarded
from backend.api.metrics import METRICS, Metrics
from backend.api.partners.documented import documented_api
from backend.api.partners.entrance import Entrance
from backend.api.partners.openapi import OPENAPI, OpenApi
from backend.api.problems import Problem
from backend.api.resources import Resources
from backend.api.timings import Timings
from backend.api.webhooks import (
    CALCOM_WEBHOOK,
    RETELL_INBOUND,
    RETELL_WEBHOOK,
    Inbound,
    Webhook,
    calcom_sender,
    retell_sender,
)
from backend.valkey.rates import Rates


def create_app(config: ApiConfig) -> Starlette:
    """The application; its lifespan opens the connections and raises when there is no database.

    Raises ValueError for proxies that are no networks.
    """
    guard = Guard(
        config.limits,
        Rates(config.valkey_url, f"{config.node}:{os.getpid()}"),
        Clients(config.trusted_proxies, config.proxy_header),
    )
    resources = Resources(config=config, timings=Timings(config.node), guard=guard)
    retell = retell_sender(config)
    documented = documented_api(resources)
    endpoints: dict[tuple[str, str], ASGIApp] = {
        ("POST", RETELL_WEBHOOK): Webhook(resources, retell),
        ("POST", RETELL_INBOUND): Inbound(resources, retell),
        ("POST", RETELL_FUNCTION): FunctionEndpoint(resources, retell),
        ("POST", CALCOM_WEBHOOK): Webhook(resources, calcom_sender(config)),
        ("GET", DASHBOARD): Dashboard(resources),
        ("GET", LIVEZ): Livez(resources),
        ("GET", READYZ): Readyz(resources),
        ("GET", METRICS): Metrics(resources),
        ("GET", OPENAPI): OpenApi(resources, documented),
    }
    endpoints |= dict.fromkeys(documented.operations(), Entrance(documented, resources))

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        async with resources.opened():
            yield

    app = Starlette(
        routes=_routes(endpoints),
        middleware=[
            Middleware(
                Frame,
                timings=resources.timings,
                endpoints={route: guard.around(*route, endpoint) for route, endpoint in endpoints.items()},
            ),
            Middleware(Guarded, guard=guard),
        ],
        exception_handlers={HTTPException: _as_problem},
        lifespan=lifespan,
    )
    app.router.redirect_slashes = False
    app.state.resources = resources
    return app


class ByMethod:
    """ASGI: one path's endpoints. A HEAD is its GET without the body, which the server leaves out."""

    def __init__(self, endpoints: Mapping[str, ASGIApp]) -> None:
        self._endpoints = endpoints

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["method"] == "HEAD":
            scope = {**scope, "method": "GET"}
        await self._endpoints[scope["method"]](scope, receive, send)


def _routes(endpoints: Mapping[tuple[str, str], ASGIApp]) -> list[Route]:
    """One route for each path, so that a refused method is answered with all that there are."""
    paths: dict[str, dict[str, ASGIApp]] = {}
    for (method, path), endpoint in endpoints.items():
        paths.setdefault(path, {})[method] = endpoint
    return [Route(path, ByMethod(methods), methods=list(methods)) for path, methods in paths.items()]


async def _as_problem(_request: Request, error: Exception) -> Response:
    """What the router refuses (no such route, another method) becomes a problem like every other."""
    assert isinstance(error, HTTPException)
    problem = Problem(error.status_code)
    problem.headers = [(name.lower().encode(), value.encode()) for name, value in (error.headers or {}).items()]
    raise problem
