"""The program: command line, settings, secrets, the console application and the wiring of it all."""

__version__ = "0.1.0"
