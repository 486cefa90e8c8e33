"""Watching: snapshots, the collectors that take them, the publisher, the reader and metrics."""
