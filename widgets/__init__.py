"""The parts screens are made of. They know Textual and plain data, never the backend."""
