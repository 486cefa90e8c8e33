"""The job queue: policies, the port to its engine, the executor and the worker process."""
