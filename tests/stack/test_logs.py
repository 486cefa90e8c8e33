"""Logs: lines whole and bounded, files rotated, compressed and capped, and read back in order."""

from __future__ import annotations

import gzip
import threading
from pathlib import Path

import pytest

from backend.stack.log_reader import Follower, last_lines, names
from backend.stack.logs import CUT, DAY_S, LINE_LIMIT, LogLimits, LogStore, ProcessLog, rotated_files


class Clock:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.now = 1_750_907_520.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def store(directory: Path, clock: Clock, limits: LogLimits | None = None) -> LogStore:
    return LogStore(directory, limits, clock=clock)


def tidied(logs: LogStore) -> None:
    """Wait for the compressions under way, then tidy once more."""
    for thread in threading.enumerate():
        if thread.name == "log-tidy":
            thread.join(30)
    logs.tidy()


def test_chunks_become_whole_lines(tmp_path: Path, clock: Clock) -> None:
    log = store(tmp_path, clock).log("api")
    for chunk in (b"on", b"e\ntwo\nthr", b"ee"):
        log.feed(chunk)
    assert log.path.read_bytes() == b"one\ntwo\n"
    log.close()
    assert log.path.read_bytes() == b"one\ntwo\nthree\n"
    assert list(log.tail) == ["one", "two", "three"]


@pytest.mark.parametrize("step", [1000, 65_536, 1_000_000])
def test_an_endless_line_is_cut_and_takes_no_memory(tmp_path: Path, clock: Clock, step: int) -> None:
    log = store(tmp_path, clock).log("api")
    sent = b"x" * 500_000 + b"\nnext\n"
    for at in range(0, len(sent), step):
        log.feed(sent[at : at + step])
    assert log.path.read_bytes() == b"x" * LINE_LIMIT + CUT + b"\nnext\n"


def test_a_full_disk_drops_lines_and_says_so_when_there_is_space_again(tmp_path: Path, clock: Clock) -> None:
    log = store(tmp_path, clock).log("api")
    log.path.symlink_to("/dev/full")
    log.feed(b"one\ntwo\n")
    assert log.dropped == 2
    log.close()
    log.path.unlink()
    log.feed(b"three\n")
    assert log.path.read_bytes() == b"[2 lines were lost: no space]\nthree\n"


def test_a_large_file_is_rotated_and_compressed(tmp_path: Path, clock: Clock) -> None:
    logs = store(tmp_path, clock, LogLimits(file_bytes=100))
    log = logs.log("api")
    log.feed(b"a" * 120 + b"\n")
    log.feed(b"b\n")
    tidied(logs)
    [old] = rotated_files(tmp_path, "api")
    assert old.suffix == ".gz"
    assert gzip.decompress(old.read_bytes()) == b"a" * 120 + b"\n"
    assert log.path.read_bytes() == b"b\n"


def test_a_new_day_begins_a_new_file(tmp_path: Path, clock: Clock) -> None:
    logs = store(tmp_path, clock)
    log = logs.log("api")
    log.feed(b"today\n")
    clock.now += DAY_S
    log.feed(b"tomorrow\n")
    tidied(logs)
    assert len(rotated_files(tmp_path, "api")) == 1
    assert log.path.read_bytes() == b"tomorrow\n"


def filled(logs: LogStore, log: ProcessLog, clock: Clock, rounds: int) -> None:
    """Rotate the log so many times."""
    for number in range(rounds + 1):
        clock.now += 1
        log.feed(f"{log.name} {number} ".encode() + b"x" * 200 + b"\n")
    tidied(logs)


def test_only_so_many_files_of_each_process_are_kept(tmp_path: Path, clock: Clock) -> None:
    logs = store(tmp_path, clock, LogLimits(file_bytes=100, files=3))
    filled(logs, logs.log("api"), clock, 8)
    filled(logs, logs.log("valkey"), clock, 2)
    assert len(rotated_files(tmp_path, "api")) == 3
    assert len(rotated_files(tmp_path, "valkey")) == 2
    assert b"api 7 " in gzip.decompress(rotated_files(tmp_path, "api")[-1].read_bytes())


def test_the_oldest_files_of_all_go_when_the_total_is_too_large(tmp_path: Path, clock: Clock) -> None:
    logs = store(tmp_path, clock, LogLimits(file_bytes=100, total_bytes=700))
    filled(logs, logs.log("valkey"), clock, 3)
    filled(logs, logs.log("api"), clock, 6)
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= 700
    assert rotated_files(tmp_path, "valkey") == []
    assert rotated_files(tmp_path, "api") != []


def test_the_last_lines_reach_back_into_compressed_files(tmp_path: Path, clock: Clock) -> None:
    logs = store(tmp_path, clock, LogLimits(file_bytes=100))
    filled(logs, logs.log("api"), clock, 5)
    numbers = [line.text.split()[1] for line in last_lines(tmp_path, ["api"], 4)]
    assert numbers == ["2", "3", "4", "5"]


def test_a_file_cut_short_by_a_full_disk_hides_no_other(tmp_path: Path, clock: Clock) -> None:
    logs = store(tmp_path, clock, LogLimits(file_bytes=100))
    filled(logs, logs.log("api"), clock, 3)
    middle = rotated_files(tmp_path, "api")[1]
    middle.write_bytes(middle.read_bytes()[:20])
    numbers = [line.text.split()[1] for line in last_lines(tmp_path, ["api"], 10)]
    assert numbers == ["0", "2", "3"]


def test_several_processes_are_read_in_the_order_of_their_times(tmp_path: Path, clock: Clock) -> None:
    logs = store(tmp_path, clock)
    logs.log("api").feed(b'{"at": "2025-06-26T03:12:00.500Z", "message": "second"}\n\ttraceback of the second\n')
    logs.log("postgres").feed(b"2025-06-26 03:12:00.250 UTC [1] LOG:  first\n")
    logs.log("valkey").feed(b"7:M 26 Jun 2025 03:12:00.750 * third\n")
    assert names(tmp_path) == ["api", "postgres", "valkey"]
    order = [line.process for line in last_lines(tmp_path, names(tmp_path), 10)]
    assert order == ["postgres", "api", "api", "valkey"]


def test_following_goes_across_a_rotation(tmp_path: Path, clock: Clock) -> None:
    logs = store(tmp_path, clock, LogLimits(file_bytes=100))
    log = logs.log("api")
    log.feed(b"before\n")
    follower = Follower(tmp_path, "api")
    assert list(follower.new_lines()) == []
    log.feed(b"x" * 100 + b"\n")
    log.feed(b"after\n")
    assert [line.text for line in follower.new_lines()] == ["x" * 100, "after"]
    follower.close()
    tidied(logs)
