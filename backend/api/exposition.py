"""This process's own figures in the Prometheus text format.

Names and labels follow TRUST §4.2: base units, `_total`, no label whose values strangers choose.
"""

from __future__ import annotations

from collections.abc import Mapping

from backend.api.limits.gate import Gate, Priority
from backend.api.limits.limiting import Guard
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
    lines += limit_figures(resources.guard)
    lines += family(
        "askpro_event_loop_lag_seconds",
        "gauge",
        "Worst lag of the event loop within ten seconds.",
        [({}, resources.lag.worst_s)],
    )
    lines += family("askpro_api_info", "gauge", "The running version.", [({"version": resources.config.version}, 1)])
    return "\n".join(lines) + "\n"


def limit_figures(guard: Guard) -> list[str]:
    """What limits and gate refused, and how they stand."""
    rates = guard.rates
    lines = family(
        "askpro_limits_refused_total",
        "counter",
        "Requests answered 429, by the limit that was used up and the class of the route.",
        (({"limit": limit, "class": kind}, count) for (limit, kind), count in sorted(guard.limited.items())),
    )
    lines += family(
        "askpro_limits_verdicts_total",
        "counter",
        "Checks of limits: shared, by this process alone, or refused from memory.",
        [
            ({"by": "shared"}, rates.counters.shared),
            ({"by": "local"}, rates.counters.local),
            ({"by": "memory"}, rates.counters.remembered),
        ],
    )
    lines += family(
        "askpro_limits_late_total", "counter", "Checks that Valkey did not answer in time.", [({}, rates.counters.late)]
    )
    lines += family(
        "askpro_limits_losses_total", "counter", "How often Valkey went away.", [({}, rates.counters.losses)]
    )
    lines += family(
        "askpro_limits_shared",
        "gauge",
        "1 while limits are shared, 0 while each process has its own.",
        [({}, int(rates.shared))],
    )
    lines += family("askpro_limits_processes", "gauge", "Processes that share the limits.", [({}, rates.processes)])
    return lines + gate_figures(guard.gate)


def gate_figures(gate: Gate) -> list[str]:
    """How many requests are worked on, wait, and were turned away, by class."""
    lines = family("askpro_gate_limit", "gauge", "Requests that may be worked on at once.", [({}, gate.limit)])
    gated = [priority for priority in Priority if priority is not Priority.INTAKE]
    for name, kind, text, value in (
        ("inflight", "gauge", "Requests being worked on.", lambda each: gate.figures[each].inflight),
        ("waiting", "gauge", "Requests that wait for a place.", gate.waiting),
        ("entered_total", "counter", "Requests that found a place.", lambda each: gate.figures[each].entered),
        ("late_total", "counter", "Answers later than their class's target.", lambda each: gate.figures[each].late),
        ("shed_total", "counter", "Requests answered 503 for want of a place.", lambda each: gate.figures[each].shed),
    ):
        samples = [({"class": each.word}, value(each)) for each in gated]
        lines += family(f"askpro_gate_{name}", kind, text, samples)
    return lines


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
