"""The traffic generator and the oracle that knows what should come of it."""
