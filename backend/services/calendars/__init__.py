"""Calendars at Cal.com: our changes written there, theirs followed here."""
