"""Requests to call somebody back, and the desk that settles them."""
