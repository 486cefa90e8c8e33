"""HTTP: routes by resource, bounded bodies, problem answers, request metrics."""
