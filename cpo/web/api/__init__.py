"""The operator API, by noun."""
