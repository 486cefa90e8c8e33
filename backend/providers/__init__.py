"""Retell and Cal.com: signatures, payloads, clients. Nothing provider-specific stands elsewhere."""
