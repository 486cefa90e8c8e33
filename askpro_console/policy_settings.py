"""What can be set of the policies of queues and job types, as `queues.webhooks.timeout_s`.

What is built in, and what each value means for the queue, stands in `backend/queue/policies.py`; here are the limits
within which it can be set. The docstring under each field is what `askpro config --example` prints.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from typing import Annotated, Any, get_type_hints

import msgspec

from askpro_console.field_texts import field_texts
from backend.queue.policies import BUILT_IN, BUILT_IN_JOBS, LIMITS_PREFIX, Policies, Told

QUEUES, JOBS = "queues", "jobs"

Slots = Annotated[int, msgspec.Meta(ge=1, le=1000)]
Attempts = Annotated[int, msgspec.Meta(ge=1, le=50)]
Starts = Annotated[int, msgspec.Meta(ge=2, le=20)]
Priority = Annotated[int, msgspec.Meta(ge=-1000, le=1000)]
Limit = Annotated[float, msgspec.Meta(gt=0, le=3600)]
Waits = Annotated[
    tuple[Annotated[float, msgspec.Meta(ge=0, le=86_400)], ...], msgspec.Meta(min_length=1, max_length=50)
]
Share = Annotated[float, msgspec.Meta(ge=0, le=1)]
OrNever = Annotated[float, msgspec.Meta(ge=0)]
CountOrNever = Annotated[int, msgspec.Meta(ge=0)]
Minutes = Annotated[int, msgspec.Meta(ge=1, le=5_256_000)]


class QueueValues(msgspec.Struct, frozen=True, kw_only=True):
    """One queue, and what holds for its job types unless they say otherwise."""

    floor: Slots
    """Slots that the balancer never takes away."""
    concurrency: Slots
    """Jobs at once of one worker, while nobody has said otherwise."""
    ceiling: Slots
    """Slots that nobody goes beyond."""
    batch: Slots
    """Jobs claimed in one round trip."""
    pausable: bool
    """Whether people may pause it."""
    alert_oldest_s: OrNever
    """The oldest job that may start is too old: warned of here, critical at three times as much; 0 never."""
    alert_drain_s: OrNever
    """What is ready takes too long to do: warned of here, critical at five times as much; 0 never."""
    alert_backlog: CountOrNever
    """So many jobs are ready; 0 never."""
    alert_silence_s: OrNever
    """For so long nothing was put in; 0 never."""
    alert_failure_share: Share
    """So large a part of the runs of the last 15 minutes failed, 0.2 is a fifth; 0 never."""
    timeout_s: Limit
    """A job that runs longer has failed."""
    attempts: Attempts
    """Attempts before a job is held."""
    backoff_s: Waits
    """Wait before each retry; the last one holds for all further ones."""
    jitter: Share
    """Each wait varies by up to this share in both directions."""
    crash_starts: Starts
    """So many starts that ended with the worker make a job poison: it is held."""
    keep_done_minutes: Minutes
    """Life of the record of a run that succeeded."""
    keep_failed_minutes: Minutes
    """Life of the record of a run that did not."""
    keep_held_minutes: Minutes
    """Life of a held job after somebody decided about it."""


class JobValues(msgspec.Struct, frozen=True, kw_only=True):
    """One job type, where it is not as its queue says."""

    priority: Priority
    """Within its queue: higher starts first."""
    timeout_s: Limit
    """A job that runs longer has failed."""
    attempts: Attempts
    """Attempts before a job is held."""
    backoff_s: Waits
    """Wait before each retry; the last one holds for all further ones."""
    jitter: Share
    """Each wait varies by up to this share in both directions."""
    crash_starts: Starts
    """So many starts that ended with the worker make a job poison: it is held."""
    permanent: tuple[str, ...]
    """Names of error types that no further attempt can mend: the job is held at once."""
    pausable: bool
    """Whether people may pause it."""
    keep_done_minutes: Minutes
    """Life of the record of a run that succeeded."""
    keep_failed_minutes: Minutes
    """Life of the record of a run that did not."""
    keep_held_minutes: Minutes
    """Life of a held job after somebody decided about it."""


@cache
def policy_kinds() -> Mapping[str, Any]:
    """Every dotted key that can be set, with its type and limits."""
    found: dict[str, Any] = {}
    for section, subjects, record in sections():
        hints = get_type_hints(record, include_extras=True)
        found |= {f"{section}.{subject}.{name}": hints[name] for subject in subjects for name in hints}
    return found


def sections() -> tuple[tuple[str, tuple[str, ...], type[msgspec.Struct]], ...]:
    """The two sections, what each has tables for, and what such a table may say."""
    return (
        (QUEUES, tuple(queue.value for queue in BUILT_IN.queues), QueueValues),
        (JOBS, tuple(BUILT_IN_JOBS), JobValues),
    )


def texts(record: type[msgspec.Struct]) -> dict[str, str]:
    """The text under each field of a record."""
    found = field_texts(sys.modules[__name__])
    return {name: found[record.__name__, name] for name in record.__struct_fields__}


def built_in(subject: str, name: str) -> object:
    """The value that holds where nobody set one."""
    policy = next((policy for queue, policy in BUILT_IN.queues.items() if queue == subject), None)
    if policy is None:
        return getattr(BUILT_IN.job(subject), name)
    if name.startswith(LIMITS_PREFIX):
        return getattr(policy.limits, name.removeprefix(LIMITS_PREFIX))
    return getattr(policy, name)


def policies_of(values: Mapping[str, tuple[object, str]]) -> Policies:
    """The policies with these values over what is built in: dotted key to value and source."""
    return BUILT_IN.laid_over(
        Told(subject=subject, name=name, value=value, source=source)
        for key, (value, source) in values.items()
        for subject, name in [_parts(key)]
    )


def policy_contradictions(policies: Policies) -> Iterator[tuple[str, str]]:
    """What cannot be, each with the key of a setting that says so."""
    said = {(one.subject, one.name) for one in policies.told}
    for queue, policy in policies.queues.items():
        key = f"{QUEUES}.{queue.value}"
        for lower, upper in (("floor", "concurrency"), ("concurrency", "ceiling"), ("batch", "concurrency")):
            least, most = getattr(policy, lower), getattr(policy, upper)
            if least > most:
                first = lower if (queue.value, lower) in said else upper
                other = upper if first == lower else lower
                yield (
                    f"{key}.{first}",
                    f"`{key}.{first}` is {getattr(policy, first)}, but `{other}` is {getattr(policy, other)}:"
                    f" {lower} is at most {upper}",
                )


def _parts(key: str) -> tuple[str, str]:
    """Subject and name of `jobs.default.retention.priority`."""
    subject, _, name = key.partition(".")[2].rpartition(".")
    return subject, name


def is_policy(key: str) -> bool:
    """Whether a dotted key stands in one of these sections."""
    return key.partition(".")[0] in {QUEUES, JOBS}


def table_of(profile: str, key: str) -> str:
    """The table of the settings file in which a key stands."""
    section = key.partition(".")[0]
    subject, _ = _parts(key)
    return f"[profiles.{profile}.{section}.{_quoted(subject)}]"


def _quoted(subject: str) -> str:
    return f'"{subject}"' if "." in subject else subject


def example(profile: str) -> Iterable[str]:
    """Lines of a settings file that says nothing but what is true anyway: every queue, and one job type."""
    for section, subjects, record in sections():
        told = texts(record)
        for subject in subjects if section == QUEUES else subjects[:1]:
            yield ""
            yield f"# {(record.__doc__ or '').strip()}"
            if section == JOBS:
                yield f"# The types: {', '.join(subjects)}."
            yield table_of(profile, f"{section}.{subject}.x")
            for name in record.__struct_fields__:
                yield f"# {told[name]}"
                yield f"# {name} = {_toml(built_in(subject, name))}"


def _toml(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return msgspec.json.format(msgspec.json.encode(value), indent=0).decode()
