"""Secrets: where they are looked for, where they are kept, and what is refused."""

from __future__ import annotations

import io
import json
import multiprocessing
import os
import stat
import sys
import threading
import types
from collections.abc import Iterator
from pathlib import Path

import keyring.backend
import pytest

from askpro_console import cli, keyrings
from askpro_console.keyrings import Keyring, KeyringAbsent, SealedKeyring
from askpro_console.refusal import WrongUsage
from askpro_console.sealed import SealedBroken, SealedExposed, SealedFile, SealedLocked, places_in
from askpro_console.secrets import KNOWN, Place, SecretMissing, SecretRefused, SecretStore
from askpro_console.system import System
from backend.stack.layout import Layout


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return Layout.from_environment({"ASKPRO_HOME": str(tmp_path)})


@pytest.fixture
def sealed(layout: Layout) -> SealedFile:
    return SealedFile(places_in(layout))


class Remembering(keyring.backend.KeyringBackend):
    """A foreign keyring that works."""

    priority = 0.01

    kept: dict[tuple[str, str], str] = {}  # noqa: RUF012 one keyring for the whole desktop, as in life

    def get_password(self, service: str, username: str) -> str | None:
        return self.kept.get((service, username))

    def set_password(self, service: str, username: str, password: str) -> None:
        self.kept[service, username] = password

    def delete_password(self, service: str, username: str) -> None:
        del self.kept[service, username]


class Hanging(Remembering):
    """A foreign keyring that waits for a dialogue nobody sees."""

    released = threading.Event()

    def get_password(self, service: str, username: str) -> str | None:
        self.released.wait(60)
        return None


class Prompting(Remembering):
    """A foreign keyring that fails as those do that ask on a terminal."""

    def get_password(self, service: str, username: str) -> str | None:
        raise EOFError

    set_password = get_password  # type: ignore[assignment]  # fails in the same way


@pytest.fixture
def foreign() -> Iterator[str]:
    """The name of a module with the keyrings above, as a setting would name it."""
    module = types.ModuleType("foreign_keyrings")
    for backend in (Remembering, Hanging, Prompting):
        setattr(module, backend.__name__, backend)
    sys.modules[module.__name__] = module
    Remembering.kept.clear()
    Hanging.released.clear()
    yield module.__name__
    Hanging.released.set()
    del sys.modules[module.__name__]


def private(path: Path, text: str, mode: int = 0o600) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(mode)
    return path


def test_places_are_asked_in_order(layout: Layout, tmp_path: Path, foreign: str) -> None:
    environ = {
        "ASKPRO_SECRET_RETELL_API_KEY_FILE": str(private(tmp_path / "key", "from file\n")),
        "ASKPRO_SECRET_RETELL_API_KEY": "from environment",
    }
    backend = f"{foreign}.Remembering"
    SecretStore(layout, {}, keyring=backend).put("retell_api_key", "from keyring", Place.KEYRING)
    SecretStore(layout, {}, keyring=backend).put("retell_api_key", "from sealed file", Place.SEALED)

    def found() -> str | None:
        return SecretStore(layout, environ, keyring=backend).get("retell_api_key")

    assert found() == "from file"
    del environ["ASKPRO_SECRET_RETELL_API_KEY_FILE"]
    assert found() == "from environment"
    del environ["ASKPRO_SECRET_RETELL_API_KEY"]
    assert found() == "from keyring"
    Remembering.kept.clear()
    assert found() == "from sealed file"


def test_a_credentials_directory_is_a_place(layout: Layout, tmp_path: Path) -> None:
    private(tmp_path / "credentials" / "calcom_api_key", "abc", 0o400)
    store = SecretStore(layout, {"CREDENTIALS_DIRECTORY": str(tmp_path / "credentials")}, keyring="off")

    assert store.get("calcom_api_key") == "abc"
    assert store.get("retell_api_key") is None


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o666])
def test_a_file_that_others_may_read_is_refused_with_what_to_do(layout: Layout, tmp_path: Path, mode: int) -> None:
    path = private(tmp_path / "key", "abc", mode)
    store = SecretStore(layout, {"ASKPRO_SECRET_RETELL_API_KEY_FILE": str(path)}, keyring="off")

    with pytest.raises(SecretRefused, match=f"chmod 600 {path}"):
        store.get("retell_api_key")


def test_a_named_file_that_does_not_exist_is_not_passed_over(layout: Layout, tmp_path: Path) -> None:
    store = SecretStore(
        layout,
        {"ASKPRO_SECRET_RETELL_API_KEY_FILE": str(tmp_path / "gone"), "ASKPRO_SECRET_RETELL_API_KEY": "x"},
        keyring="off",
    )

    with pytest.raises(SecretRefused, match="cannot be read"):
        store.get("retell_api_key")


def test_a_missing_secret_says_how_to_set_it(layout: Layout) -> None:
    with pytest.raises(SecretMissing) as missing:
        SecretStore(layout, {}, keyring="off").require("retell_api_key")

    assert missing.value.hint == "Set it with `askpro secrets set retell_api_key`."


def test_a_secret_is_in_no_repr(layout: Layout) -> None:
    store = SecretStore(layout, {"ASKPRO_SECRET_RETELL_API_KEY": "hunter2"}, keyring="off")

    assert "hunter2" not in repr(store.look("retell_api_key"))


@pytest.mark.parametrize("name", ["", "A", "a-b", "1a", "a" * 64, "../x", "a b"])
def test_a_name_that_no_place_could_hold_is_refused(layout: Layout, name: str) -> None:
    with pytest.raises(WrongUsage):
        SecretStore(layout, {}, keyring="off").put(name, "x")


# The keyring


def test_a_machine_without_a_keyring_falls_through_to_the_sealed_file(
    layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DBUS_SESSION_BUS_ADDRESS", "unix:path=/nowhere")
    store = SecretStore(layout, {}, keyring="auto")

    assert store.put("retell_api_key", "abc") is Place.SEALED
    assert store.get("retell_api_key") == "abc"
    absent = next(look for look in store.look("retell_api_key") if look.place is Place.KEYRING)
    assert "this machine has none" in absent.detail


def test_a_keyring_that_hangs_is_waited_for_once(layout: Layout, foreign: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keyrings, "WAIT_S", 0.05)
    ring = Keyring(f"{foreign}.Hanging")

    for _ in range(2):
        with pytest.raises(KeyringAbsent, match="no answer within"):
            ring.get("retell_api_key")
    waiting = [thread for thread in threading.enumerate() if thread.name == "keyring"]
    assert len(waiting) == 1
    assert waiting[0].daemon


def test_a_keyring_that_fails_in_its_own_way_counts_as_absent(layout: Layout, foreign: str) -> None:
    store = SecretStore(layout, {}, keyring=f"{foreign}.Prompting")

    assert store.get("retell_api_key") is None
    assert store.put("retell_api_key", "x") is Place.SEALED


@pytest.mark.parametrize(
    "choice", ["keyring.backends.null.Keyring", "keyring.backends.fail.Keyring", "keyrings.alt.file.PlaintextKeyring"]
)
def test_keyrings_that_lose_or_expose_secrets_are_refused(choice: str) -> None:
    with pytest.raises(KeyringAbsent, match="refused"):
        Keyring(choice).get("retell_api_key")


def test_a_keyring_takes_a_secret_before_the_sealed_file_does(layout: Layout, foreign: str) -> None:
    store = SecretStore(layout, {}, keyring=f"{foreign}.Remembering")

    assert store.put("retell_api_key", "abc") is Place.KEYRING
    assert not store.sealed.exists
    assert store.remove("retell_api_key") == (Place.KEYRING,)
    assert store.get("retell_api_key") is None


def test_the_sealed_file_is_a_backend_of_the_keyring_package(sealed: SealedFile) -> None:
    ring = SealedKeyring(sealed)

    ring.set_password("askpro", "retell_api_key", "abc")
    ring.set_password("other", "name", "def")

    assert isinstance(ring, keyring.backend.KeyringBackend)
    assert ring.get_password("askpro", "retell_api_key") == "abc"
    assert ring.get_password("other", "name") == "def"
    assert sealed.read()["retell_api_key"] == "abc"
    ring.delete_password("askpro", "retell_api_key")
    with pytest.raises(keyring.errors.PasswordDeleteError):
        ring.delete_password("askpro", "retell_api_key")


# The sealed file


def test_the_sealed_file_and_its_key_are_private_and_apart(sealed: SealedFile) -> None:
    sealed.write("retell_api_key", "hunter2")

    for path in (sealed.places.sealed, sealed.places.key_file):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert sealed.places.sealed.parent != sealed.places.key_file.parent
    assert b"hunter2" not in sealed.places.sealed.read_bytes()
    assert b"retell" not in sealed.places.sealed.read_bytes()


def test_every_changed_byte_of_the_content_is_noticed(sealed: SealedFile) -> None:
    sealed.write("a", "b")
    envelope = json.loads(sealed.places.sealed.read_bytes())
    for field in ("nonce", "sealed"):
        text = envelope[field]
        changed = ("B" if text[0] == "A" else "A") + text[1:]
        sealed.places.sealed.write_text(json.dumps(envelope | {field: changed}))
        with pytest.raises(SealedBroken):
            sealed.read()
    sealed.places.sealed.write_text(json.dumps(envelope | {"salt": "AAAA"}))
    with pytest.raises(SealedBroken):
        sealed.read()


@pytest.mark.parametrize(
    "content", ["", "{", "[]", '{"version": 1}', '{"version": 1, "key": "file", "nonce": "", "sealed": ""}']
)
def test_a_file_that_is_no_sealed_file_is_named(sealed: SealedFile, content: str) -> None:
    sealed.write("a", "b")
    sealed.places.sealed.write_text(content)

    with pytest.raises(SealedBroken, match=str(sealed.places.sealed)):
        sealed.read()


def test_a_lost_key_is_named(sealed: SealedFile) -> None:
    sealed.write("a", "b")
    sealed.places.key_file.unlink()

    with pytest.raises(SealedBroken, match="does not exist"):
        sealed.read()


def test_an_exposed_sealed_file_or_key_is_refused(sealed: SealedFile) -> None:
    sealed.write("a", "b")
    for path in (sealed.places.sealed, sealed.places.key_file):
        path.chmod(0o644)
        with pytest.raises(SealedExposed, match="chmod 600"):
            sealed.read()
        path.chmod(0o600)


def test_a_passphrase_replaces_the_key_file_and_locks_across_processes(layout: Layout, sealed: SealedFile) -> None:
    sealed.write("retell_api_key", "abc")
    sealed.use_passphrase("correct horse")

    assert not sealed.places.key_file.exists()
    assert SealedFile(sealed.places).read() == {"retell_api_key": "abc"}
    sealed.lock()
    with pytest.raises(SealedLocked):
        SealedFile(sealed.places).read()
    with pytest.raises(SecretRefused, match="askpro secrets unlock"):
        SecretStore(layout, {}, keyring="off").get("retell_api_key")
    with pytest.raises(SealedBroken):
        sealed.unlock("wrong horse")
    sealed.unlock("correct horse")
    assert SealedFile(sealed.places).read() == {"retell_api_key": "abc"}


def test_a_locked_file_is_asked_for_on_a_terminal_and_only_there(
    layout: Layout, sealed: SealedFile, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    sealed.write("retell_api_key", "abc")
    sealed.use_passphrase("correct horse")
    sealed.lock()
    asked: list[str] = []
    words = iter(["wrong", "correct horse"])

    def answer(prompt: str) -> str:
        asked.append(prompt)
        return next(words)

    monkeypatch.setattr("getpass.getpass", answer)
    store = SecretStore(layout, {}, keyring="off")
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    store.unlock_by_asking()
    assert asked == []

    terminal = io.StringIO()
    monkeypatch.setattr(terminal, "isatty", lambda: True)
    monkeypatch.setattr(sys, "stdin", terminal)
    store.unlock_by_asking()
    store.unlock_by_asking()
    assert len(asked) == 2
    assert store.get("retell_api_key") == "abc"


def test_a_locked_file_stops_a_start_before_it_begins(tmp_path: Path, layout: Layout, sealed: SealedFile) -> None:
    sealed.write("x", "y")
    sealed.use_passphrase("correct horse")
    sealed.lock()

    with pytest.raises(SecretRefused, match="askpro secrets unlock"):
        System.load({"ASKPRO_HOME": str(tmp_path), "ASKPRO_SECRETS_KEYRING": "off"}).stack_config()


def make_and_report(home: str, answers: multiprocessing.Queue[str]) -> None:
    store = SecretStore(Layout.from_environment({"ASKPRO_HOME": home}), {}, keyring="off")
    answers.put(store.ensure("reject_key", lambda: os.urandom(8).hex()))


def test_processes_that_need_the_same_new_secret_get_the_same(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    answers: multiprocessing.Queue[str] = context.Queue()
    processes = [context.Process(target=make_and_report, args=(str(tmp_path), answers)) for _ in range(3)]
    for process in processes:
        process.start()
    made = {answers.get(timeout=30) for _ in processes}
    for process in processes:
        process.join(30)

    assert len(made) == 1


# The command


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ASKPRO_HOME", str(tmp_path))
    monkeypatch.setenv("ASKPRO_SECRETS_KEYRING", "off")
    return tmp_path


def test_a_secret_is_set_from_standard_input_and_never_printed(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("hunter2\n"))

    assert cli.main(["secrets", "set", "retell_api_key"]) == 0
    assert cli.main(["secrets", "list", "--json"]) == 0
    assert cli.main(["secrets", "doctor"]) == 0

    said = capsys.readouterr()
    assert "hunter2" not in said.out + said.err
    assert '"name": "retell_api_key", "state": "sealed file"' in said.out
    assert SecretStore(Layout.from_environment(), {}, keyring="off").get("retell_api_key") == "hunter2"


@pytest.mark.parametrize(
    "content", [b"hun\xffter2", b"hunter\x00", b"\x1b[200~hunter2", b"hun\nter2\n", b"hunter2\xc2\xa0"]
)
def test_a_secret_that_holds_what_cannot_be_seen_is_refused(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], content: bytes
) -> None:
    typed = io.TextIOWrapper(io.BytesIO(content), encoding="utf-8", errors="surrogateescape", newline="")
    monkeypatch.setattr(sys, "stdin", typed)

    assert cli.main(["secrets", "set", "retell_api_key"]) == 2

    assert "holds a character that cannot be seen" in capsys.readouterr().err
    assert SecretStore(Layout.from_environment(), {}, keyring="off").get("retell_api_key") is None


def test_a_mistyped_secret_is_asked_about(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["secrets", "set", "retell_api_kay"]) == 2
    assert "Did you mean `retell_api_key`?" in capsys.readouterr().err


def test_the_doctor_of_secrets_fails_on_an_exposed_file(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ASKPRO_SECRET_CALCOM_API_KEY_FILE", str(private(home / "key", "x", 0o644)))

    assert cli.main(["secrets", "doctor"]) == 1
    assert "REFUSED" in capsys.readouterr().out


def test_the_documentation_names_every_secret_and_no_other() -> None:
    text = (Path(__file__).parents[2] / "docs" / "configuration.md").read_text(encoding="utf-8")
    rows = [line.split("`")[1] for line in text.splitlines() if line.startswith("| `")]

    assert rows == list(KNOWN)
