"""The fleet: which machines work on this database under which name, and what they are told to do."""
