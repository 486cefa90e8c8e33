"""What operators (and the balancer) say about queues: pauses, slots, quarantines, breakers; and the record of it.

Each works in the caller's transaction with the worker's role and writes down who did what and why.
"""
