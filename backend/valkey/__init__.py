"""Valkey: client, snapshot store and notices. Holds only what can be rebuilt."""
