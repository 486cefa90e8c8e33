"""What the voice agent can have done while the caller is on the line (docs/functions.md)."""
