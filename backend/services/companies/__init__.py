"""Companies as they are declared: read, checked, compared, applied, exported; and what they offer, by name."""
