"""Calls: who calls, what their events add up to, what a call wished for."""
