"""Retell, the voice agent: signatures and payloads."""
