"""What Prometheus reads of the system: checked by Prometheus' own parser."""

from __future__ import annotations

from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from backend.watch.metrics import system_figures
from backend.watch.reader import Reading
from backend.watch.snapshots import DOMAINS
from tests.watch.samples import SAMPLES, hostile


def figures(*, dangerous: bool = False) -> dict[str, Metric]:
    """The families by name, as the parser reads them."""
    readings = [
        Reading(domain, hostile(SAMPLES[domain]) if dangerous else SAMPLES[domain], "valkey", 0.4, None, "live")
        for domain in DOMAINS
    ]
    families: dict[str, Metric] = {}
    for family in text_string_to_metric_families(system_figures(readings)):
        assert family.name not in families, f"{family.name} is there twice"
        families[family.name] = family
    return families


def value(family: Metric, **labels: str) -> float:
    """The sample with these labels."""
    (sample,) = [sample for sample in family.samples if sample.labels == labels]
    return float(sample.value)


def test_the_figures_are_those_of_the_snapshots() -> None:
    found = figures()
    assert value(found["askpro_calls_ongoing"]) == 1
    assert value(found["askpro_queue_jobs"], queue="webhooks", state="ready") == 12
    assert value(found["askpro_queue_oldest_seconds"], queue="webhooks") == 0.4
    assert value(found["askpro_db_client_connection_count"], state="idle") == 20
    assert value(found["askpro_db_commits"]) == 1000
    assert value(found["askpro_node_cpu_ratio"], node="node-1") == 0.31
    assert value(found["askpro_process_up"], node="node-1", process="publisher") == 0
    assert value(found["askpro_webhook_success_ratio"]) == 0.998
    assert value(found["askpro_revenue_per_request_euros"]) == 0.312
    assert (
        value(found["askpro_http_request_duration_quantile_seconds"], route="POST /api/retell/webhook", quantile="0.99")
        == 0.023
    )
    assert value(found["askpro_snapshot_age_seconds"], domain="fleet") == 0.4


def test_what_is_unknown_is_absent() -> None:
    found = figures()
    assert "askpro_db_disk_free_bytes" not in found
    assert "askpro_db_replication_lag_seconds" not in found
    assert "askpro_bookings_per_minute_last_week" not in found
    queues = {sample.labels["queue"] for sample in found["askpro_queue_drain_seconds"].samples}
    assert queues == {"webhooks"}


def test_what_people_said_about_queues_is_counted() -> None:
    found = figures()
    paused = {sample.labels["kind"]: sample.value for sample in found["askpro_pauses"].samples}
    assert (paused["queue"], paused["provider"]) == (1, 0), "what is on its ramp is over"
    assert [found[name].samples[0].value for name in ("askpro_quarantines", "askpro_balancing")] == [1, 1]


def test_names_have_the_prefix_and_say_their_unit() -> None:
    for name, family in figures().items():
        assert name.startswith("askpro_")
        assert family.documentation
        assert family.type in {"gauge", "counter"}
        assert not name.endswith(("_ms", "_percent", "_cents", "_minutes"))


def test_no_label_is_chosen_by_strangers() -> None:
    allowed = {
        "domain",
        "queue",
        "state",
        "job_type",
        "quantile",
        "reason",
        "node",
        "version",
        "process",
        "route",
        "kind",
    }
    for family in figures().values():
        for sample in family.samples:
            assert set(sample.labels) <= allowed


def test_hostile_text_in_a_label_is_escaped() -> None:
    found = figures(dangerous=True)
    assert "askpro_queue_jobs" in found
    assert len(found) == len(figures())


def test_nothing_known_is_nothing_said() -> None:
    assert system_figures([Reading("calls", None, "nowhere", None, "gone", "unknown")]) == ""
