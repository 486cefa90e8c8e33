"""Policies: what is built in, what settings lay over it, and that each value tells where it comes from."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import msgspec

from askpro_console.settings_file import load
from backend.domain.vocabulary import Provider, QueueName
from backend.queue.jobs import HANDLERS
from backend.queue.policies import BUILT_IN, BUILT_IN_JOBS, POLICIES, Policies, Published, job_type_of


def overlaid(directory: Path, text: str, environ: dict[str, str] | None = None) -> Policies:
    """The policies of a settings file."""
    file = directory / "askpro.toml"
    file.write_text(text, encoding="utf-8")
    return load(file, environ or {}).policies


def source(policies: Policies, subject: str, name: str) -> str:
    """Where a value comes from."""
    (line,) = [line for line in policies.lines(subject) if (line.subject, line.name) == (subject, name)]
    return line.source


def test_every_job_type_has_a_policy_and_no_policy_is_for_a_job_that_is_not() -> None:
    assert set(BUILT_IN_JOBS) == set(HANDLERS)


def test_no_queue_starts_outside_its_floor_and_ceiling() -> None:
    assert all(policy.floor <= policy.concurrency <= policy.ceiling for policy in POLICIES.values())
    appointments = POLICIES[QueueName.APPOINTMENTS]
    assert appointments.floor == appointments.concurrency  # nothing of it can be lent


def test_a_job_type_takes_from_its_queue_what_nobody_said_of_it(tmp_path: Path) -> None:
    policies = overlaid(
        tmp_path,
        "[profiles.local.queues.default]\ntimeout_s = 300\nattempts = 2\n"
        '[profiles.local.jobs."default.retention"]\ntimeout_s = 600\n',
        {"ASKPRO_JOBS_DEFAULT_RETENTION_BACKOFF_S": "1,2"},
    )

    assert policies.job("default.retention").timeout_s == 600
    assert policies.job("default.retention").attempts == 2
    assert policies.job("default.retention").backoff_s == (1, 2)
    assert policies.job("default.calendar_sync").timeout_s == 300
    assert policies.job("default.calendar_sync").provider is Provider.CALCOM
    assert BUILT_IN.job("default.retention").timeout_s == POLICIES[QueueName.DEFAULT].timeout_s


def test_each_value_tells_where_it_comes_from(tmp_path: Path) -> None:
    text = "[profiles.local.queues.default]\ntimeout_s = 300\n[profiles.local.jobs.default.retention]\npriority = 3\n"
    policies = overlaid(tmp_path, text, {"ASKPRO_QUEUES_DEFAULT_ALERT_OLDEST_S": "20"})

    assert policies.queue(QueueName.DEFAULT).limits.oldest_s == 20
    assert source(policies, "default", "alert_oldest_s") == "environment ASKPRO_QUEUES_DEFAULT_ALERT_OLDEST_S"
    assert source(policies, "default", "timeout_s") == "askpro.toml:2 [profiles.local.queues.default]"
    assert source(policies, "default", "attempts") == "built in"
    assert source(policies, "default.retention", "priority") == (
        'askpro.toml:4 [profiles.local.jobs."default.retention"]'
    )
    assert source(policies, "default.retention", "timeout_s") == (
        "queue default, askpro.toml:2 [profiles.local.queues.default]"
    )
    assert source(policies, "default.retention", "attempts") == "queue default"
    assert source(policies, "default.release_holds", "priority") == "built in"


def test_waits_that_too_few_attempts_never_reach_are_told() -> None:
    line = next(line for line in BUILT_IN.lines("webhooks") if line.name == "backoff_s")
    assert line.value == "10 s, 30 s, 60 s"

    fewer = BUILT_IN.with_queue(replace(POLICIES[QueueName.WEBHOOKS], attempts=3))
    line = next(line for line in fewer.lines("webhooks") if line.name == "backoff_s")
    assert line.value == "10 s, 30 s, 60 s (with 3 attempts never 60 s)"


def test_with_more_attempts_than_waits_the_last_wait_holds() -> None:
    assert [BUILT_IN.job("webhooks.retell_call").wait_s(attempt) for attempt in range(1, 6)] == [10, 30, 60, 60, 60]


def test_an_error_that_cannot_pass_is_known_by_its_name_or_by_what_it_is_a_kind_of(tmp_path: Path) -> None:
    policies = overlaid(tmp_path, '[profiles.local.jobs."default.retention"]\npermanent = ["LookupError"]\n')

    assert policies.job("default.retention").is_permanent(KeyError("x"))
    assert not policies.job("default.retention").is_permanent(ValueError("x"))


def test_a_job_type_that_was_moved_keeps_its_policy() -> None:
    assert job_type_of("default.webhooks.retell_call") == "webhooks.retell_call"
    assert job_type_of("webhooks.retell_call") == "webhooks.retell_call"
    assert BUILT_IN.job("default.webhooks.retell_call") == BUILT_IN.job("webhooks.retell_call")


def test_what_a_worker_publishes_can_be_read_by_others() -> None:
    told = msgspec.json.decode(BUILT_IN.published(QueueName.WEBHOOKS), type=Published)

    assert told.queue == POLICIES[QueueName.WEBHOOKS]
    assert {job.entrypoint for job in told.jobs} == {"webhooks.retell_call", "webhooks.calcom_booking"}
    assert told.lines == BUILT_IN.lines("webhooks")
