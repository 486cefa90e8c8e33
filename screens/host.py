"""What the console offers its screens. Screens know this and nothing else of the program they run in."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol, runtime_checkable

from textual.message import Message

from widgets.key_hints import Hint

if TYPE_CHECKING:
    from backend.postgres.address import PostgresAddress
    from backend.watch.snapshots import Snapshot


Severity = Literal["information", "warning", "error"]


@dataclass(frozen=True, slots=True)
class Seen:
    """What the console last read of one domain."""

    domain: str
    snapshot: Snapshot | None
    """None when none could be had yet."""
    source: str
    """valkey, database, memory, nowhere"""
    age_s: float
    """Age of the snapshot when it was read."""
    at: float
    """When it was read, by this process's monotonic clock."""
    stale: bool
    error: str
    """Why it is not newer, in words for a person; empty when it is as new as it should be."""


class Arrived(Message):
    """A domain that the screen shows was read anew."""

    def __init__(self, seen: Seen) -> None:
        super().__init__()
        self.seen = seen

    def can_replace(self, message: Message) -> bool:
        """Only the newest of a domain matters."""
        return isinstance(message, Arrived) and message.seen.domain == self.seen.domain


@runtime_checkable
class Host(Protocol):
    """The console, as screens see it (`self.host`)."""

    @property
    def scope(self) -> str:
        """Whose data is shown, in words: `all companies`, `praxis-nord`."""

    @property
    def user(self) -> str:
        """Who sits here."""

    @property
    def node(self) -> str:
        """The machine one sits at, as the fleet knows it."""

    @property
    def read_only(self) -> bool:
        """Whether nothing may be changed from here."""

    @property
    def paused(self) -> bool:
        """Whether live refresh is paused."""

    @property
    def postgres(self) -> PostgresAddress | None:
        """The database, for details on demand; None while it is not known."""

    def seen(self, domain: str) -> Seen | None:
        """What was last read of a domain, however old."""

    def show_domains(self, domains: Sequence[str]) -> None:
        """Read these domains, and only these, from now on; each arrives as `Arrived`."""

    def hints(self, screen: str) -> tuple[Sequence[Hint], Sequence[Hint], Sequence[Hint]]:
        """Key hints for a screen: its own actions, the ways to other screens, and what is the same everywhere."""

    def help_groups(self, screen: str) -> Mapping[str, Sequence[Hint]]:
        """Every action that is valid on a screen, by group."""

    def say(self, text: str, *, severity: Severity = "information") -> None:
        """A short remark that goes away by itself. The text is shown as it is, never as markup."""

    def restart(self, processes: Sequence[str], done: Callable[[Sequence[str]], object] = ...) -> None:
        """Drain these processes of this machine and start them afresh; says how it went.

        `done` gets those with which it succeeded, on the event loop, if there are any.
        """

    def read_log(self, process: str, done: Callable[[Sequence[str]], object]) -> None:
        """Read the end of a process's log and hand it over on the event loop."""
