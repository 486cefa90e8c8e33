"""Use cases: each changes the database in one transaction."""
