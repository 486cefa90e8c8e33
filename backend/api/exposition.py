"""This process's own figures in the Prometheus text format.

Names and labels follow TRUST §4.2: base units, `_total`, no label whose values strangers choose.
"""

from __future__ import annotations

from collections.abc import Mapping

from backend.api.resources import Resources
from backend.api.timings import RouteTimings
from backend.watch.prometheus import family, sample

BOUNDS_S = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)
"""OpenTelemetry's bounds for `http.server.request.duration`."""


def own_figures(resources: Resources) -> str:
    """Requests, intake and refusals of this process since its start."""
    lines: list[str] = []
    lines += requests(resources.timings.totals())
    running = resources.running
    intake = running.intake
    lines += family(
        "askpro_intake_deliveries_total",
        "counter",
        "Deliveries by what became of them.",
        (({"outcome": outcome}, count) for outcome, count in sorted(intake.counters.stored.items())),
    )
    lines += family(
        "askpro_intake_turned_away_total",
        "counter",
        "Deliveries answered 503 because they could not be stored in time.",
        [({}, intake.counters.turned_away)],
    )
    lines += family("askpro_intake_batches_total", "counter", "Batches written.", [({}, intake.counters.batches)])
    lines += family("askpro_intake_waiting", "gauge", "Deliveries waiting for a writer.", [({}, intake.waiting)])
    lines += family(
        "askpro_intake_rejects_total",
        "counter",
        "Refused deliveries by provider and reason.",
        (
            ({"provider": provider.value, "reason": reason.value}, count)
            for (provider, reason), count in sorted(running.rejects.counts.items())
        ),
    )
    lines += family(
        "askpro_event_loop_lag_seconds",
        "gauge",
        "Worst lag of the event loop within ten seconds.",
        [({}, resources.lag.worst_s)],
    )
    lines += family("askpro_api_info", "gauge", "The running version.", [({"version": resources.config.version}, 1)])
    return "\n".join(lines) + "\n"


def requests(routes: Mapping[str, RouteTimings]) -> list[str]:
    """Durations as a classic histogram and answers by status, for each route."""
    name = "askpro_http_server_request_duration_seconds"
    lines = [f"# HELP {name} Time from a request's headers to its answer.", f"# TYPE {name} histogram"]
    for route, timings in sorted(routes.items()):
        durations = timings.durations
        for bound, count in zip(BOUNDS_S, durations.cumulative(BOUNDS_S), strict=True):
            lines.append(sample(f"{name}_bucket", {"route": route, "le": str(bound)}, count))
        lines.append(sample(f"{name}_bucket", {"route": route, "le": "+Inf"}, durations.count))
        lines.append(sample(f"{name}_sum", {"route": route}, durations.total))
        lines.append(sample(f"{name}_count", {"route": route}, durations.count))
    lines += family(
        "askpro_http_server_responses_total",
        "counter",
        "Answers by route and status.",
        (
            ({"route": route, "status": str(status)}, count)
            for route, timings in sorted(routes.items())
            for status, count in sorted(timings.statuses.items())
        ),
    )
    return lines
