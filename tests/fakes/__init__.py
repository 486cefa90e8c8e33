"""Providers as they behave on a bad day: real servers that speak real HTTP and misbehave on demand."""
