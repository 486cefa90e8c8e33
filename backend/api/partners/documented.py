"""The documented part of the API: the resources that partners use, one module each, as one FastAPI application."""

from __future__ import annotations

from collections.abc import Iterator

from fastapi import FastAPI
from fastapi.middleware.asyncexitstack import AsyncExitStackMiddleware
from fastapi.routing import APIRoute
from fastapi.telemetry import TelemetryConfig
from starlette.types import ASGIApp

from backend.api.partners import appointments, availability, calls, company, customers
from backend.api.resources import Resources

SILENT = TelemetryConfig(tracing=False, metrics=False, logs=False, operation_spans=False, auto_configure=False)
"""Requests are timed by our own frame; nothing is ever sent anywhere."""

ROUTERS = (company.router, availability.router, appointments.router, customers.router, calls.router)


class Documented(FastAPI):
    """FastAPI without what is around it: errors leave as exceptions, and our own frame answers them."""

    def build_middleware_stack(self) -> ASGIApp:
        """Only what its routes cannot do without."""
        return AsyncExitStackMiddleware(self.router)

    def operations(self) -> Iterator[tuple[str, str]]:
        """Method and path (with parameters in braces) of every operation."""
        for router in ROUTERS:
            for route in router.routes:
                assert isinstance(route, APIRoute)
                for method in sorted(route.methods or ()):
                    yield method, route.path


def documented_api(resources: Resources) -> Documented:
    """The application; its routes find `resources` in its state."""
    app = Documented(
        title="AskPro API",
        version=resources.config.version,
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        telemetry={
            "tracing": False,
            "metrics": False,
            "logs": False,
            "operation_spans": False,
            "auto_configure": False,
        },
    )
    app.state.resources = resources
    for router in ROUTERS:
        app.include_router(router)
    return app
