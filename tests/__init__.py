"""Tests: they read as sentences of the specification."""
