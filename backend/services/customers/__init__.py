"""Customers: found or created, listed, changed."""
