"""PostgreSQL: pools, roles, migrations and one module of queries for each aggregate."""
