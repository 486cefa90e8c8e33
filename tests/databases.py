"""Session and test fixtures: migrated databases in the test process's own PostgreSQL."""
