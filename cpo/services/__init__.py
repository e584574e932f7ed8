"""Use cases: each one unit of work; they know ports, never adapters."""
