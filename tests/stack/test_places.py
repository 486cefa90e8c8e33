"""Ports, locks, directories and accounts: what is taken, stale or closed is told in a sentence."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from backend.stack.credentials import SUPERUSER, ensure_credentials
from backend.stack.failures import AlreadyRunning, PlaceUnusable, StackFailure, place_unusable
from backend.stack.layout import Layout
from backend.stack.listener import Listener
from backend.stack.lock import SupervisorLock, running_supervisor
from backend.stack.places import make_places
from backend.stack.privileges import Account, private_directory, reachable, write_for
from backend.stack.records import ChildRecord, ChildRecords, lives


def test_the_listener_keeps_its_port_over_a_pause() -> None:
    listener = Listener("127.0.0.1", 0, 1)
    listener.open()
    port = listener.port
    listener.close()
    listener.open()
    assert listener.port == port
    assert not listener.moved
    listener.close()


def test_the_listener_gives_up_when_all_its_ports_are_taken() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(StackFailure, match=f"port {port} is taken") as failure:
            Listener("127.0.0.1", port, 1).open()
    assert "ASKPRO_API_PORT" in failure.value.hint


def test_the_listener_names_an_address_that_is_not_this_machine() -> None:
    with pytest.raises(StackFailure, match=r"192\.0\.2\.1 is no address of this machine"):
        Listener("192.0.2.1", 8400, 1).open()


def test_the_lock_is_for_one_and_seen_by_others(tmp_path: Path) -> None:
    path = tmp_path / "supervisor.pid"
    assert running_supervisor(path) is None
    lock = SupervisorLock(path)
    lock.acquire()
    assert running_supervisor(path) == os.getpid()
    with pytest.raises(AlreadyRunning, match=str(os.getpid())):
        SupervisorLock(path).acquire()
    lock.release()
    assert running_supervisor(path) is None


def test_a_lock_is_free_again_after_its_owner_was_killed(tmp_path: Path) -> None:
    path = tmp_path / "supervisor.pid"
    code = (
        "import sys, pathlib; from backend.stack.lock import SupervisorLock;"
        f"SupervisorLock(pathlib.Path({str(path)!r})).acquire(); print('held', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=Path(__file__).parents[2]
    ) as owner:
        assert owner.stdout is not None
        assert owner.stdout.readline() == b"held\n"
        assert running_supervisor(path) == owner.pid
        owner.kill()
    assert running_supervisor(path) is None
    SupervisorLock(path).acquire()


def test_a_lock_notices_that_its_file_was_replaced(tmp_path: Path) -> None:
    path = tmp_path / "supervisor.pid"
    lock = SupervisorLock(path)
    lock.acquire()
    assert lock.holds()
    path.unlink()
    assert not lock.holds()
    path.touch()
    assert not lock.holds()


def test_a_pid_used_again_is_not_taken_for_a_child(tmp_path: Path) -> None:
    path = tmp_path / "children.json"
    records = ChildRecords(path)
    records.add("api", os.getpid())
    [mine] = ChildRecords(path).orphans()
    assert lives(mine)
    path.write_bytes(msgspec.json.encode([ChildRecord(name="api", pid=mine.pid, create_time=mine.create_time - 60)]))
    assert ChildRecords(path).orphans() == []
    path.write_text("half a fi")
    assert ChildRecords(path).orphans() == []


def test_an_orphan_that_does_not_end_by_itself_is_ended(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as orphan:
        ChildRecords(tmp_path / "children.json").add("worker-default", orphan.pid)
        assert asyncio.run(ChildRecords(tmp_path / "children.json").end_orphans(grace_s=0.1)) == []
    assert orphan.returncode == -15


def test_credentials_are_made_once_and_completed(tmp_path: Path) -> None:
    path = tmp_path / "credentials.json"
    first, new = ensure_credentials(path)
    assert new
    assert len(set(first.values())) == len(first) >= 7
    assert ensure_credentials(path) == (first, False)
    path.write_bytes(msgspec.json.encode({SUPERUSER: first[SUPERUSER]}))
    second, new = ensure_credentials(path)
    assert not new
    assert second[SUPERUSER] == first[SUPERUSER]
    path.write_text("{")
    with pytest.raises(StackFailure, match="is damaged"):
        ensure_credentials(path)


def test_a_file_in_the_place_of_a_directory_is_named(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("")
    layout = Layout(tmp_path / "config", tmp_path / "data", tmp_path / "state", tmp_path / "run")
    with pytest.raises(PlaceUnusable, match="data is not a directory"):
        make_places(layout)


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.ENOSPC, "No space is left for /x/y"),
        (errno.EROFS, "/x/y is on a read-only file system"),
        (errno.EACCES, "No permission to write /x/y"),
        (errno.EIO, "/x/y: "),
    ],
)
def test_what_the_system_refuses_becomes_a_sentence_with_a_remedy(number: int, words: str) -> None:
    failure = place_unusable(Path("/x"), OSError(number, os.strerror(number), "/x/y"))
    assert words in failure.message
    assert failure.hint


def test_a_closed_directory_is_out_of_an_accounts_reach(tmp_path: Path) -> None:
    stranger = Account("stranger", 54_321, 54_321)
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    assert not reachable(closed / "data", stranger)
    assert reachable(Path("/usr/bin/env"), stranger)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root runs the servers under another account")
def test_data_in_a_closed_directory_is_kept_elsewhere_and_linked(tmp_path: Path) -> None:
    account = Account("stranger", 54_321, 54_321)
    tmp_path.chmod(0o700)
    wanted = tmp_path / "postgres"
    real = private_directory(wanted, account)
    try:
        assert wanted.is_symlink()
        assert reachable(real / "any", account)
        assert (real.stat().st_uid, real.stat().st_mode & 0o777) == (account.uid, 0o700)
        assert private_directory(wanted, account) == real
    finally:
        subprocess.run(["rm", "-r", str(real.parent)], check=True)


def test_writing_for_an_account_does_not_follow_a_planted_link(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    (tmp_path / "postgresql.conf").symlink_to(victim)
    (tmp_path / ".postgresql.conf.new").symlink_to(victim)
    write_for(None, tmp_path / "postgresql.conf", "settings")
    assert victim.read_text() == "precious"
    assert (tmp_path / "postgresql.conf").read_text() == "settings"
