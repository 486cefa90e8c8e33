"""Benchmarks: each a command that measures its own anchor in the same run."""
