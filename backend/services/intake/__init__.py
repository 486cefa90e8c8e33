"""Deliveries of providers: accepted, kept when refused, released, replayed."""
