"""The adapter towards charge points."""
