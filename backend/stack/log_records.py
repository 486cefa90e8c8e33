"""Log records: JSON lines in UTC, without secrets, phone numbers or addresses of people, written by their own thread.

Every process sets its logging up here before it opens a pool, so that no library ever prints to a terminal by itself.
Processes of the system write to standard error, which the supervisor captures and rotates; the console writes to a
file, because its standard error is the screen.
"""

from __future__ import annotations

import atexit
import datetime
import json
import logging
import logging.handlers
import queue
import re
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TextIO

QUEUE_LIMIT = 10_000
"""Records waiting to be written; beyond, they are dropped and counted rather than holding the process up."""

FLUSH_S = 1.0

TEXT_LIMIT = 8 * 1024
"""Longest message or value in characters; more is cut."""

TRACEBACK_LIMIT = 32 * 1024
"""Of a longer traceback, the end is kept."""

CONSOLE_FILE_BYTES = 5 * 1024 * 1024
CONSOLE_FILES = 3

HIDDEN = "***"

TALKATIVE = ("asyncio", "httpcore", "httpx")
"""Libraries that report every single request or timer; of them only warnings are kept."""

SECRET_KEY = re.compile(
    r"(?i)(?:^|[_.-])(?:pass(?:word|phrase|wd)?|secret|token|authorization|cookie|signature|(?:api|routing|reject|private|sealing)_?key|credentials?|dsn)"
    r"(?:$|[_.-])"
)
"""Fields with such a name are never shown, whatever they hold."""

# Every repetition that could start anywhere has a bound: callers choose much of what is logged, and a pattern that
# looks at long text again and again would stop the process that logs it.
_PATTERNS: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"(?i)\b(bearer|basic)\s+[A-Za-z0-9._~+/=-]{6,}"), rf"\1 {HIDDEN}"),
    (re.compile(r"\bap_(live|test)_[A-Za-z0-9_-]{8,}"), rf"ap_\1_{HIDDEN}"),
    (re.compile(r"(?<![A-Za-z0-9])(sk|ap|key)_(?=[A-Za-z_-]{0,40}\d)[A-Za-z0-9_-]{8,}"), rf"\1_{HIDDEN}"),
    (re.compile(r"(?<=://)([^/\s:@]{0,128}):[^/\s@]{1,512}@"), rf"\1:{HIDDEN}@"),
    (re.compile(r"(?i)\bv=\d+,d=[0-9a-f]+"), f"v={HIDDEN},d={HIDDEN}"),
    (
        re.compile(r"(?i)\b((?:api[_-]?key|secret|token|password|passphrase)[\"']?\s*[=:]\s*[\"']?)[^\s\"',;&)}]{4,}"),
        rf"\1{HIDDEN}",
    ),
    (re.compile(r"[A-Za-z0-9._%+-]{1,64}@((?:[A-Za-z0-9-]{1,63}\.){1,8}[A-Za-z]{2,24})"), rf"{HIDDEN}@\1"),
)
_PHONE = re.compile(
    r"(?<![\w.+-])(?:\+|00)[1-9](?:[ /()-]?\d){6,14}(?![\w-])|(?<![\w.+:-])0[1-9]\d{1,4}[ /-]?\d{5,9}(?![\w.:-])"
)
_SUSPICIOUS = re.compile(r"(?i)[@+]|0\d{2,4}[ /-]?\d|sk_|ap_|key|bearer|basic|secret|token|passw|passphrase|d=")

_STANDARD = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName"}


def redact(text: str) -> str:
    """`text` without secrets, phone numbers and the names in e-mail addresses; in time linear in its length."""
    if not _SUSPICIOUS.search(text):
        return text
    for pattern, instead in _PATTERNS:
        text = pattern.sub(instead, text)
    return _PHONE.sub(_masked, text)


def _masked(found: re.Match[str]) -> str:
    number = found[0]
    return f"{number[:3]}•••{number[-2:]}"


class JsonLines(logging.Formatter):
    """One JSON object a line: at, level, logger, process, pid, message, the extra fields, exception."""

    def __init__(self, process: str) -> None:
        super().__init__()
        self._process = process

    def format(self, record: logging.LogRecord) -> str:
        """The line, without its end. Line breaks and escapes in data are JSON escapes: no forged lines."""
        told: dict[str, object] = {
            "at": _utc(record.created),
            "level": record.levelname.lower(),
            "logger": record.name,
            "process": self._process,
            "pid": record.process,
            "message": redact(record.getMessage()[:TEXT_LIMIT]),
        }
        for key, value in record.__dict__.items():
            if key not in _STANDARD:
                told[key] = _harmless(key, value)
        if record.exc_info and not record.exc_text:
            record.exc_text = self.formatException(record.exc_info)
        if record.exc_text:
            told["exception"] = redact(record.exc_text[-TRACEBACK_LIMIT:])
        return json.dumps(told, ensure_ascii=True, default=str)


def _harmless(key: str, value: object) -> object:
    if SECRET_KEY.search(key):
        return HIDDEN
    if isinstance(value, dict):
        return {str(name): _harmless(str(name), inner) for name, inner in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_harmless("", inner) for inner in value]
    if value is None or isinstance(value, bool | int | float):
        return value
    return redact(str(value)[:TEXT_LIMIT])


def _utc(seconds: float) -> str:
    moment = datetime.datetime.fromtimestamp(seconds, datetime.UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


class PoolNoise(logging.Filter):
    """Makes a connection pool's complaints short and rare: one line without traceback, each text once in ten seconds.

    A pool that cannot reach its server says so again and again; the process that uses it reports the failure itself.
    """

    EVERY_S = 10.0

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._last: dict[str, float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the record may pass; takes its traceback away and names the error instead."""
        now = self._clock()
        if now - self._last.get(str(record.msg), -self.EVERY_S) < self.EVERY_S:
            return False
        self._last[str(record.msg)] = now
        if record.exc_info and (error := record.exc_info[1]):
            record.msg = f"{record.getMessage()} ({type(error).__name__}: {error})"
            record.args = None
            record.exc_info = record.exc_text = None
        return True


class Lossy(logging.handlers.QueueHandler):
    """Hands records to the writing thread; when that is behind, drops the unimportant ones and counts them."""

    def __init__(self, waiting: queue.Queue[logging.LogRecord]) -> None:
        super().__init__(waiting)
        self._waiting = waiting
        self.dropped = 0

    def prepare(self, record: logging.LogRecord) -> logging.LogRecord:
        """The record as the thread gets it: text made now, because arguments may change later."""
        if record.args:
            record.msg, record.args = record.getMessage(), None
        if record.exc_info:
            record.exc_text = record.exc_text or logging.Formatter().formatException(record.exc_info)
            record.exc_info = None
        return record

    def enqueue(self, record: logging.LogRecord) -> None:
        """Queue it, or count it as dropped."""
        try:
            self.queue.put_nowait(record)
        except queue.Full:
            self.dropped += 1

    @property
    def behind(self) -> bool:
        """Whether records wait to be written."""
        return bool(self._waiting.unfinished_tasks)

    def flush(self) -> None:
        """Wait until everything is written, a second at most: for a process that is about to end abruptly."""
        end = time.monotonic() + FLUSH_S
        while self.behind and time.monotonic() < end:
            time.sleep(0.002)


class Written:
    """Logging that has been set up; `close` writes what waits and takes the handler away again."""

    def __init__(self, sink: logging.Handler, level: int) -> None:
        waiting: queue.Queue[logging.LogRecord] = queue.Queue(QUEUE_LIMIT)
        self.handler = Lossy(waiting)
        self._sink = sink
        self._listener = logging.handlers.QueueListener(waiting, sink)
        root = logging.getLogger()
        self._before = (root.handlers[:], root.level)
        root.handlers[:] = [self.handler]
        root.setLevel(level)
        self._pool_noise = PoolNoise()
        logging.getLogger("asyncpg.pool").addFilter(self._pool_noise)
        logging.captureWarnings(True)
        self._listener.start()
        atexit.register(self.close)

    def close(self) -> None:
        """Write what is waiting and restore what was. Harmless when called twice.

        A sink that takes nothing is given up after a second; its thread ends with the process.
        """
        atexit.unregister(self.close)
        root = logging.getLogger()
        if self.handler not in root.handlers:
            return
        root.handlers[:], level = self._before
        root.setLevel(level)
        logging.getLogger("asyncpg.pool").removeFilter(self._pool_noise)
        self.handler.flush()
        if not self.handler.behind:
            self._listener.stop()
            self._sink.close()


def write_to_stderr(process: str, *, level: str = "info", stream: TextIO | None = None) -> Written:
    """Log JSON lines to standard error: for the processes that the supervisor runs."""
    sink = logging.StreamHandler(stream or sys.stderr)
    return _set_up(sink, process, level)


def write_to_file(process: str, file: Path, *, level: str = "info") -> Written:
    """Log JSON lines to a file that is rotated by size: for the console. A full disk loses lines, never the process."""
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    sink = logging.handlers.RotatingFileHandler(
        file, maxBytes=CONSOLE_FILE_BYTES, backupCount=CONSOLE_FILES, encoding="utf-8", delay=True
    )
    return _set_up(sink, process, level)


def _set_up(sink: logging.Handler, process: str, level: str) -> Written:
    # A handler that fails (full disk, closed pipe) must neither raise nor print a traceback of its own.
    logging.raiseExceptions = False
    for name in TALKATIVE:
        logging.getLogger(name).setLevel(logging.WARNING)
    sink.setFormatter(JsonLines(process))
    sys.excepthook = _log_uncaught
    threading.excepthook = lambda hooked: _log_uncaught(
        hooked.exc_type, hooked.exc_value or hooked.exc_type(), hooked.exc_traceback
    )
    return Written(sink, logging.getLevelNamesMapping()[level.upper()])


def _log_uncaught(kind: type[BaseException], error: BaseException, traceback: object) -> None:
    if issubclass(kind, KeyboardInterrupt):
        return
    logging.getLogger("askpro").critical("the process ends by an error", exc_info=(kind, error, error.__traceback__))
