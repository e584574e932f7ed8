"""The adapter towards partners."""
