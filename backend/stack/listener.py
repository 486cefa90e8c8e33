"""The API's listening socket, held by the supervisor: connections wait in its queue while the API starts afresh."""

from __future__ import annotations

import errno
import socket

from backend.stack.failures import StackFailure

BACKLOG = 2048


class Listener:
    """A TCP socket on the wanted port, or on the next free one."""

    def __init__(self, host: str, port: int, tries: int) -> None:
        self._host = host
        self._wanted = port
        self._tries = tries
        self._socket: socket.socket | None = None
        self.port = port
        """Where it listens; the wanted port until it has been opened."""

    @property
    def moved(self) -> bool:
        """Whether the wanted port was taken by somebody else."""
        return self._wanted not in {0, self.port}

    @property
    def local_host(self) -> str:
        """The host under which this machine reaches it."""
        return {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}.get(self._host, self._host)  # noqa: S104

    @property
    def url(self) -> str:
        """The address for clients on this machine."""
        host = self.local_host
        return f"http://[{host}]:{self.port}" if ":" in host else f"http://{host}:{self.port}"

    def open(self) -> socket.socket:
        """The socket, bound at the first call and after `close` (then to the same port, if it is still free).

        Raises StackFailure when no port can be had.
        """
        if self._socket is None:
            self._socket = self._bind()
            self.port = self._socket.getsockname()[1]
        return self._socket

    def _bind(self) -> socket.socket:
        family = socket.AF_INET6 if ":" in self._host else socket.AF_INET
        last = min(65_535, self._wanted + self._tries - 1)
        candidates = [self.port, *([0] if self._wanted == 0 else range(self._wanted, last + 1))]
        for port in candidates:
            bound = socket.socket(family, socket.SOCK_STREAM)
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                bound.bind((self._host, port))
                bound.listen(BACKLOG)
            except OSError as error:
                bound.close()
                if error.errno != errno.EADDRINUSE:
                    raise _refused(self._host, port, error) from error
            else:
                return bound
        taken = f"port {self._wanted}" if last == self._wanted else f"every port from {self._wanted} to {last}"
        raise StackFailure(
            f"The API cannot listen on {self._host}: {taken} is taken.",
            "Set ASKPRO_API_PORT to a free port, or stop what uses this one.",
        )

    def close(self) -> None:
        """Stop listening; clients are refused at once instead of waiting."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None


def _refused(host: str, port: int, error: OSError) -> StackFailure:
    if error.errno in {errno.EACCES, errno.EPERM}:
        return StackFailure(
            f"No permission to listen on port {port}.", "Ports below 1024 are the system's: set ASKPRO_API_PORT higher."
        )
    if error.errno == errno.EADDRNOTAVAIL:
        return StackFailure(f"{host} is no address of this machine.", "Set [api] host to 127.0.0.1 or 0.0.0.0.")
    return StackFailure(f"The API cannot listen on {host}:{port}: {error.strerror or error}.", "Check [api] host.")
