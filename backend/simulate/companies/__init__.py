"""The invented companies, one TOML file for each collection; read by `backend.simulate.businesses`."""
