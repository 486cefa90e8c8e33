"""Held jobs: choosing them, seeing what a decision would touch, and deciding: retry, discard, move, edit, reveal."""
