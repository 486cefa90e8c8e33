"""Inviting a node and joining: what a file holds, who may read it, and what is said when something is wrong with it."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import msgspec
import pytest

from askpro_console.at_database import where_to_look
from askpro_console.joining import accept
from askpro_console.refusal import Refused
from askpro_console.secrets import Place
from askpro_console.system import System
from backend.postgres.address import PostgresAddress, Role
from backend.stack.failures import PlaceUnusable
from backend.stack.invitation import Invited, new_key, open_invitation, read_invitation, seal, write_new
from backend.stack.join import NEEDED, Join, JoinWrong, read_join, write_join
from backend.stack.layout import Layout
from tests.databases import OpenConnection
from tests.home import Shell, settle_home

JOIN = Join(
    made_by="first",
    version="0.9.0",
    postgres_host="db.internal",
    valkey_url="redis://:hush@cache.internal:6379/0",
    passwords={role.value: f"password of {role.value}" for role in NEEDED},
)
INVITED = Invited(join=JOIN, secrets={"calcom_api_key": "cal_live_1", "reject_key": "ab" * 32})
HIDDEN = (b"hush", b"password of", b"cal_live_1", b"internal")


def with_(content: bytes, **changes: object) -> bytes:
    """The file with other values at its outside."""
    return json.dumps({**json.loads(content), **changes}).encode()


def test_an_invitation_is_sealed_and_opened_by_its_key_alone() -> None:
    key = new_key()
    content = seal(INVITED, key)
    assert not any(text in content for text in HIDDEN)
    assert b"hush" not in repr(INVITED).encode() + repr(JOIN).encode()
    sealed = read_invitation(content, "friend.json")
    assert open_invitation(sealed, key, "friend.json") == INVITED
    # As somebody reads it out, and writes it down.
    assert open_invitation(sealed, key.lower().replace("-", " ").replace("o", "0"), "friend.json") == INVITED
    for wrong in (new_key(), key[:-1], "", f"{key}A", "schlüssel"):
        with pytest.raises(JoinWrong, match="key"):
            open_invitation(sealed, wrong, "friend.json")
    # Nobody on the way can say that another system made it.
    with pytest.raises(JoinWrong, match="the file was changed"):
        open_invitation(read_invitation(with_(content, made_by="mallory"), "friend.json"), key, "friend.json")


WHOLE = seal(INVITED, new_key())


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty"),
        (b"\xff\xfe{}", "no text in UTF-8 (byte 1 is 0xff)"),
        (b"postgres://x", "no JSON (line 1, column 1"),
        (WHOLE[:-40], "no JSON (line "),
        (b"[1]", "begins with `[`"),
        (b"[" * 100_000, "no JSON"),
        (b"{}", "lacks `askpro_join`"),
        (with_(WHOLE, askpro_join=3, version="9.0"), "format 3, made by askpro 9.0; this version reads format 2"),
        (with_(WHOLE, askpro_join=1), "format 1"),
        (b'{"askpro_joined": 1}', "what a node that joined keeps for itself"),
        (b'{"askpro_join": 2, "nonce": ""}', "lacks `sealed`"),
        (with_(WHOLE, nonce=5), "`nonce` is of the kind int, and must be str"),
        (with_(WHOLE, sealled=""), "it has `sealled`, which this version does not know; did you mean `sealed`?"),
    ],
)
def test_a_file_that_is_no_invitation_is_refused_with_what_is_wrong_and_what_would_be_right(
    content: bytes, words: str
) -> None:
    with pytest.raises(JoinWrong, match=r"friend\.json") as wrong:
        read_invitation(content, "friend.json")
    assert words in wrong.value.message
    assert "askpro node invite" in wrong.value.hint


def test_what_was_damaged_inside_or_cannot_be_an_address_is_said() -> None:
    key = new_key()
    sealed = msgspec.structs.replace(read_invitation(seal(INVITED, key), "f"), sealed="%%")
    with pytest.raises(JoinWrong, match="no base 64"):
        open_invitation(sealed, key, "f")
    for changes, words in (
        ({"valkey_url": "http://me:hush@cache"}, "begins with none of unix://, redis://, rediss://"),
        ({"valkey_url": "redis://[::1"}, "no address"),
        ({"valkey_url": "redis://cache:99999/0"}, "no address"),
        ({"valkey_url": "unix://run/valkey"}, "no socket by its whole path"),
        ({"valkey_url": "redis:///0"}, "names no host"),
        ({"valkey_url": "redis://cache/first"}, "database is no number"),
        ({"postgres_host": "postgres://db"}, "no place of one"),
        ({"postgres_port": 0}, "no place of one"),
        ({"passwords": {}}, "lacks the password of askpro_api, askpro_worker"),
    ):
        content = seal(msgspec.structs.replace(INVITED, join=msgspec.structs.replace(JOIN, **changes)), key)
        with pytest.raises(JoinWrong) as wrong:
            open_invitation(read_invitation(content, "friend.json"), key, "friend.json")
        assert "friend.json" in wrong.value.message
        assert words in wrong.value.message
        assert "hush" not in wrong.value.message
        assert wrong.value.hint


def test_a_file_is_made_anew_for_its_owner_alone(tmp_path: Path) -> None:
    file = tmp_path / "node-2.json"
    beside = tmp_path / "node-2.new"
    beside.write_text("mine")
    write_new(file, b"1")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    with pytest.raises(PlaceUnusable, match="is there already"):
        write_new(file, b"2")
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(PlaceUnusable, match="is there already"):
        write_new(link, b"2")
    with pytest.raises(PlaceUnusable, match="There is no directory"):
        write_new(tmp_path / "no" / "file", b"2")
    assert file.read_bytes() == b"1"
    kept = tmp_path / "join.json"
    kept.write_text("old")
    kept.chmod(0o666)
    write_join(kept, JOIN)
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert read_join(kept) == JOIN
    assert beside.read_text() == "mine"
    assert {path.name for path in tmp_path.iterdir()} == {"node-2.json", "node-2.new", "link", "join.json"}


def test_a_node_keeps_secrets_sealed_and_addresses_apart(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    key = new_key()
    file = tmp_path / "friend.json"
    write_new(file, seal(INVITED, key))
    home = {"ASKPRO_HOME": str(tmp_path / "node"), "ASKPRO_SECRETS_KEYRING": "off"}
    with pytest.raises(Refused, match="nobody to ask for its key") as refused:
        accept(System.load(home), file, input)
    assert "ASKPRO_SECRET_JOIN_KEY" in refused.value.hint
    node = System.load({**home, "ASKPRO_SECRET_JOIN_KEY": key})
    accept(node, file, input)
    kept = node.layout.join_file.read_bytes()
    assert b"cal_live_1" not in kept
    assert b"abab" not in kept
    (look,) = [look for look in node.secrets.look("calcom_api_key") if look.value]
    assert (look.place, look.value) == (Place.SEALED, "cal_live_1")
    joined = System.load(home)
    assert joined.join == JOIN
    assert joined.passwords() == JOIN.passwords
    assert "at db.internal:5432: `askpro status` there" in where_to_look(joined)
    # What a node keeps may be damaged; it says so with the way out.
    node.layout.join_file.write_bytes(kept[:100])
    with pytest.raises(JoinWrong, match="cut off") as wrong:
        System.load(home)
    assert "askpro serve --join FILE" in wrong.value.hint
    node.layout.join_file.write_bytes(kept.replace(b'"askpro_joined": 1', b'"askpro_join": 1'))
    with pytest.raises(JoinWrong, match="not kept by this version"):
        System.load(home)


async def test_serve_says_what_it_needs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ASKPRO_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("ASKPRO_SECRETS_KEYRING", "off")
    askpro = Shell(capsys, "serve")
    assert "askpro node invite FILE" in await askpro(code=1)
    file = tmp_path / "friend.json"
    assert "cannot be read" in await askpro("--join", str(file), code=1)
    assert "Is a directory" in await askpro("--join", str(tmp_path), code=1)
    file.write_bytes(b"x" * 1_100_000)
    file.chmod(0o600)
    assert "larger than 1 MiB" in await askpro("--join", str(file), code=1)
    file.write_bytes(seal(INVITED, new_key()))
    file.chmod(0o640)
    assert f"chmod 600 {file}" in await askpro("--join", str(file), code=1)
    file.chmod(0o600)
    assert "nobody to ask" in await askpro("--join", str(file), code=1)
    monkeypatch.setenv("ASKPRO_SECRET_JOIN_KEY", new_key())
    assert f"The key does not open {file}" in await askpro("--join", str(file), code=1)
    # What an earlier system left here may be of no use any more: joining is the way out.
    layout = Layout.from_environment()
    layout.join_file.parent.mkdir(parents=True, exist_ok=True)
    layout.join_file.write_text("{")
    assert "askpro serve --join FILE" in await askpro(code=1)
    assert f"The key does not open {file}" in await askpro("--join", str(file), code=1)
    layout.postgres_data.mkdir(parents=True)
    assert "has a database of its own" in await askpro("--join", str(file), code=1)


async def test_an_invitation_holds_what_a_node_needs_and_its_making_is_recorded(
    database: PostgresAddress,
    open_connection: OpenConnection,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    settle_home(tmp_path / "home", database, monkeypatch)
    for name, value in {
        "ASKPRO_SECRETS_KEYRING": "off",
        "ASKPRO_SECRET_CALCOM_API_KEY": "cal_live_1",
        "ASKPRO_SECRET_DATABASE_URL": "postgres://owner@db",
        "ASKPRO_SECRET_NORD_CALCOM_KEY": "cal_live_2",
    }.items():
        monkeypatch.setenv(name, value)
    askpro, file = Shell(capsys, "node"), tmp_path / "friend.json"
    for wrong, words in (
        (("--valkey", "http://cache"), "redis://"),
        (("--postgres", "postgres://db:5432"), "no place of a database"),
        (("--postgres", "::1"), "in brackets"),
        (("--postgres", "db:0"), "HOST:PORT"),
    ):
        assert words in await askpro("invite", str(file), *wrong, code=2)
    assert not file.exists()
    told = msgspec.convert(await askpro.read("invite", str(file), "--postgres", "[::1]:6432"), dict[str, object])
    assert "is there already" in await askpro("invite", str(file), code=1)
    invited = open_invitation(read_invitation(file.read_bytes(), "f"), str(told["key"]), "f")
    assert (invited.join.postgres_host, invited.join.postgres_port) == ("::1", 6432)
    assert sorted(invited.join.passwords) == sorted(role.value for role in NEEDED)
    assert Role.SETUP.value not in invited.join.passwords
    assert sorted(invited.secrets) == ["calcom_api_key", "nord_calcom_key", "reject_key"]
    worker = await open_connection(Role.WORKER)
    made = await worker.fetchrow("select action, detail from audit_log order by id limit 1")
    assert made is not None
    assert (made["action"], json.loads(made["detail"])) == ("node.invite", {"file": str(file)})
    assert str(told["key"]) not in made["detail"]
