"""Tests of valkey."""
