"""Cal.com, the calendar: signatures and payloads."""
