"""The settings file, its profiles, the environment over it, and the mistakes people make."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from askpro_console import cli
from askpro_console.commands.config import example
from askpro_console.policy_settings import QueueValues
from askpro_console.settings import Settings
from askpro_console.settings_file import SettingsWrong, fields, load, policy_fields
from askpro_console.settings_schema import descriptions, json_schema
from askpro_console.themes import THEME_NAMES
from askpro_console.toml_lines import key_lines
from backend.queue.policies import BUILT_IN, POLICIES


def written(directory: Path, text: str) -> Path:
    file = directory / "askpro.toml"
    file.write_text(text, encoding="utf-8")
    return file


def mistakes(file: Path, environ: dict[str, str] | None = None) -> list[str]:
    with pytest.raises(SettingsWrong) as wrong:
        load(file, environ or {})
    return wrong.value.message.split("\n")


def test_without_a_file_everything_is_at_its_default(tmp_path: Path) -> None:
    loaded = load(tmp_path / "askpro.toml", {})

    assert loaded.settings == Settings()
    assert loaded.profile == "local"
    assert set(loaded.origins.values()) == {"default"}


def test_the_active_profile_sets_and_the_others_do_not(tmp_path: Path) -> None:
    file = written(
        tmp_path,
        'profile = "production"\n[profiles.local]\napi.port = 1\n[profiles.production.api]\nhost = "0.0.0.0"\n',
    )

    loaded = load(file, {})

    assert loaded.profile == "production"
    assert loaded.settings.api.host == "0.0.0.0"
    assert loaded.settings.api.port == Settings().api.port
    assert loaded.origins["api.host"] == "askpro.toml:5"


def test_the_environment_wins_over_the_file_and_says_so(tmp_path: Path) -> None:
    file = written(tmp_path, "[profiles.local.api]\nport = 9000\n[profiles.local.console]\nmouse = true\n")

    loaded = load(file, {"ASKPRO_API_PORT": "9100", "ASKPRO_CONSOLE_MOUSE": "false", "ASKPRO_CONSOLE_THEME": "ansi"})

    assert loaded.settings.api.port == 9100
    assert loaded.settings.console.mouse is False
    assert loaded.settings.console.theme == "ansi"
    assert loaded.origins["api.port"] == "ASKPRO_API_PORT"


def test_the_environment_chooses_the_profile(tmp_path: Path) -> None:
    file = written(tmp_path, 'profile = "local"\n[profiles.shop.demo]\nseed = 7\n')

    assert load(file, {"ASKPRO_PROFILE": "shop"}).settings.demo.seed == 7


@pytest.mark.parametrize(
    ("text", "size"),
    [('"512 MB"', 512 * 2**20), ('"1GiB"', 2**30), ('"1.5 g"', 3 * 2**29), ("1048576", 2**20), ('"64k"', 2**16)],
)
def test_a_size_may_have_a_unit(tmp_path: Path, text: str, size: int) -> None:
    file = written(tmp_path, f"[profiles.local]\nlogs.file_size = {text}\n")

    assert load(file, {}).settings.logs.file_size == size


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[profiles.local.api]\nprt = 1", "3: there is no setting `api.prt`; did you mean `api.port`?"),
        ("[profiles.local]\napii.port = 1", "3: there is no setting `apii`; did you mean `api`?"),
        ("[profiles.local.api]\nport = 99999", "3: `api.port` is 99999: expected `int` <= 65535"),
        ('[profiles.local.api]\nport = "80"', "3: `api.port` is '80': expected `int`, got `str`"),
        ("[profiles.local]\nconsole = 3", "3: `console` must be a table, as in [profiles.local.console]"),
        (
            '[profiles.local.logs]\nlevel = "inof"',
            "3: `logs.level` is 'inof', but must be one of debug, info, warning, error; did you mean `info`?",
        ),
        (
            '[profiles.local]\nlogs.file_size = "12 apples"',
            "3: `logs.file_size` is '12 apples', but must be a size such as 1048576, '512 MB' or '1 GB'",
        ),
        (
            "[profiles.local.queues.webhoks]\nfloor = 3",
            "2: there is no setting `queues.webhoks`; did you mean `queues.webhooks`?",
        ),
        (
            "[profiles.local.queues.webhooks]\nflor = 3",
            "3: there is no setting `queues.webhooks.flor`; did you mean `queues.webhooks.floor`?",
        ),
        (
            '[profiles.local.jobs."default.retentoin"]\npriority = 3',
            "2: there is no setting `jobs.default.retentoin`; did you mean `jobs.default.retention`?",
        ),
        (
            '[profiles.local.jobs."default.retention"]\npriority = "high"',
            "3: `jobs.default.retention.priority` is 'high': expected `int`, got `str`",
        ),
        (
            "[profiles.local.queues.default]\nfloor = 30",
            "3: `queues.default.floor` is 30, but `concurrency` is 20: floor is at most concurrency",
        ),
        ("[profile.local]\napi.port = 1", "2: `profile` must be a name; tables are [profiles.NAME]"),
    ],
)
def test_a_mistake_is_named_with_file_line_key_and_the_nearest_right_one(tmp_path: Path, text: str, said: str) -> None:
    file = written(tmp_path, f"# settings\n{text}\n")

    assert any(line.startswith(f"{file}:{said}") for line in mistakes(file))


def test_a_mistake_in_a_profile_that_is_not_active_is_found_too(tmp_path: Path) -> None:
    file = written(tmp_path, "[profiles.production.api]\nport = -1\n")

    assert mistakes(file) == [f"{file}:2: `api.port` is -1: expected `int` >= 0"]


def test_every_mistake_is_told_at_once(tmp_path: Path) -> None:
    file = written(tmp_path, 'profil = "x"\n[profiles.local]\napi.prt = 1\napi.port = "x"\n')

    assert len(mistakes(file, {"ASKPRO_API_PORT": "many"})) == 4


def test_a_variable_that_looks_like_a_setting_is_a_mistake_and_others_are_left_alone(tmp_path: Path) -> None:
    file = tmp_path / "askpro.toml"

    load(file, {"ASKPRO_READY_FD": "3", "ASKPRO_SECRET_RETELL_API_KEY": "x", "ASKPRO_API_PORT": ""})

    assert mistakes(file, {"ASKPRO_API_PRT": "1"}) == [
        "environment: there is no setting ASKPRO_API_PRT; did you mean ASKPRO_API_PORT?"
    ]


@pytest.mark.parametrize(
    ("content", "said"),
    [(b"[profiles.local\n", "not TOML"), (b"\xff\xfe", "not UTF-8 text"), (b"profiles = 3\n", "must be tables")],
)
def test_a_file_that_is_no_settings_file_is_a_sentence(tmp_path: Path, content: bytes, said: str) -> None:
    file = tmp_path / "askpro.toml"
    file.write_bytes(content)

    [line] = mistakes(file)

    assert line.startswith(str(file))
    assert said in line


def test_a_directory_in_the_file_s_place_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "askpro.toml").mkdir()

    assert "cannot be read" in mistakes(tmp_path / "askpro.toml")[0]


def test_every_setting_has_a_docstring() -> None:
    told = descriptions()

    assert set(told) == {field.key for field in fields()}
    assert all(text.endswith((".", ")")) for text in told.values())


def test_the_example_says_nothing_but_the_defaults(tmp_path: Path) -> None:
    uncommented = "\n".join(
        line.removeprefix("# ") if " = " in line and line.startswith("# ") else line for line in example().splitlines()
    )

    assert load(written(tmp_path, example()), {}).settings == Settings()
    loaded = load(written(tmp_path, uncommented), {})
    assert loaded.settings == Settings()
    assert all(origin != "default" for origin in loaded.origins.values())
    assert {policy.queue: policy for policy in loaded.policies.queues.values()} == POLICIES
    assert all(loaded.policies.job(kind) == BUILT_IN.job(kind) for kind in BUILT_IN.job_types())
    assert {one.name for one in loaded.policies.told if one.subject == "webhooks"} == set(QueueValues.__struct_fields__)


def test_the_schema_knows_exactly_the_settings() -> None:
    profile = json_schema()["properties"]["profiles"]["additionalProperties"]["properties"]
    keys = set()
    for name, entry in profile.items():
        for inner, below in entry["properties"].items():
            keys |= {f"{name}.{inner}.{deepest}" for deepest in below.get("properties", ())} or {f"{name}.{inner}"}

    assert keys == {field.key for field in (*fields(), *policy_fields())}


def test_config_lists_value_and_origin(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ASKPRO_HOME", str(tmp_path))
    monkeypatch.setenv("ASKPRO_API_PORT", "9100")

    assert cli.main(["config", "--json"]) == 0

    rows = {row["key"]: row for row in json.loads(capsys.readouterr().out)["settings"]}
    assert rows["api.port"]["value"] == 9100
    assert rows["api.port"]["origin"] == "ASKPRO_API_PORT"
    assert rows["demo.seed"]["origin"] == "default"


_words = st.text("abcdef_-", min_size=1, max_size=5)
_documents = st.recursive(
    st.one_of(st.integers(), st.just("text"), st.booleans()),
    lambda inner: st.dictionaries(_words, inner, min_size=1, max_size=3),
    max_leaves=8,
).filter(lambda made: isinstance(made, dict))


@given(_documents)
def test_every_table_and_key_has_its_line(document: dict[str, object]) -> None:
    lines: list[str] = []
    expected: dict[tuple[str, ...], int] = {}

    def write(table: dict[str, object], path: tuple[str, ...]) -> None:
        if path:
            lines.append(f"[{'.'.join(path)}]")
            expected[path] = len(lines)
        for key, value in table.items():
            if not isinstance(value, dict):
                lines.append(f"{key} = {json.dumps(value)}")
                expected[*path, key] = len(lines)
        for key, value in table.items():
            if isinstance(value, dict):
                write(value, (*path, key))

    write(document, ())
    text = "\n".join(lines)
    tomllib.loads(text)

    assert key_lines(text) == expected


def test_the_file_in_the_documentation_is_a_right_one(tmp_path: Path) -> None:
    text = (Path(__file__).parents[2] / "docs" / "configuration.md").read_text(encoding="utf-8")
    file = written(tmp_path, text.split("```toml\n")[1].split("```")[0])

    assert load(file, {}).settings.console.theme == "ansi"
    assert load(file, {"ASKPRO_PROFILE": "production"}).settings.stack.memory_ceiling == 2**30


@pytest.mark.parametrize(
    ("text", "line", "told"),
    [
        ('smtp_host = "mail.test"\n', 2, "`notifications.sender` is missing"),
        ('smtp_host = "mail.test"\nsender = "a@b.test"\nsmtp_security = "none"\n', 4, "mail.test is another machine"),
        ('sender = "nobody"\n', 2, "'nobody', which is no e-mail address"),
        ('smtp_security = "ssl"\n', 2, "must be one of starttls, tls, none"),
        ("smtp_port = 0\n", 2, "`notifications.smtp_port` is 0"),
    ],
)
@pytest.mark.parametrize("profile", ["local", "production"])
def test_settings_that_contradict_each_other_are_named_with_their_place(
    tmp_path: Path, text: str, line: int, told: str, profile: str
) -> None:
    file = written(tmp_path, f"[profiles.{profile}.notifications]\n{text}")

    (mistake,) = mistakes(file)

    assert mistake.startswith(f"{file}:{line}: ")
    assert told in mistake


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("stack.memory_ceiling = 5", "`stack.memory_ceiling` is 5 bytes, but must be at least 128 MB"),
        ("postgres.shared_buffers = 5", "must be at least 1 MB"),
        ('postgres.shared_buffers = "900000 GB"', "`postgres.shared_buffers` is 900000 GB, but this machine has "),
        ("valkey.max_memory = 99999999999999999999", "but this machine has "),
        ("valkey.max_memory = 0", "must be at least 16 MB"),
        ("logs.file_size = 0", "must be at least 64 kB"),
        ("logs.total_size = 1", "must be at least 1 MB"),
        ('api.host = " "', "`api.host` is empty; `0.0.0.0` listens on all"),
        ('api.trusted_proxies = "10.0.0.0/8, nope"', "names 'nope', which is no network"),
        ('providers.calcom_url = "api.cal.com"', "'api.cal.com', which is no address of a web server"),
        ('providers.retell_url = "https://[::1"', "which is no address of a web server"),
        ('providers.retell_url = "http://a:99999"', "which is no address of a web server"),
        ("limits.concurrency_least = 200", "`limits.concurrency_least` is 200, above `concurrency_most`, 128"),
        ("limits.concurrency_start = 300", "300, outside of `concurrency_least` to `concurrency_most`, 4 to 128"),
        ("limits.wait_s = inf", "`limits.wait_s` is inf"),
        ("stack.start_timeout_s = inf", "`stack.start_timeout_s` is inf"),
        ("providers.connect_timeout_s = 1e300", "`providers.connect_timeout_s` is 1e+300"),
        (
            "limits.token_reads_per_minute = 99999999999999999999",
            "`limits.token_reads_per_minute` is 99999999999999999999",
        ),
        ('console.theme = "nigt"', "must be one of auto, night, day, clear, ansi; did you mean `night`?"),
    ],
)
def test_a_value_that_no_system_could_run_with_is_named_with_its_place(tmp_path: Path, text: str, told: str) -> None:
    file = written(tmp_path, f"[profiles.local]\n{text}\n")

    (mistake,) = mistakes(file)

    assert mistake.startswith(f"{file}:2: ")
    assert told in mistake


def test_every_theme_of_the_console_can_be_set() -> None:
    schema = json_schema()["properties"]["profiles"]["additionalProperties"]["properties"]["console"]

    assert set(schema["properties"]["theme"]["enum"]) == {"auto", *THEME_NAMES}


def test_a_contradiction_that_the_environment_makes_names_the_variable(tmp_path: Path) -> None:
    (mistake,) = mistakes(tmp_path / "askpro.toml", {"ASKPRO_NOTIFICATIONS_SMTP_HOST": "mail.test"})

    assert mistake.startswith("environment: ASKPRO_NOTIFICATIONS_SMTP_HOST: `notifications.sender` is missing")
