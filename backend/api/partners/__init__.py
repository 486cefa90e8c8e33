"""The documented API: the resources that partners build on, one module each."""
