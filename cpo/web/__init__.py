"""The adapter towards operators."""
