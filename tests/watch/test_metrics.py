"""What Prometheus reads of the system: checked by Prometheus' own parser."""

from __future__ import annotations

import msgspec
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from backend.domain.vocabulary import QueueName, TroubleKind
from backend.watch.metrics import system_figures
from backend.watch.reader import Reading
from backend.watch.snapshots import DOMAINS, QueuesSnapshot
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


def test_what_jobs_do_to_their_workers_is_told_by_queue_and_sort_and_as_nothing_while_there_is_none() -> None:
    found = figures()
    sorts = found["askpro_job_troubles"]
    assert value(sorts, queue="webhooks", kind="overrun") == 1
    assert value(sorts, queue="default", kind="overrun") == 0
    told = {(sample.labels["queue"], sample.labels["kind"]): sample.value for sample in sorts.samples}
    kinds = {*(kind.value for kind in TroubleKind), "silent"}
    assert told.keys() == {(queue.value, kind) for queue in QueueName for kind in kinds}
    assert sum(told.values()) == 1
    (each,) = found["askpro_job_type_troubles"].samples
    assert (each.labels, each.value) == ({"job_type": "webhooks.retell_call", "kind": "overrun"}, 2)


def test_a_job_type_on_several_nodes_is_one_series() -> None:
    snapshot = SAMPLES["queues"]
    assert isinstance(snapshot, QueuesSnapshot)
    (one,) = snapshot.troubles
    replace = msgspec.structs.replace
    spread = replace(snapshot, troubles=tuple(replace(one, node=f"node-{number}") for number in range(30)))
    lines = system_figures([Reading("queues", spread, "valkey", 0.4, None, "live")]).splitlines()
    assert 'askpro_job_troubles{queue="webhooks",kind="overrun"} 1' in lines
    assert 'askpro_job_type_troubles{job_type="webhooks.retell_call",kind="overrun"} 60' in lines


def test_held_jobs_are_summed_up_by_queue_and_no_cause_is_a_label() -> None:
    found = figures()
    assert value(found["askpro_held_causes"], queue="webhooks") == 3
    assert value(found["askpro_held_causes"], queue="notifications") == 0
    assert value(found["askpro_held_last_hour"], queue="webhooks") == 2
    assert value(found["askpro_held_largest_cause_jobs"], queue="webhooks") == 2
    assert value(found["askpro_held_jobs"], job_type="webhooks.retell_call") == 2
    text = system_figures([Reading("queues", SAMPLES["queues"], "valkey", 0.4, None, "live")])
    assert "CalendarRefused" not in text
    assert "f1" not in text


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
