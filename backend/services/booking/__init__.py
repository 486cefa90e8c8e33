"""Booking: what is free, and appointments made, moved, cancelled and restored."""
