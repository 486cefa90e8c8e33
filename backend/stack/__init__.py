"""The process stack: supervisor, embedded servers, control socket, and where everything lives."""
