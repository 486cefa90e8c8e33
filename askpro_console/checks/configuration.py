"""Checks of settings and secrets."""

from __future__ import annotations

import stat
from collections.abc import Iterator

from askpro_console.checks.findings import Finding
from askpro_console.secrets import KNOWN, SecretStore
from askpro_console.settings_file import ENVIRONMENT_PREFIX, fields, policy_fields
from askpro_console.system import System
from backend.domain.vocabulary import Verdict

OWN_VARIABLES = ("ASKPRO_HOME", "ASKPRO_PROFILE", "ASKPRO_SECRET_")

WITHOUT: dict[str, str] = {
    "retell_api_key": "every Retell webhook is refused",
    "calcom_webhook_secret": "every Cal.com webhook is refused",
}
"""What a missing secret means; those not listed are needed by nothing yet."""


def check_configuration(system: System) -> Iterator[Finding]:
    """The settings file and the environment. That the settings are right was found when they were loaded."""
    loaded = system.loaded
    found = f"profile {loaded.profile}, {loaded.file}" + ("" if loaded.file_exists else " (does not exist: defaults)")
    yield Finding(area="configuration", name="settings", verdict=Verdict.OK, detail=found)
    if loaded.file_exists and stat.S_IMODE(loaded.file.stat().st_mode) & 0o022:
        yield Finding(
            area="configuration",
            name="settings file",
            verdict=Verdict.WARN,
            detail=f"{loaded.file} can be changed by others",
            remedy=f"Run `chmod go-w {loaded.file}`.",
        )
    known = {field.variable for field in (*fields(), *policy_fields())}
    for name in sorted(system.environ):
        if name.startswith(ENVIRONMENT_PREFIX) and name not in known and not name.startswith(OWN_VARIABLES):
            yield Finding(
                area="configuration",
                name=name,
                verdict=Verdict.WARN,
                detail="no setting has this variable; it does nothing",
                remedy="`askpro config --json` lists every setting's variable.",
            )


def check_secrets(system: System) -> Iterator[Finding]:
    """Every known secret: where it is, and whether it may be there."""
    for name in KNOWN:
        yield _secret(system.secrets, name)


def _secret(store: SecretStore, name: str) -> Finding:
    looks = store.look(name)
    last = looks[-1]
    if last.verdict is Verdict.OK:
        return _finding(name, Verdict.OK, f"{last.place}: {last.detail}")
    if last.verdict is Verdict.CRIT:
        return _finding(name, Verdict.CRIT, last.detail, f"`askpro secrets doctor` shows every place; then set {name}.")
    if name in WITHOUT:
        return _finding(name, Verdict.WARN, f"not set: {WITHOUT[name]}", f"Run `askpro secrets set {name}`.")
    return _finding(name, Verdict.OK, f"not set ({KNOWN[name]})")


def _finding(name: str, verdict: Verdict, detail: str, remedy: str = "") -> Finding:
    return Finding(area="secrets", name=name, verdict=verdict, detail=detail, remedy=remedy)
